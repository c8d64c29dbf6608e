"""The alarm rings for a collapsing network, once, and for no other."""

import torch
from torch import nn

from ssv.backbones.base import Backbone
from ssv.training.vital_signs import CollapseAlarm, looks, vital_signs
from ssv.types import Clips


def features(spread, seed=0, dims=16):
    """Rows around one direction; ``spread`` 0 is that direction alone."""
    generator = torch.Generator().manual_seed(seed)
    return torch.ones(dims) + spread * torch.randn(200, 1, dims, generator=generator)


def rung(spreads, losses):
    """Looks at which the alarm rings; the first look comes before the first step."""
    alarm, found = CollapseAlarm(), []
    for number, (spread, loss) in enumerate(zip(spreads, [None, *losses], strict=True)):
        if loss is not None:
            for part in loss if isinstance(loss, tuple) else (loss,):
                alarm.step(torch.tensor(part))
        if alarm.look(vital_signs(features(spread))):
            found.append(number)
    return found


def test_rings_once_for_features_that_collapse_while_the_loss_falls():
    assert rung([1.0, 0.9, 0.01, 0.001], [2.0, 1.0, 0.5]) == [2]


def test_rings_for_a_collapse_before_the_first_look():
    assert rung([1.0, 0.001], [(3.0, 1.0)]) == [1]


def test_is_silent_while_the_features_live():
    assert rung([1.0, 0.8, 0.9, 1.2], [2.0, 1.0, 0.5]) == []
    assert rung([0.05, 0.05, 0.05], [2.0, 1.0]) == [], "a random start is narrow, and that is no collapse"


def test_is_silent_while_the_loss_does_not_fall():
    assert rung([1.0, 0.001, 0.001], [2.0, (2.5, 2.5)]) == []


def test_a_fall_counts_from_the_highest_value():
    assert rung([0.05, 1.0, 0.02], [2.0, 1.0]) == [2]


def test_goes_on_after_a_checkpoint_as_if_nothing_had_been():
    whole, parted = CollapseAlarm(), CollapseAlarm()
    for alarm in (whole, parted):
        alarm.look(vital_signs(features(1.0)))
        alarm.step(torch.tensor(2.0))
    resumed = CollapseAlarm()
    resumed.load_state_dict(parted.state_dict())
    for alarm in (whole, resumed):
        alarm.step(torch.tensor(1.0))
    said = [alarm.look(vital_signs(features(0.001))) for alarm in (whole, resumed)]
    assert said[0] == said[1] and "loss falls (2 to 1.5)" in said[0]
    again = CollapseAlarm()
    again.load_state_dict(resumed.state_dict())
    again.step(torch.tensor(0.5))
    assert not again.look(vital_signs(features(0.001))), "once"


class Watch(Backbone):
    """Hands the pixels through."""

    def __init__(self):
        super().__init__()
        self.out_channels, self.stride, self.time_local, self.kwargs = 3, (1, 1, 1), True, {}
        self.mean, self.std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        self.weight = nn.Parameter(torch.ones(()))
        self.seen = []

    def forward(self, pixels):
        self.seen.append((pixels[0, 0, :, 0, 0] * 255).round().long().tolist())
        return pixels * self.weight


def filmed(frames):
    """Two clips of two views; the grey of a frame is its number."""
    pixels = torch.arange(frames, dtype=torch.uint8)[:, None, None].expand(2, 2, 3, frames, 4, 4).clone()
    pixels[:, 1] = 255  # another view
    return Clips(pixels, torch.zeros(2, 2, frames), torch.zeros(2).long(), torch.arange(2))


def test_signs_are_taken_of_the_clip_as_filmed_shuffled_and_halved():
    backbone = Watch()
    before = torch.get_rng_state()
    found = looks(backbone, filmed(40))
    whole, shuffled, earlier, later = backbone.seen
    assert len(whole) == 16 and whole[0] == 0 and whole[-1] == 39 and whole == sorted(whole)
    assert shuffled != whole and sorted(shuffled) == whole
    assert earlier + later == whole and len(earlier) == len(later)
    assert found.shape == (2, 4, 3) and not found.requires_grad
    assert torch.allclose(found[0, :, 0] * 255, torch.tensor([sum(shown) / len(shown) for shown in backbone.seen]))
    assert torch.equal(torch.get_rng_state(), before), "nothing is drawn"


def test_one_frame_has_no_order_and_no_halves():
    found = looks(Watch(), filmed(1))
    assert found.shape == (2, 1, 3) and vital_signs(found).keys() == {"std", "effective_rank"}


def test_one_clip_has_no_signs():
    assert vital_signs(torch.ones(1, 4, 4)) == {}
