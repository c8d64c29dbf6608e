"""Figures of the public code (alignment.json: source, commit), and claims against plain loops."""

import json
import math
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from ssv.ops.alignment import (
    classification_losses,
    cycle_back,
    landing,
    neighbour_tau,
    regression_losses,
    similarities,
    soft_neighbours,
)
from tests.oracles import draw

PUBLISHED = json.loads(Path(__file__).with_name("alignment.json").read_text())
SETTINGS = PUBLISHED["settings"]
SIMILARITIES = {"l2": "l2", "cosine": "inner_product"}
REGRESSIONS = {"regression_mse": "mse", "regression_mse_var": "variance", "regression_huber": "huber"}


def published_embeddings(case, dtype=torch.float64):
    noise = draw(case["seed"], case["shape"], "normal")
    if case.get("mode") == "normal":
        return torch.from_numpy(noise).to(dtype)
    t = np.arange(case["shape"][1]) / (case["shape"][1] - 1)
    basis = np.stack([t, t**2, np.sin(3 * t), np.cos(5 * t)], 1)
    path = basis @ draw(case["seed"] + 500, (4, case["shape"][2]), "normal")
    return torch.from_numpy(path + 0.3 * noise).to(dtype)


def all_pairs(count):
    return torch.tensor(list(permutations(range(count), 2))).unbind(1)


def published_loss(case, embeddings):
    videos, frames = case["shape"][:2]
    first, second = all_pairs(videos)
    logits = cycle_back(
        embeddings[first],
        embeddings[second],
        kind=SIMILARITIES[case["similarity"]],
        temperature=SETTINGS["temperature"],
    )
    if case["loss"] == "classification":
        return classification_losses(logits, smoothing=SETTINGS["label_smoothing"]).mean()
    times = torch.tensor(case.get("steps", [list(range(frames))] * videos)).to(embeddings)
    if case["normalise_indices"]:
        times = times / torch.tensor(case.get("lengths", [frames] * videos)).to(embeddings)[:, None]
    return regression_losses(
        logits,
        times[first],
        kind=REGRESSIONS[case["loss"]],
        variance_weight=SETTINGS["variance_lambda"],
        delta=SETTINGS["huber_delta"],
    ).mean()


@pytest.mark.parametrize(
    "case", PUBLISHED["deterministic"], ids=lambda case: f"{case['loss']}-{case['similarity']}-{case['seed']}"
)
def test_losses_match_the_published_code(case):
    embeddings = published_embeddings(case).requires_grad_()
    loss = published_loss(case, embeddings)
    loss.backward()
    assert loss.item() == pytest.approx(case["float64"], rel=1e-9)
    assert loss.item() == pytest.approx(case["published"], rel=2e-4)
    gradient = embeddings.grad.flatten()
    largest = gradient.abs().max().item()
    assert gradient[case["index"]].tolist() == pytest.approx(case["grad"], abs=1e-3 * largest)
    assert gradient.square().sum().item() == pytest.approx(case["squares"], rel=2e-3)
    single = published_embeddings(case, torch.float32)
    assert published_loss(case, single).item() == pytest.approx(case["published"], rel=2e-4)


@pytest.mark.parametrize("case", PUBLISHED["stochastic"], ids=lambda case: str(case["seed"]))
def test_longer_cycles_match_the_published_code(case):
    embeddings = published_embeddings(case)
    losses = []
    for cycle, begin in zip(case["cycles"], case["starts"], strict=True):
        here = embeddings[cycle[0]][begin : begin + 1]
        for video in cycle[1:-1]:
            here = soft_neighbours(here, embeddings[video])
        logits = similarities(here, embeddings[cycle[-1]])
        smoothing = SETTINGS["label_smoothing"]
        losses.append(functional.cross_entropy(logits, torch.tensor([begin]), label_smoothing=smoothing).item())
    assert sum(losses) / len(losses) == pytest.approx(case["published"], rel=1e-6)


