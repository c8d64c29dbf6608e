"""Scores of a classification, from one row of class scores per video."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ssv.types import Scores, Video


def classification_scores(class_scores: np.ndarray, labels: np.ndarray) -> Scores:
    """``top1``, ``mean_class_accuracy``, ``chance``, and ``top5`` where there are more than five classes.

    Args:
        class_scores: float (M,K), larger is likelier.
        labels: int (M,), 0..K-1.

    Returns:
        ``top1``: share of videos whose likeliest class is theirs. ``top5``: whose class is among the five likeliest.
        ``mean_class_accuracy``: top-1 per class, then the mean over the classes that occur, so that frequent classes
        weigh no more. ``chance``: 1/K.
    """
    count = class_scores.shape[1]
    # A stable sort: equal scores (constant features) are ranked alike on every machine.
    ranked = np.argsort(-class_scores, axis=1, kind="stable")
    hit = ranked == labels[:, None]
    scores = {"top1": float(hit[:, 0].mean())}
    if count > 5:
        scores["top5"] = float(hit[:, :5].any(1).mean())
    scores["mean_class_accuracy"] = float(np.mean([hit[labels == k, 0].mean() for k in np.unique(labels)]))
    return {**scores, "chance": 1 / count}


def per_video(videos: Sequence[Video], prediction: np.ndarray) -> dict[str, np.ndarray]:
    """Columns that say which video was taken for what: path, label, prediction, group, all (M,)."""
    return {
        "path": np.array([video.path for video in videos], dtype=str),
        "label": np.array([video.label for video in videos], dtype=np.int64),
        "prediction": prediction.astype(np.int64),
        "group": np.array([video.group for video in videos], dtype=str),
    }
