"""When something that belongs to steps happens."""

from __future__ import annotations

import pytorch_lightning as pl


def ends_step(trainer: pl.Trainer) -> bool:
    """Whether the batch just trained on ended a step: with accumulated gradients several batches make one."""
    return not trainer.fit_loop._should_accumulate()


def due(trainer: pl.Trainer, every: int, steps: int) -> bool:
    """Whether something that happens every ``every`` steps and at the end happens now; 0 means never."""
    step = trainer.global_step
    return every > 0 and (step % every == 0 or step == steps) and ends_step(trainer)
