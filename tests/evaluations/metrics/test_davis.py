"""J and F against the official scripts, and against the definitions written out pixel by pixel."""

import itertools
import math

import numpy as np
import pytest

from ssv.evaluations.metrics.davis import (
    DavisScores,
    ObjectScores,
    boundary,
    boundary_accuracy,
    count_objects,
    davis_scores,
    evaluate_sequence,
    region_similarity,
    statistics,
)
from tests.evaluations.metrics.published import FIGURES, MASKS, mask

DAVIS = FIGURES["davis"]
NAMES = ["two", "three", "vanish", "void", "long"]


def sequence(name):
    return MASKS[f"seq/{name}/pred"], MASKS[f"seq/{name}/gt"]


@pytest.mark.parametrize("case", DAVIS["single"], ids=lambda case: case["name"])
def test_single_masks_as_published(case):
    prediction, truth = (mask(case["name"], side, case["shape"]) for side in ("pred", "gt"))
    void = mask(case["name"], "void", case["shape"]) if case["void"] else None
    assert region_similarity(prediction, truth, void) == pytest.approx(case["J"], rel=1e-12)
    assert boundary_accuracy(prediction, truth, void) == pytest.approx(case["F"], rel=1e-12)
    assert boundary_accuracy(prediction, truth, void, 0.02) == pytest.approx(case["F_bound_th_0_02"], rel=1e-12)
    assert boundary_accuracy(prediction, truth, void, 3) == pytest.approx(case["F_bound_th_3px"], rel=1e-12)
    assert boundary(truth).sum() == case["gt_boundary_pixels"]
    assert boundary(prediction).sum() == case["pred_boundary_pixels"]


@pytest.mark.parametrize("case", DAVIS["statistics"], ids=lambda case: f"{case['T']} frames")
def test_statistics_as_published(case):
    values = np.random.default_rng(case["seed"]).random(case["T"])
    if case["seed"] == 421:
        values[[2, 7]] = np.nan
    found = statistics(values)
    decay = case.get("D_without_uint8_overflow", case["D"])
    assert found == pytest.approx((case["M"], case["R"], decay), rel=1e-12)
    quirk = statistics(values, uint8_bins=True)
    assert quirk == pytest.approx((case["M"], case["R"], math.nan if case["D"] is None else case["D"]), nan_ok=True)


def test_the_quirk_begins_at_256_frames_and_is_not_the_default():
    values = np.random.default_rng(0).random(256)
    assert math.isnan(statistics(values, uint8_bins=True).decay)
    assert not math.isnan(statistics(values).decay)
    assert statistics(values[:255], uint8_bins=True) == statistics(values[:255])


@pytest.mark.parametrize("task", ["semi-supervised", "unsupervised"])
def test_whole_evaluations_as_published(task):
    scores = {name: evaluate_sequence(*sequence(name), task=task) for name in NAMES}
    published = DAVIS["sequences"][task]
    for measure, field in (("J", "region"), ("F", "boundary")):
        rows = [statistics(values) for found in scores.values() for values in getattr(found, field)]
        wanted = list(zip(*(published[measure][key] for key in ("M", "R", "D")), strict=True))
        if task == "unsupervised":  # the script names objects by the proposal they were given, not by their own id
            rows, wanted = sorted(rows), sorted(wanted)
        assert np.array(rows) == pytest.approx(np.array(wanted), rel=1e-9, abs=1e-12)
    keys = {"J&F-Mean": "jf_mean"} | {f"{m}-{k}": f"{m}_{k}".lower() for m in "JF" for k in ("Mean", "Recall", "Decay")}
    overall = davis_scores(scores.values())
    assert next(iter(overall)) == "jf_mean" and set(overall) == set(keys.values())
    assert {k: overall[v] for k, v in keys.items()} == pytest.approx(published["global"], rel=1e-9)


