"""The evaluations on encoded files, through the real data module."""

import numpy as np
import pytest

from ssv.data.crops import CenterCrop, ThreeCrop
from ssv.data.datamodule import VideoDataModule
from ssv.data.readers.pyav import PyAVReader
from ssv.data.sampling import RandomClips, UniformClips
from ssv.evaluations.feature_cache import FeatureCache
from ssv.evaluations.features import clip_features, extract, recalibrate
from ssv.evaluations.fine_tune import FineTune
from ssv.evaluations.knn import KNN
from ssv.evaluations.labelled import labelled_splits
from ssv.evaluations.linear_probe import LinearProbe
from ssv.types import Video
from tests.evaluations.fakes import Tiny, trainer
from tests.videos import write_numbered


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    lists = {
        split: [Video(str(root / f"{split}_{k}_{g}.mp4"), k, f"{split}{k}{g}") for k in range(2) for g in range(3)]
        for split in ("train", "test")
    }
    for rows in lists.values():
        for video in rows:
            frames = 5 if video is rows[-1] else 14  # one file is shorter than a clip, and scored all the same
            write_numbered(video.path, frames=frames, first=100 * video.label, size=(48, 32))
    return VideoDataModule(
        str(root),
        lambda root, split: lists[split],
        RandomClips(frames=8, short="loop"),
        CenterCrop(16, short_side=16),
        eval_sampler=sampler(),
        eval_crop=CenterCrop(16, short_side=16),
        batch_size=4,
        workers=0,
        held_out=0.0,
        max_broken=0,
        reader=PyAVReader(),
        seed=0,
    )


def sampler(short="loop"):
    return UniformClips(views=2, frames=8, short=short)


def test_both_score_every_test_video(data):
    crop = CenterCrop(16, short_side=16)
    backbone = Tiny()
    recalibrate(backbone, data.train_dataloader(), 8)
    assert int(backbone.norm.num_batches_tracked) == 1
    for evaluation in (
        LinearProbe(sampler=sampler(), crop=crop, folds=2),
        FineTune(train_sampler=data.sampler, train_crop=crop, sampler=sampler(), crop=crop, steps=4, batch_size=4),
    ):
        scores = evaluation.run(backbone, data, trainer())
        table = evaluation.artifacts["per_video"]
        assert table["path"].tolist() == [video.path for video in data.split("test")]
        assert (table["prediction"] == table["label"]).mean() == pytest.approx(scores["top1"])


def test_a_sampler_that_skips_is_told_what_to_do(data):
    rows = data.split("test")
    loader = data.loader(rows, sampler("skip"), CenterCrop(16, short_side=16), batch_size=4)
    with pytest.raises(ValueError, match=r"1 of 6 videos gave no clip \(first: .*test_1_2.mp4\).*short=loop"):
        clip_features(Tiny(), loader, rows, trainer(), "features")


def test_views_are_clips_times_squares(data, tmp_path):
    crop, cache = ThreeCrop(16, short_side=16), str(tmp_path)
    backbone, kept = Tiny(), FeatureCache(cache)
    splits = labelled_splits(data)
    once = extract(backbone, data, splits, sampler(), crop, batch_size=4, trainer=trainer(), cache=kept)
    assert once.train.shape == once.test.shape == (6, 2 * 3, 8)
    middle = extract(
        backbone, data, splits, sampler(), CenterCrop(16, short_side=16), batch_size=4, trainer=trainer(), cache=kept
    )
    np.testing.assert_allclose(once.test[:, 1::3], middle.test, atol=1e-6)
    assert len(list(tmp_path.iterdir())) == 4
    for evaluation in (
        KNN(sampler=sampler(), crop=crop, k=3, cache=cache),
        FineTune(train_sampler=data.sampler, train_crop=crop, sampler=sampler(), crop=crop, steps=2, batch_size=4),
    ):
        assert 0 <= evaluation.run(backbone, data, trainer())["top1"] <= 1
    assert len(list(tmp_path.iterdir())) == 4
