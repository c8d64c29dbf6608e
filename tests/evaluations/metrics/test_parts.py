"""Mean intersection over union against the published script and against sets of pixels."""

import numpy as np
import pytest

from ssv.evaluations.metrics.parts import PartScores
from tests.evaluations.metrics.published import FIGURES, MASKS


@pytest.mark.parametrize("case", FIGURES["vip"]["cases"], ids=lambda case: str(case["seed"]))
def test_as_published(case):
    scores = PartScores()
    for prediction, truth in zip(MASKS[f"vip/{case['seed']}/pred"], MASKS[f"vip/{case['seed']}/gt"], strict=True):
        scores.add(prediction, truth)
    assert scores.confusion.sum(1).tolist() == case["hist_rows"]
    assert scores.confusion.sum(0).tolist() == case["hist_cols"]
    found = scores.result()
    names = {"mean_iou": "mean_iou", "mean_accuracy": "mean_accuracy"}
    names |= {"accuracy": "overall_accuracy", "weighted_iou": "fwavacc"}
    assert list(found) == list(names)
    assert found == pytest.approx({ours: case[theirs] for ours, theirs in names.items()}, rel=1e-9)
    assert scores.per_class() == pytest.approx(case["per_class_iou"], rel=1e-9)


def test_is_sets_of_pixels_over_all_frames():
    rng = np.random.default_rng(1)
    scores, classes = PartScores(6), 6
    frames = [(rng.integers(0, 4, (7, 9)).astype(np.uint8), rng.integers(1, 5, (7, 9)).astype(np.uint8)) for _ in "abc"]
    for prediction, truth in frames:
        truth[rng.random(truth.shape) < 0.2] = 255
        scores.add(prediction, truth)
    overlap, accuracy = [], []
    for k in range(classes):
        both = sum(int(((p == k) & (t == k)).sum()) for p, t in frames)
        either = sum(int((((p == k) & (t < 6)) | (t == k)).sum()) for p, t in frames)
        true = sum(int((t == k).sum()) for _, t in frames)
        overlap += [both / either] if either else []
        accuracy += [both / true] if true else []
    assert len(overlap) == 5 and len(accuracy) == 4  # class 5 occurs nowhere, class 0 is only predicted
    found = scores.result()
    assert found["mean_iou"] == pytest.approx(np.mean(overlap))
    assert found["mean_accuracy"] == pytest.approx(np.mean(accuracy))


@pytest.mark.parametrize("size", [(5, 7), (10, 13), (3, 20)])
def test_a_prediction_of_another_size_is_taken_at_the_middle_of_each_pixel(size):
    rng = np.random.default_rng(2)
    prediction = rng.integers(0, 4, (4, 6)).astype(np.uint8)
    truth = np.zeros(size, dtype=np.uint8)
    scores = PartScores(4)
    scores.add(prediction, truth)
    counts = np.zeros(4)
    for y in range(size[0]):
        for x in range(size[1]):
            counts[prediction[int((y + 0.5) * 4 / size[0]), int((x + 0.5) * 6 / size[1])]] += 1
    assert scores.confusion[0].tolist() == counts.tolist()


def test_ids_that_are_no_class_are_never_counted_as_another():
    fine, odd = np.zeros((2, 2), dtype=np.uint8), np.full((2, 2), 20, dtype=np.uint8)
    scores = PartScores()
    with pytest.raises(ValueError, match="predicted id 20, the classes are 0 to 19"):
        scores.add(odd, fine)
    scores.add(fine, odd)
    assert not scores.confusion.any()
    with pytest.raises(ValueError, match="no pixel"):
        scores.result()
