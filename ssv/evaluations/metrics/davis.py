"""DAVIS 2017: region similarity J and boundary accuracy F of segmentations, by the rules of the official scripts.

Pont-Tuset et al., The 2017 DAVIS Challenge on Video Object Segmentation, arXiv:1704.00675; the definitions of J and F
are those of Perazzi et al., CVPR 2016, section 5; the conventions those of davisvideochallenge/davis2017-evaluation.
``O`` objects, ``R`` predicted objects, ``T`` scored frames; label maps are uint8 (H,W), 0 is background, 255 void.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Literal, NamedTuple

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from ssv.types import Scores

VOID = 255
MOST_PROPOSALS = 20
"""Of an unsupervised result, as the challenge has it."""

Task = Literal["semi-supervised", "unsupervised"]


class Statistics(NamedTuple):
    """Of one measure over the frames of one object: its mean, the share of frames above 0.5, the loss over time."""

    mean: float
    recall: float
    decay: float


class ObjectScores(NamedTuple):
    """Of one sequence: J and F of each object in each scored frame, both float64 (O,T)."""

    region: np.ndarray
    boundary: np.ndarray


def region_similarity(prediction: np.ndarray, truth: np.ndarray, void: np.ndarray | None = None) -> float:
    """J, intersection over union of two binary masks (H,W); 1 if both are empty. ``void`` pixels do not count."""
    prediction, truth = _without(prediction, void), _without(truth, void)
    union = np.count_nonzero(prediction | truth)
    return np.count_nonzero(prediction & truth) / union if union else 1.0


def boundary_accuracy(
    prediction: np.ndarray, truth: np.ndarray, void: np.ndarray | None = None, bound: float = 0.008
) -> float:
    """F, the harmonic mean of precision and recall of the boundary pixels of two binary masks (H,W).

    A boundary pixel is right if one of the other mask lies within ``bound``, a share of the image's diagonal rounded
    up to pixels, or pixels where it is 1 or more. If one of the masks has no boundary (it is empty, or fills the
    image) F is 0, if both have none it is 1. ``void`` pixels are taken out of both masks first.
    """
    radius = math.ceil(bound * math.hypot(*truth.shape)) if bound < 1 else math.floor(bound)
    prediction, truth = _without(prediction, void), _without(truth, void)
    left, top, width, height = cv2.boundingRect((prediction | truth).view(np.uint8))
    # One pixel around both masks: boundary pixels lie above and to the left of a mask, too.
    box = np.s_[max(top - 1, 0) : top + height + 1, max(left - 1, 0) : left + width + 1]
    ours, theirs = boundary(prediction[box]), boundary(truth[box])
    found, wanted = np.count_nonzero(ours), np.count_nonzero(theirs)
    if not found or not wanted:
        return float(found == wanted)
    disk = _disk(radius)
    precision = np.count_nonzero(ours & cv2.dilate(theirs, disk)) / found
    recall = np.count_nonzero(theirs & cv2.dilate(ours, disk)) / wanted
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary(mask: np.ndarray) -> np.ndarray:
    """Boundary of a bool mask (H,W): pixels unlike their right, lower or lower-right neighbour, uint8 0 or 1.

    Beyond the image a mask goes on as it is, so that one that fills the image has no boundary.
    """
    edge = np.zeros(mask.shape, dtype=bool)
    edge[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    edge[:-1] |= mask[:-1] != mask[1:]
    edge[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return edge.view(np.uint8)


def statistics(values: np.ndarray, *, uint8_bins: bool = False) -> Statistics:
    """Mean, recall and decay of a measure over the frames (T,) of an object, NaN left out.

    Recall is the share of all frames above 0.5, strictly. Decay is the mean over the first quarter of the frames less
    that over the last; neighbouring quarters share a frame.

    Args:
        values: float (T,), one or more.
        uint8_bins: keep the ends of the quarters in 8 bits, as the official script does: with 256 frames or more they
            wrap around, and the decay is NaN or that of other frames.
    """
    ends = np.round(np.linspace(1, len(values), 5) + 1e-10).astype(np.int64) - 1
    starts, stops = ends[:-1], ends[1:] + 1
    if uint8_bins:
        starts, stops = starts % 256, stops % 256
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Mean of empty slice", category=RuntimeWarning)
        first, last = np.nanmean(values[starts[0] : stops[0]]), np.nanmean(values[starts[3] : stops[3]])
        return Statistics(float(np.nanmean(values)), float((values > 0.5).mean()), float(first - last))


def count_objects(truth: np.ndarray) -> int:
    """Objects of a sequence, the largest id in its first label map; what appears later does not exist for DAVIS."""
    return int(truth[truth != VOID].max(initial=0))


class DavisScores:
    """J and F of one sequence in the semi-supervised task, frame by frame: no masks are kept.

    The first and the last frame given are left out of the result, void is background, an object that is not predicted
    has an empty mask, objects of the truth that its first label map does not show do not exist.
    """

    def __init__(self, objects: int) -> None:
        """``objects``: see ``count_objects``. ValueError if there are none."""
        if objects < 1:
            raise ValueError("a sequence needs one object at least in its first label map, found none")
        self.objects = objects
        self._frames = 0
        self._ids: list[int] = []
        self._values: list[tuple[list[float], list[float]]] = []

    def add(self, prediction: np.ndarray, truth: np.ndarray) -> None:
        """The next frame: two label maps uint8 (H,W).

        Raises:
            ValueError: if the sizes differ, or the prediction has an id above the number of objects.
        """
        _check(prediction, truth, self.objects, self._frames)
        self._frames += 1
        if self._frames == 1:
            # Deviation: the official script counts a number below the largest that no object has as found in every frame.
            self._ids = _objects(truth, self.objects)
            return
        masks = [(prediction == number, truth == number) for number in self._ids]
        self._values.append(
            ([region_similarity(*pair) for pair in masks], [boundary_accuracy(*pair) for pair in masks])
        )

    def result(self) -> ObjectScores:
        """All frames but the first and the last. ValueError if there were fewer than three."""
        if self._frames < 3:
            raise ValueError(
                f"a sequence needs three frames at least (first and last do not count), got {self._frames}"
            )
        values = np.array(self._values[:-1]).transpose(1, 2, 0)
        return ObjectScores(values[0], values[1])


def evaluate_sequence(
    predictions: Sequence[np.ndarray], truths: Sequence[np.ndarray], *, task: Task = "semi-supervised"
) -> ObjectScores:
    """J and F of the objects of one sequence.

    In the unsupervised task every frame counts, void pixels are taken out, and each object gets another predicted one
    of its own so that the sum of mean (J + F) / 2 is largest; objects that get none have empty masks. Rows are in the
    order of the true ids (the official script lists them by the proposal they got; no mean depends on that).

    Args:
        predictions: label maps uint8 (H,W), one for each frame.
        truths: likewise.
        task: of the challenge.

    Raises:
        ValueError: as ``DavisScores``; or if there are more than 20 proposals.
    """
    if len(predictions) != len(truths):
        raise ValueError(f"got {len(predictions)} predicted and {len(truths)} true label maps of one sequence")
    ids = _objects(truths[0], count_objects(truths[0]))
    objects = max(ids)
    if task == "semi-supervised":
        scores = DavisScores(objects)
        for prediction, truth in zip(predictions, truths):
            scores.add(prediction, truth)
        return scores.result()
    for number, (prediction, truth) in enumerate(zip(predictions, truths)):
        _check(prediction, truth, MOST_PROPOSALS, number)
    proposals = max(objects, max(int(prediction.max()) for prediction in predictions))
    values = np.empty((2, proposals, len(ids), len(truths)))
    for t, (prediction, truth) in enumerate(zip(predictions, truths)):
        void = truth == VOID
        for r, o in np.ndindex(proposals, len(ids)):
            pair = prediction == r + 1, truth == ids[o]
            values[:, r, o, t] = region_similarity(*pair, void), boundary_accuracy(*pair, void)
    chosen, matched = linear_sum_assignment(values.mean((0, 3)), maximize=True)
    by_object = np.argsort(matched)  # the assignment is sorted by proposal
    return ObjectScores(*values[:, chosen[by_object], matched[by_object]])


def davis_scores(sequences: Iterable[ObjectScores]) -> Scores:
    """The figures of the challenge: means over the objects of all sequences (not over sequences).

    ``jf_mean`` first, the mean of ``j_mean`` and ``f_mean``; then mean, recall and decay of J and of F.
    """
    found = list(sequences)
    measured: Scores = {}
    for name, by_sequence in (("j", [s.region for s in found]), ("f", [s.boundary for s in found])):
        each = np.array([statistics(values) for objects in by_sequence for values in objects])
        measured |= {f"{name}_{kind}": float(value) for kind, value in zip(Statistics._fields, each.mean(0))}
    return {"jf_mean": (measured["j_mean"] + measured["f_mean"]) / 2, **measured}


def _objects(truth: np.ndarray, most: int) -> list[int]:
    """The object numbers in the first label map of a sequence. ValueError if there are none."""
    ids = [number for number in range(1, most + 1) if np.any(truth == number)]
    if not ids:
        raise ValueError("a sequence needs one object at least in its first label map, found none")
    return ids


def _check(prediction: np.ndarray, truth: np.ndarray, objects: int, frame: int) -> None:
    if prediction.shape != truth.shape:
        raise ValueError(
            f"frame {frame}: the prediction is {prediction.shape}, the truth {truth.shape} (rows, columns)"
        )
    if int(prediction.max()) > objects:
        raise ValueError(
            f"frame {frame}: predicted id {int(prediction.max())}, the sequence has objects 1 to {objects}"
        )


def _without(mask: np.ndarray, void: np.ndarray | None) -> np.ndarray:
    """The mask as bool (H,W), void pixels cleared."""
    binary = mask.astype(bool)
    return binary if void is None else binary & ~void.astype(bool)


@cache
def _disk(radius: int) -> np.ndarray:
    """Pixels no further than ``radius`` from the middle, uint8 (2 radius + 1, 2 radius + 1)."""
    rows, columns = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray(rows**2 + columns**2 <= radius**2, dtype=np.uint8)
