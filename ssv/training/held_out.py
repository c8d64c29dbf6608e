"""Looks at a backbone from outside while it trains: the pretext on held-out videos, and an online probe."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch

from ssv.pretexts.base import Pretext
from ssv.training.recorder import Recorder
from ssv.training.seeding import isolated_random

if TYPE_CHECKING:
    from ssv.data.datamodule import VideoDataModule


@torch.no_grad()
def held_out_metrics(pretext: Pretext, batches: Any, device: torch.device) -> dict[str, float]:
    """Mean loss and metrics of a pretext in eval mode, each batch weighted by its clips; modes are put back."""
    modes = {name: module.training for name, module in pretext.named_modules()}
    sums: dict[str, float] = defaultdict(float)
    total = 0
    pretext.eval()
    try:
        for clips in batches:
            output = pretext(type(clips)(*(field.to(device) for field in clips)))
            count = len(clips.label)
            total += count
            for name, value in {"loss": output.loss, **output.metrics}.items():
                sums[name] += float(value) * count
    finally:
        for name, module in pretext.named_modules():
            module.training = modes[name]
    return {name: value / total for name, value in sums.items()} if total else {}


class HeldOut(pl.Callback):
    """Grades the pretext on videos it never trains on, every ``every`` steps and at the end.

    Not Lightning's validation loop: this runs between two steps, draws from its own seed and leaves no state behind,
    so that losses are bit-identical with and without it, resumed or not. Rank zero does it for all.
    """

    def __init__(self, data: VideoDataModule, recorder: Recorder, *, every: int, steps: int, seed: int) -> None:
        self.data, self.recorder, self.every, self.steps, self.seed = data, recorder, every, steps, seed

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: object) -> None:
        """Grade when due."""
        if not trainer.is_global_zero or not due(trainer.global_step, self.every, self.steps):
            return
        loader = self.data.val_dataloader()
        with isolated_random(self.seed, "held_out"), trainer.precision_plugin.forward_context():
            metrics = held_out_metrics(module.pretext, loader, module.device)  # type: ignore[arg-type]
        if metrics:  # nothing, where nothing is held out
            self.recorder.record(trainer, {f"held_out/{name}": value for name, value in metrics.items()})
        self.recorder.pause()


def due(step: int, every: int, steps: int) -> bool:
    """Whether something that happens every ``every`` steps and at the end happens after ``step``; 0 means never."""
    return every > 0 and (step % every == 0 or step == steps)
