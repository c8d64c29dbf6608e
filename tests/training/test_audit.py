"""A leaky pretext is caught by an audit that its honest twin passes; nothing but the leak differs between them."""

import functools
import inspect

import pytest
import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from torch import nn

from ssv.cli.audit import KEYS, choose
from ssv.cli.checks import check_config
from ssv.cli.errors import UserError
from ssv.ops import impoverish
from ssv.ops.impoverish import whole
from ssv.pretexts.base import Pretext
from ssv.pretexts.colorization import Colorization
from ssv.pretexts.cycle_consistency import CycleConsistency
from ssv.pretexts.order_verification import OrderVerification
from ssv.pretexts.random_walk import RandomWalk
from ssv.pretexts.speed_prediction import SpeedPrediction
from ssv.training.audit import Grade, Impoverished, grade, read, train, wilson
from ssv.types import Clips, PretextOutput
from tests.compose import compose, tiny_overrides
from tests.pretexts.test_contract import make_clips

BATCH = 6


@pytest.fixture(scope="module")
def trainer():
    off = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    return pl.Trainer(accelerator="cpu", devices=1, **off)


@functools.cache
def audit_named(name):
    return choose(compose("audit", "run=x")["audits"], name)[0]


def configured(name, *overrides):
    return compose("pretrain", "backbone=r3d_tiny", f"pretext={name}", *tiny_overrides(name), *overrides)


def optimizer(groups):
    return torch.optim.AdamW(groups, lr=3e-3)


def quick(groups):
    return torch.optim.AdamW(groups, lr=0.03)


def schedule(optimizer, steps):
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)


def batches(config, count, first=0, still_border=False):
    """Moving textures, every clip a video of its own; a border that shows nothing where asked."""
    found = []
    for i in range(first, first + count):
        size = config["data"]["crop"]["size"] if config["data"]["crop"]["size"] < 60 else 40
        clips = make_clips(config, batch=BATCH, size=size, seed=i)
        if still_border:
            pixels = torch.full_like(clips.pixels, 100)
            pixels[..., 6:-6, 6:-6] = clips.pixels[..., 6:-6, 6:-6]
            clips = clips._replace(pixels=pixels)
        found.append(clips._replace(video=torch.arange(BATCH) + BATCH * i))
    return found


def alarms(make, config, names, trainer, steps=40, **options):
    """Which audits ring for a pretext: fresh twins taught and asked on whole and on impoverished clips."""
    audits = [audit_named(name) for name in names]
    twins = []
    for way in (whole, *(audit.impoverish for audit in audits)):
        torch.manual_seed(0)
        twins.append(Impoverished(make(instantiate(config["backbone"], _convert_="all")), way))
    how = {"optimizer": optimizer, "schedule": schedule, "steps": steps, "seed": 0, "trainer": trainer}
    train(twins, batches(config, 10, **options), **how)
    yardstick, *rows = grade(twins, batches(config, 10, first=100, **options), seed=0, trainer=trainer, title="")
    said = [
        read(audit, is_temporal=twins[0].is_temporal, row=row, whole=yardstick, who="it")
        for audit, row in zip(audits, rows, strict=True)
    ]
    print(yardstick, *zip(names, rows, said), sep="\n")
    return {name for name, reading in zip(names, said, strict=True) if reading.alarm}


def options_of(config):
    return {key: value for key, value in config["pretext"].items() if not key.startswith("_")}


class BrightFast(SpeedPrediction):
    """Fast clips have a brighter border, as a careless encoder of the fast versions might give them."""

    def _play(self, pixels, seconds, which):
        played = super()._play(pixels, seconds, which).clone()
        if which:
            inside = played[..., 2:-2, 2:-2].clone()
            played = played // 2 + 128
            played[..., 2:-2, 2:-2] = inside
        return played


class MarkedOutside(OrderVerification):
    """The frames that only wrong tuples show carry a white corner."""

    def order_logits(self, pixels, order):
        pixels = pixels.clone()
        in_order = order[:, 0]
        for row in range(len(pixels)):
            wrong = [i for i in range(pixels.shape[2]) if i not in in_order[row].tolist()]
            pixels[row, :, wrong, :12, :12] = 255
        return super().order_logits(pixels, order)


@pytest.mark.slow
@pytest.mark.parametrize(("pretext", "caught"), [(SpeedPrediction, set()), (BrightFast, {"borders", "frozen_time"})])
def test_speed_given_away_by_the_border(pretext, caught, trainer):
    config = configured("speed_prediction", "backbone.temporal_stride=4")
    options = options_of(config)
    names = ["borders", "frozen_time"]
    assert alarms(lambda b: pretext(b, **options), config, names, trainer, still_border=True) == caught


