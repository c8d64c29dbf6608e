"""Figures of the public code from pixels on (tests/ops/walk.json), and which pixels become nodes."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from ssv.backbones.base import Backbone
from ssv.ops.walk import walk_loss
from ssv.pretexts.random_walk import RandomWalk, cut, random_boxes
from ssv.training.weights import load_backbone
from ssv.types import Clips
from tests.backbones import families, published
from tests.ops.test_walk import assert_figure
from tests.oracles import draw

PUBLISHED = json.loads((Path(__file__).parents[1] / "ops" / "walk.json").read_text())["end_to_end"]


class Watch(Backbone):
    """Hands the pixels through as features, and remembers them."""

    def __init__(self, time_local=True):
        super().__init__()
        self.out_channels, self.stride, self.time_local, self.kwargs = 3, (1, 1, 1), time_local, {}
        self.mean, self.std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, pixels):
        self.seen = pixels
        return pixels * self.weight


def clips(batch=2, frames=4, size=64, seed=0):
    """Red is the row, green the column, blue the frame."""
    place = torch.arange(size, dtype=torch.uint8)
    pixels = torch.zeros(batch, 1, 3, frames, size, size, dtype=torch.uint8)
    pixels[:, :, 0], pixels[:, :, 1] = place[:, None] * 2, place * 2
    pixels[:, :, 2] = torch.arange(frames, dtype=torch.uint8)[:, None, None] * 10
    seconds = (torch.arange(frames) / 8).expand(batch, 1, frames).float()
    return Clips(pixels, seconds, torch.zeros(batch).long(), torch.arange(batch))


def make(**options):
    torch.manual_seed(0)
    return RandomWalk(Watch(options.pop("time_local", True)), **{"size": 64, "patch": 16, "stride": 8, **options})


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("case", PUBLISHED, ids=lambda case: str(case["seed"]))
def test_matches_the_published_code_from_pixels(case, float64, tmp_path):
    weights = published.weights(families.videowalk_shapes())
    torch.save({"model": weights}, tmp_path / "walk.pth")
    backbone, _ = load_backbone(tmp_path / "walk.pth")
    pretext = RandomWalk(backbone, temperature=case["temperature"]).double().eval()
    pretext.head.load_state_dict({leaf: weights[f"selfsim_fc.0.{leaf}"] for leaf in ("weight", "bias")})

    batch, frames, channels, height, width = case["shape"]
    still = draw(case["seed"], (batch, channels, height, width), "clip")[:, None]
    moving = draw(case["seed"] + 500, (batch * frames, channels, height, width), "clip")
    pixels = torch.from_numpy(still + 0.4 * moving.reshape(case["shape"]))
    assert float(pixels.sum()) == pytest.approx(case["sum"], rel=1e-9)
    patches = pixels.unflatten(2, (-1, 3)).permute(0, 2, 3, 1, 4, 5)  # (B,T,3N,h,w) -> (B,N,3,T,h,w)
    nodes = pretext.map_nodes(patches[:, 0]) if channels == 3 else pretext.patch_nodes(patches)

    assert list(nodes.shape) == case["q_shape"]
    assert_figure(case["q"], nodes, 1e-6)
    walk = walk_loss(nodes, temperature=case["temperature"])
    assert walk.losses.tolist() == pytest.approx(case["xent"], rel=1e-9)
    assert walk.loss.item() == pytest.approx(case["loss"], rel=1e-5)
    walk.loss.backward()
    assert_figure(case["head"], pretext.head.weight.grad, 1e-6)
    first = next(p for p in backbone.parameters() if p.ndim == 5)
    assert_figure(case["conv1"], first.grad, 1e-6)


def test_published_sizes_make_49_nodes():
    pretext = RandomWalk(Watch()).eval()
    output = pretext(clips(batch=1, size=256))
    assert pretext.backbone.seen.shape == (49, 3, 4, 64, 64)
    assert float(output.metrics["chance"]) == pytest.approx(1 / 49)


def test_eval_mode_cuts_the_windows_exactly():
    pretext, value = make().eval(), clips()
    pretext(value)
    seen = (pretext.backbone.seen.view(2, 7, 7, 3, 4, 16, 16) * 255).round().to(torch.uint8)
    for row in range(7):
        for column in range(7):
            want = value.pixels[:, 0, :, :, row * 8 : row * 8 + 16, column * 8 : column * 8 + 16]
            assert torch.equal(seen[:, row, column], want)


def middles(pretext, value):
    """Of each (video, window, frame) that the backbone sees: row and column of its middle in pixels."""
    seen = pretext.backbone.seen.unflatten(0, (len(value.pixels), -1)) * 255 / 2
    return seen[:, :, :2].mean((4, 5))


def test_every_window_of_every_frame_is_cropped_anew_and_stays_near():
    pretext, value = make(), clips()
    pretext.eval()(value)
    exact = middles(pretext, value)
    pretext.train()(value)
    jittered = middles(pretext, value)
    moved = (jittered - exact).abs()
    assert 0.3 < moved.mean() < 5 and moved.max() < 16
    steps = jittered.diff(dim=3)
    assert (steps.abs() > 1e-3).all(), "no two frames share a crop"
    assert steps.std(1).min() > 0.1, "windows of one frame do not move together"


def test_without_window_jitter_windows_of_a_frame_share_one_box():
    pretext, value = make(patch_area=(1.0, 1.0), patch_aspect=(1.0, 1.0)), clips()
    pretext(value)
    rows = middles(pretext, value)[:, :, 0].unflatten(1, (7, 7))
    torch.testing.assert_close(rows.diff(dim=1), rows.diff(dim=1)[:, :1].expand_as(rows.diff(dim=1)), atol=0.05, rtol=0)


def test_boxes_keep_to_their_ranges():
    torch.manual_seed(0)
    top, left, height, width = random_boxes((10_000,), (0.5, 0.6), (0.6, 1.2), torch.device("cpu")).unbind(-1)
    area, aspect = height * width, width / height
    assert 0.5 - 1e-5 <= area.min() < 0.501 and 0.599 < area.max() <= 0.6 + 1e-5
    assert area.mean() == pytest.approx(0.55, abs=0.002)
    assert 0.6 - 1e-5 <= aspect.min() < 0.61 and 1.19 < aspect.max() <= 1.2 + 1e-5
    assert float(aspect.log().mean()) == pytest.approx(math.log(0.6 * 1.2) / 2, abs=0.005)
    for place, side in ((top, height), (left, width)):
        assert (place / (1 - side)).mean() == pytest.approx(0.5, abs=0.01)


def test_boxes_fit_whatever_was_asked():
    torch.manual_seed(0)
    top, left, height, width = random_boxes((10_000,), (0.8, 1.0), (0.5, 2.0), torch.device("cpu")).unbind(-1)
    assert min(top.min(), left.min()) >= -1e-6 and max((top + height).max(), (left + width).max()) <= 1 + 1e-6
    assert (height * width).mean() == pytest.approx(0.9, abs=0.005)


def test_cut_reads_between_pixels():
    frames = torch.arange(8.0).expand(1, 1, 1, 8, 8)  # the value is the column
    box = torch.tensor([0.0, 0.25, 1.0, 0.5])
    found = cut(frames, box.expand(1, 1, 1, 4), 8)[0, 0, 0, 0, 0]
    torch.testing.assert_close(found, 2 + (torch.arange(8) + 0.5) / 2 - 0.5)


def test_cells_of_the_map_as_nodes():
    pretext = make(nodes="map", size=8).eval()
    value = clips(batch=1)
    output = pretext(value)
    assert pretext.backbone.seen.shape == (1, 3, 4, 8, 8)
    assert float(output.metrics["chance"]) == pytest.approx(1 / 64)
    pixels = pretext.backbone.seen
    nodes = pretext.map_nodes(pixels)
    want = nn.functional.normalize(pretext.head(pixels[0, :, 2, 3, 5]), dim=0)
    torch.testing.assert_close(nodes[0, :, 2, 3 * 8 + 5], want)


def test_metrics_name_every_length_and_the_longest_counts():
    value = clips(frames=5)
    noise = torch.randint(0, 256, value.pixels.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pretext = make(frames=5, temperature=1e-5)
    metrics = pretext(value._replace(pixels=value.pixels // 2 + noise // 2)).metrics
    each = {f"{kind}_r{i}" for kind in ("accuracy", "loss") for i in (1, 2, 3)}
    assert set(metrics) == {"accuracy", "chance", "affinity_entropy"} | each
    assert 0 <= metrics["affinity_entropy"] <= 1
    assert metrics["accuracy"] == metrics["accuracy_r3"] != metrics["accuracy_r1"]
    assert metrics["loss_r1"] != metrics["loss_r3"]


def test_eval_mode_is_exact_unless_as_released():
    value = clips()
    for mode, is_exact in (("independent", True), ("released", False)):
        pretext = make(dropout_mode=mode, dropout=0.5).eval()
        assert torch.equal(pretext(value).loss, pretext(value).loss) == is_exact


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"time_local": False}, r"backbone\.time_local=true"),
        ({"frames": 2}, r"pretext\.frames"),
        ({"nodes": "cells"}, r"pretext\.nodes"),
        ({"patch": 65}, r"pretext\.patch"),
        ({"stride": 0}, r"pretext\.stride"),
        ({"dropout": 1.0}, r"pretext\.dropout"),
        ({"dropout_mode": "shared"}, r"pretext\.dropout_mode"),
        ({"temperature": 0.0}, r"pretext\.temperature"),
        ({"frame_area": (0.9, 0.8)}, r"pretext\.frame_area"),
        ({"patch_aspect": (1.1, 1.3)}, r"pretext\.patch_aspect"),
    ],
)
def test_refuses_in_one_line(options, key):
    with pytest.raises(ValueError, match=key) as error:
        make(**options)
    assert "\n" not in str(error.value)


def test_small_frames_are_not_blown_up():
    with pytest.raises(ValueError, match=r"data\.crop\.size=64"):
        make()(clips(size=63))
