"""What every pretext must keep, found through conf/: a new file is tested unasked, with no name written here."""

import inspect
import pickle

import pytest
import torch
from hydra.utils import get_class, instantiate

from ssv.cli.list import entries
from ssv.types import Clips
from tests.compose import compose, stems, tiny_overrides

PRETEXTS = stems("pretext")


def build(name, seed=0):
    """The pretext over a tiny backbone, and its composed configuration."""
    torch.manual_seed(seed)
    config = compose("pretrain", "backbone=r3d_tiny", f"pretext={name}", *tiny_overrides(name))
    backbone = instantiate(config["backbone"], _convert_="all")
    pretext = instantiate(config["pretext"], _convert_="all")(backbone)
    pretext.fit([make_clips(config, seed=100)], torch.Generator().manual_seed(seed))
    return pretext, config


def make_clips(config, batch=6, size=40, seed=0, static=False, jitter=0):
    """Clips as the configured sampler would cut them: textures that move and turn darker and brighter."""
    sampler = config["data"]["sampler"]
    views, frames = sampler["views"], sampler["frames"]
    generator = torch.Generator().manual_seed(seed)
    step = sampler["seconds"] or sampler["stride"] / 25
    texture = torch.rand(batch * views, 3, size, size, generator=generator)
    texture = torch.nn.functional.avg_pool2d(texture, 5, 1, 2)
    texture = (texture - texture.amin()) / (texture.amax() - texture.amin())
    velocity = torch.randint(1, 4, (batch * views, 2), generator=generator)
    shown = []
    for t in range(frames):
        k = 0 if static else t
        moved = [torch.roll(x, (int(k * v[0]), int(k * v[1])), (1, 2)) for x, v in zip(texture, velocity)]
        shown.append(torch.stack(moved))
    pixels = (torch.stack(shown, 2) * 255).to(torch.uint8).view(batch, views, 3, frames, size, size)
    seconds = (torch.arange(frames) * step).float().expand(batch, views, frames).clone()
    label = torch.arange(batch) % 3
    return Clips(pixels, seconds, label, torch.arange(batch))


def train(pretext, steps, batches, lr=3e-3, same_question=False):
    """A few plain steps; returns the losses."""
    optimizer = torch.optim.AdamW(pretext.parameters(), lr=lr)
    losses = []
    pretext.train()
    for step in range(steps):
        torch.manual_seed(0 if same_question else step)
        output = pretext(batches(step))
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        losses.append(output.loss.item())
    return losses


@pytest.fixture(params=PRETEXTS)
def name(request):
    return request.param


def test_yaml_lists_every_argument(name):
    _, config = build(name)
    target = get_class(config["pretext"]["_target_"])
    arguments = set(inspect.signature(target).parameters) - {"backbone"}
    assert {key for key in config["pretext"] if not key.startswith("_")} == arguments


def test_a_task_that_uses_labels_says_so_where_tasks_are_listed(name):
    pretext, _ = build(name)
    what = {stem: text for stem, text, _ in entries("pretext")}[name]
    assert ("with labels" in what) == pretext.uses_labels


def test_a_task_without_labels_does_not_read_them(name):
    pretext, config = build(name)
    if pretext.uses_labels:
        pytest.skip("uses labels, and says so")
    clips = make_clips(config)
    losses = []
    for label in (clips.label, torch.full_like(clips.label, -1)):
        torch.manual_seed(5)
        losses.append(pretext.eval()(clips._replace(label=label)).loss.item())
    assert losses[0] == losses[1]


def test_loss_is_a_finite_float32_scalar_and_reaches_every_parameter(name):
    pretext, config = build(name)
    clips = make_clips(config)
    before = clips.pixels.clone()
    loss, metrics = pretext(clips)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.ndim == 0 and torch.isfinite(loss)
    unreached = [n for n, p in pretext.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert not unreached
    assert all(p.grad.abs().sum() > 0 for n, p in pretext.named_parameters() if p.ndim > 1), "a kernel is never trained"
    assert all(value.ndim == 0 and not value.requires_grad for value in metrics.values())
    assert "chance" in metrics or "accuracy" not in metrics, "an accuracy needs its chance level beside it"
    assert torch.equal(clips.pixels, before), "clips belong to the loader"


def test_same_seed_same_loss(name):
    pretext, config = build(name)
    clips = make_clips(config)
    losses = []
    for _ in range(2):
        pretext.load_state_dict(build(name)[0].state_dict())
        torch.manual_seed(5)
        losses.append(pretext(clips).loss.item())
    assert losses[0] == losses[1]


def test_loss_stays_float32_under_autocast(name):
    pretext, config = build(name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = pretext(make_clips(config)).loss
    assert loss.dtype == torch.float32 and torch.isfinite(loss)


def test_one_batch_can_be_learned(name):
    pretext, config = build(name)
    clips = make_clips(config)
    losses = train(pretext, 60, lambda step: clips, same_question=True)
    assert min(losses[-5:]) < 0.5 * losses[0]


def test_a_static_video_cannot_be_answered(name):
    pretext, config = build(name)
    if not pretext.is_temporal:
        pytest.skip("no temporal pretext: one frame may answer it")
    train(pretext, 40, lambda step: make_clips(config, seed=step, static=True))
    with torch.no_grad():
        outputs = [pretext(make_clips(config, seed=1000 + i, static=True)).metrics for i in range(10)]
    accuracy = torch.stack([o["accuracy"] for o in outputs]).mean()
    assert accuracy == pytest.approx(float(outputs[0]["chance"]), abs=0.1)


@pytest.mark.parametrize("wrong", ["frames", "dtype"])
def test_wrong_clips_name_the_key_to_set(name, wrong):
    pretext, config = build(name)
    clips = make_clips(config)
    if wrong == "frames":
        if clips.pixels.shape[3] == 1:
            pytest.skip("one frame cannot be cut short")
        clips = clips._replace(pixels=clips.pixels[:, :, :, :-1], seconds=clips.seconds[:, :, :-1])
        with pytest.raises(ValueError, match=r"data\.sampler\."):
            pretext(clips)
    else:
        with pytest.raises(ValueError, match="uint8"):
            pretext(clips._replace(pixels=clips.pixels.float()))


def test_pickles_and_round_trips(name):
    pretext, config = build(name)
    copy = pickle.loads(pickle.dumps(pretext))
    copy.load_state_dict(pretext.state_dict(), strict=True)
    clips = make_clips(config)
    losses = []
    for module in (pretext, copy):
        torch.manual_seed(1)
        losses.append(module.eval()(clips).loss.item())
    assert losses[0] == losses[1]
