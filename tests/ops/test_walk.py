"""Figures of the public code (walk.json: source, commit), and claims against walkers sent out one by one."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from ssv.ops.walk import round_trips, sinkhorn, transition_entropy, transitions, walk_loss
from tests.oracles import draw

PUBLISHED = json.loads(Path(__file__).with_name("walk.json").read_text())["loss"]
WALKS = [case for case in PUBLISHED if case["T"] > 2]


def published_nodes(case, dtype=torch.float64):
    shape = (case["B"], case["C"], case["T"], case["N"])
    raw = draw(case["seed"], shape, "normal")
    if case["mode"] == "smooth":
        raw = draw(case["seed"] + 500, (*shape[:2], 1, shape[3]), "normal") + case["f"] * raw
    return torch.from_numpy(raw / np.linalg.norm(raw, axis=1, keepdims=True)).to(dtype)


def published_draws(case):
    """(T-1,2,B,N,N): the public code draws for all ways out first."""
    if "uniforms" not in case:
        return None
    rng = np.random.default_rng(case["uniforms"])
    shape = (2, case["T"] - 1, case["B"], case["N"], case["N"])
    return torch.from_numpy(rng.random(shape)).transpose(0, 1)


def options(case):
    return {"temperature": case["temperature"], "dropout": case["edge_dropout"], "dropout_mode": "released"}


def assert_figure(figure, found, rel):
    flat = found.detach().double().contiguous().flatten()
    largest = float(flat.abs().max())
    assert flat[figure["index"]].tolist() == pytest.approx(figure["value"], rel=rel, abs=rel * largest)
    assert float(flat.square().sum()) == pytest.approx(figure["squares"], rel=2 * rel)


@pytest.mark.parametrize("case", PUBLISHED, ids=lambda case: str(case["seed"]))
def test_transitions_match_the_published_code(case):
    nodes, draws = published_nodes(case), published_draws(case)
    affinity = torch.stack([nodes[:, :, t].transpose(1, 2) @ nodes[:, :, t + 1] for t in range(case["T"] - 1)], 1)
    assert_figure(case["affinity"], affinity, 1e-9)
    for t in range(case["T"] - 1):
        given = {} if draws is None else {"draws": draws[t]}
        out, back = transitions(nodes[:, :, t], nodes[:, :, t + 1], **options(case), **given)
        assert_figure(case["out"][t], out, 1e-9)
        assert_figure(case["back"][t], back, 1e-9)
        if given:
            assert float((out == 0).double().mean()) == pytest.approx(case["zero_fraction_A12"][t], abs=1e-12)
            assert float((back == 0).double().mean()) == pytest.approx(case["zero_fraction_A21"][t], abs=1e-12)


@pytest.mark.parametrize("case", WALKS, ids=lambda case: str(case["seed"]))
def test_walks_match_the_published_code(case):
    nodes = published_nodes(case).requires_grad_()
    given = {**options(case), "flip": case["flip"], "draws": published_draws(case)}
    trips = list(round_trips(nodes, **given))
    assert len(trips) == case["T"] - 2 == len(case["trips"])
    for figure, trip in zip(case["trips"], trips, strict=True):
        assert_figure(figure, trip, 1e-9)
    walk = walk_loss(nodes, **given)
    assert walk.losses.tolist() == pytest.approx(case["xent"], rel=1e-9)
    assert walk.accuracies.tolist() == pytest.approx(case["acc"], abs=1e-6)
    assert walk.loss.item() == pytest.approx(case["loss"], rel=1e-6)
    walk.loss.backward()
    assert_figure(case["grad"], nodes.grad, 1e-6)


@pytest.mark.parametrize("case", WALKS, ids=lambda case: str(case["seed"]))
def test_float32_is_good_enough(case):
    nodes = published_nodes(case, torch.float32).requires_grad_()
    draws = published_draws(case)
    walk = walk_loss(nodes, **options(case), flip=case["flip"], draws=draws)
    assert walk.loss.item() == pytest.approx(case["loss"], rel=1e-5)
    walk.loss.backward()
    assert_figure(case["grad"], nodes.grad, 1e-4)


def some_nodes(batch=2, dims=6, frames=5, count=4, seed=0):
    raw = torch.randn(batch, dims, frames, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(raw, dim=1)


def one_by_one(nodes, temperature):
    """P(end | start) of every palindrome by carrying one walker's probabilities step by step, with plain numbers."""
    dims, frames, count = nodes.shape
    trips = []
    for turn in range(2, frames):
        path = [*range(turn + 1), *range(turn - 1, -1, -1)]
        ends = []
        for start in range(count):
            at = [float(n == start) for n in range(count)]
            for here, there in zip(path[:-1], path[1:], strict=True):
                arrived = [0.0] * count
                for n in range(count):
                    similar = [float((nodes[:, here, n] * nodes[:, there, m]).sum()) for m in range(count)]
                    weights = [math.exp(s / temperature) for s in similar]
                    for m in range(count):
                        arrived[m] += at[n] * weights[m] / sum(weights)
                at = arrived
            ends.append(at)
        trips.append(ends)
    return torch.tensor(trips, dtype=torch.float64)


