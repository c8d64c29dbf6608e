"""Features frame by frame, in one pass over a video of any length: what tracking and phase alignment read."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import pytorch_lightning as pl
import torch
from torch import Tensor

from ssv.backbones.base import Backbone
from ssv.evaluations.features import on_device
from ssv.ops.photometric import normalise

FRAMES_PER_BATCH = 4
"""Of a backbone that sees each frame alone; more only fill the memory, a frame of 480p keeps a device busy."""


def frame_encoder(
    backbone: Backbone, trainer: pl.Trainer, *, window: int
) -> Callable[[Iterable[Tensor]], Iterator[Tensor]]:
    """A function from the frames of one video, uint8 (C,H,W) each, to one map float32 (D,h,w) for each of them.

    A copy of the backbone runs in eval mode, in the trainer's precision and on its device; ``backbone`` itself is not
    touched. One that is ``time_local`` sees each frame alone. Any other sees ``window`` frames around each frame (one
    more before it than behind it where the number is even), the first and the last frame of the video held beyond its
    ends, and of its map the cell of that frame is taken. Frames are asked for as they are needed, so that a video of
    any length takes the same memory.

    Raises:
        ValueError: if ``window`` is less than 1, or the trainer has several devices.
    """
    if window < 1:
        raise ValueError(f"evaluation.window must be 1 frame or more, got {window}")
    frozen = on_device(copy.deepcopy(backbone), trainer).eval()

    @torch.no_grad()
    def run(clips: Tensor) -> Tensor:
        pixels = normalise(clips.to(trainer.strategy.root_device), backbone.mean, backbone.std)
        with trainer.precision_plugin.forward_context():
            maps: Tensor = frozen(trainer.precision_plugin.convert_input(pixels))
        return maps.float()

    def alone(frames: Iterable[Tensor]) -> Iterator[Tensor]:
        for batch in _batches(frames, FRAMES_PER_BATCH):
            yield from run(torch.stack(batch, 1)[None])[0].unbind(1)

    def among_others(frames: Iterable[Tensor]) -> Iterator[Tensor]:
        cell = window // 2 // backbone.stride[0]
        for around in _windows(frames, window):
            yield run(torch.stack(around, 1)[None])[0, :, cell]

    return alone if backbone.time_local else among_others


def describe_frames(window: int) -> str:
    """How a frame gets its features, for protocols; which of the two it was is the backbone's form on the card."""
    return f"each frame alone, or at the middle of {window} frames, ends held, if the backbone is not time-local"


def _batches(frames: Iterable[Tensor], size: int) -> Iterator[list[Tensor]]:
    batch: list[Tensor] = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _windows(frames: Iterable[Tensor], size: int) -> Iterator[list[Tensor]]:
    """For each frame the ``size`` frames around it, itself at position ``size // 2``; the ends are held."""
    before, behind = size // 2, size - 1 - size // 2
    around: deque[Tensor] = deque(maxlen=size)
    for frame in frames:
        around.extend([frame] if around else [frame] * (before + 1))
        if len(around) == size:
            yield list(around)
    missing = min(behind, size - len(around) + behind) if around else 0
    for _ in range(missing):
        around.append(around[-1])
        if len(around) == size:
            yield list(around)
