"""The few values that cross a boundary, and the letters used for their axes.

Axis legend, used in every comment and docstring:
``B`` batch, ``V`` views (clips cut from one video), ``C`` colour channels, ``T`` frames in a clip,
``H W`` pixels, ``D`` feature channels, ``t h w`` feature-map cells, ``N`` nodes (cells or patches of
one frame), ``K`` classes, ``M`` videos of a data set.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor


class Video(NamedTuple):
    """One row of a split.

    ``path`` is a file; ``label`` is 0-based, -1 where there is none; ``group`` names what must not be
    torn apart when videos are held out (UCF101: class-wise scene ``g07``; a folder: the file itself).
    """

    path: str
    label: int = -1
    group: str = ""


class PhasedVideo(NamedTuple):
    """A video of one action from beginning to end, and when its phases change.

    ``path`` is a file, or a folder of pictures in the order of their names. ``events`` are the frames at which the
    next phase begins, ascending, so that E events make E + 1 phases. Videos of one ``action`` have the same events.
    """

    path: str
    events: tuple[int, ...]
    action: str = ""


class ObjectSequence(NamedTuple):
    """A video with objects outlined in its first frame, and in the others as far as it can be scored (DAVIS).

    ``frames`` are pictures in order, or one video file. ``masks`` are one file for each frame, or for the first alone.
    ``merged``: whatever is not background is one object (DAVIS 2016). ``renumber``: the object numbers of the first mask
    become 1, 2, ... K, in ascending order.
    """

    name: str
    frames: tuple[str, ...]
    masks: tuple[str, ...]
    merged: bool = False
    renumber: bool = False


class PartSequence(NamedTuple):
    """A video whose pixels belong to classes that are the same in every video, 0 among them (VIP).

    ``masks`` are one file of class numbers below ``classes`` for each frame.
    """

    name: str
    frames: tuple[str, ...]
    masks: tuple[str, ...]
    classes: int = 20


class PointSequence(NamedTuple):
    """A video with points marked in its first frame, and in the others as far as it can be scored (JHMDB).

    ``points`` are float32 (T,K,2), or (1,K,2): x and y in pixels of the frame, the middle of the first pixel at 0.
    """

    name: str
    frames: tuple[str, ...]
    points: np.ndarray


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
