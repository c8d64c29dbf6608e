"""The contract of every backbone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn


class Backbone(nn.Module, ABC):
    """Turns clips into one feature map; knows nothing of pretexts, heads or pooling.

    A constructor takes plain values only and stores them all in ``kwargs``, so that
    ``type(b)(**b.kwargs)`` rebuilds the same architecture. It also runs under ``torch.device("meta")``, where tensors
    have no values: that is how what a file asks for is compared with what it holds before it is built.

    Attributes:
        out_channels: D, the channels of the map.
        stride: input (frames, rows, columns) per cell of the map.
        time_local: True if the features of a frame depend on no other frame.
        kwargs: the constructor's arguments, plain values.
        mean, std: per channel, of the 0..1 input; weights and their normalisation belong together.
    """

    out_channels: int
    stride: tuple[int, int, int]
    time_local: bool
    kwargs: dict[str, Any]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @abstractmethod
    def forward(self, pixels: Tensor) -> Tensor:
        """Map float (B,C,T,H,W), normalised by ``mean`` and ``std``, to float (B,D,t,h,w).

        Any T >= 1 and any H, W are accepted; h = ceil(H / stride[1]), w likewise.
        """
