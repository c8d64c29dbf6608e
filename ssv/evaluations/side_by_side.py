"""A video file of two clips beside each other, for eyes."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from torch import Tensor

HEIGHT = 192
"""Of the pictures, in pixels, whatever was read."""
GAP = 8
CODECS = {"libx264": {"crf": "18", "preset": "veryfast"}, "mpeg4": {"qmin": "2", "qmax": "4"}}
"""The first that this FFmpeg has is taken."""


def write_side_by_side(path: Path, left: Iterable[Tensor], right: Iterable[Tensor], *, rate: float) -> None:
    """Encodes pairs of frames uint8 (C,H,W), ``rate`` a second, both brought to one height; until one side ends."""
    codec = next(name for name in CODECS if name in av.codecs_available)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(rate).limit_denominator(1000), options=CODECS[codec])
        assert isinstance(stream, av.VideoStream)
        stream.pix_fmt = "yuv420p"
        for number, (ours, theirs) in enumerate(zip(left, right)):
            picture = _joined(_at_height(ours), _at_height(theirs))
            if not number:
                stream.height, stream.width = picture.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def _at_height(frame: Tensor) -> np.ndarray:
    """uint8 (C,H,W) to (HEIGHT,W,C), W even."""
    _, height, width = frame.shape
    size = max(2, 2 * round(width * HEIGHT / height / 2)), HEIGHT
    how = cv2.INTER_AREA if height > HEIGHT else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(np.ascontiguousarray(frame.permute(1, 2, 0).numpy()), size, interpolation=how))


def _joined(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    gap = np.full((HEIGHT, GAP, 3), 255, dtype=np.uint8)
    return np.concatenate([left, gap, right], 1)
