"""Phase alignment of pictures whose brightness tells what the features should know."""

import copy

import av
import cv2
import numpy as np
import pytest
import torch
from torch import nn

from ssv.backbones.base import Backbone
from ssv.data.crops import CenterCrop
from ssv.data.readers.pyav import PyAVReader
from ssv.data.sampling import RandomClips
from ssv.data.sequences.phases import PhasedVideos
from ssv.evaluations.features import recalibrate
from ssv.evaluations.phase_alignment import PhaseAlignment
from ssv.training.weights import weights_digest
from ssv.types import PhasedVideo
from tests.evaluations.fakes import FakeData, Tiny, trainer

EVENTS = (0.25, 0.5, 0.75)


class Brightness(Backbone):
    """The feature of a frame is its brightness, 0 to 1; ``constant`` forgets it; ``blind`` is not finite."""

    def __init__(self, *, constant=False, blind=False):
        super().__init__()
        self.kwargs = {"constant": constant, "blind": blind}
        self.gain = nn.Parameter(torch.tensor(0.0 if constant else float("nan") if blind else 1.0))
        self.norm = nn.BatchNorm3d(1, affine=False)  # would be changed by any pass in training mode
        self.out_channels, self.stride, self.time_local = 1, (1, 1, 1), True
        self.mean, self.std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def forward(self, pixels):
        return self.norm(pixels.mean(1, keepdim=True)) * self.gain


def video(folder, levels, action="pour", events=None):
    """A folder of pictures of the given brightness, 0..255."""
    folder.mkdir(parents=True)
    for i, level in enumerate(levels):
        cv2.imwrite(str(folder / f"{i:04d}.png"), np.full((4, 6, 3), level, dtype=np.uint8))
    return PhasedVideo(str(folder), events or tuple(round(share * len(levels)) for share in EVENTS), action)


def run_of(frames):
    """Brightness that is the phase, 0 to just below 240."""
    return 240 * np.arange(frames) // frames


def dataset(root, *, train, test):
    """Videos by brightness; ``train`` and ``test`` map names to (levels, action, ...)."""
    lists = {
        split: [video(root / split / name, *row) for name, row in rows.items()]
        for split, rows in (("train", train), ("test", test))
    }
    sampler, crop = RandomClips(frames=4, short="loop"), CenterCrop(4, short_side=4)
    return PhasedVideos("", lambda _, split: lists[split], sampler, crop, 2, reader=PyAVReader())


def plain(root, **changes):
    """Frames that know their phase: 40 and 80 of them."""
    videos = {f"v{i}": (run_of(40 + 40 * (i % 2)),) for i in range(4)}
    return dataset(root, **{"train": videos, "test": videos, **changes})


def measure(root, data, backbone=None, **settings):
    evaluation = PhaseAlignment(**settings)
    scores = evaluation.run(backbone or Brightness(), data, trainer(default_root_dir=root))
    return scores, evaluation.artifacts


def test_perfect_features_are_in_perfect_order(tmp_path):
    scores, artifacts = measure(tmp_path, plain(tmp_path))
    assert list(scores)[0] == "kendalls_tau"
    # 80 frames find 40: neighbours in pairs cost tau-b the ties they are.
    same = artifacts["videos"]["frames"][artifacts["pairs"]["query"]]
    other = artifacts["videos"]["frames"][artifacts["pairs"]["candidate"]]
    assert artifacts["pairs"]["tau"][same <= other] == pytest.approx(1)
    assert artifacts["pairs"]["tau"][same > other].min() > 0.99
    assert (
        artifacts["videos"]["tau"][[0, 2]] == pytest.approx(1) and (artifacts["videos"]["tau"][[1, 3]] < 0.9999).all()
    )
    assert scores["kendalls_tau"] == pytest.approx(artifacts["pairs"]["tau"].mean())
    assert scores["progression_r2"] == pytest.approx(1, abs=1e-4)
    for share in (10, 50, 100):
        assert scores[f"phase_accuracy_{share}"] > 0.95
    assert scores["phase_chance"] == 0.25 and scores["undefined_pairs"] == 0
    assert all(type(value) is float for value in scores.values())


