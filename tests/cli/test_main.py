"""What a user sees who types something: one line, the right exit code, the nearest name."""

import subprocess
import sys
import time

import pytest

from ssv.cli.main import VERBS
from tests.compose import ROOT, stems


def ssv(*arguments, cwd=None, **environment):
    """Run the command as a user does."""
    import os

    env = {**os.environ, "PYTHONPATH": str(ROOT), "WANDB_MODE": "disabled", **environment}
    return subprocess.run(
        [sys.executable, "-m", "ssv", *arguments], capture_output=True, text=True, cwd=cwd or ROOT, env=env, timeout=300
    )


def complaint(result):
    """The one line of a refusal."""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("ssv: ")
    return lines[0]


def test_alone_prints_the_verbs():
    result = ssv()
    assert result.returncode == 0
    for verb in VERBS:
        assert f"\n  {verb} " in result.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_help_teaches_with_five_examples(verb):
    result = ssv(verb, "--help")
    assert result.returncode == 0, result.stderr
    assert sum(line.strip().startswith(f"ssv {verb}") for line in result.stdout.splitlines()) >= 5
    assert "hydra" not in result.stdout.lower()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["pretain"], "unknown verb 'pretain'; did you mean 'pretrain'?"),
        (["pretrain", "pretext=sped"], "unknown pretext 'sped'; did you mean 'speed_prediction'?"),
        (["pretrain", "backbone=s3dgg"], "unknown backbone 's3dgg'; did you mean 's3dg'?"),
        (["pretrain", "pretex=speed_prediction"], "unknown key 'pretex'; did you mean 'pretext'?"),
        (["pretrain", "data.batchsize=3"], "unknown key 'data.batchsize'; did you mean 'data.batch_size'?"),
        (["pretrain", "+typo=1"], "unknown key 'typo'"),
        (["pretrain", "+data.batchsize=3"], "unknown key 'data.batchsize'; did you mean 'data.batch_size'?"),
        (["pretrain", "+experment=demo"], "unknown key 'experment'"),
        (["pretrain", "experiment=demo"], "'experiment' has no value to change; add it: +experiment=..."),
        (["pretrain", "+experiment=nothing_like_it"], "unknown experiment 'nothing_like_it'"),
        (["pretrain", "steps=many"], "steps takes a whole number of at least 1, got 'many'"),
        (["evaluate"], "weights must be set: weights=VALUE"),
        (["evaluate", "weights=nowhere.pt"], "no such file or run folder"),
        (["evaluate", "weights=random"], "backbone=NAME"),
        (["audit"], "run must be set: run=VALUE"),
        (["audit", "nowhere"], "run=nowhere: no such folder"),
        (["audit", ".", "stesp=3"], "unknown key 'stesp'; did you mean 'steps'?"),
        (["audit", "."], "is no run: it holds no config.yaml"),
        (["compare", "outputs=nowhere"], "no folder"),
        (["list", "backbonse"], "did you mean 'backbone'?"),
        (["pretrain", "data=folder", "data.root=nowhere"], "nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, expected, tmp_path):
    result = ssv(*arguments, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert expected in complaint(result)
    assert not list(tmp_path.glob("outputs/*/checkpoints")), "nothing started"


@pytest.mark.parametrize("group", ["pretext", "backbone", "data", "evaluation"])
def test_list_names_everything_there_is(group):
    result = ssv("list", group)
    assert result.returncode == 0
    for stem in stems(group):
        assert stem in result.stdout


def test_completion_completes_verbs_groups_and_keys():
    def query(line):
        return set(ssv("-sc", "query=bash", COMP_LINE=line, COMP_POINT=str(len(line))).stdout.split())

    assert query("ssv pre") == {"prepare", "pretrain"}
    assert {"pretext=speed_prediction", "pretext=supervised"} <= query("ssv pretrain pretext=s")
    assert "data.batch_size=" in query("ssv pretrain data.batch_s")
    assert "complete" in ssv("-sc", "install=bash").stdout


def test_help_is_quick():
    # Not a timed test of speed: a guard against importing torch on the way, which costs seconds.
    best = 9.0
    for _ in range(3):
        start = time.perf_counter()
        ssv("--help")
        best = min(best, time.perf_counter() - start)
    assert best < 2.0


def own_folder(tmp_path, **files):
    """A folder of the user's with options and modules; gives the words and the environment that name it."""
    for name, content in files.items():
        path = tmp_path / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".py" if "/" not in str(path.relative_to(tmp_path)) else ".yaml").write_text(content)
    return ["--config-dir", str(tmp_path / "conf")], {"PYTHONPATH": f"{ROOT}:{tmp_path}"}


PRETEXT = "pretext:\n  _target_: mine.Mine\n  _partial_: true\n"
TINY = ["pretext=own", "data=toy", "backbone=r3d_tiny", "logger=none", "trainer=cpu"]


def test_an_error_of_a_users_module_is_shown_as_the_users(tmp_path):
    module = "from ssv import Pretext\n\n\ndef Mine(backbone):\n    {}\n"
    own, env = own_folder(tmp_path, conf__pretext__own="# @package _global_\n" + PRETEXT, mine=module)
    cases = [("raise ValueError('needs 16 frames')", 2, "mine.py:5: ValueError: needs 16 frames")]
    cases += [
        ("return backbone.no_such_thing", 1, "the error comes from"),
        ("return [].index(3)", 2, "mine.py:5: ValueError"),
    ]
    subprocess.run([sys.executable, "-m", "ssv", "toy", "size=tiny"], cwd=tmp_path, check=True, capture_output=True)
    for body, code, expected in cases:
        (tmp_path / "mine.py").write_text(module.format(body))
        found = ssv("pretrain", *own, *TINY, "data.workers=0", cwd=tmp_path, **env)
        assert found.returncode == code and expected in found.stderr, found.stderr
        assert "bug in ssv" not in found.stderr
        assert code == 1 or complaint(found)


def test_a_pretext_file_without_its_first_line_is_one_line(tmp_path):
    module = "def Mine(backbone):\n    return None\n"
    own, env = own_folder(tmp_path, conf__pretext__own="# Mine.\n# @package _global_\n" + PRETEXT, mine=module)
    found = ssv("pretrain", *own, *TINY, cwd=tmp_path, **env)
    assert found.returncode == 2 and "must be '# @package _global_'" in complaint(found)


def test_list_and_completion_show_a_users_own_folder(tmp_path):
    own, env = own_folder(tmp_path, conf__pretext__own="# @package _global_\n# Mine.\n" + PRETEXT, mine="")
    listed = ssv("list", "pretext", *own, **env).stdout
    assert "own" in listed and "mine.Mine" in listed and "speed_prediction" in listed
    line = f"ssv pretrain {' '.join(own)} pretext=ow"
    assert ssv("-sc", "query=bash", COMP_LINE=line, COMP_POINT=str(len(line)), **env).stdout.split() == ["pretext=own"]
    assert ssv("list", "--config-dir", str(tmp_path / "none")).returncode == 2
