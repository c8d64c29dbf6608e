"""Randomness as a function of identity."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch


def derive_seed(*parts: object) -> int:
    """A 63-bit seed that depends on nothing but the parts: the same in every process and on every machine."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@contextmanager
def isolated_random(*parts: object) -> Iterator[None]:
    """A block with its own seed that leaves torch's global generators as they were."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(derive_seed(*parts))
        yield


class SeedSteps(pl.Callback):
    """Reseeds torch before every step from (seed, epoch, batch, rank), so that a resumed run draws what it would have.

    Lightning stores no random state of any process; with this nothing needs storing.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        """Reseed."""
        # Counted from the batches of the whole run: after two restarts at the end of an epoch Lightning 2.6 counts
        # epochs, and batches of an epoch, wrong.
        done = trainer.fit_loop.epoch_loop.batch_progress.total.ready - 1
        epoch, batch_of_epoch = divmod(done, int(trainer.num_training_batches))
        torch.manual_seed(derive_seed(self.seed, epoch, batch_of_epoch, trainer.global_rank))