def test_constant_features_say_nothing(tmp_path):
    videos = {f"v{i}": (run_of(40), "pour", (10, 20)) for i in range(3)}
    data = plain(tmp_path, train=videos, test=videos)
    scores, artifacts = measure(tmp_path, data, Brightness(constant=True))
    assert scores["kendalls_tau"] == 0.0 and scores["undefined_pairs"] == 1.0
    assert np.isnan(artifacts["pairs"]["tau"]).all() and (artifacts["videos"]["tau"] == 0).all()
    assert scores["phase_accuracy_100"] == scores["phase_chance"] == 0.5  # the last phase is half of each video
    assert scores["progression_r2"] == pytest.approx(0, abs=1e-9)


def test_a_video_played_backwards_is_minus_1(tmp_path):
    test = {"a": (run_of(40),), "b": (run_of(40)[::-1],)}
    assert measure(tmp_path, plain(tmp_path, test=test))[0]["kendalls_tau"] == pytest.approx(-1)


def test_shuffled_frames_are_near_0(tmp_path):
    rng = np.random.default_rng(0)
    test = {f"v{i}": (rng.permutation(run_of(40)),) for i in range(6)}
    scores, _ = measure(tmp_path, plain(tmp_path, test=test))
    assert abs(scores["kendalls_tau"]) < 0.1 and scores["phase_accuracy_100"] < 0.5


def test_actions_are_measured_apart_and_weigh_the_same(tmp_path):
    forwards = {f"a{i}": (run_of(40), "lift") for i in range(4)}
    backwards = {"b0": (run_of(40), "drop"), "b1": (run_of(40)[::-1], "drop")}
    both = forwards | backwards
    scores, artifacts = measure(tmp_path, plain(tmp_path, train=both, test=both))
    assert artifacts["actions"]["action"].tolist() == ["drop", "lift"]
    assert artifacts["actions"]["kendalls_tau"] == pytest.approx([-1, 1])
    assert scores["kendalls_tau"] == pytest.approx(0) and len(artifacts["pairs"]["tau"]) == 4 * 3 + 2
    table = artifacts["videos"]
    assert table["tau"] == pytest.approx([1, 1, 1, 1, -1, -1])
    pairs = list(zip(*(artifacts["pairs"][side].tolist() for side in ("query", "candidate")), strict=True))
    assert set(pairs) == {(i, j) for rows in (range(4), range(4, 6)) for i in rows for j in rows if i != j}
    # A classifier for each action: the backward video's frames are labelled by their own phase.
    assert table["phase_accuracy"][:4].min() > 0.95 > table["phase_accuracy"][4:].max()


def test_labels_of_a_share_are_the_first_videos(tmp_path):
    # Only the second video tells bright from dark: one labelled video knows a single split, two know it wrong.
    dark, bright = np.repeat([0, 240], 20), np.repeat([240, 0], 20)
    train = {"a": (dark, "x", (20,)), **{f"b{i}": (bright, "x", (20,)) for i in range(3)}}
    test = {"a": (dark, "x", (20,)), "b": (dark, "x", (20,))}
    scores, _ = measure(tmp_path, plain(tmp_path, train=train, test=test), shares=(0.25, 1.0))
    assert scores["phase_accuracy_25"] == 1.0 and scores["phase_accuracy_100"] == 0.0


def test_stride_takes_every_so_many_frames(tmp_path):
    # Of every two frames the first is in order and the second runs backwards.
    test = {"a": (run_of(40),), "b": (np.stack([run_of(20), 239 - run_of(20)], 1).flatten(),)}
    data = plain(tmp_path, test=test)
    assert measure(tmp_path, data, stride=2)[0]["kendalls_tau"] == pytest.approx(1)
    assert abs(measure(tmp_path, data)[0]["kendalls_tau"]) < 0.3


