"""What each impoverished form keeps, and that it keeps nothing else."""

import pytest
import torch

from ssv.ops.impoverish import (
    blurred,
    borders,
    colour_only,
    first_frame,
    frozen_time,
    mean_colour,
    shuffled_frames,
    whole,
)  # fmt: skip
from ssv.ops.photometric import LUMA
from ssv.types import Clips

ALL = [whole, frozen_time, first_frame, shuffled_frames, borders, blurred, colour_only, mean_colour]


def clips(batch=2, views=2, frames=6, height=32, width=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (batch, views, 3, frames, height, width), generator=generator, dtype=torch.uint8)
    seconds = torch.arange(frames).float().expand(batch, views, frames)
    return Clips(pixels, seconds, torch.arange(batch), torch.arange(batch) + 7)


@pytest.mark.parametrize("way", ALL)
def test_shapes_times_and_input_stay(way):
    given = clips()
    before = given.pixels.clone()
    found = way(given)
    assert found.pixels.shape == before.shape and found.pixels.dtype == torch.uint8 and found.pixels.is_contiguous()
    assert found.seconds is given.seconds and found.label is given.label and found.video is given.video
    assert torch.equal(given.pixels, before)


def test_frozen_time_holds_the_middle_frame_of_each_view():
    given = clips(frames=5)
    for t in range(5):
        assert torch.equal(frozen_time(given).pixels[:, :, :, t], given.pixels[:, :, :, 2])


def test_first_frame_is_followed_by_black():
    given = clips()
    found = first_frame(given).pixels
    assert torch.equal(found[:, :, :, 0], given.pixels[:, :, :, 0]) and not found[:, :, :, 1:].any()


def test_shuffled_frames_are_the_same_frames_in_an_order_of_the_seed():
    given = clips(batch=3, frames=8)
    torch.manual_seed(0)
    found = shuffled_frames(given).pixels
    torch.manual_seed(0)
    assert torch.equal(found, shuffled_frames(given).pixels)
    orders = set()
    for b in range(3):
        for v in range(2):
            frames = given.pixels[b, v].unbind(1)
            order = [next(i for i, f in enumerate(frames) if torch.equal(f, x)) for x in found[b, v].unbind(1)]
            assert sorted(order) == list(range(8))
            orders.add(tuple(order))
    assert len(orders) > 1, "each view has an order of its own"


def test_borders_keep_a_frame_of_an_eighth():
    given = clips()
    found = borders(given, width=0.125).pixels
    is_inside = torch.zeros(32, 40, dtype=torch.bool)
    is_inside[4:-4, 4:-4] = True
    assert not found[..., is_inside].any()
    assert torch.equal(found[..., ~is_inside], given.pixels[..., ~is_inside])


def test_blurred_pictures_of_the_same_blobs_are_the_same():
    given = clips()
    found = blurred(given, cells=4).pixels
    # Turning the pixels of each cell about changes the picture and not its blobs.
    cells = given.pixels.unflatten(-1, (4, 10)).unflatten(-3, (4, 8))
    turned = cells.flip(-1).flip(-3).flatten(-4, -3).flatten(-2)
    assert not torch.equal(turned, given.pixels)
    assert torch.equal(blurred(given._replace(pixels=turned), cells=4).pixels, found)
    assert int(found[0, 0, 0, 0].max()) - int(found[0, 0, 0, 0].min()) > 0, "some of the picture is left"


def test_mean_colour_is_one_colour_a_frame_but_for_grain_that_no_two_frames_share():
    given = clips()
    expected = given.pixels.float().mean((-2, -1), keepdim=True).round()
    plain = mean_colour(given, grain=0).pixels.float()
    assert torch.equal(plain, expected.expand_as(plain))
    torch.manual_seed(0)
    grain = mean_colour(given).pixels.float() - plain
    assert set(grain.unique().tolist()) == {-2, -1, 0, 1, 2}
    torch.manual_seed(0)
    assert torch.equal(mean_colour(given).pixels.float() - plain, grain)
    first, second = grain[:, :, :, 0].flatten(), grain[:, :, :, 1].flatten()
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 0.02


def test_colour_only_has_no_brightness_left():
    given = clips()
    found = colour_only(given).pixels.float()
    weights = torch.tensor(LUMA).view(3, 1, 1, 1)
    luma = (found * weights).sum(2)
    assert float((luma - 128).abs().max()) <= 0.5 + 1e-3, "rounding"
    red, blue = (given.pixels[:, :, i].float() - (given.pixels.float() * weights).sum(2) for i in (0, 2))
    assert float((found[:, :, 0] - 128 - red / 2).abs().max()) <= 0.51
    assert float((found[:, :, 2] - 128 - blue / 2).abs().max()) <= 0.51
    with pytest.raises(ValueError, match="3 colours"):
        colour_only(given._replace(pixels=given.pixels[:, :, :1]))
