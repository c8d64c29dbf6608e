"""From a network that sees one frame at a time to its full 3D form: Carreira & Zisserman, "Quo Vadis" (I3D, 2017)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ssv.backbones.base import Backbone


def inflate(backbone: Backbone) -> Backbone:
    """The full 3D form of a time-local backbone, with kernels repeated over time and divided by their number.

    On a video that does not move it gives the features that the time-local form gives, away from the ends, where
    zero padding is seen (with ``padding="reflect"``: everywhere). The argument is left as it is.

    Raises:
        ValueError: if the backbone is not time-local.
    """
    if not backbone.time_local:
        raise ValueError(f"inflate needs a time-local backbone, got {type(backbone).__name__}(time_local=False)")
    full = type(backbone)(**{**backbone.kwargs, "time_local": False})
    like = next(backbone.parameters())
    full.to(like.device, like.dtype).load_state_dict(inflated(backbone.state_dict(), full.state_dict()))
    return full.train(backbone.training)


def inflated(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``state`` with every kernel of one frame spread over as many frames as the one of its name in ``wanted`` has.

    Whatever does not differ in that way, and only in that way, is left alone.
    """
    return {name: _spread(tensor, wanted[name]) if name in wanted else tensor for name, tensor in state.items()}


def _spread(kernel: Tensor, wanted: Tensor) -> Tensor:
    """Map a (D,C,1,h,w) kernel to (D,C,t,h,w) where that is the shape of ``wanted``."""
    frames = wanted.shape[2] if wanted.ndim == 5 else 1
    if kernel.ndim != 5 or kernel.shape[2] != 1 or frames == 1:
        return kernel
    return kernel.repeat(1, 1, frames, 1, 1) / frames