def some(pairs=3, frames=4, others=6, dims=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(pairs, frames, dims, generator=generator, dtype=torch.float64)
    return start, torch.randn(pairs, others, dims, generator=generator, dtype=torch.float64)


def slow_softmax(values):
    highest = max(values)
    weights = [math.exp(value - highest) for value in values]
    return [weight / sum(weights) for weight in weights]


def slow_logits(start, other, kind, temperature):
    """Where each frame comes back, one number after the other."""

    def alike(a, b):
        if kind == "l2":
            return -sum((x - y) ** 2 for x, y in zip(a, b)) / len(a) / temperature
        return sum(x * y for x, y in zip(a, b)) / len(a) / temperature

    found = []
    for frame in start:
        weights = slow_softmax([alike(frame, key) for key in other])
        neighbour = [sum(w * key[d] for w, key in zip(weights, other)) for d in range(len(frame))]
        found.append([alike(neighbour, key) for key in start])
    return found


@pytest.mark.parametrize("kind", ["l2", "inner_product"])
def test_cycle_back_is_what_the_equations_say_with_videos_of_any_lengths(kind):
    start, other = some()
    logits = cycle_back(start, other, kind=kind, temperature=0.3)
    slow = [slow_logits(a.tolist(), b.tolist(), kind, 0.3) for a, b in zip(start, other)]
    shift = logits - torch.tensor(slow, dtype=torch.float64)
    torch.testing.assert_close(shift, shift[..., :1].expand_as(shift))  # a softmax does not see what all have in common
    torch.testing.assert_close(shift, torch.zeros_like(shift))


def test_regressions_are_what_the_equations_say():
    start, other = some()
    logits = cycle_back(start, other)
    times = torch.tensor([[0.0, 0.1, 0.5, 1.0], [0.0, 0.3, 0.4, 0.7], [0.2, 0.3, 0.6, 0.9]], dtype=torch.float64)
    expected = {"variance": [], "mse": [], "huber": []}
    for rows, own in zip(logits.tolist(), times.tolist()):
        for row, time in zip(rows, own):
            back = slow_softmax(row)
            mean = sum(b * t for b, t in zip(back, own))
            variance = sum(b * (t - mean) ** 2 for b, t in zip(back, own))
            error = abs(mean - time)
            expected["variance"].append(error**2 / variance + 0.05 * math.log(variance))
            expected["mse"].append(error**2)
            expected["huber"].append(error**2 / 2 if error <= 0.2 else 0.2 * error - 0.2**2 / 2)
    for kind, slow in expected.items():
        found = regression_losses(logits, times, kind=kind, variance_weight=0.05, delta=0.2)
        torch.testing.assert_close(found.flatten(), torch.tensor(slow, dtype=torch.float64))


def test_identical_videos_of_distinct_frames_come_home():
    frames = 10 * torch.eye(6)[None]
    logits = cycle_back(frames, frames)
    assert classification_losses(logits, smoothing=0).max() < 1e-4
    times = torch.arange(6)[None] / 6
    for kind in ("mse", "huber"):
        assert regression_losses(logits, times, kind=kind).max() < 1e-4


def test_swapping_the_videos_of_all_ordered_pairs_changes_nothing():
    embeddings = torch.cat(some(frames=6), 0)[[0, 2, 4]]
    first, second = all_pairs(3)
    times = (torch.arange(6) / 6).expand(len(first), -1).double()
    totals = []
    for a, b in ((first, second), (second, first)):
        logits = cycle_back(embeddings[a], embeddings[b])
        totals.append(torch.stack([classification_losses(logits).sum(), regression_losses(logits, times).sum()]))
    torch.testing.assert_close(*totals)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_softmax_all_on_one_frame_leaves_the_loss_and_its_gradient_finite(dtype):
    logits = (1e4 * torch.eye(4, dtype=dtype).roll(1, 0))[None].requires_grad_()
    times = torch.arange(4, dtype=dtype)[None] / 4
    losses = regression_losses(logits, times)
    losses.sum().backward()
    assert torch.isfinite(losses).all() and torch.isfinite(logits.grad).all()
    assert losses.max().item() == pytest.approx(0.75**2 / 1e-12, rel=1e-3)
    floored = regression_losses(logits, times, variance_floor=0.01)
    assert floored.max().item() == pytest.approx(0.75**2 / 0.01 + 0.001 * math.log(0.01), rel=1e-4)


def test_frames_that_all_look_the_same_come_back_anywhere():
    same = torch.ones(1, 5, 8)
    logits = cycle_back(same, 2 * same)
    torch.testing.assert_close(classification_losses(logits, smoothing=0), torch.full((1, 5), math.log(5)))
    mean, variance = landing(logits, torch.arange(5.0)[None])
    torch.testing.assert_close((mean, variance), (torch.full((1, 5), 2.0), torch.full((1, 5), 2.0)))


def test_tau_is_1_for_identical_and_minus_1_for_reversed_videos():
    walk = torch.arange(12.0)[None, :, None].expand(1, 12, 3)
    assert neighbour_tau(walk, walk).tolist() == [1]
    assert neighbour_tau(walk, walk.flip(1)).tolist() == [-1]
    assert neighbour_tau(walk, walk[:, ::3]).item() == pytest.approx(53 / 66)  # 2, 3, 3 and 4 frames share one
    assert neighbour_tau(walk, 0 * walk).tolist() == [0]


def test_unknown_words_are_refused():
    start, other = some()
    with pytest.raises(ValueError, match="cosine"):
        similarities(start, other, kind="cosine")
    with pytest.raises(ValueError, match="regression"):
        regression_losses(cycle_back(start, start), torch.rand(3, 4), kind="regression")
