"""A progress bar on a terminal, a line now and then everywhere else."""

from __future__ import annotations

import time

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ssv.training.recorder import Recorder
from ssv.training.steps import ends_step


class ShowProgress(pl.Callback):
    """Shows step, loss, accuracy (training and held-out), online probe, clips per second and waiting for data."""

    def __init__(self, recorder: Recorder, *, name: str, steps: int, seconds_between_lines: float = 10.0) -> None:
        self.recorder, self.name, self.steps = recorder, name, steps
        self.pause = seconds_between_lines
        self.console = Console()
        self.bar: Progress | None = None
        self._last_line = 0.0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Open the bar, where there is a terminal to draw it on."""
        if trainer.is_global_zero and self.console.is_terminal:
            columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}")
            self.bar = Progress(
                *columns, TimeRemainingColumn(), TextColumn("{task.fields[text]}"), console=self.console
            )
            self.bar.start()
            self.bar.add_task(self.name, total=self.steps, completed=trainer.global_step, text="")
        self._last_line = time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: object) -> None:
        """Move on."""
        if not trainer.is_global_zero or not ends_step(trainer):
            return
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=trainer.global_step, text=self.text())
        elif time.monotonic() - self._last_line > self.pause or trainer.global_step == self.steps:
            self._last_line = time.monotonic()
            print(f"{self.name}: step {trainer.global_step}/{self.steps}  {self.text()}", flush=True)

    def text(self) -> str:
        """The figures, shortest names first a reader looks for."""
        latest = self.recorder.latest
        shown = [
            ("loss", "pretext/loss", "{:.3f}"),
            ("accuracy", "pretext/accuracy", "{:.2f}"),
            ("held-out", "held_out/accuracy", "{:.2f}"),
            ("probe", "online/top1", "{:.2f}"),
            ("clips/s", "time/clips_per_second", "{:.0f}"),
            ("waiting", "time/waiting_for_data", "{:.0%}"),
        ]
        return "  ".join(f"{word} {form.format(latest[key])}" for word, key, form in shown if key in latest)

    def teardown(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        """Close the bar, also after an error."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
