import math

import cv2
import numpy as np
import pytest
import torch

from ssv.data.crops import Box, CenterCrop, RandomResizedCrop, ThreeCrop


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def coordinates(frames=3, height=40, width=60):
    """Frames whose red is the column, green the row and blue the frame's number."""
    video = np.zeros((frames, height, width, 3), dtype=np.uint8)
    video[..., 0] = np.arange(width)
    video[..., 1] = np.arange(height)[:, None]
    video[..., 2] = np.arange(frames)[:, None, None]
    return video


def test_one_box_and_one_flip_for_all_frames():
    crop = RandomResizedCrop(16, area=(0.2, 0.9))
    mirrored = 0
    for seed in range(40):
        pixels = crop(coordinates(), draws(seed))
        assert pixels.shape == (3, 3, 16, 16) and pixels.dtype == torch.uint8 and pixels.is_contiguous()
        assert (pixels[:2, 1:] == pixels[:2, :1]).all()  # the same place in every frame
        assert pixels[2, :, 0, 0].tolist() == [0, 1, 2]
        assert pixels[1, 0, 0, 0] < pixels[1, 0, -1, 0]  # never upside down
        mirrored += int(pixels[0, 0, 0, 0] > pixels[0, 0, 0, -1])
    assert 10 < mirrored < 30
    assert all(
        (p := RandomResizedCrop(16, flip=False)(coordinates(), draws(s)))[0, 0, 0, 0] < p[0, 0, 0, -1]
        for s in range(20)
    )


def test_a_mirrored_clip_is_the_mirror_image():
    crop = RandomResizedCrop(16, area=(0.5, 0.5), ratio=(1, 1))
    straight = RandomResizedCrop(16, area=(0.5, 0.5), ratio=(1, 1), flip=False)
    seed = next(
        s for s in range(9) if not torch.equal(crop(coordinates(), draws(s)), straight(coordinates(), draws(s)))
    )
    assert torch.equal(crop(coordinates(), draws(seed)), straight(coordinates(), draws(seed)).flip(-1))


def test_boxes_lie_inside_and_follow_the_asked_distribution():
    crop = RandomResizedCrop(16, area=(0.25, 0.5), ratio=(0.5, 2.0))
    boxes = [crop.box(240, 320, draws(seed)) for seed in range(1500)]
    for top, left, height, width in boxes:
        assert top >= 0 and left >= 0 and top + height <= 240 and left + width <= 320
        assert 0.24 < height * width / 76800 < 0.51 and 0.49 < width / height < 2.04
    shares = [b.height * b.width / 76800 for b in boxes]
    assert np.mean(shares) == pytest.approx(0.375, abs=0.01)
    assert np.mean([math.log(b.width / b.height) for b in boxes]) == pytest.approx(0, abs=0.06)
    assert np.mean([b.left / (320 - b.width) for b in boxes]) == pytest.approx(0.5, abs=0.03)
    assert max(b.left + b.width for b in boxes) == 320 and min(b.left for b in boxes) == 0


def test_a_box_that_fits_nowhere_becomes_the_largest_in_the_middle():
    assert RandomResizedCrop(8, area=(1, 1), ratio=(1, 1)).box(40, 60, draws()) == Box(0, 10, 40, 40)
    assert RandomResizedCrop(8, area=(1, 1), ratio=(0.5, 0.5)).box(40, 60, draws()) == Box(0, 20, 40, 20)


def test_whole_frame_needs_no_resizing():
    video = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    pixels = RandomResizedCrop(16, area=(1, 1), ratio=(1, 1), flip=False)(video, draws())
    assert (pixels.numpy() == video.transpose(3, 0, 1, 2)).all()
    video[:] = 0  # and shares no memory with what the reader gave
    assert pixels.any()