@pytest.mark.slow
@pytest.mark.parametrize(("pretext", "caught"), [(OrderVerification, set()), (MarkedOutside, {"frozen_time"})])
def test_order_given_away_by_a_mark(pretext, caught, trainer):
    config = configured("order_verification")
    options = {**options_of(config), "alike": 0}  # else windows whose frames all look alike are not asked at all
    assert alarms(lambda b: pretext(b, **options), config, ["frozen_time"], trainer) == caught


class SeesColour(Colorization):
    """Feeds the colours that it asks for: no channel is ever dropped."""

    def features(self, pixels):
        self.channel_dropout = 0.0
        return super().features(pixels)


LEAKY_COLOUR = ["backbone.input=rgb", "pretext.channel_dropout=1.0"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pretext", "overrides", "caught"), [(Colorization, [], set()), (SeesColour, LEAKY_COLOUR, {"colour_only"})]
)
def test_a_colour_given_away_by_itself(pretext, overrides, caught, trainer):
    more = ["pretext.unit_length=true", "pretext.temperature=0.1", "backbone.spatial_stride=4"]
    config = configured("colorization", *overrides, *more)
    options = options_of(config)
    assert alarms(lambda b: pretext(b, **options), config, ["colour_only"], trainer, steps=80) == caught


LEAKY_WALK = ["pretext.nodes=map", "backbone.padding=zeros", "pretext.frame_area=[1,1]", "pretext.frame_aspect=[1,1]"]


@pytest.mark.slow
@pytest.mark.parametrize(("overrides", "caught"), [([], set()), (LEAKY_WALK, {"mean_colour"})])
def test_a_walk_given_away_by_its_padding(overrides, caught, trainer):
    config = configured("random_walk", *overrides)
    options = options_of(config)
    assert alarms(lambda b: RandomWalk(b, **options), config, ["mean_colour"], trainer) == caught


class SameSpot(CycleConsistency):
    """The patch is always cut from the same corner, where one need not look for it."""

    def starts(self, pixels):
        return super().starts(pixels) * 0 + torch.tensor([[1 / 3, 0, 0.6], [0, 1 / 3, 0.6]])


@pytest.mark.slow
@pytest.mark.parametrize(("pretext", "caught"), [(CycleConsistency, set()), (SameSpot, {"mean_colour"})])
def test_a_cycle_given_away_by_the_spot(pretext, caught, trainer):
    config = configured("cycle_consistency")
    options = options_of(config)
    assert alarms(lambda b: pretext(b, **options), config, ["mean_colour"], trainer) == caught


class Bright(Pretext):
    """Is the first frame's corner bright? Answered by a linear layer on the mean of the clip."""

    is_temporal = True

    def __init__(self, right=None):
        super().__init__()
        self.backbone, self.head, self.right = nn.Identity(), nn.Linear(1, 2), right
        self.fitted = []

    def fit(self, batches, generator):
        self.fitted = [float(clips.pixels.float().mean()) for clips in batches]

    def forward(self, clips):
        shade = clips.pixels.float().mean((1, 2, 3, 4, 5))[:, None] / 255 - 0.5
        logits = self.head(shade + 0.1 * torch.rand(()) - 0.05)
        answer = clips.label % 2
        accuracy = (logits.argmax(1) == answer).float().mean() if self.right is None else torch.tensor(self.right)
        return PretextOutput(
            nn.functional.cross_entropy(logits, answer), {"accuracy": accuracy, "chance": torch.tensor(0.5)}
        )


def plain_batches(sizes=(4, 4, 2)):
    found, first = [], 0
    for size in sizes:
        label = torch.arange(first, first + size)
        pixels = (label % 2 * 200 + 20).to(torch.uint8).view(-1, 1, 1, 1, 1, 1).expand(size, 1, 3, 4, 8, 8).contiguous()
        found.append(Clips(pixels, torch.zeros(size, 1, 4), label, label))
        first += size
    return found


