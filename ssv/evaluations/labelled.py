"""Labelled videos: the official splits, parts of them, and batches to train on."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from sklearn.model_selection import StratifiedGroupKFold

from ssv.data.crops import Crop
from ssv.data.sampling import Sampler
from ssv.data.sets.lookup import named
from ssv.training.seeding import derive_seed
from ssv.types import Clips, Video

if TYPE_CHECKING:
    from ssv.data.datamodule import VideoDataModule

log = logging.getLogger(__name__)


class LabelledSplits(NamedTuple):
    """Training and test videos, and the labels (K,) that occur, ascending; a class is a position in ``classes``."""

    train: list[Video]
    test: list[Video]
    classes: np.ndarray

    def class_of(self, videos: Sequence[Video]) -> np.ndarray:
        """Position of each video's label in ``classes``, int64 (M,)."""
        return np.searchsorted(self.classes, [video.label for video in videos])


def labelled_splits(data: VideoDataModule) -> LabelledSplits:
    """The official splits, checked; a class without a test video is no error, and one line says so.

    Raises:
        ValueError: if a split is empty or unlabelled, a video is on both sides, or there is but one class.
    """
    splits = {name: list(data.split(name)) for name in ("train", "test")}
    for name, videos in splits.items():
        if not videos:
            raise ValueError(
                f"this data set has no split '{name}', which the evaluation needs; choose another with data="
            )
        unlabelled = sum(video.label < 0 for video in videos)
        if unlabelled:
            raise ValueError(
                f"the evaluation needs labels, and {unlabelled} of {len(videos)} videos of split '{name}' have none; "
                "take a data set with labels (data=ucf101, data=class_folders for one folder a class, data=csv for a list)"
            )
    both = {video.path for video in splits["train"]} & {video.path for video in splits["test"]}
    if both:
        raise ValueError(f"{len(both)} videos are in split 'train' and in split 'test', for example {min(both)}")
    classes = np.unique([video.label for video in splits["train"]])
    if len(classes) < 2:
        raise ValueError(f"the evaluation needs two classes at least, split 'train' has only label {classes[0]}")
    untrained = sorted({video.label for video in splits["test"]} - set(classes.tolist()))
    if untrained:
        raise ValueError(f"split 'test' has labels without a training video: {untrained}")
    untested = sorted(set(classes.tolist()) - {video.label for video in splits["test"]})
    if untested:
        log.warning(
            "split 'test' has no video of %d of %d classes, scores are over the others (labels %s)",
            len(untested),
            len(classes),
            named([str(label) for label in untested]),
        )
    return LabelledSplits(splits["train"], splits["test"], classes)


def choose_labels(
    videos: Sequence[Video], seed: int, *, per_class: int | None = None, fraction: float | None = None
) -> list[Video]:
    """Some videos of each label in the order of ``videos``: a function of the list and the seed alone.

    Less of one label chooses a part of what more does.

    Args:
        videos: all of them.
        seed: of the draw.
        per_class: so many of each label; or
        fraction: such a share of each label, rounded, one at least. With neither all are taken.

    Raises:
        ValueError: if a label has fewer videos than ``per_class``.
    """
    if per_class is None and fraction is None:
        return list(videos)
    generator = torch.Generator().manual_seed(derive_seed("labels", seed))
    chosen: list[int] = []
    for label in sorted({video.label for video in videos}):
        rows = [i for i, video in enumerate(videos) if video.label == label]
        count = max(1, round((fraction or 0.0) * len(rows))) if per_class is None else per_class
        if len(rows) < count:
            raise ValueError(
                f"evaluation.labels_per_class={count} needs as many videos of each class, label {label} has {len(rows)}"
            )
        chosen += [rows[i] for i in torch.randperm(len(rows), generator=generator)[:count].tolist()]
    return [videos[i] for i in sorted(chosen)]


def group_folds(label: np.ndarray, groups: Sequence[str], folds: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows (to fit, left out) of each fold: no group on both sides, classes as even as groups allow, no randomness.

    Fewer than ``folds`` where there are fewer groups; none where a fold would leave one class to fit.
    """
    most = min(folds, len(set(groups)), int(np.bincount(label).max()))
    if most < 2:
        return []
    splitter = StratifiedGroupKFold(n_splits=most, shuffle=False)
    with warnings.catch_warnings():
        # A class with fewer videos than folds is missing from some of them, as it has to be.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        parts = list(splitter.split(np.zeros(len(label)), label, np.asarray(groups)))
    return [(fit, left_out) for fit, left_out in parts if len(left_out) and len(np.unique(label[fit])) > 1]


def full_batches(
    data: VideoDataModule, videos: Sequence[Video], sampler: Sampler, crop: Crop, *, batch_size: int, seed: int
) -> Iterator[Clips]:
    """Shuffled full batches, epoch after epoch, for ever: a last batch of one clip would have no BatchNorm statistics.

    Raises:
        ValueError: if there is none.
    """
    size = min(batch_size, len(videos))
    loader = data.loader(videos, sampler, crop, batch_size=batch_size, shuffle=True, seed=seed)
    while True:
        found = False
        for clips in loader:
            if len(clips.label) == size:
                found = True
                yield clips
        if not found:
            raise ValueError(
                f"no full batch of {size} clips from {len(videos)} training videos; some were left out, set "
                "data.sampler.short=loop or a smaller evaluation.batch_size"
            )