def test_trips_are_those_of_single_walkers():
    nodes = some_nodes()
    trips = torch.stack(list(round_trips(nodes, temperature=0.3)), 1)
    for found, video in zip(trips, nodes, strict=True):
        torch.testing.assert_close(found, one_by_one(video, 0.3))
    torch.testing.assert_close(trips.sum(-1), torch.ones(2, 3, 4, dtype=torch.float64))


def test_loss_is_minus_the_log_of_coming_home():
    nodes = some_nodes()
    trips = torch.stack(list(round_trips(nodes, temperature=0.3)))
    home = trips.diagonal(dim1=2, dim2=3)
    walk = walk_loss(nodes, temperature=0.3)
    torch.testing.assert_close(walk.losses, -home.log().mean((1, 2)))
    torch.testing.assert_close(walk.loss, walk.losses.mean())
    torch.testing.assert_close(walk.accuracies, (trips.amax(-1) == home).double().mean((1, 2)))


def test_constant_nodes_walk_at_random():
    nodes = torch.ones(2, 1, 4, 49)
    assert walk_loss(nodes, temperature=0.05).loss.item() == pytest.approx(math.log(49), rel=1e-6)


def test_identical_frames_of_distinct_nodes_come_home():
    nodes = torch.eye(9)[None, :, None].expand(1, -1, 4, -1)
    walk = walk_loss(nodes, temperature=0.01)
    assert walk.loss.item() < 1e-6 and walk.accuracies.tolist() == [1, 1]
    for trip in round_trips(nodes, temperature=0.01):
        torch.testing.assert_close(trip[0], torch.eye(9))


def cut_shares(mode, dropout=0.2, count=400):
    torch.manual_seed(0)
    out, back = transitions(
        torch.ones(1, 1, count), torch.ones(1, 1, count), temperature=1, dropout=dropout, dropout_mode=mode
    )
    torch.testing.assert_close(out.sum(-1), torch.ones(1, count))
    torch.testing.assert_close(back.sum(-1), torch.ones(1, count))
    cut_out, cut_back = out == 0, back.transpose(1, 2) == 0
    return tuple(float(cut.float().mean()) for cut in (cut_out, cut_back, cut_out & cut_back))


def test_each_direction_draws_its_own_edges():
    assert cut_shares("independent") == pytest.approx((0.2, 0.2, 0.04), abs=0.004)


def test_as_released_the_way_back_lacks_the_edges_of_the_way_out():
    assert cut_shares("released") == pytest.approx((0.2, 0.36, 0.2), abs=0.004)


def test_steps_draw_anew():
    torch.manual_seed(0)
    nodes = torch.ones(1, 1, 4, 30)
    drawn = [transitions(nodes[:, :, t], nodes[:, :, t + 1], temperature=1, dropout=0.3)[0] for t in range(2)]
    assert not torch.equal(*drawn)
    one, other = (next(round_trips(nodes, temperature=1, dropout=0.3)) for _ in range(2))
    assert not torch.equal(one, other)


