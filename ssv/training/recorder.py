"""What a run writes down while it trains: metrics with honest axes, speed, and its state."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from ssv.files import naming, read_json_lines, write_json, write_text
from ssv.training.finite import ADVICE, Diverged
from ssv.training.steps import due
from ssv.types import Clips

Row = dict[str, float | int]
Sink = Callable[[Row], None]


class MetricsFile:
    """``metrics.jsonl``: one JSON object a line, flushed at once; lines after a resumed step are taken back."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, row: Row) -> None:
        """Append one row."""
        with naming(self.path), self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def rewind(self, step: int) -> None:
        """Forget rows after ``step``: the run goes on from there and will write them again."""
        if self.path.exists():
            rows, _ = read_json_lines(self.path)  # a line that is damaged was cut off by a kill, or by a power cut
            write_text(self.path, "".join(json.dumps(row) + "\n" for row in rows if row.get("step", 0) <= step))


class Recorder(pl.Callback):
    """Counts what was seen, and hands rows to the sinks (the metrics file, a dashboard).

    Rows hold ``step`` (steps done), ``clips_seen``, ``frames_seen`` (frames read from videos, all processes),
    ``hours`` (of compute: wall time in training times processes) and whatever metrics were recorded, because steps
    of different pretexts are not equal. ``time/waiting_for_data`` is the share of wall time between two steps.
    """

    def __init__(self, folder: Path, sinks: Iterable[Sink], *, every: int, steps: int) -> None:
        self.folder, self.every, self.steps = folder, every, steps
        self.file = MetricsFile(folder / "metrics.jsonl")
        self.sinks: list[Sink] = [self.file, *sinks]
        self.clips_seen = self.frames_seen = 0
        self.seconds = 0.0
        self.clips_per_second = self.waiting = 0.0
        self.latest: dict[str, float] = {}  # for whoever shows progress
        self._step_ended = self._step_began = 0.0
        self._since = [0.0, 0.0, 0]  # seconds waited, seconds worked, clips, since the last row

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"clips_seen": self.clips_seen, "frames_seen": self.frames_seen, "seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on counting."""
        self.clips_seen, self.frames_seen = state["clips_seen"], state["frames_seen"]
        self.seconds = state["seconds"]

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Take back what the interrupted run wrote beyond its checkpoint."""
        if trainer.is_global_zero:
            self.file.rewind(trainer.global_step or -1)  # a start from nothing looks at its start again
            self.status(trainer, "running")
        self._step_ended = time.perf_counter()

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Clips, batch_idx: int
    ) -> None:
        """A batch has arrived: what passed since the last step was waiting for it."""
        self._step_began = time.perf_counter()
        self._since[0] += self._step_began - self._step_ended

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Clips, batch_idx: int
    ) -> None:
        """Count, and write a row when due."""
        now = time.perf_counter()
        clips = batch.pixels.shape[0] * batch.pixels.shape[1] * trainer.world_size
        self._since[1] += now - self._step_began
        self._since[2] += clips
        self.clips_seen += clips
        self.frames_seen += clips * batch.pixels.shape[3]
        self.seconds += (now - self._step_ended) * trainer.world_size
        self._step_ended = now
        if not due(trainer, self.every, self.steps):
            return
        # Every process has its share of the batch; what is written down is about all of it.
        means = {k: trainer.strategy.reduce(v, reduce_op="mean") for k, v in trainer.callback_metrics.items()}
        metrics = {k: float(v) for k, v in means.items()}
        if not math.isfinite(metrics["pretext/loss"]):
            raise Diverged(f"the loss is {metrics['pretext/loss']} after step {trainer.global_step}; {ADVICE}")
        if trainer.is_global_zero:
            waited, worked, seen = self._since
            self.waiting = waited / max(waited + worked, 1e-9)
            self.clips_per_second = seen / max(waited + worked, 1e-9)
            self._since = [0.0, 0.0, 0]
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            speed = {"time/clips_per_second": self.clips_per_second, "time/waiting_for_data": self.waiting}
            self.record(trainer, {**metrics, "optimizer/lr": rate, **speed})
            self.status(trainer, "running")

    def pause(self) -> None:
        """Call after work between steps that is no waiting for data (an online probe)."""
        self._step_ended = time.perf_counter()

    def record(self, trainer: pl.Trainer, metrics: dict[str, float]) -> None:
        """Hand one row to all sinks; other callbacks come here too."""
        row: Row = {"step": trainer.global_step, "clips_seen": self.clips_seen, "frames_seen": self.frames_seen}
        row["hours"] = self.seconds / 3600
        self.latest.update(metrics)
        for sink in self.sinks:
            sink({**row, **metrics})

    def status(self, trainer: pl.Trainer, state: str, message: str = "") -> None:
        """Write ``status.json``."""
        counts = {"clips_seen": self.clips_seen, "frames_seen": self.frames_seen, "hours": self.seconds / 3600}
        value = {"state": state, "step": trainer.global_step, "steps": self.steps, **counts, "message": message}
        write_json(self.folder / "status.json", {**value, "processes": trainer.world_size})
