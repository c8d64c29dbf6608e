"""TimeCycle: is a patch that is tracked back in time and forward again where it was? (Wang, Jabri, Efros, CVPR 2019).

Defaults are those of the released training (xiaolonw/TimeCycle); where it differs from the paper, the code counts.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssv.backbones.base import Backbone
from ssv.ops.localise import (
    affinity,
    affinity_entropy,
    grid_loss,
    is_near,
    moved,
    sample,
    similarity_map,
    soft_inliers,
    window_motion,
)
from ssv.ops.photometric import normalise
from ssv.pretexts.base import Pretext
from ssv.types import Clips, PretextOutput

PARTS = 3  # the patch is a third of the frame, in pixels and in cells
GRID = 9  # it starts near one of (GRID - PARTS + 1)^2 windows, PARTS of GRID cells wide,
MOVING = 10  # drawn among that many, those that change most
NEAR = 1 / PARTS  # half a patch's side, in halves of the frame's


class Tracks(NamedTuple):
    """Where a patch was found; k base frames, cycle i is back i frames and forward again."""

    cycles: Tensor
    """Theta at the end of each cycle, (k,B,2,3)."""
    direct: Tensor
    """Theta in each base frame, looked for at once, (B*k,2,3)."""
    skips: Tensor
    """Theta back in the target frame of what was found so, (B*k,2,3)."""
    affinity: Tensor
    """Of the patch to each base frame, (B*k,h*w,p,p)."""
    found: Tensor
    """Features at ``direct``, (B*k,D,p,p)."""


class CycleConsistency(Pretext):
    """Trains features and a localiser so that a patch, followed into the past and back, ends where it was cut.

    The patch is cut, turned, out of the last frame, where something moves. The localiser is told how similar each cell
    of the patch is to each cell of a frame, and answers with a place and an angle; the features there are what it looks
    for in the next frame. To answer the middle always satisfies no cycle, for patches start anywhere. A static video
    can be answered.

    Args:
        backbone: time-local, for a frame's features must not tell of the other frames; published: ResNet-50 to its
            third stage, stride 8, zeros as padding. Those tell cells of patch and frame where they lie, and similarity
            then grows while nothing is tracked: ``padding="reflect"`` is better.
        frames: of each clip; the last is where the patch is cut.
        base: k, frames the patch is tracked through.
        gap: frames from one of them to the next, beginning with the first of the clip.
        size: side in pixels that frames are resized to; the patch has a third. A multiple of 3 times the stride.
        dims: channels of the features that are compared; published 512.
        temperature: of the affinity; None: ``dims ** -0.5``.
        similarity: ``inliers``, the released code's (Rocco et al., CVPR 2018), or ``inner_product``, the paper's.
        cycle_weight: of the mean over all cycles; released a fifth of the paper's 0.1 (which adds the k terms of each
            kind: all three weights times k).
        skip_weight: of the mean over all cycles that skip the frames between.
        align_corners: how places from -1 to 1 are read: True as when published, False as PyTorch does since 1.3.
        translation_factor: stretches translations where features are sampled and inliers are counted, but not where
            patches are cut and losses taken; 227/210 in the released code, taken over from a network of other strides.
        rotation: of the patch, degrees to both sides.
        jitter: of the patch's place to both sides, as a share of the way from one end to the other.
        warmup: training steps in which patch and base frames do not train the backbone (the target frame does); none as
            released. A user reports that training from scratch did not start without.
    """

    is_temporal = False
    steps: Tensor

    def __init__(
        self,
        backbone: Backbone,
        *,
        frames: int = 16,
        base: int = 4,
        gap: int = 2,
        size: int = 240,
        dims: int = 512,
        temperature: float | None = None,
        similarity: str = "inliers",
        cycle_weight: float = 0.02,
        skip_weight: float = 0.1,
        align_corners: bool = True,
        translation_factor: float = 227 / 210,
        rotation: float = 45.0,
        jitter: float = 1 / 12,
        warmup: int = 0,
    ) -> None:
        super().__init__()
        if not backbone.time_local:
            raise ValueError("cycle_consistency needs features of single frames; set backbone.time_local=true")
        if not (base > 0 and gap > 0 and (base - 1) * gap < frames - 1):
            raise ValueError(
                f"pretext.base={base} frames pretext.gap={gap} apart must end before the last of "
                f"pretext.frames={frames}; set pretext.frames={max(base, 1) * max(gap, 1) + 1} or more"
            )
        down, across = backbone.stride[1:]
        if down != across or size < 1 or size % (PARTS * down):
            raise ValueError(
                f"pretext.size={size} must be a multiple of {PARTS * down}, {PARTS} times the backbone's stride of "
                f"{down}; set pretext.size or backbone.spatial_stride"
            )
        if temperature is not None and temperature <= 0:
            raise ValueError(f"pretext.temperature={temperature} must be positive, or null")
        if similarity not in ("inliers", "inner_product"):
            raise ValueError(f"pretext.similarity is inliers or inner_product, got {similarity!r}")
        if min(rotation, jitter, warmup, cycle_weight, skip_weight) < 0:
            raise ValueError(
                f"pretext.rotation={rotation}, pretext.jitter={jitter}, pretext.warmup={warmup}, "
                f"pretext.cycle_weight={cycle_weight} and pretext.skip_weight={skip_weight} must not be negative"
            )
        self.backbone = backbone
        self.project = nn.Conv3d(backbone.out_channels, dims, 1, bias=False)
        nn.init.kaiming_normal_(self.project.weight, mode="fan_out", nonlinearity="relu")
        cells = size // down
        self.localiser = Localiser(cells, cells // PARTS)
        self.frames, self.base, self.gap, self.size, self.similarity = frames, base, gap, size, similarity
        self.temperature = dims**-0.5 if temperature is None else temperature
        self.cycle_weight, self.skip_weight = cycle_weight, skip_weight
        self.align_corners, self.translation_factor = align_corners, translation_factor
        self.rotation, self.jitter, self.warmup = rotation, jitter, warmup
        # Counted here, for a pretext is told no step; in the state_dict, so that a resumed run goes on exactly.
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, clips: Clips) -> PretextOutput:
        """Cut a patch out of every clip's last frame and track it through k cycles.

        ``accuracy``: share of patches whose middle comes back from the longest cycle to within half a patch's side of
        its start, ``accuracy_skip`` of the skipping cycles'; ``chance``: share of the same patches that lie as near to
        the frame's middle, which is what knowing nothing gets. ``affinity_entropy`` is 1 where all cells look alike.
        """
        pixels = self.one_view(clips, self.frames)
        self._check_size(pixels)
        theta = self.starts(pixels)
        again = theta.repeat_interleave(self.base, 0)
        frames, target, patch = self.features(pixels, theta)
        # Probabilities of a thousand cells and squared distances need more than half precision.
        with torch.autocast(pixels.device.type, enabled=False):
            tracks = self.track(frames, target, patch)
            cycles = torch.stack([grid_loss(end, theta).mean() for end in tracks.cycles])
            skips = grid_loss(tracks.skips, again).mean()
            alike = self.alike(tracks, patch)
            loss = self.cycle_weight * cycles.mean() + self.skip_weight * skips - alike
        if self.training:
            self.steps += 1
        metrics = {
            "accuracy": is_near(tracks.cycles[-1], theta, NEAR).mean(),
            "chance": is_near(torch.zeros_like(theta), theta, NEAR).mean(),
            "accuracy_skip": is_near(tracks.skips, again, NEAR).mean(),
            "loss_skip": skips,
            "similarity": alike,
            "affinity_entropy": affinity_entropy(tracks.affinity),
        }
        metrics |= {f"loss_cycle{i}": value for i, value in enumerate(cycles, start=1)}
        return PretextOutput(loss, {name: value.detach() for name, value in metrics.items()})

    def starts(self, pixels: Tensor) -> Tensor:
        """Where to cut the patches of uint8 clips (B,C,T,H,W): theta float32 (B,2,3).

        In training one of the windows that move most, jittered and turned; else the one that moves most, upright.
        """
        # The released code compares the target with a frame ``gap`` later; that frame would be decoded for this alone.
        motion = window_motion(pixels[:, :, -1 - self.gap], pixels[:, :, -1]).flatten(1)
        best = motion.topk(MOVING, dim=1).indices  # (B,MOVING), most first
        steps, one = GRID - PARTS, best[:, :1]
        rank = torch.randint_like(one, MOVING) if self.training else torch.zeros_like(one)
        window = best.gather(1, rank)[:, 0]
        # (The released code mirrors the window of a mirrored clip twice, so that it follows motion in half of them.)
        place = torch.stack([window % (steps + 1), window // (steps + 1)], -1) / steps  # x, y in 0..1
        angle = torch.zeros_like(place[:, :1])
        if self.training:
            place = (place + self.jitter * (2 * torch.rand_like(place) - 1)).clamp(0, 1)
            angle = math.radians(self.rotation) * (2 * torch.rand_like(angle) - 1)
        middle = (2 * place - 1) * (1 - 1 / PARTS)
        return similarity_map(torch.cat([middle, angle], 1), scale=1 / PARTS)

    def features(self, pixels: Tensor, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features of the base frames (B,dims,k,h,w), of the target (B,dims,h,w) and of the patch (B,dims,p,p).

        Float32 or more, not negative, not normalised. ``pixels`` uint8 (B,C,T,H,W); ``theta``: where the patch lies.
        """
        chosen = [*range(0, self.base * self.gap, self.gap), -1]
        shown = normalise(pixels[:, :, chosen], self.backbone.mean, self.backbone.std)
        if shown.shape[-2:] != (self.size, self.size):
            shown = functional.interpolate(shown, (len(chosen), self.size, self.size), mode="trilinear")
        places = moved(theta, self.size // PARTS)
        cut = sample(shown[:, :, -1], places, align_corners=self.align_corners)
        # One pass for frames and target, where the released code has two: their batch statistics are shared.
        maps, patch = self.backbone(shown), self.backbone(cut[:, :, None])
        frames, target = maps[:, :, :-1], maps[:, :, -1:]
        if self.training and int(self.steps) < self.warmup:
            frames, patch = frames.detach(), patch.detach()
        return self._embed(frames), self._embed(target)[:, :, 0], self._embed(patch)[:, :, 0]

    def track(self, frames: Tensor, target: Tensor, patch: Tensor) -> Tracks:
        """Follow the patch through all cycles; arguments as `features` returns them.

        Cycle i: back through the last i base frames, forward through them to the target. All share one way back.
        """
        count = frames.shape[2]
        flat = frames.transpose(1, 2).flatten(0, 1)  # (B*k,D,h,w)
        direct, found, similar = self.localise(patch.repeat_interleave(count, 0), flat)
        skips, _, _ = self.localise(found, target.repeat_interleave(count, 0))
        here = found[count - 1 :: count]
        ends = []
        for first in range(count - 1, -1, -1):
            if first < count - 1:
                _, here, _ = self.localise(here, frames[:, :, first])
            back = here
            for t in range(first + 1, count):
                _, back, _ = self.localise(back, frames[:, :, t])
            ends.append(self.localise(back, target)[0])
        return Tracks(torch.stack(ends), direct, skips, similar, found)

    def localise(self, patch: Tensor, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Find patches (N,D,p,p) in images (N,D,h,w): theta, the features there (not normalised), the affinity."""
        similar = affinity(
            functional.normalize(patch, dim=1), functional.normalize(image, dim=1), temperature=self.temperature
        )
        theta = self.localiser(similar)
        return theta, sample(image, self._places(theta, patch), align_corners=self.align_corners), similar

    def alike(self, tracks: Tracks, patch: Tensor) -> Tensor:
        """How similar the patch (B,D,p,p) is to what was found in each base frame; scalar, to be made large."""
        if self.similarity == "inliers":
            cells = self.localiser.cells
            places = self._places(tracks.direct, patch)
            return soft_inliers(tracks.affinity, places, (cells, cells), align_corners=self.align_corners).mean()
        # Of directions: the paper does not say so, but products of ReLU features grow without limit.
        wanted = patch.repeat_interleave(self.base, 0)
        return functional.cosine_similarity(wanted, tracks.found, dim=1).mean()

    def _places(self, theta: Tensor, patch: Tensor) -> Tensor:
        return moved(theta, patch.shape[-1], translation_factor=self.translation_factor)

    def _embed(self, maps: Tensor) -> Tensor:
        embedded: Tensor = self.project(maps).relu()
        return embedded.to(torch.promote_types(embedded.dtype, torch.float32))

    def _check_size(self, pixels: Tensor) -> None:
        if min(pixels.shape[-2:]) < self.size:
            raise ValueError(
                f"cycle_consistency with size={self.size} got frames of {pixels.shape[-2]}x{pixels.shape[-1]} pixels; "
                f"set data.crop.size={self.size}, or lower pretext.size"
            )


class Localiser(nn.Module):
    """Reads a place and an angle off an affinity: two convolutions over the patch's cells, and a linear layer.

    Args:
        cells: along each side of the image.
        patch: cells along each side of the patch; published 30 and 10, with kernels of 4; smaller patches have smaller
            ones.
    """

    def __init__(self, cells: int, patch: int) -> None:
        super().__init__()
        self.cells = cells
        kernel = min(4, (patch + 1) // 2)
        left = patch - 2 * (kernel - 1)
        first, second = nn.Conv2d(cells * cells, 128, kernel, bias=False), nn.Conv2d(128, 64, kernel, bias=False)
        for conv in (first, second):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        self.convs = nn.Sequential(first, nn.LeakyReLU(0.1), second, nn.LeakyReLU(0.1))
        self.answer = nn.Linear(64 * left * left, 3)
        # Nearly zero: the first guess is the middle, upright.
        nn.init.normal_(self.answer.weight, std=0.01)
        nn.init.zeros_(self.answer.bias)

    def forward(self, affinity: Tensor) -> Tensor:
        """Map float (N,cells*cells,p,p) to theta (N,2,3)."""
        return similarity_map(self.answer(self.convs(affinity).flatten(1)), scale=1 / PARTS)
