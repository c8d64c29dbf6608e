"""What TCC asks beyond the contract: which pairs, that frames of a video stay apart, that the order can be learned."""

import pytest
import torch
from torch import nn

from ssv.backbones.base import Backbone
from ssv.ops.alignment import classification_losses, cycle_back, regression_losses
from ssv.ops.photometric import normalise
from ssv.pretexts.temporal_cycle import TemporalCycle
from ssv.types import Clips


class OnePixel(Backbone):
    """The grey level of each frame, and its square: all there is to see here."""

    out_channels, stride, time_local = 2, (1, 1, 1), True
    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

    def __init__(self):
        super().__init__()
        self.kwargs = {}
        self.scale = nn.Parameter(torch.ones(2))

    def forward(self, pixels):
        grey = pixels.mean(1, keepdim=True)
        return torch.cat([grey, grey**2], 1) * self.scale.view(1, 2, 1, 1, 1)


def clips(batch=4, frames=6, seed=0, labels=None):
    """Videos that brighten from their beginning to their end, each at a pace of its own."""
    generator = torch.Generator().manual_seed(seed)
    shares = torch.rand(batch, frames, generator=generator).sort(1).values
    pixels = (255 * shares).to(torch.uint8)[:, None, None, :, None, None].expand(batch, 1, 3, frames, 4, 4)
    labels = torch.zeros(batch, dtype=torch.int64) if labels is None else torch.tensor(labels)
    return Clips(pixels.contiguous(), (3 * shares[:, None]).float(), labels, torch.arange(batch))


def pretext(seed=0, **options):
    torch.manual_seed(seed)
    return TemporalCycle(OnePixel(), **{"frames": 6, "hidden": 16, "dims": 8, "dropout": 0.0, **options})


@pytest.mark.parametrize("loss", ["regression", "classification", "mse", "huber"])
def test_the_loss_is_the_mean_over_all_ordered_pairs_of_a_label(loss):
    asked, batch = pretext(loss=loss, temperature=0.01), clips(5, labels=[0, 1, 0, 0, 2])
    frames = asked.embed(normalise(batch.pixels[:, 0], (0.5,) * 3, (0.25,) * 3))
    seconds = batch.seconds[:, 0]
    losses = []
    for i in range(5):
        for j in range(5):
            if i == j or batch.label[i] != batch.label[j]:
                continue
            logits = cycle_back(frames[i : i + 1], frames[j : j + 1], temperature=0.01)
            times = ((seconds[i] - seconds[i, 0]) / (seconds[i, -1] - seconds[i, 0]))[None]
            kind = {"regression": "variance"}.get(loss, loss)
            if loss == "classification":
                losses.append(classification_losses(logits).mean())
            else:
                losses.append(regression_losses(logits, times, kind=kind, variance_floor=1e-6).mean())
    assert len(losses) == 6
    torch.testing.assert_close(asked(batch).loss, torch.stack(losses).mean())


def test_a_video_that_is_in_a_batch_twice_is_no_pair_with_itself():
    asked, batch = pretext(), clips(2)
    twice = Clips(*(torch.cat([field, field[:1]]) for field in batch))
    torch.testing.assert_close(asked(twice).loss, asked(batch).loss)  # 0-1, 1-0, and both once more
    with pytest.raises(ValueError, match=r"data\.pairs=true"):
        asked(Clips(*(torch.cat([field[:1], field[:1]]) for field in batch)))


def test_labels_are_needed_unless_there_is_one_action():
    unlabelled = clips(labels=[-1] * 4)
    with pytest.raises(ValueError, match=r"labels.*pretext\.one_action=true data\.pairs=false"):
        pretext()(unlabelled)
    torch.testing.assert_close(pretext(one_action=True)(unlabelled).loss, pretext()(clips()).loss)
    torch.testing.assert_close(pretext(one_action=True)(clips(labels=[0, 1, 2, 3])).loss, pretext()(clips()).loss)
    with pytest.raises(ValueError, match=r"no two videos of one label.*data\.pairs=true"):
        pretext()(clips(labels=[0, 1, 2, 3]))


def test_a_frame_is_embedded_alone():
    asked, pixels = pretext(dropout=0.5).eval(), clips(2).pixels[:, 0]
    whole = asked.embed(normalise(pixels, (0.5,) * 3, (0.25,) * 3))
    each = [asked.embed(normalise(pixels[:, :, t : t + 1], (0.5,) * 3, (0.25,) * 3)) for t in range(6)]
    torch.testing.assert_close(whole, torch.cat(each, 1))


def test_dropout_does_not_tell_frames_apart():
    asked = pretext(dropout=0.5).train()
    still = torch.full((3, 3, 6, 4, 4), 200, dtype=torch.uint8)
    embeddings = asked.embed(normalise(still, (0.5,) * 3, (0.25,) * 3))
    torch.testing.assert_close(embeddings, embeddings[:, :1].expand_as(embeddings))
    assert not torch.allclose(embeddings[0], embeddings[1])  # videos lose different units


def test_frames_of_equal_looks_are_at_chance():
    batch = clips()
    still = batch._replace(pixels=batch.pixels[:, :, :, :1].expand_as(batch.pixels))
    metrics = pretext(dropout=0.5)(still).metrics
    assert metrics["accuracy"].item() == pytest.approx(1 / 6, abs=0.05)  # of equal logits rounding chooses one
    assert metrics["chance"].item() == pytest.approx(1 / 6)
    assert metrics["neighbour_tau"].item() == 0


@pytest.mark.parametrize("loss", ["regression", "classification"])
def test_coming_back_is_learned_where_a_frame_shows_how_far_it_is(loss):
    asked = pretext(loss=loss, frames=12, temperature=0.01)
    before = asked(clips(frames=12, seed=1000)).metrics
    optimizer = torch.optim.Adam(asked.parameters(), lr=0.01)
    for step in range(80):
        output = asked(clips(frames=12, seed=step))
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
    after = asked(clips(frames=12, seed=1000)).metrics
    assert after["back_error"] < 0.6 * before["back_error"]
    assert after["accuracy"] > 2 * after["chance"]


def test_clips_without_duration_count_their_frames():
    batch = clips()
    assert torch.isfinite(pretext()(batch._replace(seconds=torch.zeros_like(batch.seconds))).loss)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"frames": 1}, "pretext.frames=1"),
        ({"loss": "l1"}, "pretext.loss"),
        ({"similarity": "cosine"}, "pretext.similarity"),
        ({"temperature": 0}, "pretext.temperature"),
        ({"variance_floor": 0.0}, "pretext.variance_floor"),
        ({"dropout": 1.0}, "pretext.dropout"),
    ],
)
def test_wrong_values_name_their_key(wrong, message):
    with pytest.raises(ValueError, match=message):
        pretext(**wrong)


def test_a_backbone_that_sees_other_frames_is_refused():
    whole = OnePixel()
    whole.time_local = False
    with pytest.raises(ValueError, match="backbone.time_local=true"):
        TemporalCycle(whole)
