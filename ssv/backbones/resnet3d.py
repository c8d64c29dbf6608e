"""3D ResNets: Hara, Kataoka, Satoh, "Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs" (CVPR 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

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

_norm = partial(ConvNorm, norm_eps=1e-5, norm_momentum=0.1)


class ResNet3D(Backbone):
    """A ResNet with 3x3x3 convolutions; the convolutions' shortcuts are "B" (1x1x1 with a norm).

    With the defaults it is Hara's ResNet-18 without its classifier (33,203,904 parameters). The max pool behind
    the stem halves time too, so a cell of the last map stands for 16 frames.

    Args:
        blocks: residual blocks in each of the four stages: (2,2,2,2) for 18 layers, (3,4,6,3) for 34 and 50.
        bottleneck: blocks of 1x1x1, 3x3x3, 1x1x1 with four times the width at their end (50 layers).
        widths: channels of the four stages (before the factor four); the stem has those of the first.
        stem_kernel: frames, rows, columns of the first convolution.
        stem_stride: frames per step of the first convolution (``conv1_t_stride`` in Hara's code).
        pool: the max pool behind the stem; False is ``no_max_pool`` in Hara's code.
        spatial_stride: pixels per cell after stage 4, at most: 32 (16 without the pool, whatever is asked), or less:
            late strides become 1 first.
        temporal_stride: steps of the stem per cell after stage 4, at most: 16 (8 without the pool), or less, likewise;
            1 keeps every one. ``stride`` has both, multiplied.
        last_stage: 1 to 4; later stages do not exist.
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
        blocks: Sequence[int] = (2, 2, 2, 2),
        bottleneck: bool = False,
        widths: Sequence[int] = (64, 128, 256, 512),
        stem_kernel: Sequence[int] = (7, 7, 7),
        stem_stride: int = 1,
        pool: bool = True,
        spatial_stride: int = 32,
        temporal_stride: int = 16,
        last_stage: int = 4,
        padding: str = "zeros",
        input: str = "rgb",
        time_local: bool = False,
        mean: Sequence[float] = (0.4345, 0.4051, 0.3775),
        std: Sequence[float] = (0.2768, 0.2713, 0.2737),
    ) -> None:
        kwargs = arguments(locals())
        super().__init__()
        self.kwargs = kwargs
        one_of(padding, ("zeros", "reflect"), "padding")
        one_of(input, ("rgb", "grey"), "input")
        _check_sizes(blocks, widths, stem_kernel, stem_stride, last_stage)
        self.time_local = time_local
        self.input = input
        self.mean, self.std = channel_values(mean, input, "mean"), channel_values(std, input, "std")
        frames_per_kernel = 1 if time_local else 3
        strides = _strides(spatial_stride, temporal_stride, 1 if time_local else stem_stride, pool, time_local)

        kernel = (1 if time_local else stem_kernel[0], stem_kernel[1], stem_kernel[2])
        self.stem = _norm(Conv3d(3 if input == "rgb" else 1, widths[0], kernel, strides[0], padding=padding))
        self.pool = MaxPool3d((frames_per_kernel, 3, 3) if pool else (1, 1, 1), strides[1])
        make = partial(Residual, bottleneck=bottleneck, frames=frames_per_kernel, padding=padding)
        self.stages = nn.Sequential()
        channels = widths[0]
        for stage in range(last_stage):
            layers = nn.Sequential()
            for block in range(blocks[stage]):
                # A later stage always projects: which tensors there are must not depend on the strides.
                stride = strides[1 + stage] if stage and not block else (1, 1, 1)
                layers.append(make(channels, widths[stage], stride, project=stage > 0 and block == 0))
                channels = widths[stage] * (4 if bottleneck else 1)
            self.stages.append(layers)
        self.out_channels = channels
        self.stride = cumulative(strides[: 1 + last_stage])
        init_weights(self)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map float (B,C,T,H,W) to (B,D,t,h,w); see `Backbone`."""
        features: Tensor = self.stages(self.pool(self.stem(as_input(pixels, self.input))))
        return features


class Residual(nn.Module):
    """Two 3x3x3 convolutions, or a bottleneck of three, beside a shortcut.

    Args:
        inputs: channels that come in.
        width: channels inside; four times as many go out of a bottleneck.
        stride: of the block; in a bottleneck the middle convolution has it.
        bottleneck: three convolutions instead of two.
        frames: temporal size of the kernels.
        padding: of the convolutions.
        project: a 1x1x1 convolution on the shortcut even where the number of channels does not change.
    """

    def __init__(
        self, inputs: int, width: int, stride: Triple, *, bottleneck: bool, frames: int, padding: str, project: bool
    ) -> None:
        super().__init__()
        kernel = (frames, 3, 3)
        outputs = width * 4 if bottleneck else width
        if bottleneck:
            self.body = nn.Sequential(
                _norm(Conv3d(inputs, width, (1, 1, 1))),
                _norm(Conv3d(width, width, kernel, stride, padding=padding)),
                _norm(Conv3d(width, outputs, (1, 1, 1)), relu=False),
            )
        else:
            self.body = nn.Sequential(
                _norm(Conv3d(inputs, width, kernel, stride, padding=padding)),
                _norm(Conv3d(width, width, kernel, padding=padding), relu=False),
            )
        self.shortcut: nn.Module = nn.Identity()
        if project or inputs != outputs:
            self.shortcut = _norm(Conv3d(inputs, outputs, (1, 1, 1), stride), relu=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B,C,T,H,W) to (B,D,t,h,w)."""
        output: Tensor = self.relu(self.body(features) + self.shortcut(features))
        return output


def _strides(spatial: int, temporal: int, stem: int, pool: bool, time_local: bool) -> list[Triple]:
    """Of the stem, of the pool (1 without one) and of stages 2 to 4."""
    space, time = halvings(5, spatial, "spatial_stride"), halvings(4, temporal, "temporal_stride")
    if not pool:  # one place less to halve at
        space, time = halvings(4, min(spatial, 16), "spatial_stride"), halvings(3, min(temporal, 8), "temporal_stride")
        space, time = [space[0], 1, *space[1:]], [1, *time]
    if time_local:
        time = [1] * 4
    return [(t, s, s) for t, s in zip((stem, *time), space)]


def _check_sizes(
    blocks: Sequence[int], widths: Sequence[int], stem_kernel: Sequence[int], stem_stride: int, last_stage: int
) -> None:
    for name, values, count in (("blocks", blocks, 4), ("widths", widths, 4), ("stem_kernel", stem_kernel, 3)):
        if len(values) != count or min(values) < 1:
            raise ValueError(f"{name} needs {count} positive numbers, got {list(values)}; set backbone.{name}")
    if any(size % 2 == 0 or size > 31 for size in stem_kernel):
        raise ValueError(f"stem_kernel needs odd numbers up to 31, got {list(stem_kernel)}; set backbone.stem_kernel")
    if isinstance(stem_stride, bool) or not 1 <= stem_stride <= 16:
        raise ValueError(f"stem_stride must be 1 to 16, got {stem_stride}; set backbone.stem_stride")
    if last_stage not in (1, 2, 3, 4):
        raise ValueError(f"last_stage must be 1 to 4, got {last_stage}; set backbone.last_stage")
