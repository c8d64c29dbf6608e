"""The one LightningModule around any pretext."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities import move_data_to_device
from torch import Tensor, nn
from torch.optim import Optimizer

from ssv.pretexts.base import Pretext
from ssv.training.schedules import decay_groups
from ssv.types import Clips, PretextOutput

MakeOptimizer = Callable[[list[dict[str, object]]], Optimizer]
MakeSchedule = Callable[[Optimizer, int], torch.optim.lr_scheduler.LambdaLR]


class PretrainModule(pl.LightningModule):
    """One step, one optimizer, one schedule.

    Args:
        pretext: asks and grades.
        optimizer: takes parameter groups; its ``weight_decay`` is read from it and spared to norms and biases.
        schedule: takes the optimizer and the total number of steps.
        steps: the total. Computed by the caller, because asking Lightning's ``estimated_stepping_batches`` switches
            off the restoring of the loader's place (Lightning 2.6), and with it exact resume.
    """

    def __init__(self, pretext: Pretext, optimizer: MakeOptimizer, schedule: MakeSchedule, *, steps: int) -> None:
        super().__init__()
        self.pretext = pretext
        self._make_optimizer, self._make_schedule, self._steps = optimizer, schedule, steps

    def setup(self, stage: str) -> None:
        """Let a pretext that fits something to the data do so, once, before processes share their buffers.

        A fresh start only: a resumed run finds the result in its checkpoint.
        """
        if type(self.pretext).fit is not Pretext.fit and self.trainer.ckpt_path is None:
            generator = torch.Generator().manual_seed(torch.initial_seed())
            batches = self.trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]
            # Where the pretext is now, wherever the loader puts its clips together.
            self.pretext.fit((move_data_to_device(clips, self.device) for clips in batches), generator)

    def training_step(self, clips: Clips, batch_index: int) -> Tensor:
        """Loss of one batch; logs ``pretext/loss`` and ``pretext/<metric>``."""
        output: PretextOutput = self.pretext(clips)
        self.log("pretext/loss", output.loss.detach(), batch_size=len(clips.label))
        self.log_dict({f"pretext/{k}": v.float() for k, v in output.metrics.items()}, batch_size=len(clips.label))
        return output.loss

    def configure_optimizers(self) -> Any:
        """The optimizer over all of the pretext, and the schedule stepped every batch."""
        decay = float(
            self._make_optimizer([{"params": [nn.Parameter(torch.zeros(1))]}]).defaults.get("weight_decay", 0)
        )
        optimizer = self._make_optimizer(decay_groups(self.pretext, decay))
        schedule = self._make_schedule(optimizer, self._steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
