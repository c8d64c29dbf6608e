"""The contract of every video reader, its one exception, and what is known of a file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class VideoError(RuntimeError):
    """A video file that cannot be read as asked: ``path`` and ``reason``, one line."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)  # both as args, so that it survives pickling between processes
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class VideoInfo(NamedTuple):
    """What a probe finds.

    seconds: float64 (n,), presentation time of every frame in display order, first frame at 0;
        its length is the number of frames.
    height, width: as shown, after rotation. rotation: degrees counter-clockwise stored in the file,
        before the mirroring that may come with it.
    rate: mean frames per second. codec: FFmpeg's name.
    """

    seconds: np.ndarray
    height: int
    width: int
    rotation: int
    rate: float
    codec: str


class Orientation(NamedTuple):
    """How a stored frame is set upright: ``quarters`` turns counter-clockwise (0 to 3), then ``mirrored`` left to right."""

    quarters: int = 0
    mirrored: bool = False

    def upright(self, pixels: np.ndarray) -> np.ndarray:
        """Rows and columns first: (H,W,...) as stored to (H,W,...) as shown; a view."""
        turned = np.rot90(pixels, k=self.quarters)
        return turned[:, ::-1] if self.mirrored else turned

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width as shown of a stored frame."""
        return (width, height) if self.quarters % 2 else (height, width)


class Reader(ABC):
    """Reads exact frames by display index; never hands out another frame in silence."""

    @abstractmethod
    def read(self, path: str, indices: Sequence[int]) -> np.ndarray:
        """Frames of ``path`` as shown (rotated, mirrored), uint8 (len(indices),H,W,3) RGB, in the order asked.

        ``indices`` are display positions (0 is the first frame shown), any order, repeats allowed.
        Raises VideoError when the file is broken or an index lies outside it.
        """
