import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ssv.backbones.base import Backbone
from ssv.backbones.resnet3d import ResNet3D
from ssv.ops.photometric import drop_channels
from ssv.pretexts.colorization import EPSILON, Colorization
from ssv.types import Clips


class Cells(Backbone):
    """Hands on means of cells of 4 pixels, frame by frame."""

    def __init__(self, grey=True):
        super().__init__()
        self.out_channels, self.stride, self.time_local, self.kwargs = (1 if grey else 3), (1, 4, 4), True, {}
        self.mean, self.std = ((0.0,), (1.0,)) if grey else ((0.0,) * 3, (1.0,) * 3)
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, pixels):
        self.seen = pixels
        return F.avg_pool3d(pixels, (1, 4, 4)) * self.weight


def clips(batch=3, frames=4, side=24, seed=0):
    generator = torch.Generator().manual_seed(seed)
    cells = torch.randint(0, 256, (batch, 1, 3, frames, side // 4, side // 4), generator=generator, dtype=torch.uint8)
    pixels = cells.repeat_interleave(4, 4).repeat_interleave(4, 5)
    seconds = (torch.arange(frames) / 6).expand(batch, 1, frames).float()
    return Clips(pixels, seconds, torch.zeros(batch).long(), torch.arange(batch))


def make(grey=True, clusters=4, seed=0, **options):
    torch.manual_seed(seed)
    pretext = Colorization(Cells(grey), clusters=clusters, **options)
    pretext.fit([clips(batch=8)], torch.Generator().manual_seed(0))
    return pretext


def test_loss_is_the_mean_log_probability_by_loops():
    pretext, value = make(temperature=0.5), clips(batch=1)
    features = pretext.features(value.pixels[:, 0])[0].detach().flatten(2)  # (D,T,N)
    colours = pretext.colours(value.pixels[:, 0], 6, 6)[0].flatten(1)  # (T,N)
    losses = []
    for j in range(36):
        scores = {
            (s, i): math.exp(float(features[:, 3, j] @ features[:, s, i]) / 0.5) for s in range(3) for i in range(36)
        }
        right = sum(score for (s, i), score in scores.items() if colours[s, i] == colours[3, j])
        losses.append(-math.log(right / sum(scores.values()) + EPSILON))
    assert pretext(value).loss.item() == pytest.approx(sum(losses) / 36, rel=1e-4)


def test_a_colour_no_reference_shows_costs_minus_log_epsilon():
    pretext, value = make(), clips()
    value.pixels[:] = torch.tensor([255, 0, 0], dtype=torch.uint8)[:, None, None, None]
    value.pixels[:, :, :, -1] = torch.tensor([0, 0, 255], dtype=torch.uint8)[:, None, None]
    assert pretext(value).loss.item() == pytest.approx(-math.log(EPSILON), rel=1e-5)


def test_identical_frames_of_distinct_features_are_coloured_without_error():
    pretext, value = make(grey=True, unit_length=True, temperature=1e-4, dims=8), clips(frames=4)
    pretext.features = lambda pixels: (
        F.one_hot(torch.arange(36), 36).T.view(1, 36, 1, 6, 6).expand(3, 36, 4, 6, 6) * 1.0
    )
    still = value._replace(pixels=value.pixels[:, :, :, :1].expand(-1, -1, -1, 4, -1, -1))
    output = pretext(still)
    assert output.loss.item() < 1e-4 and output.metrics["accuracy"] == 1 == output.metrics["copy_accuracy"]


def test_one_colour_is_one_cluster_and_red_is_not_blue():
    pretext = make()
    red = torch.zeros(1, 3, 1, 24, 24, dtype=torch.uint8)
    red[:, 0] = 200
    of_red, of_blue = pretext.colours(red, 6, 6), pretext.colours(red.flip(1), 6, 6)
    assert of_red.unique().numel() == 1 and of_blue.unique().numel() == 1 and of_red[0, 0, 0, 0] != of_blue[0, 0, 0, 0]


def test_cells_are_averaged_before_they_are_named():
    pretext = make()
    pretext.centres.copy_(torch.tensor([[0.0, 0.0], [80.0, 67.0], [-86.0, 83.0], [79.0, -108.0]]))
    checks = torch.zeros(1, 3, 1, 8, 8, dtype=torch.uint8)
    checks[..., ::2] = 255  # black and white stripes
    assert (pretext.colours(checks, 2, 2) == 0).all()


def test_in_grey_the_target_colours_reach_the_question_only():
    backbone = ResNet3D(
        blocks=(1, 1, 1, 1), widths=(4, 4, 4, 4), stem_kernel=(1, 3, 3), spatial_stride=4, input="grey", time_local=True
    )
    torch.manual_seed(0)
    pretext = Colorization(backbone, clusters=4).eval()
    value = clips()
    pretext.fit([value], torch.Generator().manual_seed(0))
    pixels = value.pixels[:, 0].float()
    # Another colour of the same luma: red up, green down.
    other = pixels.clone()
    other[:, 0] += 0.587 * 20
    other[:, 1] -= 0.299 * 20
    luma = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1, 1)
    torch.testing.assert_close((pixels * luma).sum(1), (other * luma).sum(1))
    grey = (pixels * luma).sum(1, keepdim=True).round().to(torch.uint8).expand(-1, 3, -1, -1, -1)
    with torch.no_grad():
        seen = pretext.features(value.pixels[:, 0])
        assert float((pretext.features(grey) - seen).abs().max()) < 0.02 * float(seen.abs().max())


def test_features_of_a_frame_tell_of_no_other_frame():
    pretext, value = make(), clips()
    changed = value.pixels.clone()
    changed[:, :, :, 2] = 255 - changed[:, :, :, 2]
    before, after = (pretext.features(pixels[:, 0]) for pixels in (value.pixels, changed))
    same = torch.tensor([0, 1, 3])
    assert torch.equal(before[:, :, same], after[:, :, same]) and not torch.equal(before[:, :, 2], after[:, :, 2])


def test_a_window_changes_what_can_be_pointed_to():
    value = clips()
    whole, near = make()(value), make(radius=1)(value)
    assert whole.loss != near.loss and make(radius=6)(value).loss.item() == pytest.approx(whole.loss.item(), rel=1e-5)


def test_accuracy_counts_colours_alike_however_rare():
    pretext, value = make(clusters=2, references=1), clips(frames=2, batch=1)
    pretext.centres.copy_(torch.tensor([[0.0, 0.0], [80.0, 67.0]]))
    value.pixels[:] = 128
    value.pixels[0, 0, :, 1, :4, :4] = torch.tensor([255, 0, 0], dtype=torch.uint8)[:, None, None]
    metrics = pretext(value).metrics
    assert metrics["plain_accuracy"] == pytest.approx(35 / 36) and metrics["accuracy"] == 0.5
    assert metrics["copy_accuracy"] == 0.5 and metrics["chance"] == 0.5
    assert metrics["affinity_entropy"] == pytest.approx(1, abs=0.05)


def test_chance_is_the_score_of_pointing_everywhere_alike():
    pretext, value = make(), clips(batch=5)
    pretext.backbone.weight.data.zero_()
    pretext.head.weight.data.zero_()
    metrics = pretext(value).metrics
    assert metrics["accuracy"] == metrics["chance"] and metrics["affinity_entropy"] == pytest.approx(1)
    assert 0.2 < metrics["chance"] < 0.6


def test_clusters_are_fitted_once_by_the_generator_and_kept():
    one, other = make(), make(seed=1)
    assert torch.equal(one.centres, other.centres) and one.centres.isfinite().all()
    assert "centres" in one.state_dict()
    with pytest.raises(ValueError, match="call fit"):
        Colorization(Cells(), clusters=4)(clips())


def test_fit_reads_a_bounded_number_of_batches():
    read = []

    def batches():
        while True:
            read.append(1)
            yield clips(batch=16)

    Colorization(Cells(), clusters=4).fit(batches(), torch.Generator().manual_seed(0))
    assert len(read) < 50


def test_colour_needs_dropout_and_loses_channels_in_all_frames_alike():
    with pytest.raises(ValueError, match=r"backbone\.input=grey"):
        Colorization(Cells(grey=False))
    with pytest.raises(ValueError, match=r"backbone\.input=rgb"):
        Colorization(Cells(), channel_dropout=0.5)
    pretext, value = make(grey=False, channel_dropout=1.0), clips(batch=64)
    torch.manual_seed(0)
    pretext(value)
    shown = pretext.backbone.seen.abs().amax((3, 4)) > 0  # (B,C,T)
    assert (shown.any(2) == shown.all(2)).all()
    assert set(shown.all(2).sum(1).tolist()) == {1, 2}
    pretext.eval()(value)
    assert torch.equal(pretext.backbone.seen.abs().amax((0, 2, 3, 4)) > 0, torch.tensor([False, True, False]))


def test_dropout_ratios_and_scale():
    torch.manual_seed(0)
    frames = drop_channels(torch.ones(20000, 3, 1, 1, 1), 0.7)[:, :, 0, 0, 0]
    kept = (frames > 0).sum(1)
    assert [(kept == n).float().mean().item() for n in (3, 2, 1)] == pytest.approx([0.3, 0.35, 0.35], abs=0.015)
    assert frames.sum(1).tolist() == pytest.approx([3.0] * 20000, rel=1e-5)
    assert (frames > 0)[kept == 1].float().mean(0).tolist() == pytest.approx([1 / 3] * 3, abs=0.02)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"references": 0}, "references"),
        ({"clusters": 1}, "clusters"),
        ({"temperature": 0}, "temperature"),
        ({"radius": -1}, "radius"),
    ],
)
def test_refuses_in_one_line(options, key):
    with pytest.raises(ValueError, match=rf"pretext\.{key}") as error:
        Colorization(Cells(), **options)
    assert "\n" not in str(error.value)


def test_other_clips_name_the_key():
    with pytest.raises(ValueError, match=r"data\.sampler\.frames=4"):
        make()(clips(frames=3))
