"""A configuration that somebody sent is not executed: what it names is checked before anything of it is imported."""

import sys

import pytest
import yaml

from ssv.cli.errors import UserError
from ssv.cli.main import main
from ssv.cli.stored import as_yaml
from ssv.cli.trust import allowing, foreign, named_in, own_configuration, read_trusted
from tests.compose import compose

TOUCH = "__import__('pathlib').Path({!r}).touch()"
HOSTILE = {
    "sympy.sympify": lambda code, file: {"_target_": "sympy.sympify", "a": code},
    "os.system": lambda code, file: {"_target_": "os.system", "command": f"touch {file}"},
    "builtins.eval": lambda code, file: {"_target_": "builtins.eval", "_args_": [code]},
    "Popen": lambda code, file: {"_target_": "subprocess.Popen", "args": ["touch", file], "_convert_": "all"},
    "a hop out of ssv": lambda code, file: {"_target_": "ssv.cli.study.os.system", "command": f"touch {file}"},
    "a hop out of torch": lambda code, file: {"_target_": "torch.optim.lr_scheduler.types.FunctionType", "code": code},
    "a hop out of an optimizer": lambda code, file: {"_target_": "torch.optim.Optimizer.load_state_dict"},
    "a writer of ssv": lambda code, file: {"_target_": "ssv.files.write_text", "path": file, "text": ""},
    "a command of ssv": lambda code, file: {"_target_": "ssv.cli.main.main", "argv": ["toy", f"root={file}"]},
    "Lightning's instantiate": lambda code, file: {
        "_target_": "pytorch_lightning.cli.instantiate_class", "args": ["touch"], "init": {"class_path": "os.system"},
    },
    "in lists": lambda code, file: [[{"x": [{"_target_": "os.system", "command": f"touch {file}"}]}]],
    "resolved": lambda code, file: f"${{oc.create:{{_target_: os.system, command: 'touch {file}'}}}}",
    "no text": lambda code, file: {"_target_": ["os.system"], "_partial_": False},
    "a module of one's own": lambda code, file: {"_target_": "mine_to_import.Thing"},
}  # fmt: skip
PLACES = {
    "reader": lambda config, node: config.update(reader=node),
    "deep": lambda config, node: config["data"]["sampler"].update(more={"deep": [node]}),
    "pretext": lambda config, node: config["pretext"].update(extra=node),
}


def stored(tmp_path, place, node):
    """The folder of a run whose configuration was changed by somebody."""
    config = compose("pretrain", "data=toy", "backbone=r3d_tiny", "trainer=cpu", "logger=none", "steps=1")
    config |= {
        "run": {"name": "x", "pretext": "p", "backbone": "b", "data": "d", "tag": "t", "seed": 0},
        "command": "x",
    }
    assert foreign(config) == {}
    PLACES[place](config, node)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(as_yaml(config))
    return tmp_path / "run"


@pytest.mark.parametrize("verb", ["audit", "pretrain"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE.keys())
def test_nothing_that_a_stored_configuration_names_is_executed(tmp_path, monkeypatch, capfd, make, place, verb):
    marker = str(tmp_path / "executed")
    (tmp_path / "mine_to_import.py").write_text(TOUCH.format(marker))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    run = stored(tmp_path, place, make(TOUCH.format(marker), marker))
    words = [str(run), "trainer=cpu", "steps=0"] if verb == "audit" else ["--resolved", str(run / "config.yaml")]
    assert main([verb, *words]) == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and "which is no part of ssv and would be executed" in lines[0], lines
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__") == [
        "mine_to_import.py",
        "run",
    ]
    assert "mine_to_import" not in sys.modules


def test_what_the_user_names_is_allowed(tmp_path):
    run = stored(tmp_path, "pretext", {"_target_": "mine.Thing"})
    with pytest.raises(UserError, match="pretext.extra._target_ names mine.Thing.*--allow mine.Thing"):
        read_trusted(run / "config.yaml", ["mine.Other"])
    config = read_trusted(run / "config.yaml", ["mine.Thing"])
    assert allowing(config) == ["--allow", "mine.Thing"], "and a job's other processes are told so"


def test_a_folder_of_options_names_its_classes(tmp_path):
    (tmp_path / "pretext").mkdir()
    (tmp_path / "pretext" / "a.yaml").write_text(
        "# Mine.\npretext:\n  _target_: mine.Thing\n  part: {_target_: mine.part, _partial_: true}\n"
    )
    (tmp_path / "b.yaml").write_text('"_target_": "mine.Quoted"\n')
    assert named_in(tmp_path) == {"mine.Thing", "mine.part", "mine.Quoted"}


@pytest.mark.parametrize("verb", ["pretrain", "evaluate weights=random backbone=r3d18", "audit run=x"])
def test_all_that_ssv_configures_is_its_own(verb):
    assert foreign(compose(*verb.split())) == {}
    assert {"ssv.pretexts.random_walk.RandomWalk", "pytorch_lightning.Trainer"} <= named_in(own_configuration())


@pytest.mark.parametrize("name", ["torch.optim.RMSprop", "torch.optim.Adagrad"])
def test_every_optimizer_of_torch_is_allowed(name):
    assert foreign({"optimizer": {"_target_": name, "_partial_": True}}) == {}


@pytest.mark.parametrize("words", [[], ["a", "b"], ["a", "--allow"], ["a", "--allow", "x", "y"]])
def test_words_after_resolved_that_make_no_sense_are_one_line(words):
    with pytest.raises(UserError, match="--resolved takes one file"):
        from ssv.cli.job import run_verb

        run_verb("pretrain", ["--resolved", *words])


def test_a_stored_configuration_reads_as_it_was_written(tmp_path):
    run = stored(tmp_path, "pretext", 3)
    assert read_trusted(run / "config.yaml") == yaml.safe_load((run / "config.yaml").read_text())


@pytest.mark.parametrize("kind", ["repeated", "in itself", "deep"])
def test_a_configuration_that_grows_when_it_is_read_is_one_line(tmp_path, kind):
    text = {
        "repeated": "a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)),
        "in itself": "a: &a [*a]\n",
        "deep": "a: " + "[" * 9000 + "]" * 9000 + "\n",
    }[kind]
    (tmp_path / "config.yaml").write_text(text + "run: {seed: 0}\n")
    with pytest.raises(UserError, match="holds more than 1000000 values|is damaged"):
        read_trusted(tmp_path / "config.yaml")