def test_fresh_networks_learn_side_by_side_as_they_would_alone(trainer):
    def taught(ways):
        made = []
        for way in ways:
            torch.manual_seed(3)
            made.append(Impoverished(Bright(), way))
        how = {"optimizer": quick, "schedule": schedule, "steps": 60, "seed": 1, "trainer": trainer}
        train(made, plain_batches(), **how)
        return made

    both, alone = taught([whole, black]), taught([black])
    assert all(torch.equal(a, b) for a, b in zip(both[1].parameters(), alone[0].parameters(), strict=True))
    assert both[1].pretext.fitted == [0, 0, 0] and both[0].pretext.fitted[0] > 0, "fitted to what it will be shown"
    grades = grade(both, plain_batches(), seed=1, trainer=trainer, title="")
    assert grades[0].accuracy == 1 and grades[1].accuracy == 0.5
    assert grades[0].videos == 10


def black(clips):
    return clips._replace(pixels=torch.zeros_like(clips.pixels))


def test_every_clip_weighs_the_same_and_videos_are_counted_once(trainer):
    class Odd(Bright):
        def forward(self, clips):
            assert not self.training and not self.head.training, "graded in eval mode"
            return PretextOutput(
                torch.zeros(()), {"accuracy": torch.tensor(len(clips.label) == 2).float(), "chance": torch.tensor(0.5)}
            )

    found = grade([Odd()], plain_batches() * 2, seed=0, trainer=trainer, title="")[0]
    assert found.accuracy == pytest.approx(0.2) and found.videos == 10
    assert (found.low, found.high) == pytest.approx(wilson(0.2, 10))


def test_no_batch_and_no_accuracy_are_told(trainer):
    how = {"optimizer": optimizer, "schedule": schedule, "steps": 2, "seed": 1, "trainer": trainer}
    with pytest.raises(ValueError, match="batch_size="):
        train([Bright()], [], **how)

    class Silent(Bright):
        def forward(self, clips):
            return PretextOutput(torch.zeros(()), {})

    with pytest.raises(ValueError, match="no accuracy"):
        grade([Silent()], plain_batches(), seed=0, trainer=trainer, title="")


def test_score_interval():
    # Solves (share - p)^2 = z^2 p (1 - p) / n; the ends are where that holds.
    for share, count in ((0.5, 40), (0.1, 12), (0.98, 200)):
        for end in wilson(share, count):
            assert (share - end) ** 2 == pytest.approx(2.5758**2 * end * (1 - end) / count, rel=1e-6)
    assert wilson(0.0, 10)[0] == 0 and wilson(1.0, 10)[1] == pytest.approx(1)


def graded(accuracy, half=0.05, chance=0.5):
    return Grade(accuracy, chance, accuracy - half, accuracy + half, 100)


@pytest.mark.parametrize(
    ("name", "is_temporal", "row", "yardstick", "alarm", "words"),
    [
        ("frozen_time", True, 0.52, 0.9, False, "what is left does not answer it"),
        ("frozen_time", True, 0.6, 0.9, True, "what is left in these clips answers the question"),
        ("frozen_time", True, 0.52, 0.52, False, "nothing shown"),
        ("frozen_time", False, 0.9, 0.9, False, "expected: this task asks for appearance"),
        ("shuffled_frames", False, 0.9, 0.9, False, "expected"),
        ("mean_colour", False, 0.6, 0.9, True, "answers the question"),
        ("mean_colour", True, 0.6, 0.9, True, "answers the question"),
        ("borders", True, 0.7, 0.9, False, "part of the motion is left"),
        ("borders", True, 0.88, 0.9, True, "as good as with whole clips"),
        ("blurred", False, 0.7, 0.9, False, "part of the appearance is left"),
        ("colour_only", True, 0.9, 0.9, False, "expected: this task asks for motion"),
        ("colour_only", False, 0.9, 0.9, True, "as good as with whole clips"),
    ],
)
def test_readings(name, is_temporal, row, yardstick, alarm, words):
    found = read(audit_named(name), is_temporal=is_temporal, row=graded(row), whole=graded(yardstick), who="it")
    assert found.alarm is alarm and words in found.text


def test_every_impoverished_form_is_an_audit_and_the_configuration_passes_the_check():
    config = compose("audit", "run=x")
    check_config(config, allowed={*KEYS, "trainer"})
    found = {audit.name: audit.impoverish.func for audit in choose(config["audits"], None)}
    functions = {
        name: way for name, way in vars(impoverish).items() if not name.startswith("_") and inspect.isfunction(way)
    }
    ours = {name: way for name, way in functions.items() if way.__module__ == impoverish.__name__}
    assert found == {name: way for name, way in ours.items() if name != "whole"}
    assert [audit.name for audit in choose(config["audits"], ["blurred", "frozen_time"])] == ["frozen_time", "blurred"]
    with pytest.raises(UserError, match="unknown audit 'blured'; did you mean 'blurred'"):
        choose(config["audits"], "blured")
