"""Figures of the public code (localise.json: source, commit), and the same maths cell by cell."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from ssv.ops.localise import (
    affinity,
    affinity_entropy,
    grid_loss,
    moved,
    sample,
    similarity_map,
    soft_inliers,
    window_motion,
)
from tests.oracles import draw

PIECES = json.loads(Path(__file__).with_name("localise.json").read_text())["pieces"]
TEMPERATURE = 512**-0.5
STRETCH = 227 / 210


def drawn(seed, shape):
    return torch.from_numpy(draw(seed, shape, "normal"))


def assert_figure(figure, found, rel=1e-5):
    flat = found.detach().double().contiguous().flatten()
    assert list(found.shape) == figure["shape"]
    largest = float(flat.abs().max())
    assert flat[figure["index"]].tolist() == pytest.approx(figure["value"], rel=rel, abs=rel * largest)
    assert float(flat.square().sum()) == pytest.approx(figure["sq_sum"], rel=2 * rel)
    assert float(flat.abs().sum()) == pytest.approx(figure["abs_sum"], rel=rel)


def columns_first(similar):
    """The public code counts the image's cells column by column."""
    side = math.isqrt(similar.shape[1])
    return similar.unflatten(1, (side, side)).transpose(1, 2).flatten(1, 2)


def random_thetas(count, seed):
    """Some of them reach beyond the image."""
    parameters = torch.rand(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1
    return similarity_map(parameters, scale=1 / 3)


def test_thetas_match_the_public_code():
    piece = PIECES["transform_trans_out"]
    found = similarity_map(drawn(**piece["input"]), scale=1 / 3)
    assert found.flatten().tolist() == pytest.approx(piece["output"], rel=1e-9)


def test_grid_loss_matches_the_public_code():
    piece = PIECES["transformed_grid_loss"]
    losses = grid_loss(drawn(**piece["theta"]), drawn(**piece["theta_gt"]), side=piece["grid"])
    assert float(losses.mean()) == pytest.approx(piece["loss"], rel=1e-5)


@pytest.mark.parametrize("align_corners", [True, False])
def test_sampling_matches_the_public_code(align_corners):
    piece = PIECES[f"crop_align_corners_{align_corners}"]
    theta = torch.tensor(piece["theta"], dtype=torch.float64)
    points = moved(theta, 10, translation_factor=STRETCH)
    assert_figure(piece["output"], sample(drawn(**piece["input"]), points, align_corners=align_corners))


@pytest.mark.parametrize("align_corners", [True, False])
def test_inliers_match_the_public_code(align_corners):
    piece = PIECES[f"inlier_score_align_corners_{align_corners}"]
    matches = columns_first(drawn(615, (2, 900, 10, 10)).softmax(1))
    points = moved(torch.tensor(piece["theta"], dtype=torch.float64), 10, translation_factor=STRETCH)
    scores = soft_inliers(matches, points, (30, 30), align_corners=align_corners)
    assert scores.tolist() == pytest.approx(piece["score"], rel=1e-5)


@pytest.mark.parametrize("name", ["compute_corr_softmax", "compute_corr_softmax2"])
def test_both_affinities_of_the_public_code_are_this_one(name):
    patch = functional.normalize(drawn(616, (1, 16, 10, 10)), dim=1)
    base = functional.normalize(drawn(617, (1, 16, 30, 30)), dim=1)
    assert_figure(PIECES[name]["output"], columns_first(affinity(patch, base, temperature=TEMPERATURE)), 1e-8)


def test_a_true_place_has_many_inliers_and_others_few():
    piece = PIECES["inlier_score_matching"]
    image = drawn(601, (1, 512, 30, 30))
    y, x = piece["crop_offset_yx"]
    patch = image[:, :, y : y + 10, x : x + 10] + 0.3 * drawn(651, (1, 512, 10, 10))
    patch, image = (functional.normalize(features.relu(), dim=1) for features in (patch, image))
    similar = affinity(patch, image, temperature=TEMPERATURE)
    assert_figure(piece["affinity"], columns_first(similar))
    for case in piece["cases"]:
        theta = torch.tensor(case["theta"], dtype=torch.float64).view(1, 2, 3)
        score = soft_inliers(similar, moved(theta, 10, translation_factor=STRETCH), (30, 30), align_corners=True)
        assert float(score) == pytest.approx(case["score"], rel=1e-5)


def test_places_move_one_by_one():
    theta, side = random_thetas(4, seed=1), 5
    found = moved(theta, side, translation_factor=1.5)
    for n, i, j in np.ndindex(4, side, side):
        x, y = -1 + 2 * j / (side - 1), -1 + 2 * i / (side - 1)
        (a, b, tx), (c, d, ty) = theta[n].tolist()
        assert found[n, i, j].tolist() == pytest.approx([a * x + b * y + 1.5 * tx, c * x + d * y + 1.5 * ty])


def test_a_single_cell_is_the_middle():
    theta = random_thetas(2, seed=2)
    torch.testing.assert_close(moved(theta, 1)[:, 0, 0], theta[..., 2])


def test_a_turn_and_a_shift():
    theta = similarity_map(torch.tensor([[0.5, 0.0, math.pi / 2]]), scale=0.5)
    right_end = moved(theta, 3)[0, 1, 2]  # (1, 0) of the patch: y points down, so a positive angle turns it down
    torch.testing.assert_close(right_end, torch.tensor([0.5, 0.5]))


def slow_value(image, x, y, align_corners):
    """Bilinear with zeros outside, of a map (D,h,w)."""
    height, width = image.shape[1:]
    column, row = (
        ((p + 1) / 2 * (n - 1)) if align_corners else (((p + 1) * n - 1) / 2) for p, n in ((x, width), (y, height))
    )
    total = torch.zeros(image.shape[0], dtype=image.dtype)
    for r in (math.floor(row), math.floor(row) + 1):
        for c in (math.floor(column), math.floor(column) + 1):
            if 0 <= r < height and 0 <= c < width:
                total += (1 - abs(row - r)) * (1 - abs(column - c)) * image[:, r, c]
    return total


@pytest.mark.parametrize("align_corners", [True, False])
def test_sampling_and_inliers_cell_by_cell(align_corners):
    height, width, side = 5, 7, 3  # not square: rows and columns must not be swapped
    image = torch.randn(3, 2, height, width, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    matches = torch.rand(3, height * width, side, side, generator=torch.Generator().manual_seed(4)).double().softmax(1)
    points = moved(random_thetas(3, seed=5), side, translation_factor=1.2)
    sampled = sample(image, points, align_corners=align_corners)
    scores = soft_inliers(matches, points, (height, width), align_corners=align_corners)
    for n in range(3):
        masked, weight = 0.0, 0.0
        for i, j in np.ndindex(side, side):
            x, y = points[n, i, j].tolist()
            torch.testing.assert_close(sampled[n, :, i, j], slow_value(image[n], x, y, align_corners))
            masked += float(slow_value(matches[n, :, i, j].view(1, height, width), x, y, align_corners))
            weight += float(slow_value(torch.ones(1, height, width).double(), x, y, align_corners))
        assert float(scores[n]) == pytest.approx(masked / (weight + 1e-5 * height * width * side**2), rel=1e-9)


def test_inliers_teach_the_place():
    """The gradient of the count leads a place towards the cell that is alike."""
    matches = torch.zeros(1, 25, 1, 1)
    matches[0, 2 * 5 + 3] = 1.0  # row 2, column 3: x = 0.5, y = 0
    points = torch.tensor([[[[0.3, 0.2]]]], requires_grad=True)
    soft_inliers(matches, points, (5, 5), align_corners=True).sum().backward()
    x, y = points.grad.flatten().tolist()
    assert x > 0.1 and y < -0.1


def test_grid_loss_point_by_point():
    found, wanted = random_thetas(2, seed=6), random_thetas(2, seed=7)
    losses = grid_loss(found, wanted)
    for n in range(2):
        total = 0.0
        for x in np.linspace(-1, 1, 20):
            for y in np.linspace(-1, 1, 20):
                place = torch.tensor([x, y, 1.0], dtype=torch.float64)
                total += float((found[n] @ place - wanted[n] @ place).square().sum()) / 400
        assert float(losses[n]) == pytest.approx(total)


def test_affinity_is_a_softmax_over_the_image():
    generator = torch.Generator().manual_seed(8)
    patch, image = torch.randn(2, 6, 2, 3, generator=generator), torch.randn(2, 6, 4, 5, generator=generator)
    found = affinity(patch, image, temperature=0.5)
    assert found.shape == (2, 20, 2, 3)
    torch.testing.assert_close(found.sum(1), torch.ones(2, 2, 3))
    for n, i, j in np.ndindex(2, 2, 3):
        scores = [math.exp(float(patch[n, :, i, j] @ image[n, :, r, c]) / 0.5) for r in range(4) for c in range(5)]
        assert found[n, :, i, j].tolist() == pytest.approx([score / sum(scores) for score in scores], rel=1e-4)


def test_entropy_of_sure_and_of_clueless():
    clueless, sure = torch.full((2, 16, 3, 3), 1 / 16), torch.zeros(2, 16, 3, 3)
    sure[:, 5] = 1
    assert float(affinity_entropy(clueless)) == pytest.approx(1)
    assert float(affinity_entropy(sure)) == 0
    halves = torch.zeros(2, 16, 3, 3)
    halves[:, :4] = 1 / 4
    assert float(affinity_entropy(halves)) == pytest.approx(0.5)


def test_motion_of_windows():
    before = torch.zeros(2, 3, 36, 36, dtype=torch.uint8)
    after = before.clone()
    after[0, :, 4:8, 20:24] = 255  # cell of row 1 and column 5
    found = window_motion(before, after)
    assert found.shape == (2, 7, 7) and found[1].eq(0).all()
    for row, column in np.ndindex(7, 7):
        holds = row <= 1 <= row + 2 and column <= 5 <= column + 2
        assert float(found[0, row, column]) == pytest.approx(holds / 9)
    torch.testing.assert_close(window_motion(after, before), found)  # darker is as much as brighter
