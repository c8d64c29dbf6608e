"""A video file of two clips beside each other, for eyes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from ssv.evaluations.films import Film

HEIGHT = 192
"""Of the pictures, in pixels, whatever was read."""
GAP = 8


def write_side_by_side(path: Path, left: Iterable[Tensor], right: Iterable[Tensor], *, rate: float) -> None:
    """Encodes pairs of frames uint8 (C,H,W), ``rate`` a second, both brought to one height; until one side ends."""
    with Film(path, rate) as film:
        for ours, theirs in zip(left, right):
            film.add(_joined(_at_height(ours), _at_height(theirs)))


def _at_height(frame: Tensor) -> np.ndarray:
    """uint8 (C,H,W) to (HEIGHT,W,C), W even."""
    _, height, width = frame.shape
    size = max(2, 2 * round(width * HEIGHT / height / 2)), HEIGHT
    how = cv2.INTER_AREA if height > HEIGHT else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(np.ascontiguousarray(frame.permute(1, 2, 0).numpy()), size, interpolation=how))


def _joined(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    gap = np.full((HEIGHT, GAP, 3), 255, dtype=np.uint8)
    return np.concatenate([left, gap, right], 1)
