import errno
import json
import multiprocessing

import numpy as np
import pytest

from ssv.cli.build import build_optimizer
from ssv.cli.checks import check_config, check_whole
from ssv.cli.errors import UserError, nearest
from ssv.cli.pretrain import WHOLE, identity
from ssv.cli.run_folder import claim, differences, digest_tag, run_name
from ssv.cli.scores import put_row, save_arrays
from ssv.locks import Busy
from tests.compose import compose

CONFIG = {"seed": 0, "data": {"workers": 2, "batch_size": 8}, "trainer": {"devices": 1}, "run": {"name": "x"}}


def test_tag_depends_on_values_only():
    assert digest_tag(["pretext=a", "seed=3", "data=toy", "backbone=r3d18"]) == "base"
    assert digest_tag(["trainer.devices=2", "data.workers=8", "outputs=/x", "threads=1"]) == "base"
    one, two = digest_tag(["optimizer.lr=0.1"]), digest_tag(["optimizer.lr=0.01"])
    assert one != two and one != "base"
    assert digest_tag(["a.b=1", "c=2"]) == digest_tag(["c=2", "seed=4", "a.b=1"])


def test_name_is_safe_for_folders():
    assert run_name("speed", "s3dg", "toy", "my tag/1", seed=3) == "speed-s3dg-toy-my_tag_1-s3"


def test_claim_new_resume_refuse(tmp_path):
    folder = tmp_path / "run"
    with claim(folder, CONFIG) as state:
        assert state == "new"
    (folder / "status.json").write_text(json.dumps({"state": "stopped"}))
    (folder / "metrics.jsonl").touch()
    machine = {**CONFIG, "data": {"workers": 9, "batch_size": 8}, "trainer": {"devices": 4}}
    with claim(folder, machine) as state:
        assert state == "stopped", "machine settings do not make another run"
    other = {**CONFIG, "data": {"workers": 2, "batch_size": 16}}
    with pytest.raises(UserError, match="data.batch_size: 8 -> 16.*tag="), claim(folder, other):
        pass


@pytest.mark.parametrize("made", ["metrics.jsonl", "checkpoints", "backbone.pt", "scores.jsonl"])
def test_a_try_that_made_nothing_does_not_stand_in_the_way(tmp_path, made):
    folder, other = tmp_path / "run", {**CONFIG, "data": {"workers": 2, "batch_size": 16}}
    with claim(folder, {**CONFIG, "command": "first"}):
        (folder / "status.json").write_text(json.dumps({"state": "failed"}))
    with claim(folder, {**other, "command": "second"}) as state:
        assert state == "new" and json.loads((folder / "run.json").read_text())["command"] == "second"
        (folder / made).touch()
    with pytest.raises(UserError, match="holds another"), claim(folder, CONFIG):
        pass


def test_claim_removes_what_a_killed_process_was_writing(tmp_path):
    left = ["checkpoints/.last.ckpt.77.partial", ".status.json.77.partial", ".backbone.pt.77.tmp"]
    others = [".scores.jsonl.partial", ".wandb_ids.json.77.partial", "evaluations/.a.partial.npz", ".x.partial"]
    for name in [*left, *others, "backbone.pt", "checkpoints/last.ckpt"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with claim(tmp_path, CONFIG):
        assert not any((tmp_path / name).exists() for name in left)
    assert all((tmp_path / name).exists() for name in others), "an evaluation may be writing them"
    assert (tmp_path / "backbone.pt").exists() and (tmp_path / "checkpoints" / "last.ckpt").exists()


def test_claim_refuses_a_second_process(tmp_path):
    first, second = claim(tmp_path / "run", CONFIG), claim(tmp_path / "run", CONFIG)
    with first, pytest.raises(Busy, match="another process"), second:
        pass


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(Busy, match="cannot be locked .No locks available.*outputs="), claim(tmp_path, CONFIG):
        pass


def test_differences_name_old_and_new():
    assert differences({"a": {"b": 1}}, {"a": {"b": 2}, "c": 3}) == ["a.b: 1 -> 2", "c: absent -> 3"]


def row(**changes):
    base = {
        "weights": "w",
        "weights_file": "backbone.pt",
        "evaluation": "linear_probe",
        "data": "toy",
        "protocol": "p",
        "seed": 0,
        "scores": {"top1": 0.1},
    }
    return {**base, **changes}


def test_same_key_replaces(tmp_path):
    path = tmp_path / "scores.jsonl"
    for value in (row(), row(seed=1), row(protocol="q"), row(scores={"top1": 0.9})):
        put_row(path, value)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) == 3 and rows[-1]["scores"] == {"top1": 0.9}


