import math

import numpy as np
import pytest
import torch
from torch import nn

from ssv.evaluations.labelled import full_batches
from ssv.evaluations.linear_probe_sgd import Heads, LinearProbeSGD, head_losses
from ssv.ops.photometric import normalise
from tests.evaluations.fakes import FakeData, Levels, Tiny, centre, random_crop, random_view, trainer, videos, views


def probe(**values):
    clips = {"train_sampler": random_view(), "train_crop": random_crop(), "sampler": views(3), "crop": centre()}
    return LinearProbeSGD(**{**clips, "rates": (0.03, 0.3), "steps": 20, "batch_size": 8, "folds": 3, **values})


def backbone():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Tiny()


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_heads_side_by_side_learn_what_each_would_alone():
    """The whole update against torch's own layers and SGD, one rate at a time."""
    rates, batches = [0.01, 0.2, 1.5], [(3 * drawn(10, 6, seed=i) + 1, torch.arange(10) % 4) for i in range(7)]
    heads = Heads(6, 6, 4).train()
    together = torch.optim.SGD(heads.parameters(), lr=1.0, momentum=0.9)
    seen = torch.tensor([True] * 6 + [False] * 4)
    for features, label in batches:
        together.zero_grad()
        (torch.tensor(rates * 2) * head_losses(heads(features), label, seen)).sum().backward()
        together.step()
    for number, rate in enumerate(rates * 2):
        norm, linear = nn.BatchNorm1d(6, affine=False), nn.Linear(6, 4)
        nn.init.zeros_(linear.weight), nn.init.zeros_(linear.bias)
        alone = torch.optim.SGD(linear.parameters(), lr=rate, momentum=0.9)
        for features, label in batches:
            rows = slice(0, 6) if number < 3 else slice(0, 10)
            alone.zero_grad()
            nn.functional.cross_entropy(linear(norm(features)[rows]), label[rows]).backward()
            alone.step()
        torch.testing.assert_close(heads.weight[number], linear.weight.T, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(heads.bias[number, 0], linear.bias, atol=1e-5, rtol=1e-4)


def test_a_run_is_sgd_with_momentum_and_a_cosine_on_features_in_eval_mode(monkeypatch):
    """The loop written out for each rate alone, on the same batches."""
    kept, data, steps = [], FakeData(), 9
    monkeypatch.setattr("ssv.evaluations.linear_probe_sgd.Heads", lambda *a: kept.append(Heads(*a)) or kept[-1])
    probe(steps=steps, seed=5).run(backbone(), data, trainer())
    frozen = backbone().eval()
    for number, rate in enumerate((0.03, 0.3)):
        batches = full_batches(data, data.split("train"), random_view(), random_crop(), batch_size=8, seed=5)
        norm, linear = nn.BatchNorm1d(8, affine=False), nn.Linear(8, 4)
        nn.init.zeros_(linear.weight), nn.init.zeros_(linear.bias)
        moved = [torch.zeros_like(p) for p in linear.parameters()]
        for i in range(steps):
            clips = next(batches)
            with torch.no_grad():
                features = frozen(normalise(clips.pixels.flatten(0, 1), frozen.mean, frozen.std)).mean((2, 3, 4))
            loss = nn.functional.cross_entropy(linear(norm(features)), clips.label)
            gradients = torch.autograd.grad(loss, list(linear.parameters()))
            now = rate * (1 + math.cos(math.pi * i / steps)) / 2
            for parameter, gradient, momentum in zip(linear.parameters(), gradients, moved, strict=True):
                momentum.mul_(0.9).add_(gradient)
                parameter.data -= now * momentum
        torch.testing.assert_close(kept[0].weight[2 + number], linear.weight.T, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(kept[0].norm.running_var, norm.running_var)


def test_a_batch_of_held_out_clips_alone_teaches_the_first_half_nothing():
    loss = head_losses(drawn(4, 5, 3), torch.zeros(5, dtype=torch.long), torch.zeros(5, dtype=torch.bool))
    assert loss[:2].tolist() == [0, 0] and (loss[2:] > 0).all()


def test_it_learns_what_can_be_seen_and_reports_every_rate():
    evaluation = probe(steps=60)
    scores = evaluation.run(backbone(), FakeData(), trainer())
    found = evaluation.artifacts["selection"]
    assert scores["top1"] > 0.7 and evaluation.artifacts["training"]["loss"].shape == (60, 2)
    assert found["rate"].tolist() == [0.03, 0.3] and found["chosen"] in found["rate"]
    assert found["test"][found["rate"].tolist().index(found["chosen"])] == scores["top1"]
    assert found["held_out"].max() > 0.5


def test_the_rate_is_chosen_on_held_out_groups_and_never_on_test(monkeypatch):
    """Grades are put in the classifiers' mouths: the one that is right on held-out videos is wrong on test videos."""
    data, asked = FakeData(), []

    def scores(self, probe, rows, title):
        asked.append([video.path for video in rows])
        right = np.eye(4)[[video.label for video in rows]]
        wrong = 1 - right
        fit = [wrong, right] if title == "scores of held-out videos" else [right, right]
        return np.stack([*fit, *([right, wrong] if title == "scores of test videos" else [right, right])])

    monkeypatch.setattr(LinearProbeSGD, "_class_scores", scores)
    evaluation = probe(steps=1)
    assert evaluation.run(backbone(), data, trainer())["top1"] == 0.0
    assert evaluation.artifacts["selection"]["chosen"] == 0.3
    assert evaluation.artifacts["selection"]["test"].tolist() == [1.0, 0.0]
    held_out, test = asked
    assert test == [video.path for video in data.lists["test"]]
    groups = {video.path: video.group for video in data.lists["train"]}
    kept = {groups[path] for path in held_out}
    assert len(held_out) == 8 and all(path in held_out for path, group in groups.items() if group in kept)


def test_labels_of_held_out_groups_never_reach_the_classifiers_graded_on_them():
    """Other labels in the held-out groups: the first half of the classifiers ends the same, the second does not."""
    seen = []

    def heads(train, monkeypatch):
        kept = []
        monkeypatch.setattr("ssv.evaluations.linear_probe_sgd.Heads", lambda *a: kept.append(Heads(*a)) or kept[-1])
        evaluation = probe(steps=12)
        splits_fit = np.array([not video.group.endswith("g00") for video in train])
        monkeypatch.setattr(
            LinearProbeSGD, "_parts", lambda self, splits: type("P", (), {"fit": splits_fit, "graded": []})
        )
        evaluation.run(backbone(), FakeData(train), trainer())
        return kept[0].weight.detach().clone()

    plain = videos("train")
    other = [v._replace(label=(v.label + 1) % 4) if v.group.endswith("g00") else v for v in plain]
    for train in (plain, other):
        with pytest.MonkeyPatch.context() as patch:
            seen.append(heads(train, patch))
    assert torch.equal(seen[0][:2], seen[1][:2]) and not torch.equal(seen[0][2:], seen[1][2:])


def test_one_rate_needs_no_choice_and_no_groups():
    train = [video._replace(group="one") for video in videos("train")]
    evaluation = probe(rates=(0.1,))
    evaluation.run(backbone(), FakeData(train), trainer())
    assert np.isnan(evaluation.artifacts["selection"]["held_out"]).all()
    with pytest.raises(ValueError, match=r"no class has two; give one rate, such as evaluation.rates=\[0.1\]"):
        probe().run(backbone(), FakeData(train), trainer())


def test_a_seed_gives_the_same_digits_and_another_seed_others():
    def loss(seed):
        evaluation = probe(seed=seed, steps=5)
        evaluation.run(backbone(), FakeData(), trainer())
        return evaluation.artifacts["training"]["loss"]

    torch.manual_seed(7)
    state = torch.get_rng_state()
    first = loss(3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(8)
    assert (first == loss(3)).all() and (first != loss(4)).any()


def test_constant_features_learn_no_more_than_the_commonest_class():
    train = videos("train", classes=3)
    scores = probe().run(Levels(constant=True), FakeData(train[:-2], videos("test", classes=3)), trainer())
    assert scores["top1"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("values", "key"),
    [({"rates": ()}, "rates"), ({"rates": (0.1, 0)}, "rates"), ({"steps": 0}, "steps"), ({"folds": 1}, "folds")],
)
def test_bad_values_name_their_key(values, key):
    with pytest.raises(ValueError, match=f"evaluation.{key}"):
        probe(**values)
