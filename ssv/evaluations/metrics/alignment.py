"""How well frame features tell how far an action has gone: Dwibedi et al., Temporal Cycle-Consistency Learning, CVPR 2019.

Section 4.1 of the paper, with the conventions of google-research/google-research, folder tcc/evaluation.
``M`` videos, ``n`` frames of one, ``D`` feature channels, ``E`` key events of an action, E + 1 phases.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import kendalltau
from sklearn.linear_model import LinearRegression
from sklearn.svm import SVC


def nearest_frames(query: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """For each frame of ``query`` (n,D) the nearest of ``candidates`` (m,D), int64 (n,).

    By squared Euclidean distance in float64; the first of equals.
    """
    return np.asarray(cdist(query, candidates, "sqeuclidean").argmin(1), dtype=np.int64)


def kendalls_tau(query: np.ndarray, candidates: np.ndarray) -> float:
    """Whether nearest neighbours of frames in order are in order: 1 always, -1 reversed, near 0 by chance.

    Tau-b of (frame of ``query`` (n,D), its nearest frame of ``candidates`` (m,D)); NaN where all frames have the same
    neighbour, or ``query`` is one frame: then there is no order to compare.
    """
    nearest = nearest_frames(query, candidates)
    if (nearest == nearest[0]).all():
        return float("nan")
    return float(kendalltau(np.arange(len(nearest)), nearest).statistic)


def pair_taus(videos: Sequence[np.ndarray], *, stride: int = 1) -> np.ndarray:
    """Kendall's tau of every ordered pair, float64 (M,M): rows are queries; NaN on the diagonal and where undefined.

    Args:
        videos: features (n,D) of videos of one action.
        stride: every so many frames of each are taken, from the first on.
    """
    thinned = [np.asarray(video, dtype=np.float64)[::stride] for video in videos]
    taus = np.full((len(videos), len(videos)), np.nan)
    for i, j in np.ndindex(taus.shape):
        if i != j:
            taus[i, j] = kendalls_tau(thinned[i], thinned[j])
    return taus


def mean_tau(taus: np.ndarray) -> float:
    """The mean of all defined entries of ``taus``; 0 if there are none: features that never move know no order."""
    defined = taus[~np.isnan(taus)]
    return float(defined.mean()) if len(defined) else 0.0


def phases(events: Sequence[int], frames: int) -> np.ndarray:
    """The phase of each of ``frames`` frames, int64 (frames,): how many of the ``events`` have begun by then."""
    return np.searchsorted(np.asarray(events), np.arange(frames), side="right").astype(np.int64)


def progressions(events: Sequence[int], frames: int) -> np.ndarray:
    """Signed way from each key event to each frame, as a share of the video, float64 (frames,E)."""
    return (np.arange(frames)[:, None] - np.asarray(events, dtype=np.float64)) / frames


def labelled(share: float, videos: int) -> int:
    """How many of the training videos are labelled: whole videos, the first ones of the list, one at least."""
    # Not int(share * videos): 0.29 * 100 is 29 in decimals, and a little less in binary.
    return max(1, int(np.floor(share * videos + 1e-9)))


def classify(
    train: Sequence[np.ndarray], train_phases: Sequence[np.ndarray], test: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """The phases of the frames of each test video, int64 (n,) each, by a support vector machine.

    scikit-learn's ``SVC`` as it comes: a radial kernel, C = 1, features not standardised. Where all training frames
    are of one phase, so is the answer.

    Args:
        train: features (n,D) of each training video.
        train_phases: int (n,) of each.
        test: features (n,D) of each test video.
    """
    target = np.concatenate(train_phases)
    if (target == target[0]).all():
        return [np.full(len(video), target[0]) for video in test]
    machine = SVC().fit(np.concatenate(train), target)
    return [machine.predict(video) for video in test]


def progression_r2(
    train: Sequence[np.ndarray],
    train_targets: Sequence[np.ndarray],
    test: Sequence[np.ndarray],
    test_targets: Sequence[np.ndarray],
) -> float:
    """Mean over key events of R squared of a linear regression, over all frames of all test videos together.

    Args:
        train: features (n,D) of each training video.
        train_targets: see ``progressions``, (n,E) of each.
        test: features (n,D) of each test video.
        test_targets: (n,E) of each.

    Returns:
        1 for a perfect answer, 0 for the mean of the test frames, below 0 for worse.
    """
    regression = LinearRegression().fit(np.concatenate(train), np.concatenate(train_targets))
    # With uniform average the mean of the R squared of each column.
    return float(regression.score(np.concatenate(test), np.concatenate(test_targets)))
