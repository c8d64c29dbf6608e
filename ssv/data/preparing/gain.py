"""What a prepared data set saves: a few clips read from it and from its source."""

from __future__ import annotations

import os
import statistics
import time

import numpy as np

from ssv.data.index import find_index
from ssv.data.prepared import PreparedReader
from ssv.data.readers.base import Reader
from ssv.data.readers.pyav import PyAVReader

FRAMES, STRIDE, VIDEOS, REPEATS = 16, 4, 5, 3


def reading_times(root: str, out: str) -> tuple[float, float] | None:
    """CPU seconds for a clip of the source and of what it became, medians over videos spread through the data set.

    None where no video is long enough and still has its source.
    """
    index = find_index(out)
    assert index is not None
    before: list[float] = []
    after: list[float] = []
    source, prepared = PyAVReader(), PreparedReader(out)
    span = FRAMES * STRIDE
    for row in np.linspace(0, len(index) - 1, 20 * VIDEOS).astype(int).tolist():
        frames, path = index.grid(row).frames, index.path(row)
        original = os.path.join(root, path)
        if len(before) == VIDEOS:
            break
        if frames < span or index.reason(row) or not os.path.isfile(original):
            continue
        start = (frames - span) // 2
        clip = range(start, start + span, STRIDE)
        before.append(_seconds(source, original, clip))
        after.append(_seconds(prepared, os.path.join(out, path), clip))
    return (statistics.median(before), statistics.median(after)) if before else None


def _seconds(reader: Reader, path: str, clip: range) -> float:
    """The least of a few tries: the first one finds the file on the disk and opens a decoder."""
    times = []
    for _ in range(REPEATS):
        started = time.process_time()
        reader.read(path, clip)
        times.append(time.process_time() - started)
    return min(times)