@pytest.mark.parametrize("name", DAVIS["per_frame"])
def test_every_frame_as_published(name):
    # The published ones hold all frames; first and last do not count.
    found = evaluate_sequence(*sequence(name.split("_")[0]))
    row = int(name.split("_")[1]) - 1
    assert found.region[row] == pytest.approx(DAVIS["per_frame"][name]["J"][1:-1], rel=1e-12)
    assert found.boundary[row] == pytest.approx(DAVIS["per_frame"][name]["F"][1:-1], rel=1e-12)


def slow_boundary(mask):
    height, width = mask.shape
    neighbours = ((0, 1), (1, 0), (1, 1))
    return [
        (y, x)
        for y in range(height)
        for x in range(width)
        if any(
            y + dy < height and x + dx < width and mask[y, x] != mask[y + dy, x + dx]
            # The last row looks right only, the last column down only: the diagonal leaves the image.
            for dy, dx in neighbours
        )
    ]


def slow_f(prediction, truth, radius):
    ours, theirs = slow_boundary(prediction), slow_boundary(truth)
    if not ours or not theirs:
        return float(len(ours) == len(theirs))

    def share(some, others):
        near = [any((y - v) ** 2 + (x - u) ** 2 <= radius**2 for v, u in others) for y, x in some]
        return sum(near) / len(near)

    precision, recall = share(ours, theirs), share(theirs, ours)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def blobs(rng, shape):
    """A box somewhere, often at the border, with holes; sometimes nothing."""
    canvas = np.zeros(shape, dtype=bool)
    top, left = rng.integers(0, shape[0]), rng.integers(0, shape[1])
    canvas[top : top + rng.integers(0, 12), left : left + rng.integers(0, 12)] = True
    return canvas & (rng.random(shape) < 0.9)


@pytest.mark.parametrize("radius", [1, 2, 3, 5])
def test_boundary_accuracy_is_the_definition(radius):
    rng = np.random.default_rng(radius)
    for _ in range(25):
        shape = rng.integers(5, 24, 2)
        prediction, truth = blobs(rng, shape), blobs(rng, shape)
        assert boundary_accuracy(prediction, truth, None, radius) == pytest.approx(slow_f(prediction, truth, radius))
        void = rng.random(shape) < 0.3
        expected = slow_f(prediction & ~void, truth & ~void, radius)
        assert boundary_accuracy(prediction, truth, void, radius) == pytest.approx(expected)
        both, either = (prediction & truth)[~void].sum(), (prediction | truth)[~void].sum()
        assert region_similarity(prediction, truth, void) == (both / either if either else 1.0)


def test_a_pixel_of_displacement_is_forgiven_at_480p_and_nine_are_not():
    truth = np.zeros((480, 854), dtype=bool)
    truth[100:200, 300:420] = True
    assert boundary_accuracy(np.roll(truth, 8, 1), truth) == 1.0  # 8 pixels: 0.008 of the diagonal
    assert boundary_accuracy(np.roll(truth, 9, 1), truth) < 0.7


def test_decay_of_a_falling_line_is_positive():
    assert statistics(np.linspace(1, 0, 41)).decay == pytest.approx(0.75)


def test_frame_by_frame_is_the_whole_and_void_is_background():
    predictions, truths = sequence("void")
    streamed = DavisScores(count_objects(truths[0]))
    for prediction, truth in zip(predictions, truths, strict=True):
        streamed.add(prediction, truth)
    cleared = evaluate_sequence(predictions, np.where(truths == 255, 0, truths))
    assert (streamed.result().region == cleared.region).all()
    assert (streamed.result().boundary == cleared.boundary).all()
    assert streamed.result().region.shape == (1, len(truths) - 2)


def test_an_object_that_appears_later_does_not_exist():
    _, truths = sequence("two")
    truths = truths.copy()
    before = evaluate_sequence(np.where(truths > 2, 0, truths), truths).region
    truths[5, :4, :4] = 7
    after = evaluate_sequence(np.where(truths > 2, 0, truths), truths).region
    assert after.shape == before.shape == (2, 10) and (after == 1).all()


