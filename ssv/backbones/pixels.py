"""No network at all: what the colours of the pixels tell by themselves, the floor of every correspondence table."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from ssv.backbones.base import Backbone
from ssv.backbones.layers import arguments, as_input, channel_values, one_of


class Pixels(Backbone):
    """A cell's features are the normalised pixels in it, ``detail`` by ``detail`` of them, averaged down to that.

    It has no weights; label propagation takes it with ``evaluation.stage=0``.

    Args:
        stride: rows and columns of pixels per cell.
        detail: rows and columns of pixels kept of each cell, a divisor of ``stride``.
        input: "rgb" (3 channels) or "grey" (1).
        mean: of the 0..1 pixels, per channel; for "grey" the luma of it.
        std: likewise.

    Raises:
        ValueError: if an argument is none of the above.
    """

    def __init__(
        self,
        *,
        stride: int = 8,
        detail: int = 4,
        input: str = "rgb",
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
    ) -> None:
        kwargs = arguments(locals())
        super().__init__()
        self.kwargs = kwargs
        one_of(input, ("rgb", "grey"), "input")
        if stride < 1 or detail < 1 or stride % detail:
            raise ValueError(f"detail must divide stride, got {detail} and {stride}; set backbone.detail")
        self.input, self.detail = input, detail
        self.mean, self.std = channel_values(mean, input, "mean"), channel_values(std, input, "std")
        self.out_channels = len(self.mean) * detail * detail
        self.stride = (1, stride, stride)
        self.time_local = True

    def forward(self, pixels: Tensor) -> Tensor:
        """Map float (B,C,T,H,W) to (B,D,T,h,w); see `Backbone`. Beyond the picture its edge goes on."""
        pixels = as_input(pixels, self.input)
        batch, _, frames, height, width = pixels.shape
        images = pixels.transpose(1, 2).flatten(0, 1)
        images = F.pad(images, (0, -width % self.stride[2], 0, -height % self.stride[1]), mode="replicate")
        cells = F.pixel_unshuffle(F.avg_pool2d(images, self.stride[1] // self.detail), self.detail)
        return cells.reshape(batch, frames, *cells.shape[1:]).transpose(1, 2)
