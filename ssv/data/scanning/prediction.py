"""What reading clips of a pile will cost, now and after `ssv prepare`: measured on a few of its own files."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from ssv.data.dataset import generator_for
from ssv.data.preparing.encode import encode, film_of
from ssv.data.readers.auto import AutoReader
from ssv.data.readers.base import VideoError
from ssv.data.readers.probe import demuxed, look, open_video
from ssv.data.sampling import RandomClips
from ssv.data.scanning.workers import Beat, in_children
from ssv.scratch import scratch

SHORT_SIDE, GOP = 128, 8  # as `ssv prepare` does it unless asked otherwise
DRAWS = 4  # clips of a file
ENCODED = 96  # frames of a file


class Cost(NamedTuple):
    """CPU seconds of one core, medians over ``files`` files: for a clip of the files as they are, and prepared."""

    clip: float
    prepared_clip: float
    files: int


def predict(
    paths: Sequence[str], *, frames: int, stride: int | None, seconds: float | None, processes: int, limit: float
) -> Cost | None:
    """The cost of reading clips of ``frames`` frames, ``stride`` frames or ``seconds`` apart; decoding alone.

    ``limit`` is for each file, in seconds, as in ``in_children``. None when no file could be measured.
    """
    work = _Measure(frames, stride, seconds)
    answers = in_children(paths, work, processes=processes, limit_seconds=limit)
    costs = [answer for _, answer in answers if not isinstance(answer, VideoError)]
    if not costs:
        return None
    now, then = (statistics.median(cost[i] for cost in costs) for i in range(2))
    return Cost(now, then, len(costs))


def frames_decoded(offsets: Sequence[int], gop: int) -> float:
    """How many frames are decoded for the frames at ``offsets`` (ascending) in groups of ``gop``, on average.

    Groups are closed and start anywhere relative to the clip; of each group all frames up to the last one asked.
    """
    total = 0
    for phase in range(gop):
        places = np.asarray(offsets) - offsets[0] + phase
        groups, within = np.divmod(places, gop)
        total += sum(int(within[groups == group].max()) + 1 for group in np.unique(groups))
    return total / gop


class _Measure:
    """Work for a child: the costs of one file."""

    def __init__(self, frames: int, stride: int | None, seconds: float | None) -> None:
        self.sampler = RandomClips(frames=frames, stride=stride, seconds=seconds, short="skip")

    def __call__(self, path: str, beat: Beat) -> tuple[float, float]:
        times = look(path, beat).info.seconds
        if (problem := self.sampler.fits(times)) is not None:
            raise VideoError(path, problem)
        reader, spent, decoded = AutoReader(), [], []
        for draw in range(DRAWS):
            indices = self.sampler(times, generator_for(draw))[0].tolist()
            started = time.process_time()
            reader.read(path, indices)
            spent.append(time.process_time() - started)
            decoded.append(frames_decoded(indices, GOP))
            beat()
        # The first one also finds the file on the disk and opens the library.
        return min(spent[0], statistics.mean(spent[1:])), statistics.mean(decoded) * _prepared_frame(path, beat)


def _prepared_frame(path: str, beat: Beat) -> float:
    """CPU seconds for a frame of what the file becomes, in sequence."""
    film = film_of(path)
    short = film._replace(frames=islice(film.frames, ENCODED), ticks=film.ticks[:ENCODED])
    with scratch("ssv-scan-") as folder:
        target = os.path.join(folder, "prepared.mp4")
        encode(short, target, name="", encoder="mpeg4", short_side=SHORT_SIDE, gop=GOP)
        beat()
        with open_video(target) as (container, stream):
            packets = [packet for packet in demuxed(container, stream) if packet.size]
            started = time.process_time()
            for packet in packets:
                packet.decode()
            return (time.process_time() - started) / len(packets)
