"""C3D: Tran, Bourdev, Fergus, Torresani, Paluri, "Learning Spatiotemporal Features with 3D Convolutional Networks" (2015)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from ssv.backbones.base import Backbone
from ssv.backbones.layers import (
    Conv3d,
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

# Widths of the convolutions of every stage; a pool ends the stage.
STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))


class C3D(Backbone):
    """Eight 3x3x3 convolutions with bias and without norm, and five max pools: 27,655,936 parameters.

    The two fully connected layers behind them (50 million parameters, bound to 16 frames of 112x112) are not part of it.
    The original's last pool adds a cell on every side; so does this one where the rows (or columns) that reach it are
    odd in number, as the 7 of 112 pixels are. Where they are even it adds none, so that the map has no row too many.
    Odd sizes before: every pool rounds up, the original drops a row.

    Args:
        spatial_stride: pixels per cell after stage 5: 32, or less: late strides become 1 first.
        temporal_stride: frames per cell after stage 5: 16, or less, likewise; 1 keeps every frame.
        last_stage: 1 to 5; later stages do not exist.
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
        temporal_stride: int = 16,
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
        space = halvings(5, spatial_stride, "spatial_stride")
        halved = halvings(4, temporal_stride, "temporal_stride")
        time = [1] * 5 if time_local else [1, *halved]
        strides = [(t, s, s) for t, s in zip(time, space)]

        conv = partial(Conv3d, kernel=(1 if time_local else 3, 3, 3), padding=padding, bias=True)
        self.stages = nn.Sequential()
        channels = 3 if input == "rgb" else 1
        for stage in range(last_stage):
            layers: list[nn.Module] = []
            for width in STAGES[stage]:
                layers += [conv(channels, width), nn.ReLU(inplace=True)]
                channels = width
            pool = LastPool if stage == 4 else MaxPool3d
            # A window of 2 that no longer moves by 2 would shift the map by half a cell: it is as wide as its step.
            self.stages.append(nn.Sequential(*layers, pool(strides[stage], strides[stage])))
        self.out_channels = channels
        self.stride = cumulative(strides[:last_stage])
        init_weights(self)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map float (B,C,T,H,W) to (B,D,t,h,w); see `Backbone`."""
        features: Tensor = self.stages(as_input(pixels, self.input))
        return features


class LastPool(nn.Module):
    """Max pooling in steps of ``stride``, windows as wide, the first one half outside where an axis of space is odd.

    Args:
        kernel: 1 or 2 along each axis.
        stride: the same.
    """

    def __init__(self, kernel: Triple, stride: Triple) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, features: Tensor) -> Tensor:
        """Map (B,C,T,H,W), never negative, to (B,C,t,h,w) with ceil(n / stride) cells along every axis."""
        before = [size % step for size, step in zip(features.shape[3:], self.stride[1:])]
        rows, columns = before
        padded = nn.functional.pad(features, (columns, 0, rows, 0))
        return nn.functional.max_pool3d(padded, self.kernel, self.stride, ceil_mode=True)

    def extra_repr(self) -> str:
        """What `print(backbone)` shows."""
        return f"kernel={self.kernel}, stride={self.stride}"
