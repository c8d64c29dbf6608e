"""What a linear classifier reads from the backbone while it trains."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
import pytorch_lightning as pl

from ssv.backbones.base import Backbone
from ssv.evaluations.features import mean_over_views
from ssv.evaluations.linear_probe import Probe
from ssv.training.finite import require_finite
from ssv.training.recorder import Recorder
from ssv.training.seeding import isolated_random
from ssv.training.steps import due
from ssv.types import Video

if TYPE_CHECKING:
    from ssv.data.datamodule import VideoDataModule


class OnlineProbe(pl.Callback):
    """Logistic regression from training videos to held-out ones, every ``every`` steps and at the end.

    A quick look, not a result: at most ``videos`` on either side, one fixed strength. It works on a
    copy of the backbone with its own seed, so that training is bit-identical with and without it. Logs
    ``online/top1`` and ``online/chance``. Data without labels are left in peace.
    """

    STRENGTH = 0.01

    def __init__(
        self, backbone: Backbone, data: VideoDataModule, recorder: Recorder, *, every: int, steps: int, videos: int
    ) -> None:
        self.backbone, self.data, self.recorder = backbone, data, recorder
        self.every, self.steps, self.videos = every, steps, videos

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: object) -> None:
        """Probe when due."""
        if not due(trainer, self.every, self.steps):
            return
        require_finite(trainer, module)
        if not trainer.is_global_zero:
            return
        fit, held_out = (thin(self.data.split(name), self.videos) for name in ("fit", "held_out"))
        labels = {video.label for video in fit}
        if not held_out or len(labels) < 2 or min(labels) < 0 or not {v.label for v in held_out} <= labels:
            return
        with isolated_random("online_probe"):
            features = [self.features(self.backbone, videos, trainer) for videos in (fit, held_out)]
        if not all(np.isfinite(rows).all() for rows in features):
            return
        classes = sorted(labels)
        truth = [np.array([classes.index(video.label) for video in videos]) for videos in (fit, held_out)]
        probe = Probe.fit(features[0], truth[0], self.STRENGTH)
        top1 = float((probe.scores(features[1], len(classes)).argmax(1) == truth[1]).mean())
        self.recorder.record(trainer, {"online/top1": top1, "online/chance": 1 / len(classes)})
        self.recorder.latest["online/candidate"] = top1
        self.recorder.pause()

    def features(self, backbone: Backbone, videos: list[Video], trainer: pl.Trainer) -> np.ndarray:
        """One vector a video, float32 (M,D), in the way the data set is evaluated."""
        frozen = copy.deepcopy(backbone).eval()
        loader = self.data.loader(videos, self.data.eval_sampler, self.data.eval_crop, batch_size=16)
        return mean_over_views(
            lambda pixels: frozen(pixels).mean((2, 3, 4)), frozen, loader, videos, trainer=trainer, title="online probe"
        )


def thin(videos: list[Video], most: int) -> list[Video]:
    """At most ``most`` videos, evenly spread over the list."""
    return [videos[i * len(videos) // most] for i in range(most)] if len(videos) > most else videos
