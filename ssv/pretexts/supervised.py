"""The reference every pretext is compared with: the same clips and steps, with their labels."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from ssv.backbones.base import Backbone
from ssv.ops.photometric import normalise
from ssv.pretexts.base import Pretext
from ssv.types import Clips, PretextOutput


class Supervised(Pretext):
    """Classifies clips by ``clips.label``: not self-supervised, and printed as a reference row.

    Args:
        backbone: any.
        classes: K, number of classes of the data set.
        frames: T, the middle frames of the clip that are shown; 1 makes the single-frame reference, which tells
            how far appearance alone goes.
        dropout: probability, before the classifier.
    """

    uses_labels = True

    def __init__(self, backbone: Backbone, *, classes: int = 101, frames: int = 16, dropout: float = 0.0) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(backbone.out_channels, classes)
        self.classes, self.frames = classes, frames

    def forward(self, clips: Clips) -> PretextOutput:
        """Cross-entropy over the labels; every view is a question of its own."""
        self._check(clips)
        pixels = clips.pixels.flatten(0, 1)  # (B,V,C,T,H,W) -> (B*V,C,T,H,W)
        label = clips.label.repeat_interleave(clips.pixels.shape[1])
        start = (pixels.shape[2] - self.frames) // 2
        frames = normalise(pixels[:, :, start : start + self.frames], self.backbone.mean, self.backbone.std)
        logits = self.head(self.dropout(self.backbone(frames).mean((2, 3, 4)))).float()
        loss = F.cross_entropy(logits, label)
        accuracy = (logits.argmax(1) == label).float().mean()
        return PretextOutput(loss, {"accuracy": accuracy.detach(), "chance": torch.tensor(1 / self.classes)})

    def _check(self, clips: Clips) -> None:
        if clips.pixels.dtype != torch.uint8 or clips.pixels.ndim != 6:
            raise ValueError(
                f"supervised needs uint8 clips (B,V,C,T,H,W), got {clips.pixels.dtype} {tuple(clips.pixels.shape)}"
            )
        if clips.pixels.shape[3] < self.frames:
            raise ValueError(
                f"supervised with frames={self.frames} needs clips of at least {self.frames} frames, got "
                f"{clips.pixels.shape[3]}; set data.sampler.frames={self.frames}"
            )
        low, high = int(clips.label.min()), int(clips.label.max())
        if low < 0:
            raise ValueError(
                "supervised needs labels, this data set has none; choose one with labels (data=ucf101, csv)"
            )
        if high >= self.classes:
            raise ValueError(
                f"supervised has classes={self.classes}, found label {high}; set pretext.classes={high + 1}"
            )
