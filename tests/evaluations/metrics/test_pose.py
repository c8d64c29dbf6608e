"""PCK against the published script and against its rules written out place by place."""

import numpy as np
import pytest

from ssv.evaluations.metrics.pose import PckScores
from tests.evaluations.metrics.published import FIGURES


def drawn(case):
    """The videos of a published case: pairs of (T,K,2) in pixels, predicted and true."""
    rng = np.random.default_rng(case["seed"])
    for frames, (height, width) in zip(case["frames"], case["sizes_hw"], strict=True):
        size = np.array([width, height])[:, None, None]
        centre = rng.uniform(0.3, 0.7, (2, 1, frames))
        truth = (centre + rng.uniform(-0.25, 0.25, (2, case["joints"], frames))) * size
        cells = case["feat_res"]
        prediction = truth / size * cells + case["err"] * rng.standard_normal(truth.shape)
        prediction[:, rng.random(truth.shape[1:]) < case["hide"]] = -1
        yield (prediction / cells * size).transpose(2, 1, 0), truth.transpose(2, 1, 0)


@pytest.mark.parametrize("case", FIGURES["pck"]["cases"], ids=lambda case: str(case["seed"]))
def test_as_published(case):
    scores = PckScores(case["joints"])
    for prediction, truth in drawn(case):
        scores.add(prediction, truth)
    found = scores.result()
    assert list(found)[0] == "pck_0.1"
    for threshold, published in case["pck_percent"].items():
        assert 100 * scores.per_joint(float(threshold)) == pytest.approx(published["per_joint"], rel=1e-9)
        assert 100 * found[f"pck_{threshold}"] == pytest.approx(published["mean"], rel=1e-9)
    places = sum(frames - 1 for frames in case["frames"]) * case["joints"]
    assert found["judged"] == pytest.approx(sum(case["n_distances_per_joint"]) / places)


def test_is_its_rules():
    rng = np.random.default_rng(3)
    scores, right, judged = PckScores(4), np.zeros(4), np.zeros(4)
    for frames in (6, 9):
        truth = rng.uniform(0, 50, (frames, 4, 2))
        prediction = truth + rng.normal(0, 8, truth.shape)
        prediction[rng.random((frames, 4)) < 0.4] = -1
        scores.add(prediction, truth)
        for t in range(1, frames):
            seen = [k for k in range(4) if prediction[t, k, 0] >= 0]
            corners = [[truth[t, k, axis] for k in seen] for axis in (0, 1)]
            for k in seen:
                size = 0.6 * sum((max(c) - min(c)) ** 2 for c in corners) ** 0.5
                judged[k] += 1
                right[k] += sum((prediction[t, k] - truth[t, k]) ** 2) ** 0.5 <= 0.3 * size
    assert scores.per_joint(0.3) == pytest.approx(right / judged)
    assert scores.result((0.3,))["pck_0.3"] == pytest.approx((right / judged).mean())


def test_a_joint_never_judged_is_left_out_and_one_alone_is_wrong():
    truth = np.random.default_rng(0).uniform(0, 50, (5, 3, 2))
    prediction = truth.copy()
    prediction[:, 2] = -1
    scores = PckScores(3)
    scores.add(prediction, truth)
    assert np.isnan(scores.per_joint(0.1)[2])
    assert scores.result() == {f"pck_0.{i}": 1.0 for i in range(1, 6)} | {"judged": pytest.approx(2 / 3)}
    prediction[:, 1] = -1
    alone = PckScores(3)
    alone.add(prediction, truth)
    assert alone.result()["pck_0.5"] == 0.0


def test_what_cannot_be_scored_is_one_line():
    with pytest.raises(ValueError, match=r"must be \(frames, 15, 2\).*\(3, 15, 2\) predicted and \(4, 15, 2\) true"):
        PckScores().add(np.zeros((3, 15, 2)), np.zeros((4, 15, 2)))
    scores = PckScores(2)
    with pytest.raises(ValueError, match="got none"):
        scores.result()
    scores.add(np.full((3, 2, 2), -1.0), np.zeros((3, 2, 2)))
    with pytest.raises(ValueError, match="got none"):
        scores.result()
