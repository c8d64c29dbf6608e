"""Nothing that is not finite is measured, exported or kept in a checkpoint: a run that diverged stops before."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import pytorch_lightning as pl
import torch
from torch import Tensor

ADVICE = "try a smaller optimizer.lr or trainer.gradient_clip_val=1"


class Diverged(RuntimeError):
    """The loss, the weights or the state of the optimizer are no finite numbers any more."""


def require_finite(trainer: pl.Trainer, module: pl.LightningModule) -> None:
    """Stop a run whose weights or optimizer are not finite. Every process calls it, before anything is saved or measured.

    Other buffers than the backbone's are not looked at: a mask may hold infinities, and what is not fitted yet NaN.

    Raises:
        Diverged: naming the step.
    """
    sound = [tensor.isfinite().all().to(module.device) for tensor in _tensors(trainer, module)]
    is_sound = bool(torch.stack(sound).all())
    if trainer.world_size > 1:
        is_sound = trainer.strategy.reduce_boolean_decision(is_sound, all=True)
    if not is_sound:
        raise Diverged(
            f"the weights are not finite after step {trainer.global_step}; what was saved before is kept; {ADVICE}"
        )


def _tensors(trainer: pl.Trainer, module: pl.LightningModule) -> Iterator[Tensor]:
    """What training changes: parameters, all of the backbone, what the optimizer keeps."""
    backbone: torch.nn.Module = module.pretext.backbone  # type: ignore[union-attr, assignment]
    kept = (value for optimizer in trainer.optimizers for state in optimizer.state.values() for value in state.values())
    for value in chain(module.parameters(), backbone.buffers(), kept):
        if isinstance(value, Tensor) and value.is_floating_point():
            yield value.detach()
