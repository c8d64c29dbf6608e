import pytest
import torch
from torch import nn

from ssv.backbones.base import Backbone
from ssv.pretexts.order_verification import OrderVerification, _score
from ssv.types import Clips


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


def clips(batch=500, frames=31, step=0.12, size=4):
    """Each pixel tells which frame it is from: value = frame number."""
    pixels = torch.arange(frames, dtype=torch.uint8)[None, None, None, :, None, None]
    pixels = pixels.expand(batch, 1, 3, frames, size, size).contiguous()
    seconds = (torch.arange(frames) * step)[None, None].expand(batch, 1, frames).float()
    return Clips(pixels, seconds, torch.zeros(batch).long(), torch.arange(batch))


def make(form="frames", **options):
    return OrderVerification(Watch(form == "frames"), form=form, **options)


def asked(pretext, value, seed=0):
    """Frame numbers of every tuple as shown, (B,4,3)."""
    torch.manual_seed(seed)
    chosen, _, order = pretext.ask(value.pixels[:, 0], value.seconds[:, 0])
    return chosen.gather(1, order.flatten(1)).view(order.shape)


def spacing_accuracy(tuples, feature):
    """Best balanced accuracy of one threshold on a number made of each tuple, trained and tested on all."""
    positive, negative = feature(tuples[:, 0]), feature(tuples[:, 1:]).flatten()
    best = 0.5
    for threshold in torch.cat([positive, negative]).unique():
        right = ((positive > threshold).float().mean() + (negative <= threshold).float().mean()) / 2
        best = max(best, float(right), 1 - float(right))
    return best


def endpoints(tuples):
    return (tuples[..., 2] - tuples[..., 0]).abs().float()


def test_one_in_order_three_not_and_all_share_their_ends():
    tuples = asked(make(), clips())
    first, middle, last = tuples.sort(dim=2).values[:, 0].unbind(1)
    assert tuples.shape == (500, 4, 3)
    low, high = tuples[..., [0, 2]].amin(2), tuples[..., [0, 2]].amax(2)
    assert (low == first[:, None]).all() and (high == last[:, None]).all(), "the ends tell nothing"
    assert torch.equal(tuples[:, 0, 1], middle) and ((first < middle) & (middle < last)).all()
    wrong = tuples[:, 1:, 1]
    assert ((wrong <= low[:, 1:] - 5) | (wrong >= high[:, 1:] + 5)).all(), "0.6 s are five frames of 0.12 s"


def test_half_of_both_kinds_run_backwards_and_keep_their_answer():
    tuples = asked(make(), clips(3000))
    backwards = tuples[..., 0] > tuples[..., 2]
    assert backwards[:, 0].float().mean() == pytest.approx(0.5, abs=0.03)
    assert backwards[:, 1:].float().mean() == pytest.approx(0.5, abs=0.03)
    assert not (asked(make(reverse=0.0), clips())[..., 0] > asked(make(reverse=0.0), clips())[..., 2]).any()


def test_ends_do_not_tell_and_a_leak_would_be_seen():
    tuples = asked(make(), clips())
    assert spacing_accuracy(tuples, endpoints) == 0.5
    assert spacing_accuracy(tuples, lambda x: x[..., 0].float()) < 0.55
    leaky = tuples.clone()
    leaky[:, 1:, 2] += torch.sign(leaky[:, 1:, 2] - leaky[:, 1:, 0])  # wrong tuples one frame longer
    assert spacing_accuracy(leaky, endpoints) > 0.51
    sorted_wrong = tuples.sort(dim=2).values  # what "any three sorted frames" would ask
    assert spacing_accuracy(sorted_wrong, endpoints) > 0.7


@pytest.mark.parametrize("form", ["frames", "clip"])
def test_the_backbone_sees_what_was_asked(form):
    pretext, value = make(form), clips(8)
    expected = asked(pretext, value, seed=3)
    torch.manual_seed(3)
    pretext(value)
    seen = (pretext.backbone.seen[:, 0, :, 0, 0] * 255).round().long()
    if form == "clip":
        assert torch.equal(seen.view(8, 4, 3), expected)
    else:
        assert seen.shape == (8, 6) and set(expected[0].flatten().tolist()) == set(seen[0].tolist())


def test_features_stand_side_by_side_in_the_order_shown():
    pretext = make(hidden=0, reverse=1.0)
    pretext.head.weight.data.zero_()
    pretext.head.weight.data[0, 0], pretext.head.weight.data[1, 3] = 255, 255  # red of the first, of the middle frame
    pretext.head.bias.data.zero_()
    torch.manual_seed(0)
    value = clips(5)
    chosen, _, order = pretext.ask(value.pixels[:, 0], value.seconds[:, 0])
    shown = chosen.gather(1, order.flatten(1)).view(5, 4, 3).float()
    rows = torch.arange(5)[:, None]
    picked = value.pixels[:, 0].transpose(1, 2)[rows, chosen].transpose(1, 2)
    assert torch.allclose(pretext.order_logits(picked, order), shown[..., :2], atol=1e-3)


