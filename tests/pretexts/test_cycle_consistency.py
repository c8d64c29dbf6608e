"""Figures of the public code from features on (tests/ops/localise.json), and what is cut, tracked and learned."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from ssv.backbones.base import Backbone
from ssv.backbones.converters.base import resnet_name
from ssv.backbones.resnet3d import ResNet3D
from ssv.ops.localise import grid_loss, is_near, similarity_map, square
from ssv.pretexts.cycle_consistency import NEAR, CycleConsistency
from ssv.types import Clips
from tests.backbones import families, published
from tests.ops.test_localise import STRETCH, assert_figure, drawn
from tests.oracles import fill

PUBLISHED = json.loads((Path(__file__).parents[1] / "ops" / "localise.json").read_text())
ENDS = (0, 2, 5, 9)  # of the public code's list of thetas on all ways forward, the last ones of each cycle


class Watch(Backbone):
    """Averages pixels over cells, hands the colours through as features, and remembers what it was shown."""

    def __init__(self, *, cell=8, time_local=True):
        super().__init__()
        self.out_channels, self.stride, self.time_local, self.kwargs = 3, (1, cell, cell), time_local, {}
        self.mean, self.std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        self.cell, self.seen = cell, []
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, pixels):
        self.seen.append(pixels)
        return functional.avg_pool3d(pixels, (1, self.cell, self.cell)) * self.weight


def make(*, time_local=True, cell=8, **options):
    torch.manual_seed(0)
    return CycleConsistency(Watch(cell=cell, time_local=time_local), **{"size": 72, "dims": 16, **options})


def clips(batch=2, frames=16, size=72, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (batch, 1, 3, frames, size, size), dtype=torch.uint8, generator=generator)
    seconds = (torch.arange(frames) / 12).expand(batch, 1, frames).float()
    return Clips(pixels, seconds, torch.zeros(batch).long(), torch.arange(batch))


def places(batch=2, frames=16, size=72):
    """Red is the row, green the column, blue the frame."""
    value = clips(batch, frames, size)
    pixels, place = torch.zeros_like(value.pixels), torch.arange(size, dtype=torch.uint8)
    pixels[:, :, 0], pixels[:, :, 1] = place[:, None] * 2, place * 2
    pixels[:, :, 2] = torch.arange(frames, dtype=torch.uint8)[:, None, None] * 10
    return value._replace(pixels=pixels)


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def single_grid(monkeypatch):
    """The public code rounds its grid to single precision, what a chain of lookups makes hundreds of times larger."""

    def rounded(side, like):
        return (square(side, like) / STRETCH).float().to(like.dtype) * STRETCH

    monkeypatch.setattr("ssv.ops.localise.square", rounded)


def published_features(case):
    seed, batch, count = case["seed"], case["B"], case["T"]
    image = drawn(seed, (batch, 512, 30, 30))
    frames = torch.stack([image + 0.5 * drawn(seed + 10 + t, image.shape) for t in range(count)], 2)
    rng = np.random.default_rng(seed + 99)
    offsets = rng.integers(0, 21, (batch, 2))
    assert offsets.tolist() == case["crop_offsets_yx"]
    cut = torch.stack([image[b, :, y : y + 10, x : x + 10] for b, (y, x) in enumerate(offsets)])
    patch = cut + 0.3 * drawn(seed + 50, cut.shape)
    angle, x, y = (torch.from_numpy(rng.uniform(-0.6, 0.6, batch)) for _ in range(3))
    theta = similarity_map(torch.stack([x, y, angle], 1), scale=1 / 3)
    assert theta.flatten().tolist() == pytest.approx(np.ravel(case["theta_gt"]).tolist(), rel=1e-9)
    return *(features.relu().requires_grad_() for features in (frames, image, patch)), theta


def load_published(localiser):
    first = torch.from_numpy(fill("afterconv3_trans.weight", (128, 900, 4, 4))) * 10
    # The public code counts the image's cells column by column.
    localiser.convs[0].weight.data = first.view(128, 30, 30, 4, 4).transpose(1, 2).flatten(1, 2)
    localiser.convs[2].weight.data = torch.from_numpy(fill("afterconv4_trans.weight", (64, 128, 4, 4)))
    localiser.answer.weight.data = torch.from_numpy(fill("linear2.weight", (3, 1024)))
    localiser.answer.bias.data = torch.from_numpy(fill("linear2.bias", (3,)))


@pytest.mark.parametrize("case", PUBLISHED["cases"], ids=lambda case: str(case["seed"]))
def test_matches_the_public_code_from_features(case, float64, single_grid):
    count = case["T"]
    pretext = make(size=240, dims=512, base=count, align_corners=case["align_corners"])
    load_published(pretext.localiser)
    frames, target, patch, theta = published_features(case)
    tracks = pretext.track(frames, target, patch)

    similar = tracks.affinity.unflatten(1, (30, 30)).transpose(1, 2).flatten(1, 2)
    assert_figure(case["affinity_img_to_patch"], similar)
    assert tracks.direct.flatten().tolist() == pytest.approx(case["trans_out2"], rel=1e-5, abs=1e-6)
    assert tracks.skips.flatten().tolist() == pytest.approx(case["trans_out3"], rel=1e-5, abs=1e-6)
    for end, i in zip(tracks.cycles, ENDS):
        assert end.flatten().tolist() == pytest.approx(case["forward_thetas"][i], rel=1e-5, abs=3e-6)

    # With two base frames the public code forgets the second cycle.
    asked = len(case["loss_targ_theta"])
    cycles = torch.stack([grid_loss(end, theta).mean() for end in tracks.cycles[:asked]])
    skips = grid_loss(tracks.skips, theta.repeat_interleave(count, 0)).mean()
    alike = pretext.alike(tracks, patch)
    loss = pretext.cycle_weight * cycles.mean() + pretext.skip_weight * skips - alike
    loss.backward()
    assert cycles.tolist() == pytest.approx(case["loss_targ_theta"], rel=1e-5)
    assert skips.item() == pytest.approx(case["loss_targ_theta_skip"][0], rel=1e-5)
    assert alike.item() == pytest.approx(-case["loss_back_inliers"][0], rel=1e-5)
    assert loss.item() == pytest.approx(case["total_with_lambda_0_1"], rel=1e-5)
    for name, features in (("grad_frames", frames), ("grad_patch", patch), ("grad_img", target)):
        assert_figure(case[name], features.grad, 1e-5)


@pytest.mark.parametrize("case", PUBLISHED["encoder"], ids=lambda case: str(case["input"]["seed"]))
def test_features_match_the_public_code_from_pixels(case, float64):
    shapes = families.image_resnet_shapes((3, 4, 6, 3), bottleneck=True, stages=3)
    weights = {
        resnet_name(name): torch.from_numpy(fill(f"encoderVideo.{name}", shape)) for name, shape in shapes.items()
    }
    backbone = ResNet3D(
        blocks=(3, 4, 6, 3), bottleneck=True, stem_kernel=(1, 7, 7), spatial_stride=8, last_stage=3, time_local=True
    )
    backbone.load_state_dict({k: v.unsqueeze(2) if v.ndim == 4 else v for k, v in weights.items()})
    pretext = CycleConsistency(backbone).eval()
    pretext.project.weight.data = torch.from_numpy(fill("afterconv1.weight", (512, 1024, 1, 1, 1)))
    with torch.no_grad():
        maps = backbone(published.clip(case))
        features = pretext._embed(maps)
    figures = case["outputs"]
    assert_figure(figures["feat1024"], maps, 1e-8)
    assert_figure(figures["feat512"], features, 1e-8)
    assert_figure(figures["feat512_l2norm"], functional.normalize(features, dim=1), 1e-8)


def test_sizes_and_first_weights_of_the_public_code():
    localiser = make(size=240, dims=512).localiser
    assert float(localiser.answer.weight.detach().std()) == pytest.approx(0.01, rel=0.1)
    assert localiser.answer.bias.eq(0).all()
    shapes = {name: tuple(p.shape) for name, p in localiser.named_parameters()}
    assert shapes == {
        "convs.0.weight": (128, 900, 4, 4),
        "convs.2.weight": (64, 128, 4, 4),
        "answer.weight": (3, 1024),
        "answer.bias": (3,),
    }


@pytest.mark.parametrize("patch", [*range(1, 9), 10])
def test_patches_of_any_size_can_be_localised(patch):
    pretext = make(size=3 * patch * 2, cell=2)
    theta, found, similar = pretext.localise(torch.rand(2, 16, patch, patch), torch.rand(2, 16, 3 * patch, 3 * patch))
    assert similar.shape == (2, 9 * patch**2, patch, patch) and found.shape == (2, 16, patch, patch)
    assert theta[..., 2].abs().max() < 0.3, "the first guess is near the middle"
    torch.testing.assert_close(torch.linalg.det(theta[..., :2]), torch.full((2,), 1 / 9))


def test_first_frames_and_the_last_are_shown_and_the_patch_is_cut_from_the_last():
    pretext = make()
    pretext(places())
    shown, patch = pretext.backbone.seen
    assert shown.shape == (2, 3, 5, 72, 72) and patch.shape == (2, 3, 1, 24, 24)
    assert (shown[0, 2, :, 0, 0] * 255).round().tolist() == [0, 20, 40, 60, 150]
    assert patch[:, 2].amax() * 255 == pytest.approx(150, abs=0.01)


def moving(row, column, size=72, batch=2):
    """Places of which 8 x 8 pixels have just changed."""
    value = places(batch)
    value.pixels[:, :, :2, -1, row : row + 8, column : column + 8] ^= 255
    return value


def test_eval_cuts_upright_where_it_moves_most():
    # Most of the change lies in the window of the cells 4, 5, 6 of nine rows and 1, 2, 3 of nine columns.
    value = moving(32, 8)
    value.pixels[:, :, :2, -1, 48:56, 24:32] ^= 255
    value.pixels[:, :, :2, :-3, :24, 48:] ^= 255  # what moved before the gap does not count
    pretext = make().eval()
    theta = pretext.starts(value.pixels[:, 0])
    torch.testing.assert_close(theta[..., :2], torch.eye(2).expand(2, 2, 2) / 3)
    torch.testing.assert_close(theta[..., 2], torch.tensor([[(2 * 1 / 6 - 1) * 2 / 3, (2 * 4 / 6 - 1) * 2 / 3]] * 2))
    pretext(value._replace(pixels=places().pixels // 2 + value.pixels // 2))
    assert torch.equal(pretext(value).loss, pretext(value).loss), "nothing is random"


def test_patch_shows_what_lies_at_its_place():
    pretext = make().eval()
    value = moving(0, 0)
    theta = similarity_map(torch.tensor([[0.2, -0.3, 0.4], [-0.4, 0.5, -0.7]]), scale=1 / 3)
    pretext.features(value.pixels[:, 0], theta)
    patch = pretext.backbone.seen[1] * 255 / 2
    for n, i, j in ((0, 0, 0), (0, 5, 17), (1, 23, 2), (1, 12, 12)):
        place = theta[n] @ torch.tensor([-1 + 2 * j / 23, -1 + 2 * i / 23, 1.0])
        x, y = ((place + 1) / 2 * 71).tolist()
        assert patch[n, :2, 0, i, j].tolist() == pytest.approx([y, x], abs=1e-3)


def test_training_draws_among_moving_windows_and_turns_them():
    pretext = make()
    torch.manual_seed(0)
    theta = pretext.starts(
        moving(0, 64, batch=1).pixels[:, 0].expand(500, -1, -1, -1, -1)
    )  # the corner to the right above
    middles, angles = theta[..., 2], torch.atan2(theta[:, 1, 0], theta[:, 0, 0])
    torch.testing.assert_close(torch.linalg.det(theta[..., :2]), torch.full((500,), 1 / 9))
    assert angles.abs().max() <= torch.pi / 4 and angles.std() == pytest.approx(torch.pi / 4 / 3**0.5, rel=0.1)
    # One window in ten holds the corner; the others are still.
    at_corner = ((middles - torch.tensor([2 / 3, -2 / 3])).abs() < 1 / 9 + 1e-6).all(1)
    assert 0.1 <= at_corner.float().mean() < 0.4
    assert middles.abs().max() <= 2 / 3 + 1e-6, "no patch leaves the frame but by turning"

    whole = make(jitter=0.0, rotation=0.0).starts(clips(batch=600, frames=3).pixels[:, 0])
    torch.testing.assert_close(whole[..., :2], torch.eye(2).expand(600, 2, 2) / 3)
    steps = (whole[..., 2] * 1.5 + 1) * 3
    torch.testing.assert_close(steps, steps.round(), atol=1e-4, rtol=0)
    assert {tuple(s) for s in steps.round().int().tolist()} == {(x, y) for x in range(7) for y in range(7)}


def test_jitter_spreads_a_twelfth_to_both_sides():
    pretext = make(rotation=0.0)
    torch.manual_seed(0)
    theta = pretext.starts(clips(batch=600, frames=3).pixels[:, 0])
    place = (theta[..., 2] * 1.5 + 1) / 2 * 6
    off = (place - place.round())[(place > 0.6).all(1) & (place < 5.4).all(1)]
    assert 0.45 < off.abs().max() <= 0.5 + 1e-4 and off.std() == pytest.approx(0.5 / 3**0.5, rel=0.1)


def test_each_cycle_goes_back_and_forth_through_every_frame_between(monkeypatch):
    pretext = make()

    def localise(patch, image):
        visited = patch * 10 + image[..., :1, :1]  # the digits are the way
        return visited[:, 0, 0, 0].view(-1, 1, 1).expand(-1, 2, 3), visited, None

    monkeypatch.setattr(pretext, "localise", localise)
    frames = torch.arange(1.0, 5.0, dtype=torch.float64).view(1, 1, 4, 1, 1).expand(2, 16, 4, 9, 9)
    target, patch = torch.full((2, 16, 9, 9), 5.0).double(), torch.zeros(2, 16, 1, 1).double()
    tracks = pretext.track(frames, target, patch)
    assert tracks.cycles[:, 1, 0, 0].tolist() == [45, 4345, 432345, 43212345]
    assert tracks.direct[:, 0, 0].tolist() == [1, 2, 3, 4] * 2
    assert tracks.skips[:, 0, 0].tolist() == [15, 25, 35, 45] * 2


def test_features_are_sampled_as_they_are_but_compared_by_direction():
    pretext = make()
    patch, image = torch.rand(2, 16, 3, 3), torch.rand(2, 16, 9, 9)
    theta, found, similar = pretext.localise(patch, image)
    longer = pretext.localise(3 * patch, 5 * image)
    torch.testing.assert_close((longer[0], longer[1] / 5, longer[2]), (theta, found, similar))


def answer_the_middle(pretext):
    """The degenerate localiser: it looks at nothing."""
    nn.init.zeros_(pretext.localiser.answer.weight)
    return pretext


def test_answering_the_middle_is_no_solution():
    torch.manual_seed(0)
    pretext = answer_the_middle(make(frames=8))
    metrics = pretext(clips(batch=100, frames=8)).metrics
    assert metrics["accuracy"] == metrics["chance"] == metrics["accuracy_skip"]
    assert 0.05 < metrics["chance"] < 0.35
    # Places are spread over 4/3 in x and y, angles over 90 degrees: what a cycle costs whoever knows nothing.
    for i in (1, 2, 3, 4):
        assert metrics[f"loss_cycle{i}"] > 0.3


@pytest.mark.parametrize("similarity", ["inliers", "inner_product"])
def test_the_true_place_is_more_alike_than_the_middle(similarity):
    pretext = make(similarity=similarity, size=240, translation_factor=1.0, temperature=0.05)
    frames = torch.rand(2, 16, 4, 30, 30)
    frames = torch.where(frames > 0.5, frames, 0.0)[:, :, :1].expand(
        -1, -1, 4, -1, -1
    )  # static: every place is the true
    patch = frames[:, :, 0, 15:25, 3:13]
    tracks = pretext.track(frames, frames[:, :, 0], patch)
    scores = []
    for column, row in ((7.5, 19.5), (14.5, 14.5), (19.5, 7.5)):
        middle = torch.tensor([column / 14.5 - 1, row / 14.5 - 1, 0.0])
        direct = similarity_map(middle.expand(8, 3), scale=1 / 3)
        image = frames.transpose(1, 2).flatten(0, 1)
        found = functional.grid_sample(image, pretext._places(direct, patch), align_corners=True)
        scores.append(pretext.alike(tracks._replace(direct=direct, found=found), patch).item())
    assert scores[0] > max(scores[1:]) + 0.2, scores


def test_inner_product_is_the_mean_cosine():
    pretext = make(similarity="inner_product")
    patch = torch.rand(2, 16, 3, 3)
    found = torch.rand(8, 16, 3, 3)
    tracks = pretext.track(torch.rand(2, 16, 4, 9, 9), torch.rand(2, 16, 9, 9), patch)._replace(found=found)
    wanted = [
        functional.cosine_similarity(patch[n // 4, :, i, j], found[n, :, i, j], dim=0)
        for n, i, j in np.ndindex(8, 3, 3)
    ]
    torch.testing.assert_close(pretext.alike(tracks, patch), torch.stack(wanted).mean())


def test_accuracy_is_that_of_the_longest_cycle(monkeypatch):
    pretext = make().eval()
    value, track = clips(), pretext.track
    theta = pretext.starts(value.pixels[:, 0])
    for right, accuracy in ((3, 1), (0, 0)):
        ends = torch.stack([theta + 1.0 * (i != right) for i in range(4)])
        monkeypatch.setattr(pretext, "track", lambda *features, ends=ends: track(*features)._replace(cycles=ends))
        assert pretext(value).metrics["accuracy"] == accuracy


def test_loss_is_the_weighted_sum():
    pretext = make(cycle_weight=0.7, skip_weight=0.3)
    loss, metrics = pretext(clips())
    cycles = sum(metrics[f"loss_cycle{i}"] for i in (1, 2, 3, 4)) / 4
    torch.testing.assert_close(loss.detach(), 0.7 * cycles + 0.3 * metrics["loss_skip"] - metrics["similarity"])


def backbone_gradients(pretext):
    """What frames, target and patch teach the backbone, None where nothing."""
    value = places()
    features = pretext.features(value.pixels[:, 0], similarity_map(torch.zeros(2, 3), scale=1 / 3))
    return [
        torch.autograd.grad(f.sum(), pretext.backbone.weight, allow_unused=True, retain_graph=True)[0] for f in features
    ]


def test_warm_up_ends_where_it_was_interrupted():
    pretext = make(warmup=3)
    for step in range(3):
        frames, target, patch = backbone_gradients(pretext)
        assert frames is None and patch is None and target is not None
        pretext.eval()(clips())
        assert pretext.steps == step, "looking on is no step"
        pretext.train()(clips())
        if step == 1:
            resumed = make(warmup=3)
            resumed.load_state_dict(pretext.state_dict())
            pretext = resumed
    assert None not in backbone_gradients(pretext)
    assert None not in backbone_gradients(make(warmup=3).eval())
    assert None not in backbone_gradients(make(warmup=0))


def test_every_layer_learns_in_the_warm_up_too():
    pretext = make(warmup=1)
    pretext(clips()).loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in pretext.parameters())


def test_near_is_half_a_patch():
    wanted = similarity_map(torch.tensor([[0.1, -0.2, 0.3]]).expand(4, 3), scale=1 / 3)
    off = torch.tensor([[0.0, 0.0, 2.0], [0.33, 0.0, 0.0], [0.0, 0.34, 0.0], [0.25, 0.25, 0.0]])
    found = similarity_map(torch.tensor([[0.1, -0.2, 0.3]]) + off, scale=1 / 3)
    assert is_near(found, wanted, NEAR).tolist() == [1, 1, 0, 0]


def test_larger_frames_are_resized():
    pretext = make(size=48).eval()
    pretext(places())
    rows = pretext.backbone.seen[0][0, 0, 0, :, 5] * 255 / 2
    torch.testing.assert_close(rows[4:-4].diff(), torch.full((39,), 1.5), atol=0.1, rtol=0)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"time_local": False}, r"backbone\.time_local=true"),
        ({"base": 9}, r"pretext\.frames=19"),
        ({"gap": 0}, r"pretext\.gap"),
        ({"base": 0}, r"pretext\.base"),
        ({"size": 70}, r"pretext\.size"),
        ({"size": 0}, r"pretext\.size"),
        ({"temperature": 0.0}, r"pretext\.temperature"),
        ({"similarity": "cosine"}, r"pretext\.similarity"),
        ({"warmup": -1}, r"pretext\.warmup"),
        ({"jitter": -0.1}, r"pretext\.jitter"),
    ],
)
def test_refuses_in_one_line(options, key):
    with pytest.raises(ValueError, match=key) as error:
        make(**options)
    assert "\n" not in str(error.value)


def test_small_frames_are_not_blown_up():
    with pytest.raises(ValueError, match=r"data\.crop\.size=72"):
        make()(clips(size=71))
