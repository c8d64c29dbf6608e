"""Figures of ``published.json`` were measured by running the public code it names."""

import json
import math
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from ssv.ops import propagation
from ssv.ops.label_maps import minmax
from ssv.ops.propagation import propagate
from tests.oracles import draw

PUBLISHED = json.loads(Path(__file__).with_name("published.json").read_text())["propagation"]


def published_inputs(case):
    height, width, labels = case["h"], case["w"], case["labels"]
    still = draw(case["seed"] + 500, (case["channels"], 1, height, width), "normal")
    moving = draw(case["seed"], (case["channels"], case["frames"], height, width), "normal")
    rng = np.random.default_rng(case["seed"] + 700)
    if case["soft_labels"]:
        first = rng.random((height, width, labels)) ** 3
        first /= first.sum(-1, keepdims=True)
    else:
        ids = np.zeros((height, width), dtype=int)
        for label in range(1, labels):
            y, x = rng.integers(0, height - 2), rng.integers(0, width - 2)
            ids[y : y + 3, x : x + 3] = label
        first = np.eye(labels)[ids]
    features = torch.from_numpy(still + case["f"] * moving).transpose(0, 1)
    return features, torch.from_numpy(first).permute(2, 0, 1)


def assert_figures(figures, maps):
    for figure, found in zip(figures, maps, strict=True):
        flat = found.permute(1, 2, 0).flatten()
        assert flat[figure["index"]].tolist() == pytest.approx(figure["value"], abs=1e-9)
        assert float(flat.square().sum()) == pytest.approx(figure["squares"], rel=1e-9)


@pytest.mark.parametrize("side", [3, 8])
@pytest.mark.parametrize("case", PUBLISHED, ids=lambda case: str(case["seed"]))
def test_matches_the_published_code(case, side, monkeypatch):
    monkeypatch.setattr(propagation, "SIDE", side)
    features, first = published_inputs(case)
    maps = list(
        propagate(
            features,
            first,
            context=case["n_context"],
            long_term=[t + 1 if t else 0 for t in case["long_mem"]],
            radius=case["radius"],
            topk=case["topk"],
            temperature=case["temperature"],
            normalise=not case["no_l2"],
        )
    )
    assert_figures(case["carried"], maps)
    if case["norm_mask"]:
        assert_figures(case["written"], [minmax(found, axes=(0,)) for found in maps])


def by_definition(
    features,
    first,
    *,
    context,
    long_term=(0,),
    pad=True,
    radius=math.inf,
    shape="circle",
    radius_on_long_term=False,
    topk=10,
    per_frame=False,
    temperature=0.07,
    normalise=True,
    backwards=False,
):
    """One cell after the other. ``backwards`` turns round which of equal neighbours is found first."""
    features = features.numpy()
    if normalise:
        features = features / np.linalg.norm(features, axis=1, keepdims=True)
    labels, height, width = first.shape
    carried = [first.numpy()]

    def choose(scored):
        ranked = sorted(scored[::-1] if backwards else scored, key=lambda pair: -pair[0])[:topk]
        weights = np.exp(np.array([score - ranked[0][0] for score, _ in ranked]) / temperature)
        return sum(w * label for w, (_, label) in zip(weights / weights.sum(), ranked, strict=True))

    for t in range(1, len(features)):
        # A frame joins the long-term ones only when it is about to leave the context.
        keys = [(m if t >= m + context else 0, radius_on_long_term) for m in long_term]
        keys += [(max(s, 0), True) for s in range(t - context, t) if pad or s >= 0]
        answer = np.empty((labels, height, width))
        for y, x in np.ndindex(height, width):
            scored = []
            for frame, bounded in keys:
                scored.append([])
                for v, u in np.ndindex(height, width):
                    near = math.hypot(y - v, x - u) < radius
                    if shape == "square":
                        near = abs(y - v) <= radius and abs(x - u) <= radius
                    if near or not bounded:
                        score = features[t, :, y, x] @ features[frame, :, v, u]
                        scored[-1].append((score, carried[frame][:, v, u]))
            if per_frame:
                answer[:, y, x] = np.mean([choose(one) for one in scored], axis=0)
            else:
                answer[:, y, x] = choose([pair for one in scored for pair in one])
        carried.append(answer)
    return torch.from_numpy(np.stack(carried))


