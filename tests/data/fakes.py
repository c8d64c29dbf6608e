"""A reader without files: pixels tell the video, the frame and the row; for tests of everything behind reading."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from ssv.data.crops import Box, RandomResizedCrop
from ssv.data.dataset import VideoDataset
from ssv.data.planes import Planes
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


class PlaneReader(Reader):
    """Frames of 20x28 pixels as planes: a picture that is smooth everywhere and another one in each frame."""

    SIZE = (20, 28)

    def __init__(self, *, broken: Sequence[int] = ()) -> None:
        self.broken = broken

    def size(self, path: str) -> tuple[int, int]:
        return self.SIZE

    def read_planes(self, path: str, indices: Sequence[int], box: Box) -> Planes:
        number = int(path.split(".")[0].split("/")[-1])
        if number in self.broken:
            raise VideoError(path, "cut short after frame 7")
        rows, columns = np.mgrid[: self.SIZE[0], : self.SIZE[1]]
        shades = [60 + number + 2 * index + 3 * rows + 2 * columns for index in indices]
        top, left = box.top // 2 * 2, box.left // 2 * 2
        bottom, right = (box.top + box.height + 1) // 2 * 2, (box.left + box.width + 1) // 2 * 2
        y = np.stack(shades).astype(np.uint8)[:, top:bottom, left:right].copy()
        uv = np.full((len(indices), 2, y.shape[1] // 2, y.shape[2] // 2), 128, dtype=np.uint8)
        return Planes(y, uv, Box(box.top - top, box.left - left, box.height, box.width), full_range=True)

    def read(self, path: str, indices: Sequence[int]) -> np.ndarray:
        y = self.read_planes(path, indices, Box(0, 0, *self.SIZE)).y
        return np.repeat(y[..., None], 3, axis=3)  # grey

    def as_rgb(self) -> Reader:
        """The same frames from a reader that has no planes."""
        return _Rgb(self)


class _Rgb(Reader):
    def __init__(self, reader: PlaneReader) -> None:
        self.reader = reader

    def read(self, path: str, indices: Sequence[int]) -> np.ndarray:
        return self.reader.read(path, indices)


def numbered_videos(count: int) -> list[Video]:
    return [Video(f"videos/{number}.mp4", label=number % 3) for number in range(count)]


def numbered_dataset(count: int = 12, *, reader: Reader | None = None, seed: int = 0) -> VideoDataset:
    times = Times(np.arange(FRAMES) / 25 for _ in range(count))
    sampler = RandomClips(views=2, frames=4, stride=2)
    return VideoDataset(
        numbered_videos(count), sampler, RandomResizedCrop(8), reader or NumberReader(), seed, times=times
    )
