"""The few values that cross a boundary, and the letters used for their axes.

Axis legend, used in every comment and docstring:
``B`` batch, ``V`` views (clips cut from one video), ``C`` colour channels, ``T`` frames in a clip,
``H W`` pixels, ``D`` feature channels, ``t h w`` feature-map cells, ``N`` nodes (cells or patches of
one frame), ``K`` classes, ``M`` videos of a data set.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Video(NamedTuple):
    """One row of a split.

    ``path`` is a file; ``label`` is 0-based, -1 where there is none; ``group`` names what must not be
    torn apart when videos are held out (UCF101: class-wise scene ``g07``; a folder: the file itself).
    """

    path: str
    label: int = -1
    group: str = ""


class Clips(NamedTuple):
    """The one thing that travels from the loader to a pretext or an evaluation.

    Before batching the fields have no ``B``. A clip is honest: filmed order, full colour, as shown.

    pixels:  uint8 (B,V,C,T,H,W)
    seconds: float32 (B,V,T), presentation time of each frame in its video
    label:   int64 (B,), -1 where there is none
    video:   int64 (B,), row number in the split
    """

    pixels: Tensor
    seconds: Tensor
    label: Tensor
    video: Tensor


class PretextOutput(NamedTuple):
    """What a pretext answers: a float32 scalar with gradient, and detached scalars by name."""

    loss: Tensor
    metrics: dict[str, Tensor]


Scores = dict[str, float]
