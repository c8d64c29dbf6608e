"""A run's folder that somebody sent, or that is damaged in odd ways: one line, nothing written or read beyond it."""

import os

import pytest
import torch
import yaml

from ssv.cli.errors import UserError
from ssv.cli.main import main
from ssv.cli.run_folder import claim, refuse_links
from ssv.cli.stored import is_configuration, read_config
from ssv.cli.trust import read_trusted
from ssv.files import is_whole_archive, read_json
from ssv.training.checkpoints import RESUMED_FROM, choose_checkpoint
from ssv.training.weights_file import read_weights_file
from tests.compose import compose


@pytest.mark.parametrize(
    "name", ["scores.jsonl.damaged", "metrics.jsonl", "run.json", "checkpoints/last.ckpt", "evaluations"]
)
def test_links_are_not_written_through(tmp_path, name):
    run = tmp_path / "run"
    (run / name).parent.mkdir(parents=True, exist_ok=True)
    (run / name).symlink_to(tmp_path / "victim")
    with pytest.raises(UserError, match="is a link, which ssv does not write"):
        refuse_links(run)
    with pytest.raises(UserError, match="is a link"), claim(run, {"run": {"name": "run"}}):
        pass
    assert not (tmp_path / "victim").exists()
    assert not (run / "config.yaml").exists()


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/dev/zero", path)], ids=["pipe", "device"])
def test_what_is_no_file_is_not_read(tmp_path, make):
    path = tmp_path / "config.yaml"
    make(path)
    assert read_json(path) == {}
    assert not is_whole_archive(path)
    with pytest.raises(UserError, match="is damaged"):
        read_config(path)


@pytest.mark.parametrize(
    "text",
    [
        'x: !!bool "q"\nrun: {}\n',
        'x: !!int ""\n',
        'x: !!timestamp "q"\n',
        "run: 5\n",
        "a: 1\n...\n",
        "run: {seed: 0}\n",
    ],
)
def test_odd_values_of_a_stored_configuration_are_damage(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError, match="is damaged"):
        read_config(tmp_path / "config.yaml")


CHANGES = {
    "no outputs": lambda config: config.pop("outputs"),
    "a trainer of 5": lambda config: config.update(trainer=5),
    "no pretext": lambda config: config.pop("pretext"),
    "a run of none": lambda config: config.update(run=[]),
    "an unknown key": lambda config: config["pretext"].update(nope=1),
    "a date": lambda config: config["pretext"].update(hidden=__import__("datetime").date(2020, 1, 1)),
    "arguments without names": lambda config: config["pretext"].update(_args_=[1]),
    "a name that leads out": lambda config: config["run"].update(name="../../elsewhere"),
    "a name of dots": lambda config: config["run"].update(name=".."),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_stored_configuration_is_checked_like_a_typed_one(tmp_path, change, capsys):
    config = {
        **compose("pretrain", "pretext=order_verification", "data=folder", "data.root=x"),
        "run": {"name": "a", "seed": 0},
    }
    change(config)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config, explicit_end=True))
    assert main(["pretrain", "--resolved", str(tmp_path / "config.yaml")]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("ssv: ")
    assert shown.count("\n") == 1


def checkpoint(path, **content):
    torch.save({**dict.fromkeys(RESUMED_FROM, {}), **content}, path)


@pytest.mark.parametrize("kind", ["empty", "weights", "flipped method", "no zip"])
def test_a_checkpoint_that_is_none_falls_back(tmp_path, kind):
    last, previous = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    checkpoint(previous)
    checkpoint(last)
    assert choose_checkpoint(tmp_path) == (last, [])
    if kind == "empty":
        torch.save({}, last)
    elif kind == "weights":
        torch.save({"state_dict": {"a": torch.zeros(2)}, "kwargs": {}}, last)
    elif kind == "no zip":
        torch.save(dict.fromkeys(RESUMED_FROM), last, _use_new_zipfile_serialization=False)
    else:
        data = bytearray(last.read_bytes())
        data[data.rindex(b"PK\x01\x02") + 10] ^= 8
        last.write_bytes(data)
    assert choose_checkpoint(tmp_path) == (previous, [last])


class Bomb:
    """A pickle of a few bytes that makes many."""

    def __init__(self, make, *arguments):
        self.made = make, arguments

    def __reduce__(self):
        return self.made


def test_calls_that_make_more_than_the_file_has_are_refused(tmp_path):
    bombs = {
        "bytearray": Bomb(bytearray, 50),
        "device_tensor": Bomb(
            torch._utils._rebuild_device_tensor_from_cpu_tensor, torch.zeros(1), torch.float64, "cpu", False
        ),
    }
    for name, bomb in bombs.items():
        torch.save({"a": bomb}, tmp_path / f"{name}.pt", pickle_protocol=2)
        torch.save({"a": bomb}, tmp_path / f"{name}_old.pt", _use_new_zipfile_serialization=False)
        for file in (tmp_path / f"{name}.pt", tmp_path / f"{name}_old.pt"):
            with pytest.raises(ValueError, match="of any size; save its state_dict alone"):
                read_weights_file(file)


def test_what_weights_say_of_their_run_is_a_configuration():
    shared = ["x"] * 10
    for _ in range(9):
        shared = [shared] * 10
    assert is_configuration({"run": {}})
    for value in (5, None, {"run": 5}, {"run": {}, "command": shared}):
        assert not is_configuration(value)


def test_a_name_is_one_of_a_folder(tmp_path):
    (tmp_path / "config.yaml").write_text("run: {name: a-b_c.1, seed: 0}\n...\n")
    assert read_trusted(tmp_path / "config.yaml")["run"]["name"] == "a-b_c.1"
