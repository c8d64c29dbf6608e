"""The contract of every pretext, and the list of cheats each new one must think about.

Shortcuts that make a pretext look clever, and what covers them:

- frozen or looped tails of short videos: samplers default to ``short="error"``
- re-encoding artefacts at one rate: all versions are made from the same decoded clip, in one batch
- different frame rates of sources: sampling in seconds, speed measured from ``clips.seconds``
- per-frame crops or jitter that mark order: one crop box per view
- zero padding in time that marks a clip's ends: maximum over space before the mean over time
- batch statistics that tell the classes apart: every batch holds all answers in equal numbers
- a static video: the contract test trains on frozen clips and demands chance
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ssv.backbones.base import Backbone
from ssv.types import Clips, PretextOutput


class Pretext(nn.Module, ABC):
    """A question with a free answer. Owns its head; borrows the backbone it trains.

    ``forward`` receives honest clips (filmed order, true speed, full colour, uint8) and makes the
    question itself, on whatever device the clips are on. Randomness comes from torch's global generator,
    which training reseeds before every step. It knows no Lightning, no optimizer, no logging.

    ``is_temporal`` is True when a static video cannot be answered; the contract tests then prove it.
    ``uses_labels`` is True when the question needs to be told what videos show; tables then say so.
    """

    backbone: Backbone
    is_temporal: bool = False
    uses_labels: bool = False

    @abstractmethod
    def forward(self, clips: Clips) -> PretextOutput:
        """Ask and grade. Raises ValueError naming the YAML key when the clips do not fit the question."""

    def one_view(self, clips: Clips, frames: int) -> Tensor:
        """The only view of every video, uint8 (B,C,T,H,W). Raises ValueError unless it has ``frames`` frames."""
        name, pixels = type(self).__module__.rpartition(".")[2], clips.pixels
        if pixels.dtype != torch.uint8 or pixels.ndim != 6:
            raise ValueError(f"{name} needs uint8 clips (B,V,C,T,H,W), got {pixels.dtype} {tuple(pixels.shape)}")
        if pixels.shape[1] != 1 or pixels.shape[3] != frames:
            raise ValueError(
                f"{name} as configured needs 1 view of {frames} frames, got {pixels.shape[1]} of {pixels.shape[3]}; "
                f"set data.sampler.views=1 data.sampler.frames={frames}"
            )
        return pixels[:, 0]

    def picture(self, clips: Clips) -> Tensor | None:
        """What it makes of a few honest clips, for eyes: uint8 (3,H,W); None where there is nothing to see.

        Called in eval mode, without gradients; draws nothing.
        """
        return None

    def fit(self, batches: Iterable[Clips], generator: torch.Generator) -> None:
        """Run once before the first step (colour clusters, for example); results belong in buffers."""
        return None
