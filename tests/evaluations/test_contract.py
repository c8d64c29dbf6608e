"""What every evaluation of videos owes, found through conf/evaluation: nothing to add for a new one."""

import copy
import inspect
from pathlib import Path

import pytest
import torch
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf

from ssv.evaluations.base import Evaluation
from tests.compose import data_of
from tests.evaluations.fakes import FakeData, Levels, Tiny, centre, random_crop, random_view, trainer, videos, views

CONF = Path(__file__).parents[2] / "conf"
FILES = sorted((CONF / "evaluation").glob("*.yaml"))
# An evaluation with a sampler reads whole videos by class; others (label propagation) bring their own data.
OF_VIDEOS = [path for path in FILES if "sampler" in OmegaConf.to_container(OmegaConf.load(path))]
SMALL = {"batch_size": 6, "steps": 30, "lr": 0.1, "dropout": 0.0, "folds": 3, "strengths": [0.001, 0.1]}
SMALL |= {"rates": [0.1, 0.3], "k": 6, "cache": None}


def load(path, **changes):
    names = {"seed": 0, "name": "x", "run_dir": "x", "data_root": "x", "outputs": "x"}
    whole = OmegaConf.create(
        {
            **names,
            "data": OmegaConf.load(CONF / "data" / f"{data_of(path.stem)}.yaml"),
            "evaluation": OmegaConf.load(path),
        }
    )
    node = OmegaConf.to_container(whole, resolve=True)["evaluation"]
    return {**node, **{key: value for key, value in changes.items() if key in node}}


def build(path, **changes):
    clips = {"sampler": views(), "crop": centre(), "train_sampler": random_view(), "train_crop": random_crop()}
    return instantiate(load(path, **{**SMALL, **clips, **changes}), _convert_="all")


def stem(path):
    return path.stem


def headline(scores):
    return next(iter(scores.values()))


@pytest.mark.parametrize("path", FILES, ids=stem)
def test_yaml_lists_every_argument(path):
    node = load(path)
    cls = get_class(node.pop("_target_"))
    assert issubclass(cls, Evaluation)
    assert set(node) == set(inspect.signature(cls).parameters)


@pytest.mark.parametrize("path", FILES, ids=stem)
def test_protocol_is_one_line_of_the_values_alone(path):
    node = load(path)
    first, second = instantiate(node, _convert_="all").protocol, instantiate(node, _convert_="all").protocol
    assert first == second and "\n" not in first and " at 0x" not in first and len(first) > 40


@pytest.mark.parametrize("path", OF_VIDEOS, ids=stem)
def test_protocol_tells_the_views_frames_spacing_and_size(path):
    protocols = {
        build(path, sampler=sampler, crop=crop).protocol
        for sampler in (views(2), views(3), views(2, frames=5))
        for crop in (centre(8), centre(9))
    }
    assert len(protocols) == 6
    assert build(path, seed=1).protocol == build(path, seed=2).protocol, "rows of several seeds share a column"


@pytest.mark.parametrize("path", OF_VIDEOS, ids=stem)
def test_perfect_features_are_always_right(path):
    data = FakeData(videos("train", classes=7), videos("test", classes=7))
    scores = build(path).run(Levels(), data, trainer())
    assert {value for name, value in scores.items() if name != "chance"} == {1.0}
    assert scores["chance"] == pytest.approx(1 / 7)
    assert all(type(value) is float for value in scores.values())


@pytest.mark.parametrize("path", OF_VIDEOS, ids=stem)
def test_constant_features_are_right_by_chance(path):
    scores = build(path).run(Levels(constant=True), FakeData(), trainer())
    assert headline(scores) == pytest.approx(scores["chance"])


@pytest.mark.parametrize("path", OF_VIDEOS, ids=stem)
def test_labels_that_have_nothing_to_do_with_the_pixels_give_chance(path):
    def permuted(split, seed):
        drawn = torch.randperm(160, generator=torch.Generator().manual_seed(seed)) % 4
        return videos(split, groups=20, labels=drawn.tolist())

    scores = build(path).run(Levels(), FakeData(permuted("train", 0), permuted("test", 1)), trainer())
    assert headline(scores) == pytest.approx(0.25, abs=0.11)  # three standard errors of 160 videos


@pytest.mark.parametrize("path", OF_VIDEOS, ids=stem)
def test_same_seed_same_digits_and_the_backbone_is_untouched(path):
    backbone = Tiny()
    before = copy.deepcopy(backbone.state_dict())
    first, second = build(path), build(path)
    assert first.run(backbone, FakeData(), trainer()) == second.run(backbone, FakeData(), trainer())
    for name, arrays in first.artifacts.items():
        for key, array in arrays.items():
            assert array.tobytes() == second.artifacts[name][key].tobytes(), (name, key)
    assert list(before) == list(backbone.state_dict())
    assert all(torch.equal(before[name], value) for name, value in backbone.state_dict().items())


@pytest.mark.parametrize("path", OF_VIDEOS, ids=stem)
def test_predictions_are_stored_for_each_test_video(path):
    evaluation, data = build(path), FakeData()
    scores = evaluation.run(Tiny(), data, trainer())
    table = evaluation.artifacts["per_video"]
    assert set(table) == {"path", "label", "prediction", "group"}
    assert table["path"].tolist() == [video.path for video in data.split("test")]
    assert (table["prediction"] == table["label"]).mean() == pytest.approx(headline(scores))
    assert all(array.dtype != object for arrays in evaluation.artifacts.values() for array in arrays.values())


@pytest.mark.parametrize("path", OF_VIDEOS, ids=stem)
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (FakeData(test=[]), "no split 'test'"),
        (FakeData(train=videos("train", labels=[-1] * 24)), "needs labels"),
        (FakeData(videos("train", classes=1), videos("test", classes=1)), "two classes"),
    ],
)
def test_data_that_cannot_be_scored_says_why(path, data, message):
    with pytest.raises(ValueError, match=message):
        build(path).run(Tiny(), data, trainer())


@pytest.mark.parametrize("path", OF_VIDEOS, ids=stem)
def test_weights_that_are_not_finite_are_refused(path):
    backbone = Tiny()
    backbone.second.weight.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="finite|diverged"):
        build(path).run(backbone, FakeData(), trainer())


SHARED = ("linear_probe", "knn", "retrieval")  # by several processes: tests/test_shared_evaluation.py


@pytest.mark.parametrize("path", [path for path in OF_VIDEOS if path.stem not in SHARED], ids=stem)
def test_several_devices_are_refused(path):
    class Two:
        world_size = 2
        progress_bar_callback = None

    with pytest.raises(ValueError, match="one device, the trainer has 2; set trainer.devices=1"):
        build(path).run(Tiny(), FakeData(), Two())
