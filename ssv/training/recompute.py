"""Activation checkpointing: memory for time, and no other number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ssv.backbones.base import Backbone


def recompute(backbone: Backbone) -> None:
    """From now on keep only what goes into each part of ``backbone``; the backward pass computes the inside again.

    Parts are its children, or theirs where a child is a plain sequence (the stages of every backbone here). Losses,
    gradients, statistics of batch norms and the names of tensors stay what they are; a step takes about a third longer.
    """
    for child in backbone.children():
        # No deeper: an activation in place at the head of a part would overwrite what was kept for it.
        for part in child if type(child) is nn.Sequential else [child]:
            part.forward = partial(_run, part, part.forward)


def _run(part: nn.Module, forward: Callable[[Tensor], Tensor], features: Tensor) -> Tensor:
    if not part.training:
        return forward(features)
    output: Tensor = checkpoint(
        forward, features, use_reentrant=False, context_fn=lambda: (nullcontext(), _statistics_kept(part))
    )
    return output


@contextmanager
def _statistics_kept(part: nn.Module) -> Iterator[None]:
    """The second pass would move running statistics a second time: it gets copies of them."""
    norms = [module for module in part.modules() if isinstance(module, _BatchNorm)]
    kept = [dict(norm.named_buffers()) for norm in norms]
    for norm, buffers in zip(norms, kept):
        for name, buffer in buffers.items():
            setattr(norm, name, buffer.clone())
    try:
        yield
    finally:
        for norm, buffers in zip(norms, kept):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer)
