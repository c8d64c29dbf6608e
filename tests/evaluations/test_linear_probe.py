import numpy as np
import pytest
import torch

from ssv.evaluations.labelled import group_folds
from ssv.evaluations.linear_probe import LinearProbe, Probe, choose_strength
from ssv.evaluations.metrics.classification import classification_scores
from tests.evaluations.fakes import FakeData, Levels, Tiny, centre, trainer, videos, views


def probe(**values):
    return LinearProbe(
        **{"sampler": views(), "crop": centre(), "batch_size": 6, "strengths": (0.01, 1.0), "folds": 3, **values}
    )


def blobs(spread, count=240, classes=4, width=20, seed=0):
    """Features around one centre per class, classes in equal numbers."""
    draw = torch.Generator().manual_seed(seed)
    label = torch.arange(count) % classes
    centres = torch.randn(classes, width, generator=draw)
    return (centres[label] + spread * torch.randn(count, width, generator=draw)).numpy(), label.numpy()


def test_artifacts_are_documented_tables_that_agree_with_the_scores():
    evaluation, data = (
        probe(),
        FakeData(
            videos("train", labels=[10 * (i // 6) for i in range(24)]),
            videos("test", labels=[10 * (i // 6) for i in range(24)]),
        ),
    )
    scores = evaluation.run(Tiny(), data, trainer())
    table = evaluation.artifacts["per_video"]
    assert table["path"].tolist() == [v.path for v in data.split("test")]
    assert table["label"].tolist() == [v.label for v in data.split("test")]
    assert table["group"].tolist() == [v.group for v in data.split("test")]
    assert set(table["prediction"].tolist()) <= {0, 10, 20, 30}
    assert (table["label"] == table["prediction"]).mean() == pytest.approx(scores["top1"])
    features = evaluation.artifacts["features"]
    assert features["features"].shape == (48, 8) and features["features"].dtype == np.float32
    assert features["split"].tolist() == ["train"] * 24 + ["test"] * 24
    assert features["path"].tolist() == [v.path for name in ("train", "test") for v in data.split(name)]
    selection = evaluation.artifacts["selection"]
    assert selection["chosen"] in selection["strength"] and selection["folds"] == 3 and bool(selection["converged"])
    assert all(array.dtype != object for arrays in evaluation.artifacts.values() for array in arrays.values())


def test_the_optimum_is_the_one_of_the_stated_objective():
    """Mean cross-entropy + strength/2 |W|^2 has no slope left, in every weight, at the fitted classifier."""
    x, label = blobs(2.0, count=60, classes=3, width=4)
    fitted = Probe.fit(x, label, 0.05)
    z = torch.tensor((x - x.mean(0, dtype=np.float64)) / x.std(0, dtype=np.float64))
    weight = torch.tensor(fitted.regression.coef_, requires_grad=True)
    bias = torch.tensor(fitted.regression.intercept_, requires_grad=True)
    loss = (
        torch.nn.functional.cross_entropy(z @ weight.T + bias, torch.tensor(label)) + 0.05 / 2 * weight.square().sum()
    )
    for slope in torch.autograd.grad(loss, (weight, bias)):
        assert slope.abs().max() < 1e-5
    assert fitted.converged and not Probe.fit(x, label, 0.05, iterations=2).converged


def test_a_dead_dimension_does_not_turn_rounding_into_a_feature():
    x, label = blobs(0.5)
    jitter = np.float32(0.7) + np.float32(6e-8) * (label[:, None] % 2)  # one float32 step, and it knows the class
    np.testing.assert_allclose(
        Probe.fit(np.hstack([x, jitter]).astype(np.float32), label, 1.0).scores(np.hstack([x, jitter]), 4),
        Probe.fit(x, label, 1.0).scores(x, 4),
        atol=1e-4,
    )


def test_no_group_is_on_both_sides_and_every_video_is_left_out_once():
    label = np.repeat(np.arange(5), 24)
    groups = [f"c{k}_g{g}" for k in range(5) for g in range(8) for _ in range(3)]
    parts = group_folds(label, groups, 4)
    assert len(parts) == 4
    for fit, left_out in parts:
        assert not {groups[i] for i in fit} & {groups[i] for i in left_out}
        assert np.bincount(label[left_out], minlength=5).tolist() == [6] * 5  # classes are even here, as they can be
    assert sorted(np.concatenate([left_out for _, left_out in parts])) == list(range(120))
    again = group_folds(label, groups, 4)
    assert all((a[1] == b[1]).all() for a, b in zip(parts, again, strict=True))


def test_the_strength_is_chosen_on_groups_not_on_videos():
    """Each group has a dimension of its own that betrays its class: of use only if a group is on both sides."""
    draw = torch.Generator().manual_seed(1)
    label = np.repeat(np.arange(3), 30)
    group = np.arange(90) // 3
    betrayed = np.zeros((90, 30), dtype=np.float32)
    betrayed[np.arange(90), group] = 1
    weak = torch.randn(90, 3, generator=draw).numpy()
    weak[np.arange(90), label] += 1.0
    x = np.hstack([betrayed, weak]).astype(np.float32)
    strengths = [1e-4, 1e-2, 1.0]
    torn = choose_strength(x, label, [str(i) for i in range(90)], strengths, 5)
    whole = choose_strength(x, label, [str(g) for g in group], strengths, 5)
    assert torn.accuracy.max() > 0.95 and whole.accuracy.max() < 0.75


def test_equals_are_settled_for_the_stronger_penalty_and_one_is_no_choice():
    x, label = blobs(0.01)
    groups = [str(i // 12) for i in range(len(label))]
    assert choose_strength(x, label, groups, [1e-3, 1e-2, 1e-1], 3).strength == 1e-1
    assert choose_strength(x, label, ["one"] * len(label), [0.3], 3).strength == 0.3


@pytest.mark.parametrize("groups", [["one"] * 240, [f"class{i % 4}" for i in range(240)]])
def test_too_few_groups_to_choose_say_so(groups):
    x, label = blobs(0.5)
    with pytest.raises(ValueError, match=r"no class has two .*evaluation.strengths=\[0.1\]"):
        choose_strength(x, label, groups, [0.1, 1.0], 3)


def test_a_class_absent_from_a_fit_gets_no_probability():
    x, label = blobs(0.5)
    scores = Probe.fit(x[label != 2], label[label != 2], 0.1).scores(x, 4)
    assert scores.shape == (240, 4) and not scores[:, 2].any()
    np.testing.assert_allclose(scores.sum(1), 1)


def test_scores_against_slow_obvious_code():
    draw = torch.Generator().manual_seed(3)
    class_scores, label = torch.rand(50, 7, generator=draw).numpy(), torch.randint(6, (50,), generator=draw).numpy()
    first = fifth = 0
    per_class = {int(k): [] for k in set(label.tolist())}
    for row, k in zip(class_scores, label.tolist(), strict=True):
        order = sorted(range(7), key=lambda c: -row[c])
        first += order[0] == k
        fifth += k in order[:5]
        per_class[k].append(order[0] == k)
    assert classification_scores(class_scores, label) == pytest.approx(
        {
            "top1": first / 50,
            "top5": fifth / 50,
            "mean_class_accuracy": np.mean([np.mean(v) for v in per_class.values()]),
            "chance": 1 / 7,
        }
    )
    assert "top5" not in classification_scores(class_scores[:, :5], label % 5)


def test_bad_values_name_their_key():
    with pytest.raises(ValueError, match="evaluation.strengths"):
        probe(strengths=(0.1, 0.0))
    with pytest.raises(ValueError, match="evaluation.folds"):
        probe(folds=1)


def test_constant_features_answer_the_commonest_class():
    train = videos("train", classes=3)
    scores = probe().run(Levels(constant=True), FakeData(train[:-2], videos("test", classes=3)), trainer())
    assert scores["top1"] == pytest.approx(1 / 3)
