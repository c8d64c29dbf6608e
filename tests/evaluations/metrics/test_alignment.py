"""Kendall's tau of nearest-neighbour alignment against the published code and against counting; phases and events."""

import itertools
import math

import numpy as np
import pytest

from ssv.evaluations.metrics.alignment import (
    classify,
    kendalls_tau,
    labelled,
    mean_tau,
    nearest_frames,
    pair_taus,
    phases,
    progression_r2,
    progressions,
)
from tests.evaluations.metrics.published import FIGURES
from tests.oracles import draw


def path(seed, number, frames, channels, noise):
    t = np.arange(frames) / (frames - 1)
    basis = np.stack([t, t**2, np.sin(3 * t), np.cos(5 * t)], 1)
    return basis @ draw(seed + 500, (4, channels), "normal") + noise * draw(seed + number, (frames, channels), "normal")


@pytest.mark.parametrize("case", FIGURES["kendall"]["cases"], ids=lambda case: str(case["seed"]))
def test_tau_as_published(case):
    videos = [path(case["seed"], k, n, case["D"], case["noise"]) for k, n in enumerate(case["lengths"])]
    taus = pair_taus(videos, stride=case["stride"])
    pairs = [taus[i, j] for i, j in itertools.permutations(range(len(videos)), 2)]
    assert pairs == pytest.approx(case["pair_taus"], rel=1e-12)
    assert mean_tau(taus) == pytest.approx(case["tau"], rel=1e-12)


def slow_tau(query, candidates):
    """Tau-b by counting pairs of frames."""
    nearest = []
    for frame in query:
        squared = [sum((a - b) ** 2 for a, b in zip(frame, other, strict=True)) for other in candidates]
        nearest.append(squared.index(min(squared)))
    agree = ties = 0
    for i, j in itertools.combinations(range(len(nearest)), 2):
        agree += (nearest[j] > nearest[i]) - (nearest[j] < nearest[i])
        ties += nearest[j] == nearest[i]
    pairs = len(nearest) * (len(nearest) - 1) / 2
    return agree / math.sqrt(pairs * (pairs - ties)) if pairs > ties else math.nan


def test_tau_is_its_definition():
    rng = np.random.default_rng(0)
    for _ in range(20):
        query, candidates = (rng.integers(0, 4, (rng.integers(1, 12), 2)).astype(float) for _ in "ab")
        assert kendalls_tau(query, candidates) == pytest.approx(slow_tau(query, candidates), nan_ok=True)


def test_the_first_of_equal_neighbours_counts():
    assert nearest_frames(np.zeros((2, 3)), np.ones((4, 3))).tolist() == [0, 0]
    assert nearest_frames(np.array([[1.0]]), np.array([[3.0], [0.0], [2.0]])).tolist() == [1]


def test_tau_of_videos_that_know_their_phase():
    def video(frames):
        return np.linspace(0, 1, frames)[:, None]

    assert mean_tau(pair_taus([video(20), video(20), video(20)])) == pytest.approx(1)
    reversed_pair = pair_taus([video(20), video(20)[::-1]])
    assert reversed_pair[0, 1] == pytest.approx(-1) and math.isnan(reversed_pair[0, 0])
    shuffled = [np.random.default_rng(k).permutation(video(40)) for k in range(12)]
    assert abs(mean_tau(pair_taus(shuffled))) < 0.1


def test_undefined_pairs_are_left_out_and_without_any_the_answer_is_0():
    moving, still = np.linspace(0, 1, 9)[:, None], np.ones((9, 1))
    taus = pair_taus([moving, moving, still])
    # Frames of a still video all have the same neighbour, and a still video is one neighbour to all.
    assert np.isnan(taus).sum() == 3 + 4 and mean_tau(taus) == pytest.approx(1)
    assert mean_tau(pair_taus([still, still])) == 0.0


def test_phases_and_progressions_count_from_the_event_frame():
    assert phases([2, 5], 7).tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert phases([], 3).tolist() == [0, 0, 0]
    assert progressions([2, 5], 4) == pytest.approx(np.array([[-2, -5], [-1, -4], [0, -3], [1, -2]]) / 4)


@pytest.mark.parametrize(
    ("share", "videos", "count"), [(0.1, 4, 1), (0.1, 60, 6), (0.5, 5, 2), (0.29, 100, 29), (1.0, 13, 13)]
)
def test_labels_come_by_whole_videos(share, videos, count):
    assert labelled(share, videos) == count


def test_classification_and_progression_of_perfect_features():
    rng = np.random.default_rng(0)
    train_events, test_events = ([(15 + d, 35 - d) for d in rng.integers(-3, 4, n)] for n in (6, 4))
    train, test = ([progressions(e, 50) for e in events] for events in (train_events, test_events))
    assert progression_r2(train, train, test, test) == pytest.approx(1)
    found = classify(train, [phases(e, 50) for e in train_events], test)
    right = [f == phases(e, 50) for f, e in zip(found, test_events, strict=True)]
    assert np.concatenate(right).mean() > 0.95


def test_progression_is_the_mean_r2_over_events_of_all_frames_together():
    rng = np.random.default_rng(1)
    train, test = ([rng.normal(size=(n, 3)) for n in (8, 11)] for _ in "ab")
    goals, wanted = ([rng.normal(size=(len(v), 2)) + v[:, :2] for v in side] for side in (train, test))
    x, y = np.concatenate(train), np.concatenate(goals)
    weights = np.linalg.lstsq(np.c_[x, np.ones(len(x))], y, rcond=None)[0]
    u, v = np.concatenate(test), np.concatenate(wanted)
    left = ((v - np.c_[u, np.ones(len(u))] @ weights) ** 2).sum(0)
    expected = (1 - left / ((v - v.mean(0)) ** 2).sum(0)).mean()
    assert progression_r2(train, goals, test, wanted) == pytest.approx(expected)


def test_constant_features_give_the_commonest_phase_and_no_progression():
    train, test = [np.ones((10, 2))] * 3, [np.ones((10, 2))]
    labels = [phases([7], 10)] * 3
    assert (classify(train, labels, test)[0] == 0).all()
    assert classify(train, [np.full(10, 3)] * 3, test)[0].tolist() == [3] * 10
    targets = [progressions([7], 10)]
    assert progression_r2(train, targets * 3, test, targets) == pytest.approx(0)