def test_same_digits_again_and_the_backbone_is_untouched(tmp_path):
    backbone, data = Tiny(), plain(tmp_path)
    backbone.train()
    digest, before = weights_digest(backbone), copy.deepcopy(backbone.state_dict())
    torch.manual_seed(1)
    first = measure(tmp_path, data, backbone, size=8, window=3)
    torch.manual_seed(2)
    second = measure(tmp_path, data, backbone, size=8, window=3)
    assert first[0] == second[0]
    for name, arrays in first[1].items():
        for key, array in arrays.items():
            assert array.tobytes() == second[1][name][key].tobytes() and array.dtype != object, (name, key)
    assert weights_digest(backbone) == digest and backbone.training
    assert all(torch.equal(before[name], value) for name, value in backbone.state_dict().items())


def test_size_and_window_reach_the_backbone(tmp_path):
    class Watched(Tiny):
        def forward(self, pixels):
            shapes.add(tuple(pixels.shape[2:]))
            return super().forward(pixels)

    shapes, data = set(), plain(tmp_path)
    measure(tmp_path, data, Watched(), size=8, window=5)
    assert shapes == {(5, 8, 12)}
    assert PhaseAlignment(shares=(1.0, 0.1)).protocol == PhaseAlignment(shares=(0.1, 1.0)).protocol
    assert PhaseAlignment(size=8).protocol != PhaseAlignment(size=9).protocol
    assert len({PhaseAlignment(**{key: value}).protocol for key, value in _others()}) == 4


def _others():
    return (("window", 3), ("stride", 5), ("shares", (1.0,)), ("size", 7))


def test_the_aligned_video_shows_the_query_left_and_its_neighbours_right(tmp_path):
    test = {"a": (run_of(20),), "b": (run_of(25)[::-1],)}
    measure(tmp_path / "run", plain(tmp_path, test=test), stride=2)
    with av.open(str(tmp_path / "run" / "aligned.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    assert len(frames) == 10 and frames[0].shape == (192, 2 * 288 + 8, 3)
    for frame, level in zip(frames, run_of(20)[::2].tolist(), strict=True):
        nearest = min(run_of(25)[::-1][::2].tolist(), key=lambda other: abs(other - level))
        assert abs(frame[96, 100, 0] - level) < 6 and abs(frame[96, 500, 0] - nearest) < 6


def test_calibration_feeds_recalibrate(tmp_path):
    backbone, data = Brightness(), plain(tmp_path)
    recalibrate(backbone, data.calibration(0), 16)
    seen = torch.cat([clips.pixels.float().flatten() for clips in data.calibration(0)]).mean() / 255
    assert float(backbone.norm.running_mean) == pytest.approx(float(seen), rel=1e-4)


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ({"a": (run_of(8), "x")}, "needs two test videos of an action at least, 'x' has 1"),
        ({"a": (run_of(8), "x"), "b": (run_of(8), "x"), "c": (run_of(8), "y")}, "'y' has 1"),
        ({"a": (run_of(8), "z"), "b": (run_of(8), "z")}, "action 'z' has test videos and no training video"),
        ({"a": (run_of(8), "x", (2,)), "b": (run_of(8), "x", (2,))}, "'x' has 3 key events in training, 1 in test"),
    ],
)
def test_actions_that_cannot_be_measured_say_why(tmp_path, test, message):
    data = dataset(tmp_path, train={"a": (run_of(8), "x"), "b": (run_of(8), "y")}, test=test)
    with pytest.raises(ValueError, match=message):
        measure(tmp_path, data)


def test_what_is_wrong_is_one_line(tmp_path):
    with pytest.raises(ValueError, match="take data=toy_phases .* or data=phases"):
        measure(tmp_path, FakeData())
    with pytest.raises(ValueError, match="v0 are not finite"):
        measure(tmp_path, plain(tmp_path), Brightness(blind=True))
    data = plain(tmp_path / "2")
    data.split("test").append(data.split("train")[0])
    with pytest.raises(ValueError, match="1 videos are in split 'train' and in split 'test'"):
        measure(tmp_path, data)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 0}, "evaluation.size"),
        ({"window": 0}, "evaluation.window"),
        ({"stride": 0}, "evaluation.stride"),
        ({"shares": ()}, "evaluation.shares"),
        ({"shares": (0.1, 1.5)}, "evaluation.shares"),
    ],
)
def test_settings_that_make_no_sense_name_their_key(settings, message):
    with pytest.raises(ValueError, match=message):
        PhaseAlignment(**settings)
