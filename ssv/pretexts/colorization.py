"""Tracking emerges by colorizing: whose colour is this pixel's? (Vondrick et al., ECCV 2018).

Their code was not released. Options of CorrFlow (Lai and Xie, BMVC 2019): colour dropout, a restricted window.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssv.backbones.base import Backbone
from ssv.ops.affinity import attend
from ssv.ops.colour import clusters_of, lab, nearest
from ssv.ops.photometric import drop_channels, normalise
from ssv.pretexts.base import Pretext
from ssv.types import Clips, PretextOutput

EPSILON = 1e-8
"""Added to probabilities: a colour that no reference shows has probability 0."""
FITTED_VALUES = 100_000
"""Colours that clusters are fitted to."""


class Colorization(Pretext):
    """Colours the last frame of a clip by pointing into the frames before it, whose colours are given.

    The features never see the colour that is asked: with ``backbone.input=grey``, the paper's, they see none at all; a
    backbone of three channels needs ``channel_dropout``. Chance is what pointing everywhere alike scores: the
    commonest colour of a clip's references. ``copy_accuracy`` is what the colours of the same place in the last
    reference would score, and no worse than the network's on calm videos: this accuracy does not tell how well the
    features track.

    Deviations: the paper mixes the frames' features by five 3D convolutions and appends coordinates. Here a frame's
    features are its own, for that is what label propagation reads, and how a clip-wise network would be fed there is not
    fixed by the paper. Nothing has to be learned to answer a static video.

    Args:
        backbone: time-local.
        references: frames whose colours are given; the next frame is the target.
        clusters: of colours (a and b of Lab), found by k-means on the training videos before the first step.
        dims: channels that features are compared in.
        temperature: of the attention; the paper's 1.
        unit_length: compare directions of features only, for temperatures far below 1; the paper compares dot products.
        radius: cells to either side that a target cell may point to; null: the whole frames, as in the paper.
        channel_dropout: probability that one or two of the three channels are blanked, the same for all frames of a
            clip; for RGB backbones only. CorrFlow's 0.7. In eval mode only green is left.
    """

    is_temporal = False
    centres: Tensor

    def __init__(
        self,
        backbone: Backbone,
        *,
        references: int = 3,
        clusters: int = 16,
        dims: int = 64,
        temperature: float = 1.0,
        unit_length: bool = False,
        radius: int | None = None,
        channel_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not backbone.time_local:
            raise ValueError("colorization needs features of single frames; set backbone.time_local=true")
        if references < 1 or clusters < 2:
            raise ValueError(
                f"pretext.references={references} must be 1 or more, pretext.clusters={clusters} 2 or more"
            )
        if temperature <= 0:
            raise ValueError(f"pretext.temperature={temperature} must be positive")
        if radius is not None and radius < 0:
            raise ValueError(f"pretext.radius={radius} counts cells, 0 or more; null: everywhere")
        is_grey = len(backbone.mean) == 1
        if not 0 <= channel_dropout <= 1 or is_grey == (channel_dropout > 0):
            raise ValueError(
                f"colorization must not see the colours it is asked for: set backbone.input=grey and "
                f"pretext.channel_dropout=0, or backbone.input=rgb and pretext.channel_dropout=0.7 "
                f"(got {channel_dropout} with {len(backbone.mean)} channels)"
            )
        self.backbone = backbone
        self.head = nn.Conv2d(backbone.out_channels, dims, 1)
        self.references, self.clusters, self.temperature = references, clusters, temperature
        self.unit_length, self.radius, self.channel_dropout = unit_length, radius, channel_dropout
        self.register_buffer("centres", torch.full((clusters, 2), torch.nan))  # NaN: not fitted yet

    def fit(self, batches: Iterable[Clips], generator: torch.Generator) -> None:
        """Find the clusters by k-means on colours of about 100 000 cells of the first batches (section 3.2).

        They land in the buffer ``centres`` (a and b, in Lab units) and with it in every checkpoint.
        """
        found: list[Tensor] = []
        for clips in batches:
            pixels = clips.pixels[:, 0].transpose(1, 2).flatten(0, 1)  # (B*T,C,H,W)
            # A strip of small patches' means, as the labels are means over cells.
            small = F.interpolate(pixels.float() / 255, size=(16, 16), mode="area")
            colours = lab(small)[:, 1:].permute(0, 2, 3, 1).flatten(0, 2)
            found.append(colours[torch.randperm(len(colours), generator=generator)[: FITTED_VALUES // 20]])
            if sum(map(len, found)) >= FITTED_VALUES:
                break
        self.centres.copy_(clusters_of(torch.cat(found), self.clusters, generator))

    def forward(self, clips: Clips) -> PretextOutput:
        """Colour the target; ``accuracy`` is the mean over the colours that occur, ``plain_accuracy`` over cells."""
        pixels = self.one_view(clips, self.references + 1)
        self._check_colours(pixels)
        features = self.features(pixels)  # (B,D,T,h,w)
        colours = self.colours(pixels, features.shape[3], features.shape[4])  # (B,T,h,w)
        given = F.one_hot(colours[:, :-1], self.clusters).movedim(-1, 1).to(features.dtype)  # (B,K,S,h,w)
        read = attend(features[:, :, -1], features[:, :, :-1], given, temperature=self.temperature, radius=self.radius)
        asked = colours[:, -1]
        # Already probabilities: a softmax on top could not get below ln(1 + 15/e).
        loss = F.nll_loss((read.values + EPSILON).log(), asked)
        answer = read.values.detach().argmax(1)
        metrics = {
            "accuracy": _balanced(answer, asked, self.clusters),
            "chance": _balanced(_commonest(given).expand_as(asked), asked, self.clusters),
            "plain_accuracy": (answer == asked).float().mean(),
            "copy_accuracy": _balanced(colours[:, -2], asked, self.clusters),
            "affinity_entropy": read.entropy,
        }
        return PretextOutput(loss, metrics)

    def features(self, pixels: Tensor) -> Tensor:
        """Features of every frame by itself, uint8 (B,C,T,H,W) -> float (B,dims,T,h,w)."""
        frames = normalise(pixels, self.backbone.mean, self.backbone.std)
        if self.channel_dropout:
            frames = drop_channels(frames, self.channel_dropout if self.training else None)
        maps = self.backbone(frames)
        batch = len(maps)
        compared: Tensor = self.head(maps.transpose(1, 2).flatten(0, 1)).float()
        if self.unit_length:
            compared = F.normalize(compared, dim=1)
        return compared.view(batch, -1, *compared.shape[1:]).transpose(1, 2)

    def colours(self, pixels: Tensor, height: int, width: int) -> Tensor:
        """Which cluster each cell's mean colour belongs to, uint8 (B,C,T,H,W) -> int64 (B,T,height,width)."""
        frames = pixels.transpose(1, 2).flatten(0, 1).float() / 255
        # Averaged first and quantised then; quantised pixels, averaged, would be no cluster's.
        small = F.interpolate(frames, size=(height, width), mode="area")
        ab = lab(small)[:, 1:].permute(0, 2, 3, 1)
        return nearest(ab.flatten(0, 2), self.centres).view(len(pixels), -1, height, width)

    def _check_colours(self, pixels: Tensor) -> None:
        if pixels.shape[1] != 3:
            raise ValueError(f"colorization needs clips in colour, (B,V,3,T,H,W), got {pixels.shape[1]} channels")
        if bool(self.centres.isnan().any()):
            raise ValueError("colorization has no colour clusters yet; call fit(batches, generator) first")


def _commonest(given: Tensor) -> Tensor:
    """The commonest colour of each clip's references, one-hot (B,K,S,h,w) -> (B,1,1)."""
    return given.sum((2, 3, 4)).argmax(1)[:, None, None]


def _balanced(answer: Tensor, truth: Tensor, clusters: int) -> Tensor:
    """Share of right answers of each cluster that occurs, averaged: most cells of most videos are grey."""
    is_asked = F.one_hot(truth.flatten(), clusters).bool()  # (N,K)
    is_right = is_asked & (answer == truth).flatten()[:, None]
    counts = is_asked.sum(0)
    return (is_right.sum(0) / counts.clamp(min=1))[counts > 0].mean()
