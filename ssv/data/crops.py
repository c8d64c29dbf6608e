"""Cutting and resizing: whole frames in, square 8-bit clips out; one box (and one flip) for all frames of a view.

A crop maps frames uint8 (T,H,W,C) and a generator to pixels uint8 (C,T,size,size), contiguous; one that cuts several
squares out of a clip gives (n,C,T,size,size), and each becomes a view. What it would cut it also says without frames,
so that only that part of them need be read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import torch
from torch import Generator, Tensor

TRIES = 10  # boxes drawn before giving up, as torchvision and timm do


class Box(NamedTuple):
    """Half-open in pixels: rows ``[top, top + height)``, columns ``[left, left + width)``."""

    top: int
    left: int
    height: int
    width: int


class Cut(NamedTuple):
    """One square to be: what to take of the frames of a clip, and whether to mirror it."""

    box: Box
    mirror: bool


class Crop(Protocol):
    """What the data set asks of a crop; a cut becomes ``size`` x ``size`` pixels."""

    size: int

    def cuts(self, height: int, width: int, generator: Generator | None) -> list[Cut]:
        """What is cut out of frames of ``height`` x ``width`` pixels; always as many. The only draws."""

    def __call__(self, frames: np.ndarray, generator: Generator | None) -> Tensor:
        """Frames uint8 (T,H,W,C) to pixels uint8 (C,T,size,size), or (n,C,T,size,size) for n > 1 cuts."""


class RandomResizedCrop:
    """A random box of random size and shape, resized to a square, mirrored half of the time.

    ``area`` is the box's share of the frame, uniform between the two; ``ratio`` is width / height of the box,
    log-uniform between the two: ``area=(0.25, 1), ratio=(1, 1)`` on 320x240 gives squares with sides from
    139 to 240 pixels. Where no box of that kind fits in ten tries, the largest one of the nearest allowed
    shape is cut from the middle.
    """

    def __init__(
        self,
        size: int,
        *,
        area: Sequence[float] = (0.3, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        flip: bool = True,
    ) -> None:
        """``size`` of the output in pixels; ``flip=False`` where left and right mean something."""
        self.size = _positive("size", size)
        self.area = _between("area", area, most=1.0)
        self.ratio = _between("ratio", ratio, most=math.inf)
        self.flip = flip

    def __call__(self, frames: np.ndarray, generator: Generator | None) -> Tensor:
        """Frames uint8 (T,H,W,C) to pixels uint8 (C,T,size,size)."""
        (cut,) = self.cuts(frames.shape[1], frames.shape[2], generator)
        return _cut(frames, cut, self.size)

    def cuts(self, height: int, width: int, generator: Generator | None) -> list[Cut]:
        """One box, and whether it is mirrored. Raises ValueError without a generator."""
        if generator is None:
            raise ValueError(
                "RandomResizedCrop draws from a torch.Generator and got None; give one, or take CenterCrop"
            )
        box = self.box(height, width, generator)
        return [Cut(box, self.flip and bool(torch.rand((), generator=generator) < 0.5))]

    def box(self, height: int, width: int, generator: Generator) -> Box:
        """A box inside a frame of ``height`` x ``width`` pixels."""
        # All tries at once: the number of draws does not depend on the video.
        shares, shapes, tops, lefts = torch.rand(4, TRIES, generator=generator, dtype=torch.float64).tolist()
        (least, most), (narrow, wide) = self.area, self.ratio
        for share, shape, top, left in zip(shares, shapes, tops, lefts):
            pixels = (least + share * (most - least)) * height * width
            ratio = narrow * (wide / narrow) ** shape
            w, h = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
            if 0 < w <= width and 0 < h <= height:
                return Box(int(top * (height - h + 1)), int(left * (width - w + 1)), h, w)
        ratio = min(max(width / height, narrow), wide)
        w, h = max(1, min(width, round(height * ratio))), max(1, min(height, round(width / ratio)))
        return Box((height - h) // 2, (width - w) // 2, h, w)


class CenterCrop:
    """The middle square of the frames after their short side became ``short_side`` pixels.

    Cut first, resized after, so that only pixels that survive are resized: ``size=112, short_side=128`` takes
    the middle 210x210 pixels of a 320x240 frame.
    """

    def __init__(self, size: int, *, short_side: int) -> None:
        """``size`` of the output and ``short_side`` of the whole frame at that scale, both in pixels."""
        self.size, self.short_side = _fitting(size, short_side)

    def __call__(self, frames: np.ndarray, generator: Generator | None = None) -> Tensor:
        """Frames uint8 (T,H,W,C) to pixels uint8 (C,T,size,size); ``generator`` is not used."""
        (cut,) = self.cuts(frames.shape[1], frames.shape[2])
        return _cut(frames, cut, self.size)

    def cuts(self, height: int, width: int, generator: Generator | None = None) -> list[Cut]:
        """The middle square; ``generator`` is not used."""
        side = max(1, round(min(height, width) * self.size / self.short_side))
        return [Cut(Box((height - side) // 2, (width - side) // 2, side, side), mirror=False)]


class ThreeCrop:
    """Three squares along the long side, at its beginning, middle and end, after the short side became ``short_side``.

    ``size=256, short_side=256`` is the crop of the 10 x 3 views of Feichtenhofer et al., SlowFast Networks, ICCV 2019,
    section 4: the squares cover a frame of 320x240 from left to right, overlapping. Where the two
    are equal, square frames give the same square three times.
    """

    def __init__(self, size: int, *, short_side: int) -> None:
        """As for ``CenterCrop``."""
        self.size, self.short_side = _fitting(size, short_side)

    def __call__(self, frames: np.ndarray, generator: Generator | None = None) -> Tensor:
        """Frames uint8 (T,H,W,C) to pixels uint8 (3,C,T,size,size); ``generator`` is not used."""
        cuts = self.cuts(frames.shape[1], frames.shape[2])
        return torch.stack([_cut(frames, cut, self.size) for cut in cuts])

    def cuts(self, height: int, width: int, generator: Generator | None = None) -> list[Cut]:
        """Three squares from left to right, or from top to bottom; ``generator`` is not used."""
        side = max(1, round(min(height, width) * self.size / self.short_side))
        down, right = height - side, width - side
        if width >= height:
            boxes = [Box(down // 2, left, side, side) for left in (0, right // 2, right)]
        else:
            boxes = [Box(top, right // 2, side, side) for top in (0, down // 2, down)]
        return [Cut(box, mirror=False) for box in boxes]


def _cut(frames: np.ndarray, cut: Cut, size: int) -> Tensor:
    """The box of every frame, resized: uint8 (T,H,W,C) to (C,T,size,size)."""
    box = cut.box
    part = frames[:, box.top : box.top + box.height, box.left : box.left + box.width]
    if part.shape[1:3] != (size, size):
        # Area averaging keeps fine texture from turning into false patterns; it has no meaning when growing.
        shrinks = box.height >= size and box.width >= size
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        resized = np.empty((len(part), size, size, part.shape[3]), dtype=np.uint8)
        for i, frame in enumerate(part):
            resized[i] = cv2.resize(frame, (size, size), interpolation=how).reshape(resized.shape[1:])
        part = resized
    if cut.mirror:
        part = part[:, :, ::-1]
    # A copy in any case: a view would keep the whole frames alive.
    return torch.from_numpy(np.array(part.transpose(3, 0, 1, 2), order="C"))


def _positive(key: str, value: int) -> int:
    if value < 1:
        raise ValueError(f"data.crop.{key} must be at least 1 pixel, got {value}")
    return value


def _fitting(size: int, short_side: int) -> tuple[int, int]:
    _positive("size", size)
    _positive("short_side", short_side)
    if size > short_side:
        raise ValueError(f"data.crop.size={size} does not fit in data.crop.short_side={short_side}; enlarge the latter")
    return size, short_side


def _between(key: str, values: Sequence[float], *, most: float) -> tuple[float, float]:
    if len(values) != 2 or not 0 < values[0] <= values[1] <= most:
        raise ValueError(
            f"data.crop.{key} needs two numbers, 0 < low <= high{'' if most > 1 else ' <= 1'}, got {list(values)}"
        )
    return float(values[0]), float(values[1])
