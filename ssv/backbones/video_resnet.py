"""Video ResNets: Tran et al., "A Closer Look at Spatiotemporal Convolutions" (CVPR 2018), as in torchvision.

R3D, MC3 and R(2+1)D with 18 layers. They have no max pool behind the stem, which keeps every frame; that makes this R3D
another network than Hara's (`ResNet3D`), four times as expensive.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

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
)

_norm = partial(ConvNorm, norm_eps=1e-5, norm_momentum=0.1)
CONVS = ("3d", "2d", "2plus1d")


class VideoResNet(Backbone):
    """A ResNet of basic blocks whose stages differ in how their convolutions see time.

    With the defaults it is torchvision's r3d_18 without its classifier (33,166,272 parameters).

    Args:
        convs: for each of the four stages "3d" (3x3x3), "2d" (1x3x3, and no stride over time) or "2plus1d" (1x3x3,
            norm, ReLU, 3x1x1, with as many parameters as 3x3x3 has).
        stem: "plain" (3x7x7) or "separable" (1x7x7, norm, ReLU, 3x1x1).
        blocks: residual blocks in each of the four stages.
        widths: channels of the four stages; the stem has those of the first.
        spatial_stride: pixels per cell after stage 4: 16, or less: late strides become 1 first.
        temporal_stride: frames per cell after stage 4: 2 for each stage after the first that is not "2d" (8 at most),
            or less, likewise; 1 keeps every frame.
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
        convs: Sequence[str] = ("3d", "3d", "3d", "3d"),
        stem: str = "plain",
        blocks: Sequence[int] = (2, 2, 2, 2),
        widths: Sequence[int] = (64, 128, 256, 512),
        spatial_stride: int = 16,
        temporal_stride: int = 8,
        last_stage: int = 4,
        padding: str = "zeros",
        input: str = "rgb",
        time_local: bool = False,
        mean: Sequence[float] = (0.43216, 0.394666, 0.37645),
        std: Sequence[float] = (0.22803, 0.22145, 0.216989),
    ) -> None:
        kwargs = arguments(locals())
        super().__init__()
        self.kwargs = kwargs
        one_of(stem, ("plain", "separable"), "stem")
        one_of(padding, ("zeros", "reflect"), "padding")
        one_of(input, ("rgb", "grey"), "input")
        _check_sizes(convs, blocks, widths, last_stage)
        self.time_local = time_local
        self.input = input
        self.mean, self.std = channel_values(mean, input, "mean"), channel_values(std, input, "std")
        strides = _strides(convs, spatial_stride, temporal_stride, time_local)

        colours = 3 if input == "rgb" else 1
        frames = 1 if time_local else 3
        self.stem = _stem(stem, colours, widths[0], frames, strides[0], padding)
        self.stages = nn.Sequential()
        channels = widths[0]
        for stage in range(last_stage):
            layers = nn.Sequential()
            for block in range(blocks[stage]):
                # A later stage always projects: which tensors there are must not depend on the strides.
                stride = strides[1 + stage] if block == 0 else (1, 1, 1)
                part = _Convs(convs[stage], frames, padding)
                layers.append(Residual(channels, widths[stage], stride, part, project=stage > 0 and block == 0))
                channels = widths[stage]
            self.stages.append(layers)
        self.out_channels = channels
        self.stride = cumulative(strides[: 1 + last_stage])
        init_weights(self)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map float (B,C,T,H,W) to (B,D,t,h,w); see `Backbone`."""
        features: Tensor = self.stages(self.stem(as_input(pixels, self.input)))
        return features


class _Convs:
    """Makes the convolutions of one stage."""

    def __init__(self, kind: str, frames: int, padding: str) -> None:
        self.kind, self.frames, self.padding = kind, frames, padding

    def layers(self, inputs: int, outputs: int, stride: Triple, *, middle: int, relu: bool) -> list[nn.Module]:
        """One convolution with its norm, or the two of "2plus1d" with ``middle`` channels between them."""
        if self.kind != "2plus1d":
            kernel = (self.frames if self.kind == "3d" else 1, 3, 3)
            return [_norm(Conv3d(inputs, outputs, kernel, stride, padding=self.padding), relu=relu)]
        space, time = (1, *stride[1:]), (stride[0], 1, 1)
        return [
            _norm(Conv3d(inputs, middle, (1, 3, 3), space, padding=self.padding)),
            _norm(Conv3d(middle, outputs, (self.frames, 1, 1), time, padding=self.padding), relu=relu),
        ]


class Residual(nn.Module):
    """Two convolutions of the stage's kind beside a shortcut.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        stride: of the first convolution and of the shortcut.
        part: what makes the convolutions.
        project: a 1x1x1 convolution on the shortcut even where the number of channels does not change.
    """

    def __init__(self, inputs: int, outputs: int, stride: Triple, part: _Convs, *, project: bool) -> None:
        super().__init__()
        # The width computed for the first convolution holds for the second too: torchvision, not the original (VMZ).
        middle = middle_width(inputs, outputs)
        self.body = nn.Sequential(
            *part.layers(inputs, outputs, stride, middle=middle, relu=True),
            *part.layers(outputs, outputs, (1, 1, 1), middle=middle, relu=False),
        )
        self.shortcut: nn.Module = nn.Identity()
        if project or inputs != outputs:
            self.shortcut = _norm(Conv3d(inputs, outputs, (1, 1, 1), stride), relu=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B,C,T,H,W) to (B,D,t,h,w)."""
        output: Tensor = self.relu(self.body(features) + self.shortcut(features))
        return output


