"""Nearest neighbours as a classifier: what the nearest training videos say a test video is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytorch_lightning as pl

from ssv.backbones.base import Backbone
from ssv.data.crops import Crop
from ssv.data.sampling import Sampler
from ssv.evaluations.base import Evaluation
from ssv.evaluations.feature_cache import DEFAULT_GB, FeatureCache
from ssv.evaluations.features import describe, extract, over_views
from ssv.evaluations.labelled import labelled_splits
from ssv.evaluations.metrics.classification import classification_scores, per_video
from ssv.evaluations.metrics.ranking import nearest, weighted_vote
from ssv.types import Scores

if TYPE_CHECKING:
    from ssv.data.datamodule import VideoDataModule


class KNN(Evaluation):
    """The k nearest training videos by cosine vote, each with the weight ``exp(similarity / temperature)``.

    Wu, Xiong, Yu, Lin, Unsupervised Feature Learning via Non-Parametric Instance Discrimination, CVPR 2018, section
    3.4 (there with k = 200 on ImageNet). Nothing is trained and nothing chosen. A video's vector is the mean of its
    map over space, time and views.

    Args:
        sampler: the views of a video; every video must give some, so ``short`` is ``loop`` or ``hold``.
        crop: the views' pixels.
        batch_size: videos read at a time; times the views that is the clips.
        k: neighbours that vote.
        temperature: of the weights.
        cache: a folder where features are kept for other evaluations of the same clips; None keeps none.
        cache_gb: what that folder may hold, in 1e9 bytes; beyond it the least recently used is removed.

    Artifacts of a run:
        per_video: path, label, prediction, group of each test video.
    """

    def __init__(
        self,
        *,
        sampler: Sampler,
        crop: Crop,
        batch_size: int = 8,
        k: int = 20,
        temperature: float = 0.07,
        cache: str | None = None,
        cache_gb: float = DEFAULT_GB,
    ) -> None:
        if k < 1:
            raise ValueError(f"evaluation.k must be 1 or more, got {k}")
        if not temperature > 0:
            raise ValueError(f"evaluation.temperature must be above 0, got {temperature}")
        self.sampler, self.crop, self.batch_size = sampler, crop, batch_size
        self.k, self.temperature, self.cache = k, temperature, FeatureCache(cache, cache_gb)

    @property
    def protocol(self) -> str:
        """The protocol as one line."""
        return (
            f"frozen backbone in eval mode; {describe(self.sampler)}; {describe(self.crop)}; mean over space, time and "
            f"views; the {self.k} nearest training videos by cosine vote with weight exp(similarity / "
            f"{self.temperature:g})"
        )

    def run(self, backbone: Backbone, data: VideoDataModule, trainer: pl.Trainer) -> Scores:
        """Measure: ``top1``, ``top5`` (more than five classes), ``mean_class_accuracy``, ``chance``.

        Raises:
            ValueError: if the data set has no labels, no test split, one class or fewer than k training videos, or
                features are not finite.
        """
        splits = labelled_splits(data)
        if self.k > len(splits.train):
            raise ValueError(
                f"evaluation.k={self.k} needs as many training videos, there are {len(splits.train)}; set a smaller one"
            )
        train, test = extract(
            backbone,
            data,
            splits,
            self.sampler,
            self.crop,
            batch_size=self.batch_size,
            trainer=trainer,
            cache=self.cache,
        )
        found = nearest(over_views(test), over_views(train), self.k)
        label = splits.class_of(splits.train)[found.row]
        class_scores = weighted_vote(label, found.similarity, len(splits.classes), self.temperature)
        self.artifacts = {"per_video": per_video(splits.test, splits.classes[class_scores.argmax(1)])}
        return classification_scores(class_scores, splits.class_of(splits.test))
