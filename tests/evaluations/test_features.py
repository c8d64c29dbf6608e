import copy

import numpy as np
import pytest
import torch
from torch import nn

from ssv.evaluations.features import clip_features, describe, mean_over_views, over_views, recalibrate
from ssv.evaluations.labelled import labelled_splits
from ssv.ops.photometric import normalise
from ssv.types import Clips, Video
from tests.evaluations.fakes import FakeData, Levels, Tiny, centre, random_view, trainer, videos, views


def features(backbone, data, rows, batch_size=5, **settings):
    loader = data.loader(rows, views(3), centre(), batch_size=batch_size)
    return over_views(clip_features(backbone, loader, rows, trainer(**settings), "features"))


def test_a_video_is_the_mean_of_its_views_maps():
    data, rows, backbone = FakeData(), videos("test"), Tiny()
    with torch.no_grad():
        frozen = copy.deepcopy(backbone).eval()
        for i, got in enumerate(features(backbone, data, rows)):
            clips = next(iter(data.loader(rows[i : i + 1], views(3), centre(), batch_size=1)))
            vectors = []
            for view in clips.pixels[0]:
                map_ = frozen(normalise(view[None], backbone.mean, backbone.std))[0]
                vectors.append(map_.reshape(backbone.out_channels, -1).mean(1))
            np.testing.assert_allclose(got, sum(vectors) / 3, atol=1e-5)


def test_views_are_joined_by_video_whatever_the_order_and_the_batches():
    """Slow obvious code: a dictionary of lists."""
    draw = torch.Generator().manual_seed(0)
    video = torch.tensor([2, 0, 1, 0, 2, 2, 1, 0, 2, 1])
    pixels = torch.randint(256, (10, 2, 3, 1, 2, 2), dtype=torch.uint8, generator=draw)
    batches = [Clips(pixels[i : i + 4], torch.zeros(4, 2, 1), video[i : i + 4], video[i : i + 4]) for i in (0, 4, 8)]
    rows = [Video(f"{i}.avi", i) for i in range(3)]
    got = mean_over_views(lambda x: x.mean((2, 3, 4)), Levels(), batches, rows, trainer=trainer(), title="means")
    seen = {0: [], 1: [], 2: []}
    for i, clip in zip(video.tolist(), pixels, strict=True):
        for view in clip:
            seen[i].append([float(view[c].float().mean()) / 255 for c in range(3)])
    for i in range(3):
        np.testing.assert_allclose(got[i], np.mean(seen[i], axis=0), rtol=1e-5)
    assert got.dtype == np.float32


def test_the_backbone_stays_as_it_was_also_its_mode():
    backbone = Tiny().train()
    before = copy.deepcopy(backbone.state_dict())
    features(backbone, FakeData(), videos("test"))
    assert backbone.training and backbone.norm.training
    assert all(torch.equal(before[name], value) for name, value in backbone.state_dict().items())


def test_features_do_not_depend_on_the_batch_size():
    data, rows, backbone = FakeData(), videos("test"), Tiny()
    np.testing.assert_allclose(features(backbone, data, rows, 1), features(backbone, data, rows, 7), atol=1e-6)


def test_the_precision_is_the_trainers():
    data, rows, backbone = FakeData(), videos("test"), Tiny()
    full, half = (features(backbone, data, rows, precision=p) for p in ("32-true", "bf16-mixed"))
    assert 0 < np.abs(full - half).max() < 0.05


def test_a_video_without_a_clip_is_named():
    data, rows = FakeData(), videos("test")
    loader = data.loader(rows[:-1], views(), centre(), batch_size=4)
    with pytest.raises(ValueError, match=rf"1 of 24 videos gave no clip \(first: {rows[-1].path}\)"):
        clip_features(Tiny(), loader, rows, trainer(), "features")


def test_values_that_are_not_finite_are_refused():
    backbone = Tiny()
    backbone.second.weight.data[0, 0, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="24 of 24 videos are not finite"):
        features(backbone, FakeData(), videos("test"))


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (None, [], "no split 'test'"),
        (videos("train", labels=[-1] * 24), None, "24 of 24 videos of split 'train' have none; take a data set with"),
        (videos("train", classes=1), videos("test", classes=1), "two classes"),
        (videos("train", classes=3), None, r"without a training video: \[3\]"),
        (videos("test"), None, "24 videos are in split 'train' and in split 'test'"),
    ],
)
def test_splits_that_cannot_be_evaluated_say_why(train, test, message):
    with pytest.raises(ValueError, match=message):
        labelled_splits(FakeData(train, test))


def test_classes_are_positions_of_the_labels_that_occur():
    labels = [k for k in (7, 3, 100, 5) for _ in range(6)]
    splits = labelled_splits(FakeData(videos("train", labels=labels), videos("test", labels=labels)))
    assert splits.classes.tolist() == [3, 5, 7, 100]
    assert splits.class_of(splits.test)[[0, 6, 12, 18]].tolist() == [2, 0, 3, 1]


def test_recalibration_gives_every_norm_the_mean_statistics_of_its_batches():
    data, backbone = FakeData(), Tiny().eval()
    weights = copy.deepcopy(dict(backbone.named_parameters()))
    batches = list(data.loader(videos("train"), random_view(), centre(), batch_size=8))
    recalibrate(backbone, batches, 2)
    inputs = [backbone.first(normalise(b.pixels.flatten(0, 1), backbone.mean, backbone.std)) for b in batches[:2]]
    expected = sum(x.mean((0, 2, 3, 4)) for x in inputs) / 2
    torch.testing.assert_close(backbone.norm.running_mean, expected)
    torch.testing.assert_close(backbone.norm.running_var, sum(x.var((0, 2, 3, 4)) for x in inputs) / 2)
    assert backbone.norm.momentum == 0.1 and not backbone.norm.training
    assert all(torch.equal(weights[name], value) for name, value in backbone.named_parameters())


def test_recalibration_needs_clips_and_leaves_other_norms_alone():
    with pytest.raises(ValueError, match="got none"):
        recalibrate(Tiny(), [], 4)
    without = Tiny()
    without.norm = nn.Identity()
    recalibrate(without, [], 4)


def test_protocols_name_the_values_of_samplers_and_crops():
    assert describe(views(3)) == "UniformClips(views=3, frames=4, stride=2, short=loop)"
    assert describe(centre()) == "CenterCrop(size=8, short_side=8)"

    class Secret:
        def __init__(self, size):
            self._size = size

    with pytest.raises(TypeError, match="Secret must keep its constructor's size"):
        describe(Secret(3))
