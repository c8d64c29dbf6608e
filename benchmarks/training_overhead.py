"""A step of `ssv pretrain` against a step of a bare loop, and how much of the time training waits for data.

usage: python benchmarks/training_overhead.py [--steps N] [--batch B] [--logger offline|none] [--read] [words of `ssv pretrain`]

Both train the same pretext over the same backbone on the same clips in memory, in turn within one process: after each step of
Lightning, with all that `ssv pretrain` hangs on it (seeding, recording, logging to W&B offline, progress, checkpoints), the
bare loop makes one step of a twin. What Lightning's step takes is the time between two of those. Overhead should be at
most 3 %, or 5 ms, for steps of at least 0.3 s.

With `data=... data.root=...` among the words and `--read`, the clips come through the loader instead, and the share of time that a
run of so many steps waited for them is printed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from ssv.cli import pretrain
from ssv.cli.build import build_backbone, build_data, instantiate_plain, quiet_lightning
from ssv.cli.dashboard import open_dashboard
from ssv.cli.job import compose
from ssv.training.pretrain_module import PretrainModule
from ssv.training.recorder import Recorder
from ssv.types import Clips

SETTLE = 5  # steps left out: the first ones are slower for both
TARGET, TARGET_MS = 0.03, 5.0
RECIPE = "+experiment=fair_speed_prediction"  # with 24 videos a step takes more than 0.3 s on one core


class InMemory(pl.LightningDataModule):
    """The same batch for ever, in the place of videos."""

    def __init__(self, clips: Clips, steps: int) -> None:
        super().__init__()
        self.clips, self.steps = clips, steps

    def train_dataloader(self) -> DataLoader[Clips]:
        """Ready batches; nothing is read."""
        return DataLoader([self.clips] * self.steps, batch_size=None)


class Twin(pl.Callback):
    """After each step of the trainer, one of a bare loop over a network of its own."""

    def __init__(self, module: PretrainModule, clips: Clips) -> None:
        made = module.configure_optimizers()
        self.module, self.optimizer, self.schedule = module, made["optimizer"], made["lr_scheduler"]["scheduler"]
        self.clips, self.resumed = clips, 0.0
        self.trained: list[float] = []
        self.bare: list[float] = []

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        """The twin draws what the trainer's step draws: a pretext may draw how much there is to compute."""
        self.draws = torch.get_rng_state()

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        """Last of all callbacks: what came before belongs to the trainer's step."""
        now = time.perf_counter()
        if self.resumed:
            self.trained.append(now - self.resumed)
        clips = Clips(*(part.to(module.device) for part in self.clips))
        synchronise()
        torch.set_rng_state(self.draws)
        start = time.perf_counter()
        loss = self.module.pretext(clips).loss
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        loss.item()
        synchronise()
        self.resumed = time.perf_counter()
        self.bare.append(self.resumed - start)


def synchronise() -> None:
    """Wait for a GPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def make_clips(config: dict[str, Any], batch: int) -> Clips:
    """Noise of the sampler's frames; what is in it costs nothing."""
    sampler, size = config["data"]["sampler"], config["data"]["crop"]["size"]
    shape = (batch, sampler["views"], 3, sampler["frames"], size, size)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    step = sampler["seconds"] or sampler["stride"] / 25
    seconds = (torch.arange(sampler["frames"]) * step).float().expand(batch, sampler["views"], -1)
    return Clips(pixels, seconds, torch.arange(batch) // 2 % 2, torch.arange(batch))


def build(config: dict[str, Any], clips: Clips | None) -> PretrainModule:
    """The network, its pretext, optimizer and schedule, as `ssv pretrain` builds them."""
    torch.manual_seed(0)
    pretext = instantiate_plain(config["pretext"])(build_backbone(config))
    if clips is not None:
        pretext.fit([clips], torch.Generator().manual_seed(0))
    return PretrainModule(
        pretext,
        instantiate_plain(config["optimizer"]),
        instantiate_plain(config["schedule"]),
        steps=config["steps"],
    )


def measure(config: dict[str, Any], batch: int, folder: Path) -> None:
    """Print the two medians and their difference."""
    clips = make_clips(config, batch)
    module, twin = build(config, clips), Twin(build(config, clips), clips)
    data: Any = InMemory(clips, config["steps"])
    trainer, dashboard = make_trainer(config, folder, module, data, [twin])
    twin.module.to(trainer.strategy.root_device)
    trainer.fit(module, datamodule=data)
    dashboard.close()
    trained, bare = np.array(twin.trained[SETTLE:]) * 1000, np.array(twin.bare[SETTLE + 1 :]) * 1000
    difference = np.median(trained - bare)
    share = difference / np.median(bare)
    spread = np.percentile(trained - bare, [25, 75])
    verdict = "ok" if share <= TARGET or difference <= TARGET_MS else "above"
    print(
        f"{'pretext':20} {'batch':>5} {'steps':>5} {'bare, ms':>9} {'ssv, ms':>9} {'overhead':>24}  target 3 % or 5 ms"
    )
    print(
        f"{config['run']['pretext']:20} {batch:5} {len(bare):5} {np.median(bare):9.1f} {np.median(trained):9.1f} "
        f"{difference:+7.1f} ms [{spread[0]:+.1f}, {spread[1]:+.1f}] {share:+.1%}  {verdict}"
    )


def make_trainer(
    config: dict[str, Any], folder: Path, module: PretrainModule, data: Any, more: list[pl.Callback]
) -> tuple[pl.Trainer, Any]:
    """The trainer of `ssv pretrain` with all of its callbacks."""
    quiet_lightning()
    dashboard = open_dashboard(config, folder, job_type="pretrain")
    recorder = Recorder(folder, dashboard.sinks, every=config["log_every"], steps=config["steps"])
    callbacks = pretrain.make_callbacks(config, folder, module.pretext.backbone, data, recorder)
    return pretrain.build_trainer(config, folder, [*callbacks, *more]), dashboard


def wait(config: dict[str, Any], folder: Path) -> None:
    """Print the share of time that training waited for the loader."""
    data = build_data(config)
    data.setup("fit")
    module = build(config, None)
    trainer, dashboard = make_trainer(config, folder, module, data, [])
    trainer.fit(module, datamodule=data)
    dashboard.close()
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    shares = [row["time/waiting_for_data"] for row in rows if "time/waiting_for_data" in row][1:]
    rates = [row["time/clips_per_second"] for row in rows if "time/clips_per_second" in row][1:]
    print(
        f"{config['run']['pretext']}: waiting for data {np.median(shares):.1%} of the time (median of {len(shares)} rows of "
        f"{config['log_every']} steps), {np.median(rates):.1f} clips/s, {config['data']['workers']} workers"
    )


def main() -> None:
    """Compose, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--logger", choices=["offline", "none"], default="offline")
    parser.add_argument("--read", action="store_true")
    options, words = parser.parse_known_args()
    torch.set_num_threads(1 if not torch.cuda.is_available() else torch.get_num_threads())
    base = [f"steps={options.steps}", "held_out_every=0", "probe_every=0", "tag=overhead"]
    logger = "logger=none" if options.logger == "none" else "logger.mode=offline"
    with tempfile.TemporaryDirectory() as folder:
        config = compose("pretrain", [*base, logger, *(words or [RECIPE])])
        if options.read:
            wait(config, Path(folder))
        else:
            measure(config, options.batch, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
