import cv2
import numpy as np
import pytest
import torch

from ssv.ops.colour import clusters_of, lab, nearest


def test_lab_is_opencvs_of_floats():
    pixels = torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(0))
    expected = cv2.cvtColor(pixels.permute(1, 2, 0).numpy(), cv2.COLOR_RGB2Lab)
    # OpenCV interpolates in tables; half a unit of a scale of 100 is below what one sees.
    assert np.abs(lab(pixels).permute(1, 2, 0).numpy() - expected).max() < 0.5


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        ((1, 1, 1), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((1, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 1, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 1), (32.30, 79.19, -107.86)),
        ((0.5, 0.5, 0.5), (53.39, 0, 0)),
    ],
)
def test_lab_of_known_colours(colour, expected):
    found = lab(torch.tensor(colour, dtype=torch.float32).view(3, 1, 1))
    assert found.flatten().tolist() == pytest.approx(expected, abs=0.1)


def test_clusters_are_found_repeat_and_are_sorted():
    middles = torch.tensor([[-40.0, 10.0], [0.0, 0.0], [5.0, 60.0], [50.0, -20.0]])
    noise = torch.randn(4, 200, 2, generator=torch.Generator().manual_seed(0))
    colours = (middles[:, None] + noise).flatten(0, 1)
    found = clusters_of(colours, 4, torch.Generator().manual_seed(1))
    assert float((found - middles).abs().max()) < 0.5
    assert torch.equal(found, clusters_of(colours, 4, torch.Generator().manual_seed(1)))
    assert torch.equal(nearest(colours, found), torch.arange(4).repeat_interleave(200))


def test_grey_videos_have_no_clusters():
    with pytest.raises(ValueError, match="1 different colours, 4 clusters"):
        clusters_of(torch.zeros(100, 2), 4, torch.Generator().manual_seed(0))
