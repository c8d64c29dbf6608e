"""How batches get from the reading processes to the training process: through memory that is used again.

By itself a DataLoader takes new shared memory for each tensor of each batch. Fresh pages cost the system several times
what it takes to copy the bytes, and containers often allow only 64 MB of /dev/shm, beyond which reading fails. Here
each process has a few nameless files in memory (Linux; as in multiprocessing they are handed down by fork) and fills
them in turn; the training process copies each batch out and so gives its file back.
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from ssv.data.planes import PlaneBatch
from ssv.types import Clips


class Parcel(NamedTuple):
    """A batch on its way.

    worker, number: the process that sent it, and how many it had sent with this one.
    pixels: the pixels themselves, if no file was free, or the shape of what lies in the file.
    kind, rest: the type of the batch, and its other fields as arrays.
    """

    worker: int
    number: int
    pixels: Tensor | tuple[int, ...]
    kind: type[Clips] | type[PlaneBatch]
    rest: list[Any]


class Passage:
    """Files in memory for ``workers`` processes, ``depth`` for each: as many batches as one has under way at a time.

    The batches of one process must be received in the order sent; leaving some out is fine. A batch for which no file
    is free travels as the DataLoader sends it, as does everything from processes that were not forked from this one.
    """

    def __init__(self, workers: int, depth: int) -> None:
        if not hasattr(os, "memfd_create"):  # not Linux
            workers = 0
        self._files = [[os.memfd_create("ssv-batch") for _ in range(depth)] for _ in range(workers)]
        # Of each process, the number of the last batch sent and of the last received.
        self._counts = np.frombuffer(mmap.mmap(-1, 16 * max(workers, 1)), dtype=np.int64).reshape(-1, 2)
        weakref.finalize(self, _close, [file for files in self._files for file in files])

    def __reduce__(self) -> tuple[type[Passage], tuple[int, int]]:
        """For a process that is started afresh, and inherits nothing."""
        return Passage, (0, 0)

    def send(self, batch: Clips | PlaneBatch) -> Clips | PlaneBatch | Parcel:
        """Called where batches are made, which without reading processes is the training process itself."""
        here = get_worker_info()
        if here is None or here.id >= len(self._files):
            return batch
        files, counts = self._files[here.id], self._counts[here.id]
        counts[0] = number = int(counts[0]) + 1
        first, *rest = batch
        assert first.dtype == torch.uint8
        pixels: Tensor | tuple[int, ...] = first
        if number - len(files) <= counts[1]:  # what lies in this file was received, or left out
            _write(files[number % len(files)], first.numpy())
            pixels = tuple(first.shape)
        fields = [field.numpy() if isinstance(field, Tensor) else field for field in rest]
        return Parcel(here.id, number, pixels, type(batch), fields)

    def receive(self, sent: Clips | PlaneBatch | Parcel) -> Clips | PlaneBatch:
        """Called in the training process. Where there is a GPU, in memory from which it fetches while others work."""
        if not isinstance(sent, Parcel):
            return sent
        pixels = sent.pixels
        if not isinstance(pixels, Tensor):
            files = self._files[sent.worker]
            pixels = torch.empty(pixels, dtype=torch.uint8, pin_memory=torch.cuda.is_available())
            _read(files[sent.number % len(files)], pixels.numpy())
        self._counts[sent.worker, 1] = sent.number
        if sent.kind is Clips:
            return Clips(pixels, *map(torch.from_numpy, sent.rest))
        return PlaneBatch(pixels, *sent.rest)


def _write(file: int, pixels: np.ndarray) -> None:
    # Not by a mapping: each page that it touches first would interrupt the process.
    data, done = pixels.data.cast("B"), 0
    while done < len(data):
        done += os.pwrite(file, data[done:], done)


def _read(file: int, pixels: np.ndarray) -> None:
    data, done = pixels.data.cast("B"), 0
    while done < len(data):
        count = os.preadv(file, [data[done:]], done)
        assert count, "shorter than what was sent"
        done += count


def _close(files: Sequence[int]) -> None:
    for file in files:
        os.close(file)