def test_means_are_over_objects_not_over_sequences():
    one = ObjectScores(np.full((1, 5), 1.0), np.full((1, 5), 1.0))
    three = ObjectScores(np.zeros((3, 5)), np.zeros((3, 5)))
    assert davis_scores([one, three])["jf_mean"] == 0.25


def test_unsupervised_ids_are_free():
    predictions, truths = sequence("two")
    renamed = np.choose(predictions, [0, 5, 3]).astype(np.uint8)
    expected = evaluate_sequence(predictions, truths, task="unsupervised")
    found = evaluate_sequence(renamed, truths, task="unsupervised")
    assert (found.region == expected.region).all() and (found.boundary == expected.boundary).all()


@pytest.mark.parametrize("seed", range(5))
def test_unsupervised_takes_the_best_of_all_assignments_and_leaves_void_out(seed):
    rng = np.random.default_rng(seed)
    truths = rng.integers(0, 3, (3, 7, 9)).astype(np.uint8)
    truths[0, 0, 0] = 2
    truths[rng.random(truths.shape) < 0.2] = 255
    predictions = rng.integers(0, 5, truths.shape).astype(np.uint8)

    def measured(proposal, number):
        masks = [(p == proposal, t == number, t == 255) for p, t in zip(predictions, truths, strict=True)]
        return np.array([[region_similarity(*row), slow_f(row[0] & ~row[2], row[1], 1)] for row in masks])

    sums = {(a, b): measured(a, 1).mean() + measured(b, 2).mean() for a, b in itertools.permutations(range(1, 5), 2)}
    best = max(sums, key=sums.get)
    found = evaluate_sequence(predictions, truths, task="unsupervised")
    for row, proposal in enumerate(best):
        expected = measured(proposal, row + 1)
        assert found.region[row] == pytest.approx(expected[:, 0])
        assert found.boundary[row] == pytest.approx(expected[:, 1])


def test_what_cannot_be_scored_is_one_line():
    empty, one, two = (np.full((4, 4), value, dtype=np.uint8) for value in (0, 1, 2))
    with pytest.raises(ValueError, match="one object at least"):
        evaluate_sequence([empty] * 4, [empty] * 4)
    scores = DavisScores(1)
    scores.add(one, one)
    with pytest.raises(ValueError, match="frame 1: predicted id 2, the sequence has objects 1 to 1"):
        scores.add(two, one)
    with pytest.raises(ValueError, match="frame 1: the prediction is"):
        scores.add(one[:3], one)
    scores.add(one, one)
    with pytest.raises(ValueError, match="three frames"):
        scores.result()
    with pytest.raises(ValueError, match="3 predicted and 4 true"):
        evaluate_sequence([one] * 3, [one] * 4)
    with pytest.raises(ValueError, match="predicted id 21"):
        evaluate_sequence([21 * one] * 3, [one] * 3, task="unsupervised")


def test_a_number_that_no_object_has_scores_nothing():
    rng = np.random.default_rng(8)
    truths = [np.kron(rng.integers(0, 3, (6, 8)), np.ones((8, 8))).astype(np.uint8) for _ in range(6)]
    predictions = [np.roll(truth, 2, 1) for truth in truths]
    apart = np.array([0, 2, 5], dtype=np.uint8)  # numbers 1, 3 and 4 are of no object
    for task in ("semi-supervised", "unsupervised"):
        dense = evaluate_sequence(predictions, truths, task=task)
        sparse = evaluate_sequence([apart[p] for p in predictions], [apart[t] for t in truths], task=task)
        assert davis_scores([sparse]) == davis_scores([dense])
        assert sparse.region.shape == dense.region.shape == (2, 4 if task == "semi-supervised" else 6)
