"""Contrastive random walk: along a video and back, does one come home? (Jabri, Owens, Efros, NeurIPS 2020).

Patches of frames are nodes of a graph, learned similarity is how probable a step to the next frame is. Defaults are
those of the published training command of ajabri/videowalk; where it differs from the paper, the code's word counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssv.backbones.base import Backbone
from ssv.ops.photometric import normalise
from ssv.ops.walk import transition_entropy, walk_loss
from ssv.pretexts.base import Pretext
from ssv.types import Clips, PretextOutput


class RandomWalk(Pretext):
    """Trains the features of patches so that a walk to a later frame and back ends where it began.

    A static video can be answered, by matching what looks the same; what the features must survive are the crops, drawn
    anew for every frame and every patch of it.

    Args:
        backbone: time-local, for a frame's features must not tell of the other frames; published: ResNet-18 of stride 8
            with reflect padding, because zeros at the border tell where a patch lies.
        frames: T of each clip; walks turn round at frames 2..T-1.
        size: side in pixels that each frame's crop is resized to.
        nodes: ``patches``: overlapping windows, each through the backbone alone; ``map``: the cells of the map of the
            whole frame (memory grows with the square of their number).
        patch: side of a window in pixels; only for ``patches``.
        stride: pixels from one window to the next; only for ``patches``. 256, 64 and 32 make 7x7 of them.
        frame_area: range of the share of a frame that its crop covers, drawn for every frame by itself.
        frame_aspect: range of that crop's width over height.
        patch_area: range of the share of a window that its crop covers, drawn for every window of every frame; without
            it neighbouring windows are matched by the pixels they share.
        patch_aspect: range of that crop's width over height.
        dims: length of a node's embedding.
        temperature: of the transitions.
        dropout: probability of each edge to be cut.
        dropout_mode: ``independent``: both directions draw for themselves, in training only; ``released``: as in the
            released code, where the way back lacks the edges cut on the way out too, in eval mode as well.
        balanced: transitions that also reach every node equally often (Sinkhorn and Knopp); not in the published runs.
        flip: multiply the transitions in reversed order, a switch of the released code that it calls a bug.
    """

    is_temporal = False

    def __init__(
        self,
        backbone: Backbone,
        *,
        frames: int = 4,
        size: int = 256,
        nodes: str = "patches",
        patch: int = 64,
        stride: int = 32,
        frame_area: Sequence[float] = (0.8, 0.95),
        frame_aspect: Sequence[float] = (0.7, 1.3),
        patch_area: Sequence[float] = (0.7, 0.9),
        patch_aspect: Sequence[float] = (0.75, 1.3333),
        dims: int = 128,
        temperature: float = 0.05,
        dropout: float = 0.1,
        dropout_mode: str = "independent",
        balanced: bool = False,
        flip: bool = False,
    ) -> None:
        super().__init__()
        if not backbone.time_local:
            raise ValueError("random_walk needs features of single frames; set backbone.time_local=true")
        if frames < 3:
            raise ValueError(f"pretext.frames={frames}: a random walk needs 3 frames or more")
        if nodes not in ("patches", "map"):
            raise ValueError(f"pretext.nodes is patches or map, got {nodes!r}")
        if nodes == "patches" and not (0 < patch <= size and stride > 0):
            raise ValueError(f"pretext.patch={patch}, pretext.stride={stride} make no windows in pretext.size={size}")
        if not 0 <= dropout < 1 or dropout_mode not in ("independent", "released"):
            raise ValueError(
                f"pretext.dropout={dropout} must lie in [0, 1), pretext.dropout_mode={dropout_mode!r} be independent "
                f"or released"
            )
        if temperature <= 0:
            raise ValueError(f"pretext.temperature={temperature} must be positive")
        self.backbone = backbone
        self.head = nn.Linear(backbone.out_channels, dims)
        self.frames, self.size, self.nodes, self.patch, self.stride = frames, size, nodes, patch, stride
        self.frame_crop = _ranges(frame_area, frame_aspect, "frame")
        self.patch_crop = _ranges(patch_area, patch_aspect, "patch")
        self.temperature, self.dropout, self.dropout_mode = temperature, dropout, dropout_mode
        self.balanced, self.flip = balanced, flip

    def forward(self, clips: Clips) -> PretextOutput:
        """Walk through every clip; ``accuracy`` is the longest walk's, ``accuracy_r<i>`` that of i+1 steps out.

        ``affinity_entropy`` is that of single steps, from 0 (sure) to 1 (anywhere).
        """
        pixels = self.one_view(clips, self.frames)
        self._check_size(pixels)
        frames = normalise(pixels, self.backbone.mean, self.backbone.std)
        nodes = self.map_nodes(self._frames(frames)) if self.nodes == "map" else self.patch_nodes(self._patches(frames))
        # The released code cuts edges in eval mode as well; its own evaluation never runs this loss.
        dropout = self.dropout if self.training or self.dropout_mode == "released" else 0.0
        walk = walk_loss(
            nodes,
            temperature=self.temperature,
            dropout=dropout,
            dropout_mode=self.dropout_mode,
            balanced=self.balanced,
            flip=self.flip,
        )
        metrics = {"accuracy": walk.accuracies[-1], "chance": torch.tensor(1 / nodes.shape[-1])}
        metrics["affinity_entropy"] = transition_entropy(nodes, temperature=self.temperature)
        for i, (loss, accuracy) in enumerate(zip(walk.losses.detach(), walk.accuracies, strict=True), start=1):
            metrics |= {f"loss_r{i}": loss, f"accuracy_r{i}": accuracy}
        return PretextOutput(walk.loss, metrics)

    def patch_nodes(self, patches: Tensor) -> Tensor:
        """Embed normalised patches float (B,N,C,T,h,w): map, mean over it, head, length 1; (B,dims,T,N)."""
        features = self.backbone(patches.flatten(0, 1)).mean((3, 4))  # (B*N,D,T)
        return self._embed(features.unflatten(0, patches.shape[:2]).permute(0, 3, 1, 2))

    def map_nodes(self, frames: Tensor) -> Tensor:
        """Embed normalised frames float (B,C,T,H,W), every cell of their maps a node; (B,dims,T,h*w)."""
        return self._embed(self.backbone(frames).flatten(3).permute(0, 2, 3, 1))

    def _embed(self, features: Tensor) -> Tensor:
        """(B,T,N,D) -> (B,dims,T,N), float32 or more."""
        embedded = self.head(features)
        embedded = embedded.to(torch.promote_types(embedded.dtype, torch.float32))
        return functional.normalize(embedded, dim=-1).permute(0, 3, 1, 2)

    def _frames(self, frames: Tensor) -> Tensor:
        """Every frame's crop, (B,C,T,H,W) -> (B,C,T,size,size)."""
        boxes = self._frame_boxes(frames)[:, :, None]  # (B,T,1,4)
        return cut(frames, boxes, self.size)[:, 0]

    def _patches(self, frames: Tensor) -> Tensor:
        """Every window's crop of every frame's crop, (B,C,T,H,W) -> (B,N,C,T,patch,patch)."""
        outer = self._frame_boxes(frames)[:, :, None]
        corners = torch.arange(0, self.size - self.patch + 1, self.stride, device=frames.device) / self.size
        top, left = torch.meshgrid(corners, corners, indexing="ij")
        side = torch.full_like(top, self.patch / self.size)
        windows = torch.stack([top, left, side, side], -1).flatten(0, 1).expand(*outer.shape[:2], -1, 4)
        inner = windows
        if self.training:
            inner = within(windows, random_boxes(windows.shape[:-1], *self.patch_crop, frames.device))
        # The released code resizes twice, the frame and then the window; one resampling blurs less.
        return cut(frames, within(outer, inner), self.patch)

    def _frame_boxes(self, frames: Tensor) -> Tensor:
        """One box for each frame, (B,T,4); whole frames in eval mode, where nothing is random."""
        shape = (frames.shape[0], frames.shape[2])
        if self.training:
            return random_boxes(shape, *self.frame_crop, frames.device)
        return torch.tensor([0.0, 0.0, 1.0, 1.0], device=frames.device).expand(*shape, 4)

    def _check_size(self, pixels: Tensor) -> None:
        if min(pixels.shape[-2:]) < self.size:
            raise ValueError(
                f"random_walk with size={self.size} got frames of {pixels.shape[-2]}x{pixels.shape[-1]} pixels; set "
                f"data.crop.size={self.size}, or lower pretext.size, pretext.patch and pretext.stride together"
            )


