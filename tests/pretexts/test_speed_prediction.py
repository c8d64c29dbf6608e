import pytest
import torch
from torch import nn

from ssv.backbones.base import Backbone
from ssv.pretexts.speed_prediction import SpeedPrediction
from ssv.types import Clips


class Watch(Backbone):
    """Hands the pixels through as features, and remembers them."""

    def __init__(self):
        super().__init__()
        self.out_channels, self.stride, self.time_local, self.kwargs = 3, (1, 1, 1), True, {}
        self.mean, self.std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, pixels):
        self.seen = pixels
        return pixels * self.weight


def clips(batch=64, frames=48, rate=24.0, size=8):
    """Each pixel tells which frame it is from: value = frame number."""
    pixels = torch.arange(frames, dtype=torch.uint8)[None, None, None, :, None, None]
    seconds = (torch.arange(frames) / rate)[None, None].expand(batch, 1, frames).float()
    pixels = pixels.expand(batch, 1, 3, frames, size, size).contiguous()
    return Clips(pixels, seconds, torch.zeros(batch).long(), torch.arange(batch))


def shown(pretext, value):
    torch.manual_seed(0)
    pretext(value)
    return (pretext.backbone.seen[:, 0, :, 0, 0] * 255).round().long()


def make(**options):
    return SpeedPrediction(Watch(), frames=16, sizes=(8, 8), test_size=8, **options)


def test_a_batch_holds_both_versions_of_every_window():
    frames = shown(make(), clips())
    assert frames.shape == (128, 16)
    step = frames.diff(dim=1).float().mean(1)
    assert (step[:64].mean() - 1.1).abs() < 0.05, "normal: U(1.0, 1.2)"
    assert (step[64:].mean() - 1.95).abs() < 0.12, "sped up: U(1.7, 2.2)"
    assert (frames.diff(dim=1) > 0).all()


def test_speed_is_measured_by_the_clock_not_in_frames():
    fast = shown(make(), clips(rate=30.0))
    step = fast.diff(dim=1).float().mean(1) / 30
    assert (step[:64].mean() * 24 - 1.1).abs() < 0.05


def test_eval_mode_is_exact():
    frames = shown(make().eval(), clips(2))
    assert frames[0].tolist() == list(range(16)) and frames[2].tolist() == list(range(0, 32, 2))


def test_space_maximum_comes_before_time_mean():
    pretext = make().eval()
    pretext.head.weight.data.copy_(torch.tensor([[0.0] * 3, [1.0] * 3]))
    pretext.head.bias.data.zero_()
    pixels = torch.zeros(1, 3, 4, 8, 8, dtype=torch.uint8)
    for t, value in enumerate([255, 51, 102, 0]):
        pixels[0, :, t, t, 2 * t] = value  # one hot cell per frame, each somewhere else
    # max over space gives 1, .2, .4, 0 per channel; their mean over time is .4; three channels add up.
    assert pretext.speed_logits(pixels)[0].tolist() == pytest.approx([0.0, 1.2], abs=1e-5)


def test_reversing_time_leaves_the_question_alone():
    value = clips(4)
    assert torch.equal(shown(make(), value), shown(make(), value._replace(label=value.label + 1)))


def test_source_too_slow_for_the_speed_names_the_key():
    with pytest.raises(ValueError, match=r"data\.sampler\.seconds"):
        make()(clips(rate=12.0))


def test_every_size_of_the_range_is_drawn():
    pretext = SpeedPrediction(Watch(), frames=16, sizes=(6, 9))
    sizes = {(torch.manual_seed(i), pretext._side())[1] for i in range(100)}
    assert sizes == {6, 7, 8, 9}


def test_more_speeds_make_more_versions():
    pretext = make(window=6, speeds=[(1, 1), (2, 2), (4, 4)], test_speeds=[1, 2, 4]).eval()
    frames = shown(pretext, clips(2, frames=96))
    assert frames.diff(dim=1).float().mean(1).tolist() == [1, 1, 2, 2, 4, 4]
    assert pretext(clips(2, frames=96)).metrics["chance"] == pytest.approx(1 / 3)


def test_a_number_for_every_range():
    with pytest.raises(ValueError, match="3 ranges and pretext.test_speeds 2"):
        make(speeds=[(1, 1), (2, 2), (4, 4)])


def test_maps_are_the_head_at_every_place():
    pretext = make().eval()
    pixels = torch.randint(0, 256, (2, 3, 16, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    maps = pretext.speed_maps(pixels)
    assert maps.shape == (2, 2, 16, 8, 8) and maps.dtype == torch.float32
    place = pretext.backbone.seen[1, :, 5, 2, 7]
    torch.testing.assert_close(maps[1, :, 5, 2, 7], pretext.head(place))


def test_maps_of_an_even_picture_are_the_score_of_the_clip():
    pretext = make().eval()
    pixels = torch.full((1, 3, 16, 8, 8), 200, dtype=torch.uint8)
    maps = pretext.speed_maps(pixels)
    torch.testing.assert_close(maps, pretext.speed_logits(pixels)[..., None, None, None].expand_as(maps))


def test_the_picture_shows_where_a_clip_looks_fast():
    pretext = make().eval()
    pretext.head.weight.data.copy_(torch.tensor([[0.0] * 3, [100.0] * 3]))
    pretext.head.bias.data.copy_(torch.tensor([0.0, -60.0]))
    value = clips(6)
    value.pixels[:] = 10
    value.pixels[..., 2:4, 5:8] = 250  # there alone the head sees speed
    state = torch.get_rng_state()
    picture = pretext.picture(value)
    assert picture.shape == (3, 4 * 8, 4 * 8) and picture.dtype == torch.uint8, "four videos, four tiles"
    assert torch.equal(torch.get_rng_state(), state)
    for tile in (0, 2):
        assert picture[:, :8, 8 * tile : 8 * tile + 8].equal(value.pixels[0, 0, :, 0])
        marked = picture[:, :8, 8 * tile + 8 : 8 * tile + 16].int()
        assert marked[:, 0, 0].tolist() == [10, 10, 10]
        assert marked[:, 2, 6].tolist() == [254, 75, 75]
