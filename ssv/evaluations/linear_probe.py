"""Linear probe: what a linear classifier reads from frozen features."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytorch_lightning as pl
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from ssv.backbones.base import Backbone
from ssv.data.crops import Crop
from ssv.data.sampling import Sampler
from ssv.evaluations.base import Evaluation
from ssv.evaluations.feature_cache import DEFAULT_GB, FeatureCache
from ssv.evaluations.features import describe, extract, over_views, progress
from ssv.evaluations.labelled import LabelledSplits, group_folds, labelled_splits
from ssv.evaluations.metrics.classification import classification_scores, per_video
from ssv.types import Scores

if TYPE_CHECKING:
    from ssv.data.datamodule import VideoDataModule


class LinearProbe(Evaluation):
    """Multinomial logistic regression on cached features of the frozen backbone.

    The backbone stays in eval mode, a video's vector is the mean of its map over space, time and views. Reads a point
    or two away from a probe trained by SGD with augmentation, and has no schedule to tune.

    Args:
        sampler: the views of a video; every video must give some, so ``short`` is ``loop`` or ``hold``.
        crop: the views' pixels.
        batch_size: videos read at a time; times the views that is the clips.
        strengths: L2 penalties to choose from; strength / 2 times the squared weights is added to the mean
            cross-entropy, whose scale does not depend on the number of videos.
        folds: training groups are dealt into so many folds (fewer where a class has fewer groups); the strength
            with the most right answers on the folds left out is taken, the larger of two equals, and the classifier
            fitted again to all training videos. One strength needs no choice.
        cache: a folder where features are kept for other evaluations of the same clips; None keeps none.
        cache_gb: what that folder may hold, in 1e9 bytes; beyond it the least recently used is removed.

    Artifacts of a run:
        per_video: path, label, prediction, group of each test video.
        features: training and test videos together, ``features`` float32 (M,D), ``label`` int64, ``path``, ``group``,
            ``split`` ("train" or "test").
        selection: ``strength`` of the candidates, ``accuracy`` of each on the folds left out (NaN: not asked),
            ``chosen`` (), ``folds`` () used, ``converged`` () of the last fit.
    """

    def __init__(
        self,
        *,
        sampler: Sampler,
        crop: Crop,
        batch_size: int = 8,
        strengths: Sequence[float] = (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0),
        folds: int = 5,
        cache: str | None = None,
        cache_gb: float = DEFAULT_GB,
    ) -> None:
        if not strengths or min(strengths) <= 0:
            raise ValueError(f"evaluation.strengths must be positive numbers, got {list(strengths)}")
        if folds < 2:
            raise ValueError(f"evaluation.folds must be 2 or more, got {folds}")
        self.sampler, self.crop, self.batch_size = sampler, crop, batch_size
        self.strengths, self.folds, self.cache = sorted(strengths), folds, FeatureCache(cache, cache_gb)

    @property
    def protocol(self) -> str:
        """The protocol as one line."""
        candidates = ", ".join(f"{strength:g}" for strength in self.strengths)
        return (
            f"frozen backbone in eval mode; {describe(self.sampler)}; {describe(self.crop)}; mean over space, time and "
            "views; standardised on train; multinomial logistic regression (L-BFGS); L2 of the mean loss from "
            f"{{{candidates}}} by top-1 on {self.folds} folds of training groups; refit on all training videos"
        )

    def run(self, backbone: Backbone, data: VideoDataModule, trainer: pl.Trainer) -> Scores:
        """Measure: ``top1``, ``top5`` (more than five classes), ``mean_class_accuracy``, ``chance``.

        Raises:
            ValueError: if the data set has no labels, no test split or one class, or features are not finite.
        """
        splits = labelled_splits(data)
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
        features = over_views(train), over_views(test)
        label = splits.class_of(splits.train)
        groups = [video.group or video.path for video in splits.train]
        choice = choose_strength(
            features[0],
            label,
            groups,
            self.strengths,
            self.folds,
            watch=lambda jobs: progress(jobs, "choosing the strength", trainer),
        )
        probe = Probe.fit(features[0], label, choice.strength)
        class_scores = probe.scores(features[1], len(splits.classes))
        self.artifacts = {
            "per_video": per_video(splits.test, splits.classes[class_scores.argmax(1)]),
            "features": _feature_table(features, splits),
            "selection": {
                "strength": np.array(self.strengths),
                "accuracy": choice.accuracy,
                "chosen": np.array(choice.strength),
                "folds": np.array(choice.folds),
                "converged": np.array(probe.converged),
            },
        }
        return classification_scores(class_scores, splits.class_of(splits.test))


def _feature_table(features: tuple[np.ndarray, np.ndarray], splits: LabelledSplits) -> dict[str, np.ndarray]:
    rows = splits.train + splits.test
    return {
        "features": np.concatenate(features),
        "label": np.array([video.label for video in rows], dtype=np.int64),
        "path": np.array([video.path for video in rows], dtype=str),
        "group": np.array([video.group for video in rows], dtype=str),
        "split": np.repeat(["train", "test"], [len(splits.train), len(splits.test)]),
    }


class Probe(NamedTuple):
    """A fitted classifier: standardisation (D,), logistic regression, and whether L-BFGS came to rest."""

    mean: np.ndarray
    scale: np.ndarray
    regression: LogisticRegression
    converged: bool

    @classmethod
    def fit(cls, features: np.ndarray, label: np.ndarray, strength: float, iterations: int = 1000) -> Probe:
        """Fit float32 (M,D) features to classes (M,); standardised by their own mean and deviation."""
        mean, deviation = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64)
        # A constant dimension differs by float32 rounding alone; divided by that, rounding would become a feature.
        dead = deviation <= 1e-6 * np.abs(mean)
        scale = np.where(dead, 1.0, deviation)
        # scikit-learn weighs the sum over videos by C; the penalty here stands beside their mean.
        regression = LogisticRegression(C=1 / (strength * len(label)), max_iter=iterations, tol=1e-6)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            regression.fit((features - mean) / scale, label)
        converged = not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
        return cls(mean, scale, regression, converged)

    def scores(self, features: np.ndarray, classes: int) -> np.ndarray:
        """Probability of each class 0..classes-1, float64 (M,classes); 0 for a class that was not fitted."""
        scores = np.zeros((len(features), classes))
        scores[:, self.regression.classes_] = self.regression.predict_proba((features - self.mean) / self.scale)
        return scores


Job = tuple[np.ndarray, np.ndarray, int]
"""Rows to fit, rows to grade, number of the candidate."""


class Choice(NamedTuple):
    """The chosen strength, the accuracy of every candidate on left-out groups, and the folds used."""

    strength: float
    accuracy: np.ndarray
    folds: int


def choose_strength(
    features: np.ndarray,
    label: np.ndarray,
    groups: Sequence[str],
    strengths: Sequence[float],
    folds: int,
    watch: Callable[[Sequence[Job]], Iterable[Job]] = iter,
) -> Choice:
    """The strength with the most right answers on left-out training groups; the largest of equals.

    Args:
        features: float32 (M,D).
        label: classes 0..K-1 (M,).
        groups: M names; videos of one name are never torn apart.
        strengths: candidates, ascending.
        folds: at most so many.
        watch: goes around the fits, for a progress bar.

    Raises:
        ValueError: if there is a choice and groups are too few to make it.
    """
    if len(strengths) == 1:
        return Choice(strengths[0], np.array([np.nan]), 0)
    parts = group_folds(label, groups, folds)
    # A class whose only group is left out cannot be learned, and says nothing about the strength.
    asked = [(fit, left_out[np.isin(label[left_out], label[fit])]) for fit, left_out in parts]
    graded = sum(len(rows) for _, rows in asked)
    if not graded:
        raise ValueError(
            "the strength is chosen on held-out training groups, and no class has two "
            f"(there are {len(set(groups))} groups); give one strength, such as evaluation.strengths=[0.1]"
        )
    right = np.zeros(len(strengths))
    for fit, rows, i in watch([(fit, rows, i) for fit, rows in asked if len(rows) for i in range(len(strengths))]):
        scores = Probe.fit(features[fit], label[fit], strengths[i]).scores(features[rows], int(label.max()) + 1)
        right[i] += (scores.argmax(1) == label[rows]).sum()
    best = int(np.flatnonzero(right == right.max())[-1])
    return Choice(strengths[best], right / graded, len(parts))
