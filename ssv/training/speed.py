"""Where the time of a training run goes: reading, transport between processes, conversion, the step."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from ssv.data.batches import EpochBatches
from ssv.data.dataset import VideoDataset
from ssv.data.loading import ResumableLoader
from ssv.data.planes import PlaneBatch, PlaneClips, collate, to_clips
from ssv.data.readers.base import VideoError
from ssv.types import Clips

Tell = Callable[[int, int], None]


class Speed(NamedTuple):
    """Seconds for a batch of ``clips`` clips.

    reading: CPU time of decoding and cropping, in one process. transport: CPU time that a reading process costs on
    top, on both sides. conversion: CPU time of making clips of planes, part of neither; the training process does it where
    there is a GPU (``on_gpu``), else the reading ones.
    step: wall time of forward, backward and update; 0 where it was not measured.
    rate: clips per second that arrive from ``workers`` reading processes (0: read in place), by the clock.
    """

    clips: int
    reading: float
    transport: float
    conversion: float
    step: float
    rate: float
    workers: int
    on_gpu: bool = False


def measure_speed(
    dataset: VideoDataset,
    rows: list[int],
    *,
    batch_size: int,
    workers: int,
    batches: int,
    step: Callable[[Clips], None] | None = None,
    device: torch.device | None = None,
    progress: Tell = lambda done, total: None,
) -> Speed:
    """Measures ``batches`` batches (at least 2) of ``batch_size`` videos of ``rows`` in each way.

    Raises VideoError for a broken video.
    """
    rows = (rows * math.ceil(batches * batch_size / len(rows)))[: batches * batch_size]
    device = device or torch.device("cpu")
    total, reading, conversion, steps = batches + 3, [], [], []
    for number in range(batches):
        keys = [(number, row) for row in rows[number * batch_size : (number + 1) * batch_size]]
        started = time.process_time()
        samples = dataset.__getitems__(keys)
        reading.append(time.process_time() - started)
        started = time.process_time()
        clips = _clips(samples, device)
        conversion.append(time.process_time() - started)
        if step is not None:
            started = _now(device)
            step(clips)
            steps.append(_now(device) - started)
        progress(number + 1, total)
    whole = _cpu_seconds(dataset, rows, batch_size)
    progress(batches + 1, total)
    one = _cpu_seconds(dataset, rows[:batch_size], batch_size)
    progress(batches + 2, total)
    # The first of each kind also loads libraries and fills caches.
    mean = [sum(times[1:]) / max(len(times) - 1, 1) for times in (reading, conversion, steps)]
    seconds = _wall_seconds(dataset, rows, batch_size, workers)
    progress(total, total)
    count = clips.pixels.shape[0] * clips.pixels.shape[1]
    transport = max((whole - one) / (batches - 1) - mean[0] - mean[1], 0.0)
    return Speed(count, mean[0], transport, mean[1], mean[2], count / seconds, workers, device.type != "cpu")


def workers_needed(speed: Speed) -> int:
    """Reading processes that keep the step fed, were there a core for each."""
    there, here = (0.0, speed.conversion) if speed.on_gpu else (speed.conversion, 0.0)
    return max(1, math.ceil((speed.reading + speed.transport + there) / max(speed.step + here, 1e-9)))


def _clips(samples: list[Clips | PlaneClips | VideoError], device: torch.device) -> Clips:
    for sample in samples:
        if isinstance(sample, VideoError):
            raise sample
    batch = collate([sample for sample in samples if not isinstance(sample, VideoError)])
    clips = to_clips(batch._replace(data=batch.data.to(device))) if isinstance(batch, PlaneBatch) else batch
    return Clips(*(field.to(device) for field in clips))


def _loader(dataset: VideoDataset, rows: list[int], batch_size: int, workers: int) -> ResumableLoader:
    return ResumableLoader(dataset, EpochBatches(rows, batch_size, shuffle=False), workers=workers)


def _cpu_seconds(dataset: VideoDataset, rows: list[int], batch_size: int) -> float:
    """CPU seconds of this and one reading process for all of the rows."""
    before = _spent()
    loader = _loader(dataset, rows, batch_size, 1)
    for _ in loader:
        pass
    loader.end_workers()  # a process is counted when it has ended
    return _spent() - before


def _spent() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def _wall_seconds(dataset: VideoDataset, rows: list[int], batch_size: int, workers: int) -> float:
    """Seconds between two batches, once the reading processes have started."""
    rows = rows + rows[:batch_size] * workers
    loader = _loader(dataset, rows, batch_size, workers)
    arrived = [time.perf_counter() for _ in loader]
    loader.end_workers()
    first = max(workers, 1) - 1  # until then each process makes its first batch
    return (arrived[-1] - arrived[first]) / (len(arrived) - 1 - first)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
