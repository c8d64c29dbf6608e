"""Checkpoints that survive a kill, a signal and a full disk."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from ssv.files import is_whole_archive, replacing
from ssv.training.finite import require_finite
from ssv.training.steps import ends_step
from ssv.training.weights_file import read_weights_file

RESUMED_FROM = ("state_dict", "optimizer_states", "loops", "callbacks", "pytorch-lightning_version")


class SaveError(RuntimeError):
    """A file that could not be written; the one before it is intact."""


class Interrupted(Exception):  # noqa: N818 - an order from outside, not an error
    """Raised at a step's end after a signal, when everything is saved."""

    def __init__(self, signum: int, step: int) -> None:
        super().__init__(signum, step)
        self.signum, self.step = signum, step

    def __str__(self) -> str:
        return f"stopped by {signal.Signals(self.signum).name} after step {self.step}, saved; the same command goes on"


def save_atomically(value: object, path: Path) -> None:
    """``torch.save`` to a neighbour, flush to the disk, then rename: ``path`` is the old file or the new, never half.

    Raises:
        SaveError: when the disk is full or not writable; nothing is left behind.
    """
    try:
        with replacing(path) as file:
            torch.save(value, file)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError of its zip writer
        cause = error.__context__ if isinstance(error.__context__, OSError) else error
        reason = (cause.strerror or str(cause)) if isinstance(cause, OSError) else str(cause).splitlines()[0]
        raise SaveError(
            f"could not write {path}: {reason}; what was saved before is intact: make room and run the same command again"
        ) from error


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint files, written atomically; the one before is kept as ``previous.ckpt``."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write ``path``, keeping what stood there under ``previous.ckpt``."""
        target = Path(path)
        spare = target.with_name(".spare.partial")
        if is_whole_archive(target):
            spare.unlink(missing_ok=True)
            os.link(target, spare)
        save_atomically(checkpoint, target)
        if spare.exists():
            spare.replace(target.with_name("previous.ckpt"))


def choose_checkpoint(folder: Path) -> tuple[Path | None, list[Path]]:
    """The newest checkpoint of a run that is whole, None if there is none, and those that are damaged."""
    damaged: list[Path] = []
    for path in (folder / "last.ckpt", folder / "previous.ckpt"):
        if is_whole_archive(path) and _is_checkpoint(path):
            return path, damaged
        if path.exists():
            damaged.append(path)
    return None, damaged


def _is_checkpoint(path: Path) -> bool:
    """Whether it can be read and has what a run resumes from."""
    try:
        found = read_weights_file(path)
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.keys() >= {*RESUMED_FROM}


class Checkpoints(pl.Callback):
    """Saves ``last.ckpt`` every ``every`` steps and when one of ``signals`` asks the run to stop, finite weights alone.

    Not Lightning's ModelCheckpoint: that one saves on any exception, also in the middle of a step when the
    statistics of batch norms have moved and the weights have not, which would break bit-exact resume.
    """

    def __init__(
        self, folder: Path, *, every: int, signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGINT)
    ) -> None:
        self.path, self.every, self.signals = folder / "last.ckpt", every, signals
        self.signum: int | None = None
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Listen for signals; a second Ctrl-C ends the program at once.

        This late, to stand in for Lightning's own handlers: that of SIGTERM calls a collective from inside the signal and
        would end with exit code 0; that of SIGUSR1, under SLURM, saves in the middle of a step.
        """
        for signum in self.signals:
            self._before[signum] = signal.signal(signum, self._remember)

    def teardown(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        """Give the signals back."""
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._before.clear()

    def _remember(self, signum: int, frame: FrameType | None) -> None:
        self.signum = signum
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: object) -> None:
        """Save when due; stop when asked to, all processes together.

        Not after the last step: nothing is left to stop, and its checkpoint comes after the export of the weights,
        because a run that resumes there has no step left that would end in an export.
        """
        if trainer.global_step == trainer.max_steps or not ends_step(trainer):
            return
        stop = self.signum is not None
        if trainer.world_size > 1:
            stop = trainer.strategy.reduce_boolean_decision(stop, all=False)
        if stop or trainer.global_step % self.every == 0:
            self._save(trainer, module)
        if stop:
            raise Interrupted(self.signum or signal.SIGTERM, trainer.global_step)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Save the end too."""
        self._save(trainer, module)

    def _save(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        require_finite(trainer, module)
        trainer.save_checkpoint(self.path)