def video(frames, channels, height, width, labels=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    still = torch.randn(1, channels, height, width, generator=generator, dtype=torch.float64)
    moving = torch.randn(frames, channels, height, width, generator=generator, dtype=torch.float64)
    first = torch.rand(labels, height, width, generator=generator, dtype=torch.float64)
    return still + 0.7 * moving, first / first.sum(0)


RULES = {
    "first and recent within a circle": {"context": 3, "radius": 2.5, "topk": 4},
    "circle, its rim": {"context": 2, "radius": 2, "topk": 30, "long_term": ()},
    "square, its rim": {"context": 2, "radius": 2, "topk": 30, "shape": "square", "long_term": ()},
    "radius on the first frame too": {"context": 2, "radius": 2.2, "topk": 6, "radius_on_long_term": True},
    "no padding": {"context": 3, "radius": 3, "topk": 5, "pad": False},
    "no padding, recent alone": {"context": 3, "topk": 5, "pad": False, "long_term": ()},
    "later long-term frames": {"context": 2, "radius": 2, "topk": 5, "long_term": (0, 1, 3)},
    "later long-term frames, no padding": {"context": 2, "radius": 2, "topk": 5, "long_term": (2, 0), "pad": False},
    "everywhere": {"context": 2, "topk": 7, "temperature": 0.5},
    "each frame for itself": {"context": 3, "topk": 5, "per_frame": True, "temperature": 512**-0.5},
    "each frame for itself within a circle": {"context": 2, "topk": 30, "per_frame": True, "radius": 2, "pad": False},
    "dot product": {"context": 2, "radius": 3, "topk": 4, "normalise": False, "temperature": 2.0},
    "fewer cells than k": {"context": 1, "radius": 1, "topk": 10, "long_term": ()},
    "k of all": {"context": 2, "topk": 1000, "temperature": 0.3},
}


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_matches_its_definition(rules, monkeypatch):
    monkeypatch.setattr(propagation, "SIDE", 3)
    features, first = video(5, 5, 4, 6)
    found = torch.stack(list(propagate(features, first, **rules)))
    torch.testing.assert_close(found, by_definition(features, first, **rules), rtol=0, atol=1e-12)


@pytest.mark.parametrize("per_frame", [False, True])
@pytest.mark.parametrize("radius", [4, math.inf])
@pytest.mark.parametrize("shape", [(11, 9), (8, 16), (1, 20)])
def test_the_side_of_the_squares_changes_nothing(shape, radius, per_frame, monkeypatch):
    features, first = video(3, 6, *shape)
    found = {}
    for side in (2, 5, 8, 100):
        monkeypatch.setattr(propagation, "SIDE", side)
        found[side] = torch.stack(
            list(propagate(features, first, context=2, radius=radius, topk=6, per_frame=per_frame))
        )
    for side in (2, 5, 100):
        torch.testing.assert_close(found[side], found[8], rtol=0, atol=1e-12)


def test_equal_neighbours_with_equal_labels_do_no_harm():
    features, first = video(2, 5, 4, 4)
    rules = {"context": 4, "topk": 7, "radius": 3}  # five copies of frame 0 compete; the seventh place cuts them apart
    found = list(propagate(features, first, **rules))[1]
    for backwards in (False, True):
        wanted = by_definition(features, first, **rules, backwards=backwards)[1]
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_a_still_video_keeps_its_labels():
    features, first = video(1, 8, 9, 10)
    for found in propagate(features.expand(8, -1, -1, -1), first, context=3, topk=5, temperature=1e-4):
        torch.testing.assert_close(found, first, rtol=0, atol=1e-9)


def test_equal_features_give_every_cell_the_mean_label():
    _, first = video(1, 4, 5, 6)
    everything = (1 + 3) * 30
    maps = list(propagate(torch.ones(6, 4, 5, 6), first, context=3, topk=everything))
    for found in maps[1:]:
        torch.testing.assert_close(found, first.mean((1, 2), keepdim=True).expand_as(first), rtol=0, atol=1e-7)


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_labels_that_sum_to_one_keep_summing_to_one(rules):
    features, first = video(5, 5, 9, 10)
    for found in propagate(features, first, **rules):
        torch.testing.assert_close(found.sum(0), torch.ones(9, 10, dtype=torch.float64), rtol=0, atol=1e-12)
        assert (found >= 0).all()


def test_one_cell_one_frame_no_frame():
    features, first = video(4, 3, 1, 1)
    for found in propagate(features, first, context=2, radius=1):
        torch.testing.assert_close(found, first)
    features, first = video(1, 3, 5, 4)
    (only,) = propagate(features, first, context=2)
    assert only is first
    assert list(propagate([], first, context=2)) == []


def test_frames_are_read_when_asked_for_and_let_go():
    features, first = video(12, 6, 5, 5)
    read, alive = [], []

    def stream():
        for number in range(12):
            frame = features[number].clone()
            alive.append(weakref.ref(frame))
            read.append(number)
            yield frame
            del frame

    maps = propagate(stream(), first, context=3, radius=2, long_term=(0, 2))
    assert read == []
    for number, _ in enumerate(maps):
        assert read == list(range(number + 1)), "no frame ahead of the result"
        assert sum(ref() is not None for ref in alive) <= 2, "maps pile up"


def test_what_the_caller_does_with_a_result_changes_no_later_one():
    for labels in (1, 3):
        features, first = video(6, 6, 5, 5, labels)
        untouched = list(propagate(features, first, context=2))
        maps = propagate(features, first.clone(), context=2)
        for wanted in untouched:
            found = next(maps)
            torch.testing.assert_close(found, wanted, rtol=0, atol=0)
            found.zero_()


def test_no_gradient_is_kept():
    features, first = video(3, 6, 5, 5)
    _, *maps = propagate(features.requires_grad_(), first.requires_grad_(), context=2)
    assert not any(found.requires_grad for found in maps)


def test_features_made_in_inference_mode_will_do():
    features, first = video(4, 6, 5, 5)
    with torch.inference_mode():
        made = [frame.clone() for frame in features]
    for found, wanted in zip(propagate(made, first, context=2), propagate(features, first, context=2), strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_other_dtypes(dtype):
    features, first = video(4, 6, 5, 9)
    features[2, :, 1, 1] = 0  # has no direction
    exact = list(propagate(features, first, context=2, radius=3))
    for found, wanted in zip(propagate(features.to(dtype), first.float(), context=2, radius=3), exact, strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-5 if dtype == torch.float32 else 0.05)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"context": 0}, "evaluation.context must be at least 1 preceding frame, got 0"),
        ({"topk": 0}, "evaluation.topk must be at least 1 neighbour, got 0"),
        ({"long_term": (0, -1)}, "evaluation.long_term must be frame numbers from 0 on"),
        ({"shape": "disc"}, "evaluation.shape must be circle or square, got 'disc'"),
        ({"radius": 0}, "evaluation.radius must be more than 0 cells"),
        ({"radius": math.nan}, "evaluation.radius must be more than 0 cells"),
        ({"temperature": 0.0}, "evaluation.temperature must be more than 0, got 0.0"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_bad_arguments_are_refused_at_the_call(changes, message):
    features, first = video(2, 3, 4, 4)
    with pytest.raises(ValueError, match=f"^{message}") as caught:
        propagate(features, first, **{"context": 1, **changes})
    assert "\n" not in str(caught.value)


def test_bad_maps_are_refused():
    features, first = video(3, 3, 4, 5)
    for wrong in (first.long(), first[0], first[:0]):
        with pytest.raises(ValueError, match="first labels must be float"):
            propagate(features, wrong, context=1)
    maps = propagate([features[0], features[1, :, :, :4]], first, context=1)
    next(maps)
    with pytest.raises(ValueError, match=r"features of frame 1 are \(3, 4, 4\), the first labels \(3, 4, 5\)"):
        next(maps)