@pytest.mark.parametrize("key", ["weights", "weights_file", "evaluation", "data", "protocol", "seed"])
def test_a_row_that_differs_in_anything_that_counts_stands_beside_it(tmp_path, key):
    """In the file too: the weights of the best online probe may be the last ones, and are a row of their own."""
    for value in (row(), row(**{key: "other"})):
        put_row(tmp_path / "scores.jsonl", value)
    assert len((tmp_path / "scores.jsonl").read_text().splitlines()) == 2


def _put(arguments):
    path, start = arguments
    for seed in range(start, start + 20):
        put_row(path, row(seed=seed))


def test_rows_of_two_processes_are_all_there(tmp_path):
    path = tmp_path / "scores.jsonl"
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.map(_put, [(path, 0), (path, 20)])
    assert sorted(json.loads(line)["seed"] for line in path.read_text().splitlines()) == list(range(40))


def test_save_arrays_needs_no_pickle(tmp_path):
    save_arrays(tmp_path / "a" / "x.npz", {"path": np.array(["a", "bc"]), "label": np.arange(2)})
    with np.load(tmp_path / "a" / "x.npz", allow_pickle=False) as found:
        assert found["path"].tolist() == ["a", "bc"]
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["x.npz"]


def test_unknown_keys_are_found_at_any_depth():
    config = {"optimizer": {"_target_": "torch.optim.SGD", "lr": 1, "momentun": 0.9}}
    with pytest.raises(UserError, match="'optimizer.momentun'; did you mean 'optimizer.momentum'"):
        check_config(config, allowed={"optimizer"})
    with pytest.raises(UserError, match="no module 'nowhere_at_all'"):
        check_config({"pretext": {"_target_": "nowhere_at_all.Thing"}}, allowed={"pretext"})


def test_nearest_knows_short_forms():
    assert nearest("sped", ["speed_prediction", "supervised"]) == "; did you mean 'speed_prediction'?"
    assert nearest("zzz", ["speed_prediction"]) == ""


@pytest.mark.parametrize(("name", "told"), [("temporal_cycle", True), ("single_frame", True), ("random_walk", False)])
def test_a_run_says_whether_its_pretext_is_told_what_videos_show(name, told):
    config = compose("pretrain", f"pretext={name}", "tag=x")
    named = identity(config, {"pretext": name, "backbone": "b", "data": "d"}, [])
    assert named.get("uses_labels", False) is told
    assert named["name"] == f"{name}-b-d-x-s0"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("optimizer.lr=.nan", "optimizer.lr takes a number, got '.nan'"),
        ("optimizer.lr=nan", "optimizer.lr is no number, got nan"),
        ("optimizer.lr=null", "optimizer.lr takes a number, got None"),
        ("optimizer=sgd optimizer.momentum=abc", "optimizer.momentum takes a number, got 'abc'"),
        ("data.batch_size=1.5", "data.batch_size takes a whole number, got 1.5"),
        ("data.workers=true", "data.workers takes a whole number, got True"),
        ("data.crop.area=[.nan,1]", "data.crop.area takes a list"),
        ("data.crop.flip=abc", "data.crop.flip takes true or false, got 'abc'"),
        ("trainer.gradient_clip_val=.inf", "trainer.gradient_clip_val takes .* infinity is inf"),
    ],
)
def test_a_value_of_the_wrong_kind_is_one_line(words, line):
    config = compose("pretrain", "data=toy", "backbone=r3d_tiny", *words.split())
    with pytest.raises(UserError, match=line):
        check_config(config, allowed=set(config))


@pytest.mark.parametrize("value", [".nan", ".inf", "-1", "1e999"])
@pytest.mark.parametrize("key", ["lr", "weight_decay", "momentum"])
def test_settings_that_no_optimizer_works_with_are_one_line(key, value):
    import yaml

    node = {
        "_target_": "torch.optim.SGD",
        "_partial_": True,
        "lr": 0.1,
        key: yaml.safe_load(value.replace("1e999", "1.0e+999")),
    }
    with pytest.raises(UserError, match=f"optimizer(.{key} is|: torch says)"):
        build_optimizer(node)


@pytest.mark.parametrize("key", ["threads", "steps", "seed", "log_every"])
@pytest.mark.parametrize("value", [-1, 1.5, True, "abc"])
def test_whole_numbers_are(key, value):
    config = {**{name: 5 for name in WHOLE}, "threads": None}
    check_whole(config, WHOLE, optional=("threads",))
    with pytest.raises(UserError, match=f"{key} takes a whole number of at least ., got"):
        check_whole({**config, key: value}, WHOLE, optional=("threads",))


def test_a_tag_may_be_a_number():
    assert (
        identity(compose("pretrain", "tag=7"), {"pretext": "p", "backbone": "b", "data": "d"}, [])["name"]
        == "p-b-d-7-s0"
    )
