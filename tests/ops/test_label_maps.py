import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from ssv.ops.label_maps import heatmaps, joint_positions, minmax, upsample

PUBLISHED = json.loads(Path(__file__).with_name("published.json").read_text())


@pytest.mark.parametrize("size", [(40, 56), (13, 17), (7, 3), (5, 7), (1, 1)])
def test_upsample_is_what_opencv_does(size):
    labels = torch.rand(4, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    wanted = cv2.resize(labels.permute(1, 2, 0).numpy(), size[::-1], interpolation=cv2.INTER_LINEAR)
    torch.testing.assert_close(upsample(labels, size).permute(1, 2, 0), torch.from_numpy(wanted), rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", PUBLISHED["upsample"], ids=lambda case: str(case["seed"]))
def test_upsample_matches_the_published_code(case):
    soft = np.random.default_rng(case["seed"]).random((case["h"], case["w"], case["L"]))
    found = upsample(torch.from_numpy(soft).permute(2, 0, 1), (case["H"], case["W"])).argmax(0).flatten()
    wanted = [label for label, count in case["argmax_rle"] for _ in range(count)]
    assert found.tolist() == wanted


def test_minmax_stretches_each_class_and_leaves_flat_ones():
    labels = torch.rand(4, 5, 7, generator=torch.Generator().manual_seed(0)) * 0.3
    labels[2], labels[3] = 0, 0.25
    found = minmax(labels)
    for channel in (0, 1):
        low, high = labels[channel].min(), labels[channel].max()
        torch.testing.assert_close(found[channel], (labels[channel] - low) / (high - low))
    assert (found[2] == 0).all() and (found[3] == 0.25).all()


def test_minmax_over_classes_of_each_cell():
    labels = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(0))
    found = minmax(labels, axes=(0,))
    assert (found.amin(0) == 0).all() and (found.amax(0) == 1).all()
    assert (found.argsort(0) == labels.argsort(0)).all()


@pytest.mark.parametrize("case", PUBLISHED["heatmaps"], ids=lambda case: f"{case['pt_xy']}-{case['sigma']}")
def test_heatmaps_match_the_published_code(case):
    joint = torch.tensor([case["pt_xy"]], dtype=torch.float64)
    background, drawn = heatmaps(joint, (case["h"], case["w"]), sigma=case["sigma"])
    wanted = torch.zeros(case["h"], case["w"], dtype=torch.float64)
    for y, x, value in case["nonzero_y_x_value"]:
        wanted[y, x] = value
    torch.testing.assert_close(drawn, wanted, rtol=1e-9, atol=0)
    assert (background == (wanted == 0)).all()


@pytest.mark.parametrize("sigma", [0.5, 0.7, 1.0, 1.3])
def test_heatmaps_by_their_definition(sigma):
    height, width = 9, 12
    joints = torch.rand(40, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 24 - 6
    maps = heatmaps(joints, (height, width), sigma=sigma)
    assert maps.shape == (41, height, width) and maps.dtype == torch.float64
    for number, place in enumerate(joints.tolist(), start=1):
        starts = [int(p - 3 * sigma) for p in place]
        stops = [int(p + 3 * sigma + 1) for p in place]
        x0, y0 = (start + math.floor((6 * sigma + 1) / 2) for start in starts)
        for y, x in np.ndindex(height, width):
            inside = starts[0] <= x < stops[0] and starts[1] <= y < stops[1]
            wanted = math.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * sigma**2)) if inside else 0
            assert float(maps[number, y, x]) == pytest.approx(wanted, rel=1e-9)
    assert (maps[0] == (maps[1:].sum(0) == 0)).all()


def test_heatmap_of_a_joint_that_is_nowhere_is_empty():
    maps = heatmaps(torch.tensor([[math.nan, 2.0], [2.0, math.nan], [-90.0, 3.0], [4.0, 3.0]]), (8, 9))
    assert not maps[1:4].any() and float(maps[4, 3, 4]) == 1
    assert maps.dtype == torch.float32 and float(maps[0, 3, 4]) == 0 and float(maps[0, 7, 8]) == 1


@pytest.mark.parametrize("case", PUBLISHED["joint_positions"], ids=lambda case: str(case["seed"]))
def test_joint_positions_match_the_published_code(case):
    maps = np.random.default_rng(case["seed"]).random((case["h"], case["w"], case["K"] + 1)) ** 6
    if case["seed"] in (331, 332):
        maps[..., 2] = 0
    found = joint_positions(torch.from_numpy(maps).permute(2, 0, 1), topk=case["topk"])
    torch.testing.assert_close(found.T, torch.tensor(case["coords_xy"], dtype=torch.float64), rtol=1e-9, atol=0)


def test_joints_on_whole_cells_are_found_again():
    joints = torch.tensor([[3.0, 4.0], [7.0, 2.0], [99.0, 99.0]])
    found = joint_positions(heatmaps(joints, (9, 12)), topk=1)
    assert found.tolist() == [[3, 4], [7, 2], [-1, -1]]
    assert joint_positions(heatmaps(joints[:1], (1, 2))).shape == (1, 2), "fewer cells than k"
