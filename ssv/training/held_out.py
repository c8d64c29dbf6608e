"""Looks at a backbone from outside while it trains: the pretext on held-out videos, and an online probe."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from PIL import Image

from ssv.pretexts.base import Pretext
from ssv.training.finite import require_finite
from ssv.training.recorder import Recorder
from ssv.training.seeding import isolated_random
from ssv.training.steps import due
from ssv.training.vital_signs import CollapseAlarm, looks, vital_signs
from ssv.types import Clips

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
    """Grades the pretext on videos it never trains on, and takes the backbone's vital signs on the same clips, before
    the first step, every ``every`` steps and at the end.

    Not Lightning's validation loop: this runs between two steps, draws from its own seed and leaves no state behind,
    so that losses are bit-identical with and without it, resumed or not. Rank zero does it for all.
    Logs ``held_out/<metric>``, ``features/<sign>`` of ``vital_signs`` and, with a printed line, once
    ``features/collapsed``; keeps the pretext's latest picture.
    """

    def __init__(self, data: VideoDataModule, recorder: Recorder, *, every: int, steps: int, seed: int) -> None:
        self.data, self.recorder, self.every, self.steps, self.seed = data, recorder, every, steps, seed
        self.alarm = CollapseAlarm()

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return self.alarm.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on comparing with how it was."""
        self.alarm.load_state_dict(state)

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Where a run sets out from; not where it goes on."""
        if trainer.global_step == 0 and self.every > 0:
            self.look(trainer, module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Clips, batch_idx: int
    ) -> None:
        """Grade when due."""
        self.alarm.step(outputs["loss"].detach())
        if due(trainer, self.every, self.steps):
            self.look(trainer, module)

    def look(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Grade and take the signs, reading every clip once."""
        require_finite(trainer, module)
        if not trainer.is_global_zero:
            return
        pretext: Pretext = module.pretext  # type: ignore[assignment]
        features: list[torch.Tensor] = []

        def seen(batches: Any) -> Iterator[Clips]:
            for clips in batches:
                on_device = Clips(*(field.to(module.device) for field in clips))
                if not features:
                    self.draw(pretext.picture(on_device))
                features.append(looks(pretext.backbone, on_device))
                yield on_device

        with isolated_random(self.seed, "held_out"), trainer.precision_plugin.forward_context():
            metrics = held_out_metrics(pretext, seen(self.data.val_dataloader()), module.device)
        if metrics:  # nothing, where nothing is held out
            signs = vital_signs(torch.cat(features))
            row = {f"held_out/{name}": value for name, value in metrics.items()}
            row |= {f"features/{name}": value for name, value in signs.items()}
            alarm = self.alarm.look(signs) if signs else ""
            if alarm:
                row["features/collapsed"] = 1.0
                print(f"step {trainer.global_step}: {alarm}", flush=True)
            self.recorder.record(trainer, row)
        self.recorder.pause()

    def draw(self, picture: torch.Tensor | None) -> None:
        """Keep the latest picture, uint8 (3,H,W), as ``pictures/pretext.png`` of the run."""
        if picture is not None:
            path = Path(self.recorder.folder) / "pictures" / "pretext.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(picture.permute(1, 2, 0).cpu().numpy()).save(path)