def test_a_known_scorer_gives_the_loss_and_balanced_accuracy():
    pretext = make(hidden=0)
    pretext.head.weight.data.zero_()
    pretext.head.bias.data.copy_(torch.tensor([1.0, 0.0]))  # always "wrong"
    loss, metrics = pretext(clips(9))
    expected = 0.25 * torch.tensor(1 + torch.e).log() + 0.75 * torch.tensor(1 + 1 / torch.e).log()
    assert loss.item() == pytest.approx(float(expected), abs=1e-5)
    assert metrics["accuracy"] == 0.5 and metrics["chance"] == 0.5 and metrics["plain_accuracy"] == 0.75


def test_eval_mode_draws_nothing():
    pretext, value = make().eval(), clips(3)
    assert torch.equal(asked(pretext, value, seed=0), asked(pretext, value, seed=1))
    tuples = asked(pretext, value)
    assert (tuples[..., 0] < tuples[..., 2]).all() and torch.equal(tuples[0], tuples[2])


def test_a_window_of_many_shots_is_left_out_and_counted():
    value = clips(4)
    pixels = value.pixels.clone()
    pixels[0, 0, :, ::6] = 255  # a white frame every 0.72 s
    pretext = make()
    loss, metrics = pretext(value._replace(pixels=pixels))
    assert torch.isfinite(loss) and metrics["windows_left_out"] == 0.25
    pixels[:, 0, :, ::6] = 255
    loss, metrics = pretext(value._replace(pixels=pixels))
    assert loss == 0 and metrics["accuracy"] == 0.5 and metrics["windows_left_out"] == 1


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"form": "pair"}, "form"),
        ({"max_span": 0}, "max_span"),
        ({"min_distance": -1}, "min_dist"),
        ({"hidden": -1}, "hid"),
        ({"motion": True}, "motion"),
        ({"alike": -1}, "alike"),
    ],
)
def test_wrong_arguments_name_their_key(options, key):
    with pytest.raises(ValueError, match=key):
        OrderVerification(Watch(), **options)


def test_frames_need_a_backbone_of_single_frames():
    with pytest.raises(ValueError, match=r"backbone\.time_local=true"):
        OrderVerification(Watch(time_local=False))


def test_a_window_too_short_in_seconds_names_the_key():
    with pytest.raises(ValueError, match=r"data\.sampler\.seconds"):
        make()(clips(2, step=0.04))


def test_wrong_middle_frames_that_look_like_the_right_one_are_drawn_again():
    value = clips(200)
    # Motion to and fro: a frame looks like those 8 and 16 before and after it.
    swing = (torch.arange(31) % 8 * 20).to(torch.uint8)
    pixels = swing[None, None, None, :, None, None].expand(200, 1, 3, 31, 4, 4).contiguous()
    value = value._replace(pixels=pixels)

    def looks(pretext):
        torch.manual_seed(0)
        chosen, is_found, order = pretext.ask(pixels[:, 0], value.seconds[:, 0])
        middles = swing[chosen.gather(1, order[..., 1])].float()
        return (middles[:, 1:] - middles[:, :1]).square().min(1).values, is_found

    closest, is_found = looks(make(alike=100, cut=1))
    assert is_found.float().mean() > 0.9 and (closest[is_found] >= 100).all()
    closest, is_found = looks(make(alike=0, cut=1))
    assert is_found.all() and (closest < 100).float().mean() > 0.2


def test_what_always_looks_alike_is_not_asked():
    value = clips(3)
    value.pixels[0] = 7
    assert make()(value).metrics["windows_left_out"] == pytest.approx(1 / 3)
    assert make(alike=0)(value).metrics["windows_left_out"] == 0


@pytest.mark.parametrize(("motion", "share"), [("difference", 1), ("flow", 1), ("none", 0.7)])
def test_tuples_lie_where_something_moves(motion, share):
    noise = torch.randint(0, 256, (1, 1, 1, 1, 12, 12), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    block = noise.repeat_interleave(4, 4).repeat_interleave(4, 5)
    frames = [block if t < 20 else block.roll(t - 19, 5) for t in range(31)]  # still for 20 frames
    value = clips(60)._replace(pixels=torch.cat(frames, 3).expand(60, 1, 3, -1, -1, -1).contiguous())
    moves = asked(make(motion=motion, alike=0), value).sort(2).values[:, 0, 2] > 19
    assert moves.float().mean() == pytest.approx(share, abs=0.2 if motion == "none" else 0.02)


def test_accuracy_asks_for_more_than_the_share_of_tuples_in_order():
    probability = torch.tensor([0.30, 0.20, 0.26, 0.24])
    logits = torch.stack([(1 - probability).log(), probability.log()], 1)
    in_order, is_asked = torch.tensor([1, 0, 0, 0]), torch.ones(4, dtype=torch.bool)
    metrics = _score(logits, in_order, is_asked)
    assert metrics["accuracy"] == pytest.approx((1 + 2 / 3) / 2) and metrics["plain_accuracy"] == 0.75
    assert _score(logits, in_order, torch.tensor([True, True, False, True]))["accuracy"] == 1
