"""S3D and S3D-G: Xie, Sun, Huang, Tu, Murphy, "Rethinking Spatiotemporal Feature Learning" (ECCV 2018).

Two public families differ in more than the gates. kylemin/S3D and torchvision (no gates): separable stem, pools
padded on both sides, batch norm eps 1e-3 and momentum 1e-3. antoine77340/S3D_HowTo100M (gates): stem not separable,
pools between the stages padded on the far side, batch norm eps 1e-5. Each difference is an argument here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from ssv.backbones.base import Backbone
from ssv.backbones.layers import (
    Conv3d,
    ConvNorm,
    MaxPool3d,
    Triple,
    arguments,
    as_input,
    channel_values,
    cumulative,
    halvings,
    init_weights,
    one_of,
)

# Branch widths of the blocks of stages 3, 4 and 5 (3b 3c, 4b to 4f, 5b 5c), as in I3D: branch 0 (1x1x1), branch 1
# (reduce, 3x3x3), branch 2 (reduce, 3x3x3), branch 3 (max pool, 1x1x1).
Widths = tuple[int, int, int, int, int, int]
INCEPTIONS: tuple[tuple[Widths, ...], ...] = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
STEMS = ("separable", "plain", "space_to_depth")


class S3DG(Backbone):
    """An Inception network of separable 3D convolutions, with feature gating (S3D-G) or without (S3D).

    Odd sizes: every stride rounds up, the last pool too; kylemin's and torchvision's last pool drops an odd
    row, so that maps of S3D agree with theirs where sizes are multiples of 32 (frames: of 8).

    Args:
        gating: gates after conv 2c and after every branch: S3D-G; without: S3D.
        stem: "separable" (1x7x7, then 7x1x1), "plain" (3x7x7) or "space_to_depth" (2x4x4 on cells of 2x2x2
            pixels; HowTo100M's weights have it; it always halves time, so it cannot be time-local).
        far_side_pools: pools between the stages are padded on the far side (TensorFlow, HowTo100M), not on both.
        width: factor on all channels, which are rounded to multiples of 4.
        blocks: Inception blocks in stages 3, 4 and 5; fewer than (2, 5, 2) drop the first ones of a stage.
        spatial_stride: pixels per cell after stage 5: 32, or less: late strides become 1 first.
        temporal_stride: frames per cell after stage 5: 8, or less, likewise; 1 keeps every frame (SpeedNet).
        last_stage: 1 (stem) to 5; later stages do not exist.
        padding: "zeros" or "reflect", of every convolution.
        input: "rgb" (3 channels) or "grey" (1).
        time_local: kernels of one frame, no temporal stride (``temporal_stride`` then waits for ``inflate``), and
            gates that see the space of their own frame only.
        norm_eps: of the batch norms.
        norm_momentum: of the batch norms, in PyTorch's sense.
        mean: of the 0..1 pixels, per channel; for "grey" the luma of it.
        std: likewise.

    Raises:
        ValueError: if an argument is none of the above, or two of them exclude each other.
    """

    def __init__(
        self,
        *,
        gating: bool = True,
        stem: str = "plain",
        far_side_pools: bool = True,
        width: float = 1.0,
        blocks: Sequence[int] = (2, 5, 2),
        spatial_stride: int = 32,
        temporal_stride: int = 8,
        last_stage: int = 5,
        padding: str = "zeros",
        input: str = "rgb",
        time_local: bool = False,
        norm_eps: float = 1e-5,
        norm_momentum: float = 0.1,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.5, 0.5, 0.5),
    ) -> None:
        kwargs = arguments(locals())
        super().__init__()
        self.kwargs = kwargs
        one_of(stem, STEMS, "stem")
        one_of(padding, ("zeros", "reflect"), "padding")
        one_of(input, ("rgb", "grey"), "input")
        self.time_local = time_local
        self.input = input
        self.mean, self.std = channel_values(mean, input, "mean"), channel_values(std, input, "std")
        space = halvings(5, spatial_stride, "spatial_stride")  # one in front of, or in, every stage
        halved = halvings(3, temporal_stride, "temporal_stride")
        time = [1] * 5 if time_local else [halved[0], 1, 1, halved[1], halved[2]]
        _check(stem, blocks, last_stage, time_local, (time[0], space[0]))
        strides = [(t, s, s) for t, s in zip(time, space)]

        part = _Parts(gating, time_local, padding, norm_eps, norm_momentum)
        colours = 3 if input == "rgb" else 1
        channels = _scaled(64, width)
        self.stages = nn.Sequential(part.stem(stem, colours, channels, strides[0]))
        if last_stage >= 2:
            pool = self._pool((1, 3, 3), strides[1])
            outputs = _scaled(192, width)
            point, wide = part.conv(channels, channels, (1, 1, 1)), part.separable(channels, outputs, (3, 3, 3))
            self.stages.append(nn.Sequential(pool, point, wide, part.gate(outputs)))
            channels = outputs
        for stage in range(3, last_stage + 1):
            layers: list[nn.Module] = [self._pool(((1, 3, 3), (3, 3, 3), (2, 2, 2))[stage - 3], strides[stage - 1])]
            for widths in INCEPTIONS[stage - 3][-blocks[stage - 3] :]:
                block = Inception(channels, [_scaled(w, width) for w in widths], part)
                layers.append(block)
                channels = block.out_channels
            self.stages.append(nn.Sequential(*layers))
        self.out_channels = channels
        self.stride = cumulative(strides[:last_stage])
        init_weights(self)

    def _pool(self, kernel: Triple, stride: Triple) -> MaxPool3d:
        # A window of 2 that no longer moves by 2 would shift the map by half a cell: it becomes 1, as in SpeedNet.
        t, h, w = ((1 if k == 2 and s == 1 else k) for k, s in zip(kernel, stride))
        return MaxPool3d((1 if self.time_local else t, h, w), stride, far_side=self.kwargs["far_side_pools"])

    def forward(self, pixels: Tensor) -> Tensor:
        """Map float (B,C,T,H,W) to (B,D,t,h,w); see `Backbone`."""
        features: Tensor = self.stages(as_input(pixels, self.input))
        return features


class Gate(nn.Module):
    """Every channel times a number between 0 and 1 that all mean features decide on together.

    Args:
        channels: of the features.
        per_frame: the mean is over the space of a frame, and the frame has numbers of its own; else over the clip.
    """

    def __init__(self, channels: int, *, per_frame: bool) -> None:
        super().__init__()
        self.per_frame = per_frame
        self.linear = nn.Linear(channels, channels)
        nn.init.trunc_normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B,C,T,H,W) to the same shape."""
        mean = features.mean((3, 4)) if self.per_frame else features.mean((2, 3, 4)).unsqueeze(2)  # (B,C,T or 1)
        gate = torch.sigmoid(self.linear(mean.transpose(1, 2))).transpose(1, 2)
        return features * gate[..., None, None]


class _Parts:
    """Makes the parts of one network, which agree on gating, time, padding and norms."""

    def __init__(self, gating: bool, time_local: bool, padding: str, norm_eps: float, norm_momentum: float) -> None:
        self.gating, self.time_local, self.padding = gating, time_local, padding
        self.norm = partial(ConvNorm, norm_eps=norm_eps, norm_momentum=norm_momentum)

    def conv(self, inputs: int, outputs: int, kernel: Triple, stride: Triple = (1, 1, 1)) -> nn.Module:
        kernel = (1 if self.time_local else kernel[0], kernel[1], kernel[2])
        return self.norm(Conv3d(inputs, outputs, kernel, stride, padding=self.padding))

    def separable(self, inputs: int, outputs: int, kernel: Triple, stride: Triple = (1, 1, 1)) -> nn.Module:
        layers = nn.Sequential()
        layers.add_module("space", self.conv(inputs, outputs, (1, *kernel[1:]), (1, *stride[1:])))
        layers.add_module("time", self.conv(outputs, outputs, (kernel[0], 1, 1), (stride[0], 1, 1)))
        return layers

    def gate(self, channels: int) -> nn.Module:
        return Gate(channels, per_frame=self.time_local) if self.gating else nn.Identity()

    def stem(self, kind: str, colours: int, outputs: int, stride: Triple) -> nn.Module:
        if kind == "separable":
            return self.separable(colours, outputs, (7, 7, 7), stride)
        if kind == "plain":
            return self.conv(colours, outputs, (3, 7, 7), stride)
        # The original pads 1, 2, 2 cells on both sides and cuts off the first slice: one cell less in front.
        conv = Conv3d(8 * colours, outputs, (2, 4, 4), padding=self.padding, pads=((0, 1), (1, 2), (1, 2)))
        return nn.Sequential(SpaceToDepth(), self.norm(conv))


class SpaceToDepth(nn.Module):
    """Cells of 2x2x2 pixels become channels: offset in time outermost, then row, column, colour."""

    def forward(self, pixels: Tensor) -> Tensor:
        """Map (B,C,T,H,W) to (B,8C,t,h,w); an odd axis gets one zero at its end first."""
        odd = [size % 2 for size in pixels.shape[2:]]
        if any(odd):
            pixels = nn.functional.pad(pixels, (0, odd[2], 0, odd[1], 0, odd[0]))
        b, c, t, h, w = pixels.shape
        cells = pixels.reshape(b, c, t // 2, 2, h // 2, 2, w // 2, 2)
        return cells.permute(0, 3, 5, 7, 1, 2, 4, 6).flatten(1, 4)


class Inception(nn.Module):
    """Four branches side by side, each with its gate, concatenated.

    Args:
        inputs: channels that come in.
        widths: the six widths of a row of ``INCEPTIONS``.
        part: what makes the layers.
    """

    def __init__(self, inputs: int, widths: Sequence[int], part: _Parts) -> None:
        super().__init__()
        one, reduce1, wide1, reduce2, wide2, pooled = widths
        point = (1, 1, 1)
        kernel = (3, 3, 3)
        self.branch0 = nn.Sequential(part.conv(inputs, one, point), part.gate(one))
        self.branch1 = nn.Sequential(
            part.conv(inputs, reduce1, point), part.separable(reduce1, wide1, kernel), part.gate(wide1)
        )
        self.branch2 = nn.Sequential(
            part.conv(inputs, reduce2, point), part.separable(reduce2, wide2, kernel), part.gate(wide2)
        )
        pool = MaxPool3d((1 if part.time_local else 3, 3, 3), (1, 1, 1))  # padded on both sides in every source
        self.branch3 = nn.Sequential(pool, part.conv(inputs, pooled, point), part.gate(pooled))
        self.out_channels = one + wide1 + wide2 + pooled

    def forward(self, features: Tensor) -> Tensor:
        """Map (B,C,T,H,W) to (B,D,T,H,W)."""
        branches = (self.branch0, self.branch1, self.branch2, self.branch3)
        return torch.cat([branch(features) for branch in branches], dim=1)


def _scaled(channels: int, width: float) -> int:
    """``channels`` times ``width`` as a multiple of 4, at least 4; unchanged for 1.0 (the table has 4's only)."""
    return max(4, 4 * round(channels * width / 4))


def _check(stem: str, blocks: Sequence[int], last_stage: int, time_local: bool, stem_stride: tuple[int, int]) -> None:
    most = [len(stage) for stage in INCEPTIONS]
    if len(blocks) != 3 or not all(1 <= n <= m for n, m in zip(blocks, most)):
        raise ValueError(
            f"blocks needs 3 numbers, at least 1 and at most {most}, got {list(blocks)}; set backbone.blocks"
        )
    if last_stage not in (1, 2, 3, 4, 5):
        raise ValueError(f"last_stage must be 1 to 5, got {last_stage}; set backbone.last_stage")
    if stem == "space_to_depth" and (time_local or stem_stride != (2, 2)):
        wanted = "time_local" if time_local else "a stride of 1"
        raise ValueError(f"stem=space_to_depth joins 2x2x2 pixels and excludes {wanted}; set backbone.stem=plain")
