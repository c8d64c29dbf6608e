"""Stopped anywhere, any number of times: every loss and the weights are those of a run that nobody stopped."""

import random
import warnings

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from ssv.data.batches import EpochBatches
from ssv.data.loading import ResumableLoader
from ssv.pretexts.base import Pretext
from ssv.training.checkpoints import AtomicCheckpointIO, Checkpoints
from ssv.training.pretrain_module import PretrainModule
from ssv.training.schedules import warmup_cosine
from ssv.training.seeding import SeedSteps
from ssv.types import PretextOutput
from tests.data.fakes import numbered_dataset

VIDEOS, BATCH = 13, 4  # three batches an epoch, and a video that is dropped
STEPS = 20


class Draws(Pretext):
    """The loss depends on the videos of the batch, on the frames drawn and on torch's generator."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Identity()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, clips):
        means = clips.pixels.float().mean((0, 1, 3, 4, 5)) / 255
        loss = ((self.weight * means).sum() - torch.rand(())) ** 2
        return PretextOutput(loss, {"video": clips.video.float().mean()})


class Data(pl.LightningDataModule):
    def __init__(self, workers):
        super().__init__()
        self.workers = workers

    def train_dataloader(self):
        return ResumableLoader(numbered_dataset(VIDEOS), EpochBatches(range(VIDEOS), BATCH), workers=self.workers)


class Killed(BaseException):
    """Nothing catches it."""


class Watch(pl.Callback):
    """Notes the loss of every batch, and dies after the batch that is named."""

    def __init__(self, losses, last):
        self.losses, self.last = losses, last

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        done = trainer.fit_loop.epoch_loop.batch_progress.total.ready
        self.losses[done] = (float(outputs["loss"]), batch.video.tolist())
        if done == self.last:
            raise Killed


def train(folder, losses, *, stop=None, every, accumulate=1, workers=0):
    """One attempt at the run in ``folder``; the weights if it came to its end."""
    torch.manual_seed(0)
    module = PretrainModule(Draws(), lambda groups: torch.optim.AdamW(groups, lr=0.01), warmup_cosine, steps=STEPS)
    last = folder / "last.ckpt"
    trainer = pl.Trainer(
        max_steps=STEPS,
        max_epochs=-1,
        accelerator="cpu",
        devices=1,
        callbacks=[SeedSteps(3), Checkpoints(folder, every=every), Watch(losses, stop)],
        plugins=[AtomicCheckpointIO()],
        accumulate_grad_batches=accumulate,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=folder,
    )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="pytorch_lightning")
            trainer.fit(
                module, datamodule=Data(workers), ckpt_path=str(last) if last.exists() else None, weights_only=True
            )
    except Killed:
        return None
    return module.pretext.weight.detach().clone()


def series(folder, stops, **settings):
    """Losses of the last attempt at every batch, and the weights at the end."""
    losses = {}
    for stop in (*stops, None):
        weights = train(folder, losses, stop=stop, **settings)
    return losses, weights


CASES = [
    # at the end of an epoch twice (the case that Lightning miscounts), and three times
    ([4, 8], {"every": 3}),
    ([4, 5, 10, 13], {"every": 3}),
    ([3, 6, 9], {"every": 3}),
    # in the middle, at the end, and both
    ([3, 6], {"every": 2}),
    ([5, 7, 11], {"every": 1}),
    ([4, 4, 4], {"every": 3}),  # before anything new was saved
    ([1, 2], {"every": 3}),  # before the first checkpoint
    ([7, 14], {"every": 3, "accumulate": 2}),
    ([13, 26], {"every": 2, "accumulate": 2}),
]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    found = {}
    for accumulate in (1, 2):
        found[accumulate] = series(tmp_path_factory.mktemp("whole"), [], every=100, accumulate=accumulate)
    return found


def check(folder, uninterrupted, stops, **settings):
    losses, weights = series(folder, stops, **settings)
    expected, end = uninterrupted[settings.get("accumulate", 1)]
    assert losses == expected, (stops, settings, min(k for k in expected if losses.get(k) != expected[k]))
    assert torch.equal(weights, end)


@pytest.mark.parametrize(("stops", "settings"), CASES)
def test_a_series_of_stops_changes_no_bit(tmp_path, uninterrupted, stops, settings):
    check(tmp_path, uninterrupted, stops, **settings)


@pytest.mark.parametrize("number", range(20))
def test_random_series_of_stops_change_no_bit(tmp_path, uninterrupted, number):
    draw = random.Random(number)
    every, accumulate = draw.choice([(3, 1), (3, 1), (6, 1), (2, 1), (1, 1), (3, 2), (2, 2)])
    stops = sorted(draw.sample(range(1, 20 * accumulate), draw.randint(2, 4)))
    check(tmp_path, uninterrupted, stops, every=every, accumulate=accumulate)


@pytest.mark.parametrize("stops", [[4, 8], [5, 9, 12]])
def test_with_reading_processes_too(tmp_path, uninterrupted, stops):
    check(tmp_path, uninterrupted, stops, every=3, workers=2)


def test_a_step_depends_on_its_place_in_its_epoch(uninterrupted):
    losses, _ = uninterrupted[1]
    assert len({loss for loss, _ in losses.values()}) == STEPS
    epochs = [sorted(video for place in range(3) for video in losses[3 * epoch + place + 1][1]) for epoch in range(6)]
    assert all(len(set(epoch)) == 12 for epoch in epochs)
