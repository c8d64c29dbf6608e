"""Can a pretext be solved by a shortcut? Its question, asked of clips that lack what it claims to ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor

from ssv.evaluations.features import on_device, progress
from ssv.pretexts.base import Pretext
from ssv.training.pretrain_module import MakeOptimizer, MakeSchedule, PretrainModule
from ssv.training.seeding import derive_seed, isolated_random
from ssv.types import Clips, PretextOutput, Video

if TYPE_CHECKING:
    from ssv.data.datamodule import VideoDataModule

Z99 = 2.5758  # two-sided 99 %: a table has many rows, and 95 % would cry wolf in one of two tables
DECIDING = 50  # steps between two looks at whether losses are finite; each waits for the device


@dataclass(frozen=True)
class Audit:
    """One way to impoverish clips, and what it leaves.

    ``motion`` and ``appearance`` tell how much of it is left; ``leaves`` says it in words.
    """

    name: str
    impoverish: Callable[[Clips], Clips]
    leaves: str
    motion: Literal["none", "part", "all"]
    appearance: Literal["none", "part", "all"]


@dataclass(frozen=True)
class Grade:
    """Held-out accuracy beside chance. ``low`` and ``high`` bound it at 99 %, each video counted as one question.

    Counting videos is cautious: the answers about one video are not independent, and a mean of several varies less
    than a single one.
    """

    accuracy: float
    chance: float
    low: float
    high: float
    videos: int

    @property
    def is_above_chance(self) -> bool:
        """Whether the whole interval is."""
        return self.low > self.chance


@dataclass(frozen=True)
class Reading:
    """A row of the table in words; ``alarm``: what is left should not have been enough."""

    text: str
    alarm: bool


class Impoverished(Pretext):
    """A pretext that is asked of impoverished clips; everything else is the pretext's own."""

    def __init__(self, pretext: Pretext, impoverish: Callable[[Clips], Clips]) -> None:
        super().__init__()
        self.backbone, self.is_temporal = pretext.backbone, pretext.is_temporal
        self.pretext, self.impoverish = pretext, impoverish

    def forward(self, clips: Clips) -> PretextOutput:
        """Ask and grade."""
        output: PretextOutput = self.pretext(self.impoverish(clips))
        return output

    def fit(self, batches: Iterable[Clips], generator: torch.Generator) -> None:
        """Fit to impoverished clips."""
        self.pretext.fit((self.impoverish(clips) for clips in batches), generator)


def train(
    pretexts: Sequence[Pretext],
    batches: Iterable[Clips],
    *,
    optimizer: MakeOptimizer,
    schedule: MakeSchedule,
    steps: int,
    seed: int,
    trainer: pl.Trainer,
) -> None:
    """Train all of them side by side, in place: the same clips and the same draws for each, every batch read once.

    Args:
        pretexts: each with a backbone of its own.
        batches: an epoch each time they are iterated.
        optimizer: as of `PretrainModule`.
        schedule: likewise.
        steps: for each pretext.
        seed: of the draws.
        trainer: says on which device and in what precision; shows progress.

    Raises:
        ValueError: if there is no batch, or a loss is no number.
    """
    modules = [PretrainModule(on_device(p, trainer), optimizer, schedule, steps=steps) for p in pretexts]
    for module in modules:
        module.pretext.fit(batches, torch.Generator().manual_seed(derive_seed(seed, "audit", "fit")))
        module.train()
    fitting = [module.configure_optimizers() for module in modules]
    stream = _endless(batches)
    losses: list[Tensor] = []
    with isolated_random(seed, "audit"):
        for step in progress(range(steps), f"{len(modules)} fresh networks", trainer):
            clips = _to(next(stream), trainer.strategy.root_device)
            for module, fit in zip(modules, fitting, strict=True):
                torch.manual_seed(derive_seed(seed, "audit", step))
                with trainer.precision_plugin.forward_context():
                    loss = module.pretext(clips).loss
                fit["optimizer"].zero_grad(set_to_none=True)
                loss.backward()
                fit["optimizer"].step()
                fit["lr_scheduler"]["scheduler"].step()
                losses.append(loss.detach())
            if (step + 1) % DECIDING == 0 or step + 1 == steps:
                if not bool(torch.stack(losses).isfinite().all()):
                    raise ValueError(
                        f"a fresh network diverged before step {step + 1}; set fewer steps=, or another seed="
                    )
                losses.clear()


