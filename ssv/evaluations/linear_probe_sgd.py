"""Linear probe as papers train it: SGD on augmented clips of a frozen backbone, many rates side by side."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD

from ssv.backbones.base import Backbone
from ssv.data.crops import Crop
from ssv.data.sampling import Sampler
from ssv.evaluations.base import Evaluation
from ssv.evaluations.features import describe, mean_over_views, on_device, prepared, progress
from ssv.evaluations.labelled import LabelledSplits, full_batches, group_folds, labelled_splits
from ssv.evaluations.metrics.classification import classification_scores, per_video
from ssv.training.schedules import warmup_cosine
from ssv.training.seeding import isolated_random
from ssv.types import Scores, Video

if TYPE_CHECKING:
    from ssv.data.datamodule import VideoDataModule


class LinearProbeSGD(Evaluation):
    """Linear classifiers on the frozen backbone, one for each learning rate, trained on one forward pass of random clips.

    Features are the mean of the map over space and time, normalised by a BatchNorm without weights. Each rate has two
    classifiers: one never sees the labels of the held-out training groups and is graded on them, the other is trained
    on all training videos and measured on the test videos. So the rate is chosen without test data, and no second
    training is needed; only the statistics of the BatchNorm, which know no labels, are of all training clips. SGD with
    momentum 0.9, no weight decay, a rate that falls to 0 as a cosine; the weights after the last step are measured.

    Args:
        train_sampler: the clips trained on.
        train_crop: their pixels.
        sampler: the views a held-out or test video is scored by; every video must give some.
        crop: their pixels.
        rates: learning rates; the smaller of two equally good ones is taken, and one needs no choice.
        steps: optimizer steps.
        batch_size: videos per step; batches are full unless there are fewer training videos.
        test_batch_size: test videos at a time; times the views that is the clips.
        folds: one in so many of the training groups is held out.
        seed: of the order and the draws.

    Artifacts of a run:
        per_video: path, label, prediction, group of each test video.
        selection: ``rate`` (R,), ``held_out`` accuracy of each (NaN: not asked), ``test`` accuracy of each (which
            chooses nothing), ``chosen`` ().
        training: ``loss`` float32 (steps,R), on all training videos.
    """

    def __init__(
        self,
        *,
        train_sampler: Sampler,
        train_crop: Crop,
        sampler: Sampler,
        crop: Crop,
        rates: Sequence[float] = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
        steps: int = 6000,
        batch_size: int = 32,
        test_batch_size: int = 4,
        folds: int = 5,
        seed: int = 0,
    ) -> None:
        if not rates or min(rates) <= 0:
            raise ValueError(f"evaluation.rates must be positive numbers, got {list(rates)}")
        if steps < 1:
            raise ValueError(f"evaluation.steps must be 1 or more, got {steps}")
        if folds < 2:
            raise ValueError(f"evaluation.folds must be 2 or more, got {folds}")
        self.train_sampler, self.train_crop, self.sampler, self.crop = train_sampler, train_crop, sampler, crop
        self.rates, self.steps, self.folds = sorted(rates), steps, folds
        self.batch_size, self.test_batch_size = batch_size, test_batch_size
        self.seed = int(seed)  # a missing one (null) stops here, instead of making all seeds the same

    @property
    def protocol(self) -> str:
        """The protocol as one line; the seed stands beside every score and is not part of it."""
        rates = ", ".join(f"{rate:g}" for rate in self.rates)
        return (
            f"frozen backbone in eval mode; mean over space and time, BatchNorm without weights, linear; {self.steps} "
            f"steps of {self.batch_size} videos, SGD momentum 0.9, cosine, {describe(self.train_sampler)}, "
            f"{describe(self.train_crop)}; rate from {{{rates}}} by top-1 on 1 in {self.folds} of the training groups; "
            f"trained on all training videos, last weights; test {describe(self.sampler)}, {describe(self.crop)}; mean "
            "softmax over views"
        )

    def run(self, backbone: Backbone, data: VideoDataModule, trainer: pl.Trainer) -> Scores:
        """Measure: ``top1``, ``top5`` (more than five classes), ``mean_class_accuracy``, ``chance``.

        Raises:
            ValueError: if the data set has no labels, no test split, one class or too few groups to choose a rate, or
                features are not finite.
        """
        splits = labelled_splits(data)
        parts = self._parts(splits)
        probe = _Probe(
            backbone=backbone,
            frozen=on_device(copy.deepcopy(backbone), trainer).eval(),
            heads=Heads(2 * len(self.rates), backbone.out_channels, len(splits.classes)).to(
                trainer.strategy.root_device
            ),
            data=data,
            trainer=trainer,
        )
        with isolated_random("linear_probe_sgd", self.seed):
            loss = self._train(probe, splits, parts.fit)
        held_out = np.full(len(self.rates), np.nan)
        if parts.graded:
            right = splits.class_of(parts.graded)
            scores = self._class_scores(probe, parts.graded, "scores of held-out videos")[: len(self.rates)]
            held_out = np.array([(each.argmax(1) == right).mean() for each in scores])
        chosen = 0 if len(self.rates) == 1 else int(held_out.argmax())
        label = splits.class_of(splits.test)
        scores = self._class_scores(probe, splits.test, "scores of test videos")[len(self.rates) :]
        results = [classification_scores(each, label) for each in scores]
        self.artifacts = {
            "per_video": per_video(splits.test, splits.classes[scores[chosen].argmax(1)]),
            "selection": {
                "rate": np.array(self.rates),
                "held_out": held_out,
                "test": np.array([result["top1"] for result in results]),
                "chosen": np.array(self.rates[chosen]),
            },
            "training": {"loss": loss},
        }
        return results[chosen]

    def _parts(self, splits: LabelledSplits) -> _Parts:
        """What the first classifier of each rate is trained on, and graded on."""
        if len(self.rates) == 1:
            return _Parts(np.ones(len(splits.train), dtype=bool), [])
        label = splits.class_of(splits.train)
        parts = group_folds(label, [video.group or video.path for video in splits.train], self.folds)
        for fit, left_out in parts:
            # A class whose only group is held out cannot be learned, and says nothing about the rate.
            graded = left_out[np.isin(label[left_out], label[fit])]
            if len(graded):
                return _Parts(np.isin(np.arange(len(label)), fit), [splits.train[i] for i in graded])
        raise ValueError(
            "the rate is chosen on held-out training groups, and no class has two; give one rate, such as "
            "evaluation.rates=[0.1]"
        )

    def _train(self, probe: _Probe, splits: LabelledSplits, fit: np.ndarray) -> np.ndarray:
        """All steps; the loss of the classifiers of all training videos, float32 (steps,R)."""
        heads, device = probe.heads.train(), probe.trainer.strategy.root_device
        batches = full_batches(
            probe.data, splits.train, self.train_sampler, self.train_crop, batch_size=self.batch_size, seed=self.seed
        )
        # A gradient times a rate is a step of that rate: one optimizer and one weight serve all of them.
        rates = torch.tensor([*self.rates, *self.rates], device=device)
        optimizer = SGD(heads.parameters(), lr=1.0, momentum=0.9)
        schedule = warmup_cosine(optimizer, self.steps, warmup=0.0)
        classes, may_see = torch.from_numpy(splits.classes), torch.from_numpy(fit)
        losses: list[Tensor] = []
        for _ in progress(range(self.steps), "training linear probes", probe.trainer):
            clips = next(batches)
            features = probe.features(prepared(clips, probe.backbone, probe.trainer))
            label = torch.searchsorted(classes, clips.label.cpu()).repeat_interleave(clips.pixels.shape[1])
            seen = may_see[clips.video.cpu()].repeat_interleave(clips.pixels.shape[1])
            loss = head_losses(heads(features), label.to(device), seen.to(device))
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward((rates * loss).sum())
            optimizer.step()
            schedule.step()
            losses.append(loss.detach()[len(self.rates) :])
        loss = torch.stack(losses).float().cpu()
        if not bool(loss.isfinite().all()):
            raise ValueError(
                "the linear probe's loss is not finite: the weights are broken, or evaluation.rates has too large ones"
            )
        return loss.numpy()

    def _class_scores(self, probe: _Probe, videos: Sequence[Video], title: str) -> np.ndarray:
        """Mean softmax over views by every classifier, float32 (2R,M,K)."""
        heads = probe.heads.eval()
        loader = probe.data.loader(videos, self.sampler, self.crop, batch_size=self.test_batch_size)

        def measure(pixels: Tensor) -> Tensor:
            logits: Tensor = heads(probe.features(pixels))
            return logits.softmax(2).transpose(0, 1).flatten(1)

        scores = mean_over_views(measure, probe.backbone, loader, videos, trainer=probe.trainer, title=title)
        return scores.reshape(len(videos), len(heads.weight), -1).transpose(1, 0, 2)


class _Parts(NamedTuple):
    """Which training videos the choosing classifiers may see, bool (M,), and the ones they are graded on."""

    fit: np.ndarray
    graded: list[Video]


class _Probe(NamedTuple):
    """What one run works with; ``frozen`` is a copy of ``backbone`` in eval mode."""

    backbone: Backbone
    frozen: Backbone
    heads: Heads
    data: VideoDataModule
    trainer: pl.Trainer

    @torch.no_grad()
    def features(self, pixels: Tensor) -> Tensor:
        """Normalised pixels float (N,C,T,H,W) to float32 (N,D)."""
        with self.trainer.precision_plugin.forward_context():
            features: Tensor = self.frozen(pixels).mean((2, 3, 4)).float()
        return features


class Heads(nn.Module):
    """Linear classifiers side by side on features normalised for all of them: float (N,D) -> logits (H,N,K).

    They start from zero: the problem is convex, and no draw is needed.
    """

    def __init__(self, heads: int, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels, affine=False)
        self.weight = nn.Parameter(torch.zeros(heads, channels, classes))
        self.bias = nn.Parameter(torch.zeros(heads, 1, classes))

    def forward(self, features: Tensor) -> Tensor:
        """Logits."""
        return torch.baddbmm(self.bias, self.norm(features).expand(len(self.weight), -1, -1), self.weight)


def head_losses(logits: Tensor, label: Tensor, seen: Tensor) -> Tensor:
    """Mean cross-entropy of each head, (H,): the first half of the heads looks at the clips that are ``seen`` only.

    Args:
        logits: (H,N,K), H even.
        label: int64 (N,).
        seen: bool (N,); where none is, the loss of the first half is 0.
    """
    heads, clips, _ = logits.shape
    each = F.cross_entropy(logits.flatten(0, 1), label.repeat(heads), reduction="none").view(heads, clips)
    weight = torch.stack([seen.to(each), torch.ones_like(each[0])]).repeat_interleave(heads // 2, dim=0)
    return (each * weight).sum(1) / weight.sum(1).clamp(min=1)
