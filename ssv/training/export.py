"""Writes the small file that links pretraining and evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from ssv.backbones.base import Backbone
from ssv.training.finite import require_finite
from ssv.training.recorder import Recorder
from ssv.training.weights import save_backbone


class ExportBackbone(pl.Callback):
    """``backbone.pt`` holds the last weights; ``backbone_best_probe.pt`` those of the best online probe.

    They are two rows of a comparison, never one: picking the best by a probe uses labels.
    """

    def __init__(self, folder: Path, backbone: Backbone, provenance: dict[str, Any], recorder: Recorder) -> None:
        self.folder, self.backbone, self.provenance, self.recorder = folder, backbone, provenance, recorder
        self.best = float("-inf")
        self._is_exported = False

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on comparing with the best so far."""
        self.best = state["best"]

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: object) -> None:
        """Keep the weights when an online probe, just now, was better than all before."""
        score = self.recorder.latest.pop("online/candidate", None)
        if trainer.is_global_zero and score is not None and score > self.best:
            self.best = score
            self.write(trainer, "backbone_best_probe.pt", {"online/top1": score})

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write the last weights, then say that the run is finished."""
        require_finite(trainer, module)
        if trainer.is_global_zero:
            self.write(trainer, "backbone.pt", {})
            self.recorder.status(trainer, "finished")
        self._is_exported = True

    def on_fit_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """The same for a run that resumed with no step left: one that has lost its status or its weights."""
        if not self._is_exported:
            self.on_train_end(trainer, module)

    def write(self, trainer: pl.Trainer, name: str, extra: dict[str, Any]) -> None:
        """Save with where the weights come from."""
        seen = {"steps": trainer.global_step, "clips_seen": self.recorder.clips_seen}
        save_backbone(self.folder / name, self.backbone, {**self.provenance, **seen, **extra})
