import cv2
import numpy as np
import pytest
import torch

from ssv.ops.flow import flow_magnitudes


def texture(side=96):
    noise = np.random.default_rng(0).uniform(0, 255, (side, side)).astype(np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 40, 200, cv2.NORM_MINMAX)


def clip(frames):
    """(1,3,W,H,W') of grey float pictures."""
    stacked = torch.from_numpy(np.stack(frames)).clamp(0, 255).to(torch.uint8)
    return stacked[None, None].expand(1, 3, -1, -1, -1)


@pytest.mark.parametrize("shift", [1, 2, 3])
def test_a_shift_of_so_many_pixels_is_measured(shift):
    picture = texture()
    frames = [picture[10:74, 10 + k * shift : 74 + k * shift] for k in range(3)]
    lengths = flow_magnitudes(clip(frames))
    assert lengths.shape == (1, 2) and lengths.dtype == torch.float32
    assert lengths[0] * 64 == pytest.approx([shift, shift], rel=0.15)


def test_large_frames_count_in_shares_of_their_side():
    picture = cv2.resize(texture(), (192, 192))
    small = flow_magnitudes(clip([texture()[10:74, 10:74], texture()[10:74, 12:76]]))
    large = flow_magnitudes(clip([picture[20:148, 20:148], picture[20:148, 24:152]]))
    assert float(large) == pytest.approx(float(small), rel=0.1)


def test_light_is_not_motion():
    picture = texture()[:64, :64]
    brighter, moved = clip([picture, picture + 30]), clip([picture, np.roll(picture, 2, 1)])
    assert float(flow_magnitudes(brighter)) < 0.1 * float(flow_magnitudes(moved))
    assert float(flow_magnitudes(clip([picture, picture]))) < 1e-4


def test_grey_clips_and_rows_stay_apart():
    picture = texture()[:64, :64]
    still, moving = clip([picture, picture])[:, :1], clip([picture, np.roll(picture, 2, 1)])[:, :1]
    lengths = flow_magnitudes(torch.cat([still, moving]))
    assert lengths[0] < 1e-4 < lengths[1]
