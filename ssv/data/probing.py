"""The presentation times of many videos at once: found at start, kept in two arrays."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from rich.progress import Progress

from ssv.data.readers.base import VideoError
from ssv.data.readers.probe import probe

CHUNK = 32  # files handed to a process at a time; fewer than that are not worth one
QUIET_SECONDS = 2.0  # a start-up that takes longer says what it is doing


class Times:
    """Presentation times of M videos, each float64 (n,) in seconds, behind one another in one array.

    Not a list: workers are forks, and counting references to a hundred thousand small objects would copy
    every page of them into every worker.
    """

    def __init__(self, each: Iterable[np.ndarray]) -> None:
        arrays = list(each)
        self.flat = np.concatenate(arrays) if arrays else np.empty(0)
        self.ends = np.cumsum([len(array) for array in arrays], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, row: int) -> np.ndarray:
        return self.flat[self.ends[row - 1] if row else 0 : self.ends[row]]


def probe_times(
    paths: Sequence[str], *, processes: int = 0, announce: bool = False
) -> dict[str, np.ndarray | VideoError]:
    """The presentation times of each path, float64 (n,), or the reason why it has none.

    Args:
        paths: video files.
        processes: how many look at once; threads would wait for each other.
        announce: show progress (a bar on a terminal, a line elsewhere) once it takes longer than two seconds.
    """
    found: dict[str, np.ndarray | VideoError] = {}
    answers = _look_at(paths, processes)
    for path, answer in zip(paths, _shown(answers, len(paths)) if announce else answers):
        found[path] = answer
    return found


def _times(path: str) -> np.ndarray | VideoError:
    try:
        return probe(path).seconds
    except VideoError as error:
        return error


def _look_at(paths: Sequence[str], processes: int) -> Iterator[np.ndarray | VideoError]:
    processes = min(processes, len(paths) // CHUNK)
    if processes < 2:
        yield from map(_times, paths)
        return
    # Forks start at once; a fresh interpreter would import torch first.
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else None
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context(method)) as pool:
        yield from pool.map(_times, paths, chunksize=CHUNK)


def _shown(answers: Iterator[np.ndarray | VideoError], total: int) -> Iterator[np.ndarray | VideoError]:
    """The same answers; once they take long, with progress on the error stream."""
    started = time.monotonic()
    for done, answer in enumerate(answers, start=1):
        yield answer
        if time.monotonic() - started > QUIET_SECONDS and done < total:
            break
    else:
        return
    if not sys.stdout.isatty():
        left = (time.monotonic() - started) / done * (total - done)
        print(f"looking at {total} videos, about {left:.0f} s", file=sys.stderr)
        yield from answers
        return
    with Progress(transient=True) as progress:
        task = progress.add_task(f"looking at {total} videos", total=total, completed=done)
        for answer in answers:
            progress.advance(task)
            yield answer