def middle_width(inputs: int, outputs: int) -> int:
    """Channels between 1x3x3 and 3x1x1 for as many parameters as 3x3x3 has (section 3.5 of the paper), rounded down."""
    return (27 * inputs * outputs) // (9 * inputs + 3 * outputs)


def _stem(kind: str, colours: int, outputs: int, frames: int, stride: Triple, padding: str) -> nn.Sequential:
    if kind == "plain":
        return nn.Sequential(_norm(Conv3d(colours, outputs, (frames, 7, 7), stride, padding=padding)))
    middle = max(1, 45 * outputs // 64)  # 45 of 64, not what the rule for blocks would give
    return nn.Sequential(
        _norm(Conv3d(colours, middle, (1, 7, 7), stride, padding=padding)),
        _norm(Conv3d(middle, outputs, (frames, 1, 1), padding=padding)),
    )


def _strides(convs: Sequence[str], spatial_stride: int, temporal_stride: int, time_local: bool) -> list[Triple]:
    """Of the stem and of the four stages. A kernel of one frame must not step over frames: "2d" stages keep all."""
    space = halvings(4, spatial_stride, "spatial_stride")
    deep = [stage for stage in (1, 2, 3) if convs[stage] != "2d"]
    halved = dict(zip(deep, halvings(len(deep), temporal_stride, "temporal_stride")))
    time = [1 if time_local else halved.get(stage, 1) for stage in range(4)]
    return [(1, space[0], space[0]), *((t, s, s) for t, s in zip(time, (1, *space[1:])))]


def _check_sizes(convs: Sequence[str], blocks: Sequence[int], widths: Sequence[int], last_stage: int) -> None:
    if len(convs) != 4 or not set(convs) <= set(CONVS):
        raise ValueError(f"convs needs 4 of {', '.join(CONVS)}, got {list(convs)}; set backbone.convs")
    for name, values in (("blocks", blocks), ("widths", widths)):
        if len(values) != 4 or min(values) < 1:
            raise ValueError(f"{name} needs 4 positive numbers, got {list(values)}; set backbone.{name}")
    if last_stage not in (1, 2, 3, 4):
        raise ValueError(f"last_stage must be 1 to 4, got {last_stage}; set backbone.last_stage")