def test_a_node_that_lost_all_edges_goes_anywhere():
    nodes = some_nodes(batch=1, frames=3).float().requires_grad_()
    walk = walk_loss(nodes, temperature=0.05, dropout=0.5, draws=torch.zeros(2, 2, 1, 4, 4))
    assert walk.loss.item() == pytest.approx(math.log(4), rel=1e-6)
    walk.loss.backward()
    assert torch.isfinite(nodes.grad).all()


def test_half_precision_and_autocast_are_raised_to_float32():
    nodes = some_nodes(count=9).float()
    want = walk_loss(nodes, temperature=0.05).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(walk_loss(nodes, temperature=0.05).loss, want)
    assert walk_loss(nodes.bfloat16(), temperature=0.05).loss.dtype == torch.float32


@pytest.mark.parametrize(
    ("frames", "given", "message"),
    [(2, {}, r"data\.sampler\.frames"), (3, {"dropout": 1.0}, "dropout"), (3, {"dropout_mode": "shared"}, "'shared'")],
)
def test_refuses_in_one_line(frames, given, message):
    with pytest.raises(ValueError, match=message) as error:
        round_trips(some_nodes(frames=frames), temperature=0.05, **given)
    assert "\n" not in str(error.value)


def test_entropy_of_steps_against_sums():
    nodes = torch.nn.functional.normalize(torch.randn(2, 8, 4, 5, generator=torch.Generator().manual_seed(0)), dim=1)
    total = 0.0
    for t in range(3):
        for start, end in ((t, t + 1), (t + 1, t)):
            for b in range(2):
                for n in range(5):
                    scores = [math.exp(float(nodes[b, :, start, n] @ nodes[b, :, end, m]) / 0.3) for m in range(5)]
                    total -= sum(x / sum(scores) * math.log(x / sum(scores)) for x in scores)
    expected = total / (3 * 2 * 2 * 5) / math.log(5)
    assert float(transition_entropy(nodes, temperature=0.3)) == pytest.approx(expected, rel=1e-5)


def test_entropy_of_steps_is_1_where_all_nodes_are_alike_and_0_where_steps_are_sure():
    alike = torch.ones(1, 4, 3, 6) / 2
    assert float(transition_entropy(alike, temperature=0.05)) == pytest.approx(1, abs=1e-6)
    apart = torch.eye(6)[None, :, None].expand(1, 6, 3, 6)
    assert float(transition_entropy(apart, temperature=0.01)) == pytest.approx(0, abs=1e-6)
    assert float(transition_entropy(torch.ones(1, 4, 3, 1) / 2, temperature=0.05)) == 0, "a single node"


def test_balanced_steps_are_those_of_normalising_in_turn():
    logits = 3 * torch.randn(2, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = logits.exp()
    expected = expected / expected.sum(-1, keepdim=True)
    while (expected.sum(-2) - 1).abs().max() >= 0.01:
        expected = expected / expected.sum(-2, keepdim=True)
        expected = expected / expected.sum(-1, keepdim=True)
    torch.testing.assert_close(sinkhorn(logits), expected)


def test_balanced_steps_leave_and_reach_every_node_equally_often_though_one_attracts():
    start = torch.nn.functional.normalize(torch.randn(1, 8, 6, generator=torch.Generator().manual_seed(0)), dim=1)
    end = torch.nn.functional.normalize(start + 2 * start[:, :, :1], dim=1)
    out, back = transitions(start, end, temperature=0.2, balanced=True)
    plain, _ = transitions(start, end, temperature=0.2)
    assert float((plain.sum(-2) - 1).abs().max()) > 0.1
    for steps in (out, back):
        assert float((steps.sum(-1) - 1).abs().max()) < 1e-5 and float((steps.sum(-2) - 1).abs().max()) < 0.01


def test_balanced_walks_have_gradients_and_survive_cut_edges():
    nodes = some_nodes(frames=4).requires_grad_()
    torch.manual_seed(0)
    walk = walk_loss(nodes, temperature=0.05, dropout=0.3, balanced=True)
    walk.loss.backward()
    assert walk.loss.isfinite() and nodes.grad.isfinite().all() and nodes.grad.abs().sum() > 0
    assert walk.loss != walk_loss(nodes, temperature=0.05).loss