@torch.no_grad()
def grade(
    pretexts: Sequence[Pretext], batches: Iterable[Clips], *, seed: int, trainer: pl.Trainer, title: str
) -> list[Grade]:
    """Accuracy of each in eval mode, all of the same clips and draws, every clip weighing the same.

    Raises:
        ValueError: if there are no clips, or a pretext reports no accuracy.
    """
    for pretext in pretexts:
        on_device(pretext, trainer).eval()
    right, chance = [0.0] * len(pretexts), [0.0] * len(pretexts)
    videos: set[int] = set()
    clips_seen = 0
    for number, batch in enumerate(progress(batches, title, trainer)):
        clips = _to(batch, trainer.strategy.root_device)
        count = len(clips.label)
        clips_seen += count
        videos.update(batch.video.tolist())
        for i, pretext in enumerate(pretexts):
            with isolated_random(seed, "audit", number), trainer.precision_plugin.forward_context():
                metrics = pretext(clips).metrics
            if not {"accuracy", "chance"} <= metrics.keys():
                raise ValueError("this pretext reports no accuracy beside a chance level: there is nothing to audit")
            right[i] += float(metrics["accuracy"]) * count
            chance[i] += float(metrics["chance"]) * count
    if not clips_seen:
        raise ValueError("there are no held-out videos to audit on; set videos= higher")
    shares = [(r / clips_seen, c / clips_seen) for r, c in zip(right, chance, strict=True)]
    return [Grade(share, level, *wilson(share, len(videos)), len(videos)) for share, level in shares]


def wilson(share: float, count: int, z: float = Z99) -> tuple[float, float]:
    """Score interval of a share of ``count`` questions (E. B. Wilson, JASA 22, 1927)."""
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * (share * (1 - share) / count + z * z / (4 * count * count)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def read(audit: Audit, *, is_temporal: bool, row: Grade, whole: Grade, who: str) -> Reading:
    """What a row says, ``whole`` being the same network's (or its twin's) grade on whole clips.

    A temporal task must not be answered without motion, any other not without appearance. Where part of what the task
    asks for is left, an answer as good as from whole clips says that the rest was not needed.
    """
    if not row.is_above_chance:
        if not whole.is_above_chance:
            return Reading("nothing shown: at chance with whole clips too", False)
        return Reading(f"{who}: at chance, what is left does not answer it", False)
    kind, left = ("motion", audit.motion) if is_temporal else ("appearance", audit.appearance)
    if left == "none":
        return Reading(f"{who}: above chance, what is left in these clips answers the question", True)
    if left == "all":
        return Reading(f"{who}: above chance, expected: this task asks for {kind}", False)
    if whole.is_above_chance and row.high >= whole.accuracy:
        return Reading(f"{who}: as good as with whole clips, the question needs no more than this", True)
    return Reading(f"{who}: above chance, part of the {kind} is left; less than with whole clips", False)


class Looks:
    """Iterates the clips of some videos several times over, with other draws each time."""

    def __init__(self, data: VideoDataModule, videos: Sequence[Video], looks: int, seed: int) -> None:
        self.loaders = [
            data.loader(videos, data.sampler, data.crop, batch_size=data.batch_size, pairs=data.pairs, seed=seed + look)
            for look in range(looks)
        ]

    def __iter__(self) -> Iterator[Clips]:
        for loader in self.loaders:
            yield from loader

    def __len__(self) -> int:
        return sum(map(len, self.loaders))


def _endless(batches: Iterable[Clips]) -> Iterator[Clips]:
    while True:
        is_empty = True
        for batch in batches:
            is_empty = False
            yield batch
        if is_empty:
            raise ValueError("fewer training videos than a batch; set batch_size= lower")


def _to(clips: Clips, device: torch.device) -> Clips:
    return Clips(*(field.to(device, non_blocking=True) for field in clips))
