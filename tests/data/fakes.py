"""A reader without files: pixels tell the video, the frame and the row; for tests of everything behind reading."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from ssv.data.crops import RandomResizedCrop
from ssv.data.dataset import VideoDataset
from ssv.data.probing import Times
from ssv.data.readers.base import Reader, VideoError
from ssv.data.sampling import RandomClips
from ssv.types import Video

FRAMES = 30


class NumberReader(Reader):
    """Frames of 12x16 pixels: red is the number in the path, green the frame's, blue the column."""

    def __init__(self, *, broken: Sequence[int] = (), hanging: Sequence[int] = ()) -> None:
        self.broken = broken
        self.hanging = hanging

    def read(self, path: str, indices: Sequence[int]) -> np.ndarray:
        number = int(path.split(".")[0].split("/")[-1])
        if number in self.broken:
            raise VideoError(path, "cut short after frame 7")
        if number in self.hanging:
            time.sleep(2)
        frames = np.empty((len(indices), 12, 16, 3), dtype=np.uint8)
        frames[..., 0] = number
        frames[..., 1] = np.asarray(indices)[:, None, None]
        frames[..., 2] = np.arange(16)
        return frames


def numbered_videos(count: int) -> list[Video]:
    return [Video(f"videos/{number}.mp4", label=number % 3) for number in range(count)]


def numbered_dataset(count: int = 12, *, reader: Reader | None = None, seed: int = 0) -> VideoDataset:
    times = Times(np.arange(FRAMES) / 25 for _ in range(count))
    sampler = RandomClips(views=2, frames=4, stride=2)
    return VideoDataset(
        numbered_videos(count), sampler, RandomResizedCrop(8), reader or NumberReader(), seed, times=times
    )