def test_shrinking_averages_and_growing_interpolates():
    dots = np.zeros((1, 64, 64, 3), dtype=np.uint8)
    dots[0, ::4, ::4] = 160
    assert set(CenterCrop(16, short_side=16)(dots).unique().tolist()) == {10}  # none lost, no false pattern
    grown = CenterCrop(64, short_side=64)(coordinates(1, 32, 32))
    expected = cv2.resize(coordinates(1, 32, 32)[0], (64, 64), interpolation=cv2.INTER_LINEAR)
    assert (grown[:, 0].numpy() == expected.transpose(2, 0, 1)).all()


def test_center_crop_is_the_middle():
    frames = coordinates(2, 40, 60)
    assert (CenterCrop(20, short_side=40)(frames).numpy() == frames[:, 10:30, 20:40].transpose(3, 0, 1, 2)).all()
    assert (CenterCrop(40, short_side=40)(frames).numpy() == frames[:, :, 10:50].transpose(3, 0, 1, 2)).all()
    tall = CenterCrop(20, short_side=40)(frames.transpose(0, 2, 1, 3))
    assert (tall.numpy() == frames.transpose(0, 2, 1, 3)[:, 20:40, 10:30].transpose(3, 0, 1, 2)).all()


def test_center_crop_agrees_with_resizing_first():
    ramp = np.broadcast_to(np.linspace(0, 255, 320, dtype=np.uint8)[None, None, :, None], (1, 240, 320, 3)).copy()
    first = cv2.resize(ramp[0], (171, 128), interpolation=cv2.INTER_AREA)[8:120, 29:141]
    assert np.abs(CenterCrop(112, short_side=128)(ramp)[:, 0].numpy().astype(int) - first.transpose(2, 0, 1)).max() <= 2


@pytest.mark.parametrize("turned", [False, True])
def test_three_crops_lie_along_the_long_side(turned):
    frames = coordinates(2, 40, 61)
    frames = frames.transpose(0, 2, 1, 3) if turned else frames
    whole = [(frames[:, at : at + 40] if turned else frames[:, :, at : at + 40]) for at in (0, 10, 21)]
    assert (ThreeCrop(40, short_side=40)(frames).numpy() == np.stack(whole).transpose(0, 4, 1, 2, 3)).all()
    inner = [(frames[:, a : a + 20, 10:30] if turned else frames[:, 10:30, a : a + 20]) for a in (0, 20, 41)]
    assert (ThreeCrop(20, short_side=40)(frames).numpy() == np.stack(inner).transpose(0, 4, 1, 2, 3)).all()


@pytest.mark.parametrize(("height", "width"), [(240, 320), (320, 240), (64, 64)])
def test_the_second_of_three_crops_is_the_middle(height, width):
    frames = coordinates(2, height, width)
    three = ThreeCrop(28, short_side=32)(frames)
    assert three.shape == (3, 3, 2, 28, 28) and three.is_contiguous() and three.dtype == torch.uint8
    assert torch.equal(three[1], CenterCrop(28, short_side=32)(frames))
    assert not torch.equal(three[0], three[2])


def test_grey_frames_keep_their_axis():
    assert CenterCrop(8, short_side=8)(np.zeros((2, 20, 20, 1), dtype=np.uint8)).shape == (1, 2, 8, 8)


@pytest.mark.parametrize(
    "build",
    [
        lambda: RandomResizedCrop(0),
        lambda: RandomResizedCrop(8, area=(0.5, 0.2)),
        lambda: RandomResizedCrop(8, area=(0.5, 1.2)),
        lambda: RandomResizedCrop(8, ratio=(0.0, 1.0)),
        lambda: CenterCrop(128, short_side=112),
        lambda: ThreeCrop(128, short_side=112),
        lambda: ThreeCrop(0, short_side=112),
    ],
)
def test_wrong_values_name_their_key(build):
    with pytest.raises(ValueError, match="data.crop"):
        build()


def test_a_random_crop_needs_a_generator():
    with pytest.raises(ValueError, match="Generator"):
        RandomResizedCrop(8)(coordinates(), None)
