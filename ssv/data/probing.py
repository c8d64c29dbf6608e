"""The presentation times of many videos at once: found at start, kept in a few arrays."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from rich.progress import Progress

from ssv.data.grids import Grid, pack, unpack
from ssv.data.index import Index
from ssv.data.readers.base import VideoError
from ssv.data.readers.probe import look
from ssv.lifetime import end_with_creator

CHUNK = 32  # files handed to a process at a time; fewer than that are not worth one
QUIET_SECONDS = 2.0  # a start-up that takes longer says what it is doing


class Times:
    """Presentation times of M videos, each float64 (n,) in seconds; some thirty bytes a video where they are even.

    Not a list: workers are forks, and counting references to a hundred thousand small objects would copy
    every page of them into every worker.
    """

    def __init__(self, each: Iterable[np.ndarray | Grid]) -> None:
        self._rows, self._off = pack(one if isinstance(one, Grid) else Grid.of_seconds(one) for one in each)
        self.ends = np.cumsum(self._rows["frames"], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, row: int) -> np.ndarray:
        return unpack(self._rows[row], self._off).seconds()


def probe_times(
    paths: Sequence[str], *, processes: int = 0, announce: bool = False
) -> dict[str, np.ndarray | VideoError]:
    """The presentation times of each path, float64 (n,), or the reason why it has none; see ``probe_grids``."""
    found = probe_grids(paths, processes=processes, announce=announce)
    return {path: answer.seconds() if isinstance(answer, Grid) else answer for path, answer in found.items()}


def probe_grids(paths: Sequence[str], *, processes: int = 0, announce: bool = False) -> dict[str, Grid | VideoError]:
    """The presentation times of each path, compact, or the reason why it has none.

    Args:
        paths: video files.
        processes: how many look at once; threads would wait for each other.
        announce: show progress (a bar on a terminal, a line elsewhere) once it takes longer than two seconds.
    """
    found: dict[str, Grid | VideoError] = {}
    answers = _look_at(paths, processes)
    for path, answer in zip(paths, _shown(answers, len(paths)) if announce else answers):
        found[path] = answer
    return found


def indexed_grids(paths: Sequence[str], root: str, index: Index) -> dict[str, Grid | VideoError]:
    """As ``probe_grids``, for those of the ``paths`` below ``root`` that did not change since they were indexed.

    Opens no file: asks the file system for size and time of change, and the index for the rest.
    """
    found: dict[str, Grid | VideoError] = {}
    below = os.path.join(root, "")
    for path in paths:
        name = path[len(below) :] if path.startswith(below) else os.path.relpath(path, root)
        row = index.row(name.replace(os.sep, "/"))
        if row is None:
            continue
        try:
            status = os.stat(path)
        except OSError:  # a probe will say what is wrong with it
            continue
        if index.is_current(row, status):
            reason = index.reason(row)
            found[path] = VideoError(path, reason) if reason else index.grid(row)
    return found


def _grid(path: str) -> Grid | VideoError:
    try:
        found = look(path)
    except VideoError as error:
        return error
    return Grid.of_ticks(found.table.ticks, found.unit)


def _look_at(paths: Sequence[str], processes: int) -> Iterator[Grid | VideoError]:
    processes = min(processes, len(paths) // CHUNK)
    if processes < 2:
        yield from map(_grid, paths)
        return
    # Forks start at once; a fresh interpreter would import torch first.
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else None
    with ProcessPoolExecutor(processes, multiprocessing.get_context(method), end_with_creator) as pool:
        yield from pool.map(_grid, paths, chunksize=CHUNK)


def _shown(answers: Iterator[Grid | VideoError], total: int) -> Iterator[Grid | VideoError]:
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
