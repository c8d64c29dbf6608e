"""Fine-tuning: what a backbone is worth as the start of supervised training."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import SGD, AdamW, Optimizer

from ssv.backbones.base import Backbone
from ssv.data.crops import Crop
from ssv.data.sampling import Sampler
from ssv.evaluations.base import Evaluation
from ssv.evaluations.classifier import Classifier
from ssv.evaluations.features import describe, mean_over_views, on_device, prepared, progress
from ssv.evaluations.labelled import choose_labels, full_batches, labelled_splits
from ssv.evaluations.metrics.classification import classification_scores, per_video
from ssv.training.schedules import warmup_cosine
from ssv.training.seeding import derive_seed, isolated_random
from ssv.types import Clips, Scores

if TYPE_CHECKING:
    from ssv.data.datamodule import VideoDataModule


class FineTune(Evaluation):
    """Trains a copy of the backbone and a linear classifier with labels, then scores videos by the mean over views.

    The class scores of a video are the mean of the softmax over its views; the weights after the last step are
    measured, never the best on test data. Steps follow ``warmup_cosine``; biases and norms do not decay.

    Not a ``trainer.fit``: the loop is twenty lines, takes device and precision from the trainer (nothing else, no
    gradient clipping), and draws what it needs from (seed, step): a seed gives the same digits on a CPU whatever ran
    before.

    Args:
        train_sampler: the clips trained on; a video that does not fit is an error, unless ``short`` says otherwise.
        train_crop: their pixels.
        sampler: the views a test video is scored by; ``short`` is ``loop`` or ``hold``, every video must give some.
        crop: their pixels.
        optimizer: ``adamw``, or ``sgd`` with momentum 0.9.
        lr: peak learning rate of the classifier.
        backbone_lr_scale: the backbone's is so many times that; 0 leaves its weights (not its BatchNorm) alone.
        weight_decay: of kernels and matrices.
        warmup: share of the steps in which the rate rises linearly.
        steps: optimizer steps.
        batch_size: videos per step; batches are full unless there are fewer training videos.
        test_batch_size: test videos at a time; times the views that is the clips.
        dropout: probability, between the pooled map and the classifier.
        train_from: stages before this one are frozen, their BatchNorm in eval mode; 1 freezes what comes before the
            first stage, one more than the backbone has trains the classifier alone; None: all layers are trained.
        layer_decay: the rate of the last stage is so many times the backbone's, that of the one before so many times
            that, and so on; 1: the same for all.
        labels_per_class: train on so many videos of each class, drawn from ``seed``; None: all.
        labels_fraction: train on such a share of each class, one video at least, drawn likewise; None: all.
        seed: of the classifier's start, the order, the draws and the chosen labels.

    Artifacts of a run:
        per_video: path, label, prediction, group of each test video.
        training: ``loss`` float32 (steps,), ``path`` of the training videos.
        classes: ``label`` (K,), and how many videos of each were trained on (``train``) and scored (``test``); one
            without a test video does not count in the mean class accuracy.
    """

    def __init__(
        self,
        *,
        train_sampler: Sampler,
        train_crop: Crop,
        sampler: Sampler,
        crop: Crop,
        optimizer: Literal["adamw", "sgd"] = "adamw",
        lr: float = 5e-4,
        backbone_lr_scale: float = 1.0,
        weight_decay: float = 0.05,
        warmup: float = 0.05,
        steps: int = 9000,
        batch_size: int = 32,
        test_batch_size: int = 4,
        dropout: float = 0.5,
        train_from: int | None = None,
        layer_decay: float = 1.0,
        labels_per_class: int | None = None,
        labels_fraction: float | None = None,
        seed: int = 0,
    ) -> None:
        if optimizer not in ("adamw", "sgd"):
            raise ValueError(f"evaluation.optimizer must be adamw or sgd, got {optimizer!r}")
        if steps < 1:
            raise ValueError(f"evaluation.steps must be 1 or more, got {steps}")
        if labels_per_class is not None and labels_per_class < 1:
            raise ValueError(f"evaluation.labels_per_class must be 1 or more, or null for all, got {labels_per_class}")
        if labels_fraction is not None and not 0 < labels_fraction <= 1:
            raise ValueError(f"evaluation.labels_fraction must be above 0 and at most 1, got {labels_fraction}")
        if labels_per_class is not None and labels_fraction is not None:
            raise ValueError("set only one of evaluation.labels_per_class and evaluation.labels_fraction")
        if not 0 < layer_decay <= 1:
            raise ValueError(f"evaluation.layer_decay must be above 0 and at most 1, got {layer_decay}")
        self.train_sampler, self.train_crop, self.sampler, self.crop = train_sampler, train_crop, sampler, crop
        self.optimizer, self.lr, self.backbone_lr_scale = optimizer, lr, backbone_lr_scale
        self.weight_decay, self.warmup, self.steps = weight_decay, warmup, steps
        self.batch_size, self.test_batch_size = batch_size, test_batch_size
        self.dropout, self.train_from, self.layer_decay = dropout, train_from, layer_decay
        self.labels_per_class, self.labels_fraction = labels_per_class, labels_fraction
        self.seed = int(seed)  # a missing one (null) stops here, instead of making all seeds the same

    @property
    def protocol(self) -> str:
        """The protocol as one line; the seed stands beside every score and is not part of it."""
        labels = "all labels"
        if self.labels_per_class is not None:
            labels = f"{self.labels_per_class} labels per class"
        elif self.labels_fraction is not None:
            labels = f"{self.labels_fraction:g} of the labels of each class"
        layers = "all layers" if self.train_from is None else f"stages from {self.train_from} on, others frozen"
        decay = "" if self.layer_decay == 1 else f", times {self.layer_decay:g} a stage from the top"
        return (
            f"fine-tuned with {labels}: {layers}, {self.steps} steps of {self.batch_size} videos, {self.optimizer} lr "
            f"{self.lr:g} (backbone x{self.backbone_lr_scale:g}{decay}), weight decay {self.weight_decay:g}, cosine with "
            f"warm-up {self.warmup:g}, dropout {self.dropout:g}, {describe(self.train_sampler)}, "
            f"{describe(self.train_crop)}; last weights; test {describe(self.sampler)}, {describe(self.crop)}; mean "
            "softmax over views"
        )

    def run(self, backbone: Backbone, data: VideoDataModule, trainer: pl.Trainer) -> Scores:
        """Measure: ``top1``, ``top5`` (more than five classes), ``mean_class_accuracy``, ``chance``.

        Raises:
            ValueError: if the data set has no labels, no test split, one class or too few labels of a class, or the
                loss is not finite.
        """
        splits = labelled_splits(data)
        train = choose_labels(splits.train, self.seed, per_class=self.labels_per_class, fraction=self.labels_fraction)
        batches = full_batches(
            data, train, self.train_sampler, self.train_crop, batch_size=self.batch_size, seed=self.seed
        )
        with isolated_random("fine_tune", self.seed):
            start = Classifier(copy.deepcopy(backbone), len(splits.classes), self.dropout, self.train_from)
            classifier = on_device(start, trainer)
            loss = self._train(classifier, backbone, batches, torch.from_numpy(splits.classes), trainer)
        test = data.loader(splits.test, self.sampler, self.crop, batch_size=self.test_batch_size)
        classifier.eval()
        class_scores = mean_over_views(
            lambda pixels: classifier(pixels).float().softmax(1),
            backbone,
            test,
            splits.test,
            trainer=trainer,
            title="scores of test videos",
        )
        self.artifacts = {
            "per_video": per_video(splits.test, splits.classes[class_scores.argmax(1)]),
            "training": {"loss": loss, "path": np.array([video.path for video in train], dtype=str)},
            "classes": {
                "label": splits.classes,
                "train": np.bincount(splits.class_of(train), minlength=len(splits.classes)),
                "test": np.bincount(splits.class_of(splits.test), minlength=len(splits.classes)),
            },
        }
        return classification_scores(class_scores, splits.class_of(splits.test))

    def _train(
        self, classifier: Classifier, backbone: Backbone, batches: Iterator[Clips], classes: Tensor, trainer: pl.Trainer
    ) -> np.ndarray:
        """All steps; the loss of each, float32 (steps,)."""
        optimizer = self._optimizer(classifier)
        schedule = warmup_cosine(optimizer, self.steps, warmup=self.warmup)
        scaler = torch.amp.GradScaler(trainer.strategy.root_device.type, enabled=trainer.precision == "16-mixed")
        classifier.train()
        losses: list[Tensor] = []
        for step in progress(range(self.steps), "fine-tuning", trainer):
            clips = next(batches)
            torch.manual_seed(derive_seed("fine_tune", self.seed, step))
            pixels = prepared(clips, backbone, trainer)
            label = torch.searchsorted(classes, clips.label.cpu()).repeat_interleave(clips.pixels.shape[1])
            with trainer.precision_plugin.forward_context():
                logits = classifier(pixels).float()
                loss = F.cross_entropy(logits, label.to(logits.device))
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(scaler.scale(loss))
            scaler.step(optimizer)
            scaler.update()
            schedule.step()
            losses.append(loss.detach())
            # Now and then: every look waits for the device.
            looked_at = (step + 1) % 50 == 0 or step + 1 == self.steps
            if looked_at and not bool(torch.stack(losses[-50:]).isfinite().all()):
                raise ValueError(f"fine-tuning diverged before step {step + 1}; set a smaller evaluation.lr")
        return torch.stack(losses).float().cpu().numpy()

    def _optimizer(self, classifier: Classifier) -> Optimizer:
        groups = classifier.groups(self.lr, self.backbone_lr_scale, self.layer_decay, self.weight_decay)
        return AdamW(groups, lr=self.lr) if self.optimizer == "adamw" else SGD(groups, lr=self.lr, momentum=0.9)