Range = tuple[float, float]


def _ranges(area: Sequence[float], aspect: Sequence[float], what: str) -> tuple[Range, Range]:
    if not (0 < area[0] <= area[1] <= 1 and 0 < aspect[0] <= 1 <= aspect[1]):
        raise ValueError(
            f"pretext.{what}_area={list(area)} must lie in (0, 1] and pretext.{what}_aspect={list(aspect)} hold 1"
        )
    return (area[0], area[1]), (aspect[0], aspect[1])


def random_boxes(shape: Sequence[int], area: Range, aspect: Range, device: torch.device) -> Tensor:
    """Boxes (top, left, height, width) float32 (...,4) inside the unit square, from torch's global generator.

    The area is uniform, the logarithm of the aspect likewise among those that fit. (The usual random resized crop draws
    both again where they do not fit, which makes large areas rarer.)
    """
    share = torch.empty(*shape, device=device).uniform_(*area)
    fits = -share.log()
    low = (-fits).clamp(min=float(torch.tensor(aspect[0]).log()))
    high = fits.clamp(max=float(torch.tensor(aspect[1]).log()))
    half = (low + (high - low) * torch.rand_like(share)) / 2
    width, height = share.sqrt() * half.exp(), share.sqrt() * (-half).exp()
    top, left = (1 - height) * torch.rand_like(share), (1 - width) * torch.rand_like(share)
    return torch.stack([top, left, height, width], -1)


def within(outer: Tensor, inner: Tensor) -> Tensor:
    """Boxes given in units of other boxes, in the units those are given in; (...,4) each, broadcast."""
    corner, size = outer[..., :2], outer[..., 2:]
    return torch.cat([corner + size * inner[..., :2], size * inner[..., 2:]], -1)


def cut(frames: Tensor, boxes: Tensor, side: int) -> Tensor:
    """Cut N boxes out of every frame and resize them, float (B,C,T,H,W) with (B,T,N,4) -> (B,N,C,T,side,side).

    Bilinear without antialiasing, as in the released code: the loader's frames should not be much larger than needed.
    """
    batch, channels, count = frames.shape[:3]
    middles = (torch.arange(side, device=frames.device) + 0.5) / side
    y, x = (boxes[..., None, k] + boxes[..., None, 2 + k] * middles for k in (0, 1))  # (B,T,N,side)
    x, y = x[..., None, :].expand(*x.shape, side), y[..., :, None].expand(*y.shape, side)
    places = torch.stack([x, y], -1) * 2 - 1  # (B,T,N,side,side,2), from -1 to 1
    # All boxes of a frame below one another, so that the frame is not copied for each.
    stacked = functional.grid_sample(
        frames.transpose(1, 2).flatten(0, 1),
        places.flatten(0, 1).flatten(1, 2),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return stacked.view(batch, count, channels, -1, side, side).permute(0, 3, 2, 1, 4, 5)
