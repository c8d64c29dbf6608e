"""What the processes of one job do together. Alone, each function does what its name says for one process."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from torch import distributed

T = TypeVar("T")
ENTRIES = 2**24  # numbers on their way at a time, 64 MB


def rank_and_world() -> tuple[int, int]:
    """This process's number and how many there are."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def all_or_none(compute: Callable[[], T]) -> T:
    """What ``compute`` gives here, once it has ended in every process.

    Raises:
        Exception: what was raised in any of the processes, in all of them: none is left waiting for others.
    """
    result: T | None = None
    failure: Exception | None = None
    try:
        result = compute()
    except Exception as error:
        failure = error
    others = [] if rank_and_world()[1] == 1 else _gathered(failure)
    for raised in (failure, *others):  # one's own first: it knows where it was raised
        if raised is not None:
            raise raised
    return result  # type: ignore[return-value]  # there was no failure, so that it is what compute gave


def first_alone(compute: Callable[[], T]) -> T:
    """What ``compute`` gives, in the first process before it begins in the others: it may make what they then find.

    Raises:
        Exception: see ``all_or_none``.
    """
    is_first = rank_and_world()[0] == 0
    made = all_or_none(compute if is_first else lambda: None)
    found = all_or_none(compute if not is_first else lambda: None)
    return made if is_first else found  # type: ignore[return-value]  # one of them was computed here


def is_so_anywhere(here: bool) -> bool:
    """Whether it is so in any of the processes."""
    return here if rank_and_world()[1] == 1 else any(_gathered(here))


def joined(values: np.ndarray, rows: np.ndarray, device: torch.device) -> tuple[np.ndarray, np.ndarray]:
    """The rows that each process has, in all of them.

    Args:
        values: (M,...), here filled in ``rows``; of any shape where ``rows`` holds none.
        rows: bool (M,); no row is filled by two processes.
        device: where the processes exchange numbers.

    Returns:
        ``values`` and ``rows`` of all processes; rows that none has are zero.
    """
    if rank_and_world()[1] == 1:
        return values, rows
    shape = max(_gathered(values.shape[1:]))
    total = np.zeros((len(rows), *shape), dtype=values.dtype)
    if rows.any():
        total[rows] = values[rows]
    flat = total.reshape(-1)
    for start in range(0, len(flat), ENTRIES):  # a row is zero in all processes but one: the sum is its bits
        part = torch.from_numpy(flat[start : start + ENTRIES]).to(device)
        distributed.all_reduce(part)
        flat[start : start + ENTRIES] = part.cpu().numpy()
    return total, np.logical_or.reduce(_gathered(rows))


def _gathered(value: T) -> list[T]:
    """The value of every process, by number."""
    try:
        pickle.loads(pickle.dumps(value))
    except Exception:  # an exception whose constructor pickle cannot repeat
        value = RuntimeError(str(value))  # type: ignore[assignment]
    values: list[T | None] = [None] * rank_and_world()[1]
    distributed.all_gather_object(values, value)
    return values  # type: ignore[return-value]  # filled by now
