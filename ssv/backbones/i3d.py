"""I3D: Carreira & Zisserman, "Quo Vadis, Action Recognition?" (CVPR 2017), as in piergiaj/pytorch-i3d, RGB stream."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssv.backbones.base import Backbone
from ssv.backbones.layers import (
    Conv3d,
    ConvNorm,
    Triple,
    arguments,
    as_input,
    channel_values,
    cumulative,
    halvings,
    init_weights,
    one_of,
    pad_reflect,
    pad_zeros,
)
from ssv.backbones.s3dg import INCEPTIONS, Widths

_norm = partial(ConvNorm, norm_eps=1e-3, norm_momentum=0.01)


class I3D(Backbone):
    """An Inception network of 3x3x3 convolutions, without its classifier: 12,287,264 parameters.

    Padding is TensorFlow's SAME: how much stands before and after depends on the size of the input, so that the map
    has ceil(n / stride) cells for any size.

    Args:
        spatial_stride: pixels per cell after stage 5: 32, or less: late strides become 1 first.
        temporal_stride: frames per cell after stage 5: 8, or less, likewise; 1 keeps every frame.
        last_stage: 1 (stem) to 5; later stages do not exist.
        padding: "zeros" or "reflect", of every convolution.
        input: "rgb" (3 channels) or "grey" (1).
        time_local: kernels of one frame and no temporal stride (``temporal_stride`` then waits for ``inflate``).
        mean: of the 0..1 pixels, per channel; for "grey" the luma of it.
        std: likewise.

    Raises:
        ValueError: if an argument is none of the above.
    """

    def __init__(
        self,
        *,
        spatial_stride: int = 32,
        temporal_stride: int = 8,
        last_stage: int = 5,
        padding: str = "zeros",
        input: str = "rgb",
        time_local: bool = False,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.5, 0.5, 0.5),
    ) -> None:
        kwargs = arguments(locals())
        super().__init__()
        self.kwargs = kwargs
        one_of(padding, ("zeros", "reflect"), "padding")
        one_of(input, ("rgb", "grey"), "input")
        if last_stage not in (1, 2, 3, 4, 5):
            raise ValueError(f"last_stage must be 1 to 5, got {last_stage}; set backbone.last_stage")
        self.time_local = time_local
        self.input = input
        self.mean, self.std = channel_values(mean, input, "mean"), channel_values(std, input, "std")
        space = halvings(5, spatial_stride, "spatial_stride")  # one in front of, or in, every stage
        halved = halvings(3, temporal_stride, "temporal_stride")
        time = [1] * 5 if time_local else [halved[0], 1, 1, halved[1], halved[2]]
        strides = [(t, s, s) for t, s in zip(time, space)]

        frames = 1 if time_local else 3
        stem = SameConv3d(3 if input == "rgb" else 1, 64, (1 if time_local else 7, 7, 7), strides[0], padding=padding)
        self.stages = nn.Sequential(_norm(stem))
        channels = 64
        if last_stage >= 2:
            point, wide = Conv3d(64, 64, (1, 1, 1)), Conv3d(64, 192, (frames, 3, 3), padding=padding)
            self.stages.append(nn.Sequential(SameMaxPool3d((1, 3, 3), strides[1]), _norm(point), _norm(wide)))
            channels = 192
        for stage in range(3, last_stage + 1):
            t, h, w = ((1, 3, 3), (3, 3, 3), (2, 2, 2))[stage - 3]
            # A window of 2 that no longer moves by 2 would shift the map by half a cell: it becomes 1.
            t, h, w = ((1 if k == 2 and s == 1 else k) for k, s in zip((t, h, w), strides[stage - 1]))
            layers: list[nn.Module] = [SameMaxPool3d((1 if time_local else t, h, w), strides[stage - 1])]
            for widths in INCEPTIONS[stage - 3]:
                block = Inception(channels, widths, frames=frames, padding=padding)
                layers.append(block)
                channels = block.out_channels
            self.stages.append(nn.Sequential(*layers))
        self.out_channels = channels
        self.stride = cumulative(strides[:last_stage])
        init_weights(self)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map float (B,C,T,H,W) to (B,D,t,h,w); see `Backbone`."""
        features: Tensor = self.stages(as_input(pixels, self.input))
        return features


class Inception(nn.Module):
    """Four branches side by side, concatenated.

    Args:
        inputs: channels that come in.
        widths: branch 0 (1x1x1), branch 1 (reduce, 3x3x3), branch 2 (reduce, 3x3x3), branch 3 (max pool, 1x1x1).
        frames: temporal size of kernels and of the pool.
        padding: of the convolutions.
    """

    def __init__(self, inputs: int, widths: Widths, *, frames: int, padding: str) -> None:
        super().__init__()
        one, reduce1, wide1, reduce2, wide2, pooled = widths
        kernel = (frames, 3, 3)
        self.branch0 = _norm(Conv3d(inputs, one, (1, 1, 1)))
        self.branch1 = nn.Sequential(
            _norm(Conv3d(inputs, reduce1, (1, 1, 1))), _norm(Conv3d(reduce1, wide1, kernel, padding=padding))
        )
        self.branch2 = nn.Sequential(
            _norm(Conv3d(inputs, reduce2, (1, 1, 1))), _norm(Conv3d(reduce2, wide2, kernel, padding=padding))
        )
        self.branch3 = nn.Sequential(SameMaxPool3d(kernel, (1, 1, 1)), _norm(Conv3d(inputs, pooled, (1, 1, 1))))
        self.out_channels = one + wide1 + wide2 + pooled

    def forward(self, features: Tensor) -> Tensor:
        """Map (B,C,T,H,W) to (B,D,T,H,W)."""
        branches = (self.branch0, self.branch1, self.branch2, self.branch3)
        return torch.cat([branch(features) for branch in branches], dim=1)


class SameConv3d(nn.Conv3d):
    """A convolution without bias, padded as TensorFlow's SAME says for the size that comes in.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        kernel: frames, rows, columns.
        stride: likewise.
        padding: "zeros" or "reflect".
    """

    def __init__(self, inputs: int, outputs: int, kernel: Triple, stride: Triple, *, padding: str) -> None:
        super().__init__(inputs, outputs, kernel, stride, bias=False)
        self.reflect = padding == "reflect"

    def forward(self, input: Tensor) -> Tensor:
        """Map (B,C,T,H,W) to (B,D,t,h,w)."""
        pads = same_pads(input.shape[2:], self.kernel_size, self.stride)
        return super().forward(pad_reflect(input, pads) if self.reflect else pad_zeros(input, pads))


class SameMaxPool3d(nn.Module):
    """Max pooling of features that are never negative, padded with zeros as TensorFlow's SAME says.

    Args:
        kernel: frames, rows, columns.
        stride: likewise.
    """

    def __init__(self, kernel: Triple, stride: Triple) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, features: Tensor) -> Tensor:
        """Map (B,C,T,H,W) to (B,C,t,h,w)."""
        pads = same_pads(features.shape[2:], self.kernel, self.stride)
        return F.max_pool3d(pad_zeros(features, pads), self.kernel, self.stride)

    def extra_repr(self) -> str:
        """What `print(backbone)` shows."""
        return f"kernel={self.kernel}, stride={self.stride}"


def same_pads(sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int]) -> list[tuple[int, int]]:
    """Cells (before, after) each axis so that ceil(n / stride) windows fit; the odd one stands after."""
    totals = [max(k - (n % s or s), 0) for n, k, s in zip(sizes, kernel, stride)]
    return [(total // 2, total - total // 2) for total in totals]
