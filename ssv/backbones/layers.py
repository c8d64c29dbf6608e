"""The few layers that every 3D backbone is made of; none of them knows a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Triple = tuple[int, int, int]  # (frames, rows, columns)

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, what OpenCV and PIL call grey


class Conv3d(nn.Conv3d):
    """A convolution whose map has ceil(n / stride) cells along every axis.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        kernel: frames, rows, columns.
        stride: likewise.
        padding: "zeros", or "reflect" (mirrored, without the edge itself), which does not tell the network
            where the border is. The tensors are the same for both.
        pads: cells added (before, after) along each axis; by default kernel // 2 on either side.
        bias: where no norm follows.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: Triple,
        stride: Triple = (1, 1, 1),
        *,
        padding: str = "zeros",
        pads: Sequence[tuple[int, int]] | None = None,
        bias: bool = False,
    ) -> None:
        self.pads = tuple(pads or ((k // 2, k // 2) for k in kernel))
        self.reflect = padding == "reflect"
        symmetric = not self.reflect and all(before == after for before, after in self.pads)
        (t, _), (h, _), (w, _) = self.pads
        super().__init__(inputs, outputs, kernel, stride, padding=(t, h, w) if symmetric else 0, bias=bias)
        self.pads_itself = not symmetric

    def forward(self, input: Tensor) -> Tensor:
        """Map (B,C,T,H,W) to (B,D,t,h,w)."""
        if self.pads_itself:
            input = pad_reflect(input, self.pads) if self.reflect else pad_zeros(input, self.pads)
        return super().forward(input)


class ConvNorm(nn.Sequential):
    """Convolution, batch norm and ReLU (keys `conv.*`, `norm.*`)."""

    def __init__(self, conv: nn.Conv3d, *, norm_eps: float, norm_momentum: float, relu: bool = True) -> None:
        super().__init__()
        self.conv = conv
        self.norm = nn.BatchNorm3d(conv.out_channels, eps=norm_eps, momentum=norm_momentum)
        if relu:
            self.relu = nn.ReLU(inplace=True)


class MaxPool3d(nn.Module):
    """Max pooling of features that are never negative; the map has ceil(n / stride) cells along every axis.

    Args:
        kernel: 1, 2 or 3 along each axis; 2 only with stride 2.
        stride: 1 or 2 along each axis.
        far_side: pad as TensorFlow's SAME does for even sizes (kernel 3, stride 2: nothing before, one zero
            after), else one cell on either side.
    """

    def __init__(self, kernel: Triple, stride: Triple, *, far_side: bool = False) -> None:
        super().__init__()
        self.kernel, self.stride, self.far_side = kernel, stride, far_side

    def forward(self, features: Tensor) -> Tensor:
        """Map (B,C,T,H,W) to (B,C,t,h,w)."""
        if self.kernel == (1, 1, 1):
            return features
        if self.far_side:
            totals = [max(k - s, 0) for k, s in zip(self.kernel, self.stride)]
            features = pad_zeros(features, [(total // 2, total - total // 2) for total in totals])
            return F.max_pool3d(features, self.kernel, self.stride, ceil_mode=True)
        # With padding, ceil_mode would add a window too many; without (kernel 2) it makes the last one count.
        margin = [int(k == 3) for k in self.kernel]
        return F.max_pool3d(features, self.kernel, self.stride, margin, ceil_mode=2 in self.kernel)

    def extra_repr(self) -> str:
        """What `print(backbone)` shows."""
        return f"kernel={self.kernel}, stride={self.stride}, far_side={self.far_side}"


def pad_zeros(features: Tensor, pads: Sequence[tuple[int, int]]) -> Tensor:
    """Zeros (before, after) along frames, rows and columns of (B,C,T,H,W)."""
    return F.pad(features, [cells for pair in reversed(pads) for cells in pair])


def pad_reflect(features: Tensor, pads: Sequence[tuple[int, int]]) -> Tensor:
    """Mirrored cells (before, after) along frames, rows and columns of (B,C,T,H,W), however short an axis is.

    Unlike torch's own, it bounces as often as needed (one cell is held), and its gradient is deterministic.
    """
    for axis, (before, after) in zip((2, 3, 4), pads):
        if before or after:
            size = features.shape[axis]
            period = max(2 * (size - 1), 1)
            index = torch.arange(-before, size + after, device=features.device) % period
            features = features.index_select(axis, torch.minimum(index, period - index))
    return features


def halvings(count: int, total: int, name: str) -> list[int]:
    """Strides of the ``count`` places where a network halves an axis, for ``total`` input steps per cell.

    The late ones are given up first, as every stride-8 recipe does.

    Raises:
        ValueError: if ``total`` is no power of two that the places can make.
    """
    options = [2**k for k in range(count + 1)]
    if total not in options or isinstance(total, bool):
        raise ValueError(f"{name} must be one of {', '.join(map(str, options))}, got {total}; set backbone.{name}")
    return [2 if option <= total else 1 for option in options[1:]]


def cumulative(strides: Sequence[Triple]) -> Triple:
    """Input (frames, rows, columns) per cell behind layers of these strides."""
    frames = rows = columns = 1
    for t, h, w in strides:
        frames, rows, columns = frames * t, rows * h, columns * w
    return frames, rows, columns


def arguments(local: Mapping[str, Any]) -> dict[str, Any]:
    """What a constructor was called with, as plain values; ``local`` is ``locals()`` in its first line."""
    given = {name: value for name, value in local.items() if name not in ("self", "__class__")}
    return {
        name: value if isinstance(value, (str, int, float)) else list(value)  # tuples, and whatever YAML readers make
        for name, value in given.items()
    }


def one_of(value: str, options: Sequence[str], name: str) -> str:
    """``value`` itself.

    Raises:
        ValueError: if it is none of ``options``.
    """
    if value not in options:
        raise ValueError(f"{name} must be one of {', '.join(options)}, got {value!r}; set backbone.{name}")
    return value


def channel_values(values: Sequence[float], input: str, name: str) -> tuple[float, ...]:
    """``values`` for the channels of ``input``: as they are for "rgb", weighted to one for "grey".

    Raises:
        ValueError: if there are not 3 values (or 1, for "grey").
    """
    given = tuple(float(v) for v in values)
    if input == "grey" and len(given) == 1:
        return given
    if len(given) != 3:
        raise ValueError(f"{name} needs 3 values, one per channel, got {len(given)}; set backbone.{name}")
    return given if input == "rgb" else (sum(w * v for w, v in zip(_LUMA, given)),)


def as_input(pixels: Tensor, input: str) -> Tensor:
    """``pixels`` in the memory order the device works fastest in, after a look at their shape.

    Raises:
        ValueError: unless ``pixels`` is (B,3,T,H,W), or (B,1,T,H,W) for "grey".
    """
    channels = 3 if input == "rgb" else 1
    if pixels.ndim != 5 or pixels.shape[1] != channels:
        raise ValueError(
            f"a backbone with input={input} takes (B,{channels},T,H,W), got {tuple(pixels.shape)}; set backbone.input"
        )
    if pixels.device.type == "cpu":  # every layer keeps this order; training is 1.2 to 1.6 times faster
        pixels = pixels.contiguous(memory_format=torch.channels_last_3d)
    return pixels


def init_weights(network: nn.Module) -> None:
    """He initialisation of every convolution (fan out), ones and zeros in norms; leaves other layers alone."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
