import copy
import logging

import numpy as np
import pytest
import torch

from ssv.backbones.resnet3d import ResNet3D
from ssv.evaluations.classifier import Classifier
from ssv.evaluations.fine_tune import FineTune
from ssv.evaluations.labelled import choose_labels, full_batches
from ssv.evaluations.metrics.classification import classification_scores
from ssv.ops.photometric import normalise
from tests.evaluations.fakes import FakeData, Tiny, centre, random_crop, random_view, trainer, videos, views


def fine_tune(**values):
    small = {"steps": 6, "batch_size": 8, "lr": 0.02, "dropout": 0.2}
    clips = {"train_sampler": random_view(), "train_crop": random_crop(), "sampler": views(3), "crop": centre()}
    return FineTune(**{**clips, **small, **values})


def backbone(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Tiny()


@pytest.mark.parametrize(("optimizer", "lr"), [("adamw", 0.02), ("sgd", 0.2)])
def test_it_learns_what_can_be_seen(optimizer, lr):
    evaluation = fine_tune(optimizer=optimizer, lr=lr, steps=60)
    scores = evaluation.run(backbone(), FakeData(), trainer())
    loss = evaluation.artifacts["training"]["loss"]
    assert loss.shape == (60,) and loss[-10:].mean() < 0.6 * loss[:5].mean()
    assert scores["top1"] > 0.7


def test_a_seed_gives_the_same_digits_whatever_ran_before_and_leaves_the_generator_alone():
    def run(seed):
        evaluation = fine_tune(seed=seed)
        evaluation.run(backbone(), FakeData(), trainer())
        return evaluation.artifacts["training"]["loss"]

    torch.manual_seed(1)
    first = run(3)
    torch.manual_seed(2)
    expected = torch.randint(1000, (3,))
    torch.manual_seed(2)
    second = run(3)
    assert torch.equal(torch.randint(1000, (3,)), expected)
    assert (first == second).all() and (first != run(4)).any()


def test_every_step_draws_from_its_own_seed(monkeypatch):
    """Dropout is replaced by something that writes down what it draws."""
    draws = []

    class Draw(torch.nn.Module):
        def __init__(self, probability):
            super().__init__()

        def forward(self, pooled):
            draws.append(float(torch.rand(())))
            return pooled

    monkeypatch.setattr("ssv.evaluations.classifier.nn.Dropout", Draw)
    fine_tune(seed=0).run(backbone(), FakeData(), trainer())
    first, draws[:] = draws[:6], []
    fine_tune(seed=1).run(backbone(), FakeData(), trainer())
    assert len({*first, *draws[:6]}) == 12


def test_a_video_is_scored_by_the_mean_of_the_softmax_over_its_views(monkeypatch):
    """The trained classifier is caught, and a loop over single views scores the videos again."""
    kept, seen = [], []
    monkeypatch.setattr("ssv.evaluations.fine_tune.Classifier", lambda *a: kept.append(Classifier(*a)) or kept[-1])
    monkeypatch.setattr(
        "ssv.evaluations.fine_tune.classification_scores", lambda *a: seen.append(a[0]) or classification_scores(*a)
    )
    evaluation, data = fine_tune(steps=3, lr=0.5), FakeData()
    evaluation.run(backbone(), data, trainer())
    classifier, rows = kept[0].eval(), data.split("test")
    for i in range(len(rows)):
        (clips,) = data.loader(rows[i : i + 1], views(3), centre(), batch_size=1)
        total = torch.zeros(4)
        for view in clips.pixels[0]:
            exponentials = classifier(normalise(view[None], backbone().mean, backbone().std))[0].exp()
            total += exponentials / exponentials.sum()
        np.testing.assert_allclose(seen[0][i], (total / 3).detach(), atol=1e-5)
        assert evaluation.artifacts["per_video"]["prediction"][i] == int(total.argmax())


def test_the_classifier_learns_faster_than_the_backbone_if_asked(monkeypatch):
    kept = []
    monkeypatch.setattr("ssv.evaluations.fine_tune.Classifier", lambda *a: kept.append(Classifier(*a)) or kept[-1])
    fine_tune(backbone_lr_scale=0.0).run(backbone(), FakeData(), trainer())
    for name, value in kept[0].backbone.named_parameters():
        assert torch.equal(value, backbone().get_parameter(name)), name
    groups = fine_tune(lr=0.1, backbone_lr_scale=0.5, weight_decay=0.3)._optimizer(kept[0]).param_groups
    by_parameter = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    assert len(by_parameter) == len(list(kept[0].parameters()))
    assert by_parameter[id(kept[0].head.weight)] == (0.1, 0.3)
    assert by_parameter[id(kept[0].head.bias)] == (0.1, 0.0)
    assert by_parameter[id(kept[0].backbone.first.weight)] == (0.05, 0.3)
    assert by_parameter[id(kept[0].backbone.norm.weight)] == (0.05, 0.0)


def test_the_backbone_stays_as_it_was():
    before = backbone()
    given = copy.deepcopy(before)
    fine_tune().run(given, FakeData(), trainer())
    assert given.training == before.training
    assert all(torch.equal(given.state_dict()[name], value) for name, value in before.state_dict().items())


@pytest.mark.parametrize("per_class", [1, 3])
def test_few_labels_are_balanced_and_a_function_of_the_seed(per_class):
    rows = videos("train", classes=5)
    chosen = choose_labels(rows, per_class=per_class, seed=0)
    assert [sum(v.label == k for v in chosen) for k in range(5)] == [per_class] * 5
    assert chosen == choose_labels(rows, per_class=per_class, seed=0) and len(set(chosen)) == len(chosen)
    assert [v for v in rows if v in chosen] == chosen
    assert any(chosen != choose_labels(rows, per_class=per_class, seed=s) for s in (1, 2, 3))
    assert set(chosen) <= set(choose_labels(rows, per_class=per_class + 1, seed=0))


def test_every_video_of_a_class_can_be_chosen():
    rows = videos("train", classes=1)
    assert {choose_labels(rows, seed, per_class=1)[0] for seed in range(60)} == set(rows)


def test_only_the_chosen_videos_are_trained_on():
    seen, seeds = set(), []

    class Spy(FakeData):
        def loader(self, videos, sampler, crop, *, batch_size, shuffle=False, seed=0):
            if shuffle:
                seen.update(v.path for v in videos)
                seeds.append(seed)
            return super().loader(videos, sampler, crop, batch_size=batch_size, shuffle=shuffle, seed=seed)

    data = Spy()
    evaluation = fine_tune(labels_per_class=2, seed=5)
    evaluation.run(backbone(), data, trainer())
    assert seen == {v.path for v in choose_labels(data.split("train"), 5, per_class=2)} and seeds == [5]
    assert set(evaluation.artifacts["training"]["path"].tolist()) == seen
    assert "2 labels per class" in evaluation.protocol and "all labels" in fine_tune().protocol


def test_a_share_of_the_labels_is_drawn_per_class_and_is_one_video_at_least():
    rows = [*videos("train", classes=1, groups=50), *videos("train", classes=2, groups=2)[4:]]  # 100 and 4 videos

    def count(fraction):
        chosen = choose_labels(rows, 3, fraction=fraction)
        return [sum(v.label == k for v in chosen) for k in (0, 1)], chosen

    assert [count(f)[0] for f in (0.001, 0.01, 0.1, 0.5, 1.0)] == [[1, 1], [1, 1], [10, 1], [50, 2], [100, 4]]
    assert set(count(0.1)[1]) <= set(count(0.5)[1]) and count(1.0)[1] == rows == choose_labels(rows, 0)
    assert count(0.1)[1] != choose_labels(rows, 4, fraction=0.1)


def test_few_labels_stages_and_decay_are_in_the_protocol():
    values = [{}, {"labels_per_class": 1}, {"labels_fraction": 0.01}, {"train_from": 2}, {"layer_decay": 0.7}]
    assert len({fine_tune(**value).protocol for value in values}) == 5
    assert "0.01 of the labels of each class" in fine_tune(labels_fraction=0.01).protocol


def test_a_share_of_the_labels_and_frozen_stages_are_obeyed(monkeypatch):
    kept = []
    monkeypatch.setattr("ssv.evaluations.fine_tune.Classifier", lambda *a: kept.append(Classifier(*a)) or kept[-1])
    given = ResNet3D(blocks=(1, 1, 1, 1), widths=(4, 4, 4, 4), stem_kernel=(1, 3, 3))
    evaluation = fine_tune(train_from=4, layer_decay=0.5, labels_fraction=0.5, steps=3)
    evaluation.run(given, FakeData(), trainer())
    for name, value in kept[0].backbone.state_dict().items():
        assert torch.equal(value, given.state_dict()[name]) == (not name.startswith("stages.3.")), name
    assert evaluation.artifacts["classes"]["train"].tolist() == [3, 3, 3, 3]
    rates = {g["lr"] for g in evaluation._optimizer(kept[0]).param_groups}
    assert rates == {evaluation.lr, evaluation.lr * 0.5}


def test_classes_without_a_test_video_are_told_and_do_not_count(caplog):
    test = [v for v in videos("test") if v.label != 2]
    evaluation = fine_tune(steps=60)
    with caplog.at_level(logging.WARNING):
        scores = evaluation.run(backbone(), FakeData(test=test), trainer())
    told = [r.getMessage() for r in caplog.records if "no video of" in r.getMessage()]
    assert told == ["split 'test' has no video of 1 of 4 classes, scores are over the others (labels 2)"]
    found = evaluation.artifacts["classes"]
    assert found["label"].tolist() == [0, 1, 2, 3] and found["test"].tolist() == [6, 6, 0, 6]
    table = evaluation.artifacts["per_video"]
    each = [(table["prediction"] == k)[table["label"] == k].mean() for k in (0, 1, 3)]
    assert scores["mean_class_accuracy"] == pytest.approx(np.mean(each)) and scores["chance"] == 0.25


def test_too_few_labels_name_the_class_and_the_key():
    with pytest.raises(ValueError, match="evaluation.labels_per_class=7 .* label 0 has 6"):
        fine_tune(labels_per_class=7).run(backbone(), FakeData(), trainer())


def test_batches_are_full_and_epochs_follow_each_other():
    data = FakeData()
    batches = full_batches(data, data.split("train"), random_view(), centre(), batch_size=9, seed=0)
    sizes = [len(next(batches).label) for _ in range(7)]
    assert sizes == [9] * 7  # 24 videos: the six left over are never a batch
    few = full_batches(data, data.split("train"), random_view(), centre(), batch_size=100, seed=0)
    assert len(next(few).label) == 24


def test_views_of_a_training_video_share_its_label():
    evaluation = fine_tune(train_sampler=views(2), steps=60)
    assert evaluation.run(backbone(), FakeData(), trainer())["top1"] > 0.7


def test_divergence_is_one_clear_line():
    with pytest.raises(ValueError, match="smaller evaluation.lr"):
        fine_tune(optimizer="sgd", lr=1e30).run(backbone(), FakeData(), trainer())


def test_half_precision_is_the_trainers_choice():
    evaluation = fine_tune(steps=40)
    assert evaluation.run(backbone(), FakeData(), trainer(precision="bf16-mixed"))["top1"] > 0.5
    full = fine_tune(steps=40)
    full.run(backbone(), FakeData(), trainer())
    assert (full.artifacts["training"]["loss"] != evaluation.artifacts["training"]["loss"]).any()


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"optimizer": "adam"}, "optimizer"),
        ({"steps": 0}, "steps"),
        ({"labels_per_class": 0}, "labels_per_class"),
        ({"labels_fraction": 0.0}, "labels_fraction"),
        ({"labels_fraction": 1.5}, "labels_fraction"),
        ({"labels_fraction": 0.5, "labels_per_class": 1}, "labels_per_class and"),
        ({"layer_decay": 0.0}, "layer_decay"),
    ],
)
def test_bad_values_name_their_key(values, key):
    with pytest.raises(ValueError, match=f"evaluation.{key}"):
        fine_tune(**values)


def test_a_missing_seed_is_not_a_seed():
    with pytest.raises(TypeError):
        fine_tune(seed=None)
