"""Whole commands whose main process alone is killed: nothing of them lives on, and the same command goes on at once."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.compose import ROOT
from tests.living import Mark, needs_proc, wait_until
from tests.test_runs import TINY, assert_same, only_run

pytestmark = [pytest.mark.slow, needs_proc]

SSV = [sys.executable, "-m", "ssv"]
KILLS = 4
TWO = ["trainer.devices=2", "trainer.strategy=ddp"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "-m", "ssv"]
MEASURE = [
    "evaluate", "weights=random", "backbone=r3d_tiny", "data=toy", "evaluation=knn", "data.eval_sampler.views=1",
    "data.eval_sampler.frames=4", "data.batch_size=4", "trainer=cpu", "threads=1", "logger=none",
]  # fmt: skip


class Command:
    """A command with all that it starts. Nothing of it outlives a test."""

    def __init__(self, cwd, *words, launcher=SSV):
        self.mark = Mark()
        env = {name: value for name, value in os.environ.items() if name not in ("LOCAL_RANK", "RANK", "WORLD_SIZE")}
        env |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled", "PYTHONUNBUFFERED": "1"}
        env |= {"TMPDIR": str(cwd), **self.mark.environment}
        self.log = (cwd / f"{len(list(cwd.glob('*.log')))}.log").open("w+")
        self.process = subprocess.Popen(
            [*launcher, *words], cwd=cwd, env=env, stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for number in self.mark.living():
            os.kill(number, signal.SIGKILL)
        self.process.wait()
        self.log.close()

    def said(self):
        self.log.seek(0)
        return self.log.read()

    def wait_until(self, is_so):
        wait_until(is_so, self.process)

    def kill(self, seconds=3):
        """The main process alone; the others have a moment to end."""
        self.process.kill()
        self.process.wait()
        left = self.mark.left_after(seconds)
        assert not left, [subprocess.run(["ps", "-f", "-p", str(one)], capture_output=True).stdout for one in left]

    def finish(self, code=0):
        assert self.process.wait(timeout=200) == code, self.said()
        return self.said()


def run(cwd, *words, code=0):
    with Command(cwd, *words) as command:
        return command.finish(code)


def killed_at_random(cwd, words, seconds):
    """The same command killed at moments of its first ``seconds``, then left alone."""
    draw = random.Random(0)
    for _ in range(KILLS):
        with Command(cwd, *words) as command:
            time.sleep(draw.uniform(0.2, 1) * seconds)
            command.kill()
    return run(cwd, *words)


def is_at(cwd, step):
    """Whether the only run has done a step."""
    return lambda: any(f'"step": {step},' in file.read_text() for file in cwd.glob("outputs/*/metrics.jsonl"))


def pretraining(world, *words):
    return ["pretrain", "pretext=speed_prediction", *TINY, f"data.root={world}", *words]


# Reading processes hang at their work, in a library that does not let go of the interpreter.
HANGS = """
import ctypes, os, pathlib, sys
from ssv.cli.main import main
import {module} as module

def hang(*_, **__):
    pathlib.Path("hangs").touch()
    ctypes.PyDLL(None).sleep(600)

module.{name} = hang
sys.exit(main(sys.argv[1:]))
"""
HANGING = {
    "scan": ("ssv.data.scanning.examine", "examine"),
    "prepare": ("ssv.data.preparing.run", "_work"),
    "pretrain": ("ssv.data.dataset", "VideoDataset.__getitems__"),
}


@pytest.mark.parametrize("verb", HANGING)
def test_a_reader_that_hangs_does_not_outlive_its_command_nor_keep_the_next_one_out(world, tmp_path, verb):
    words = {
        "scan": ["scan", str(world), f"index={tmp_path / 'index'}", "workers=2"],
        "prepare": ["prepare", str(world), f"out={tmp_path / 'out'}", "workers=2"],
        "pretrain": pretraining(world, "steps=2"),
    }[verb]
    module, name = HANGING[verb]
    with Command(tmp_path, *words, launcher=[sys.executable, "-c", HANGS.format(module=module, name=name)]) as command:
        command.wait_until((tmp_path / "hangs").exists)
        command.kill(seconds=1)
    with Command(tmp_path, *words) as command:
        assert "another" not in command.finish()


@pytest.mark.parametrize("launcher", [SSV, TORCHRUN], ids=["lightning", "torchrun"])
def test_the_processes_of_one_job_end_with_the_one_that_started_them(world, tmp_path, launcher):
    words = pretraining(world, "steps=2000", *TWO)
    with Command(tmp_path, *words, launcher=launcher) as command:
        command.wait_until(is_at(tmp_path, 3))
        command.kill()


def test_a_pretraining_killed_at_random_moments_continues_bit_for_bit(world, tmp_path):
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    words = pretraining(world, "steps=14", "data.workers=1")
    run(tmp_path / "whole", *words)
    killed_at_random(tmp_path / "broken", words, seconds=7)
    assert_same(only_run(tmp_path / "broken"), only_run(tmp_path / "whole"))
    assert not [path for path in (tmp_path / "broken").rglob("*") if re.search(r"\.(partial|tmp)$", path.name)]


def test_a_scan_killed_at_random_moments_finds_the_same(world, tmp_path):
    def found(folder):
        tables = sorted(path for path in folder.glob("tables.*/*.npy"))
        assert tables
        lines = sorted((folder / "scan.jsonl").read_text().splitlines()) if (folder / "scan.jsonl").exists() else []
        return {path.name: np.load(path).tobytes() for path in tables}, lines

    words = {name: ["scan", str(world), f"index={tmp_path / name}", "workers=2"] for name in ("whole", "broken")}
    run(tmp_path, *words["whole"])
    killed_at_random(tmp_path, words["broken"], seconds=4)
    assert found(tmp_path / "broken") == found(tmp_path / "whole")
    names = [{path.name for path in (tmp_path / name).iterdir() if "tables" not in path.name} for name in words]
    assert names[0] == names[1] and not list(tmp_path.glob("ssv-scan-*"))


def test_an_evaluation_in_two_processes_killed_at_random_moments_scores_the_same(world, tmp_path):
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    words = [*MEASURE, f"data.root={world}", *TWO, "data.workers=1"]
    run(tmp_path / "whole", *words)
    killed_at_random(tmp_path / "broken", words, seconds=7)
    rows = [json.loads((only_run(tmp_path / name) / "scores.jsonl").read_text()) for name in ("whole", "broken")]
    assert rows[0]["scores"] == rows[1]["scores"] and rows[0]["weights"] == rows[1]["weights"]
    left = [path.name for path in (tmp_path / "broken").rglob("*") if re.search(r"ssv-job|\.partial|\.tmp$", path.name)]
    assert not left


def study(world, tmp_path):
    """The words of a study with one long job."""
    words = [word for word in TINY if not word.startswith(("threads", "logger"))]
    line = " ".join(["pretext=speed_prediction", *words, f"data.root={world}", "steps=2000"])
    folder = tmp_path / "conf" / "study"
    folder.mkdir(parents=True)
    (folder / "one.yaml").write_text(
        json.dumps({"seeds": [0], "pretrain": [line], "random": False, "evaluate": []})  # JSON is YAML
    )
    return ["study", "one", f"--config-dir={folder.parent}", "threads=1", "slots=1", "logger=none"]


def stop_the_job(command):
    """Its job takes no signal any more, except the last one."""
    main = command.process.pid
    parents = {
        number: int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1])
        for number in command.mark.living()
    }
    jobs = [number for number, parent in parents.items() if parents.get(parent) == main]
    assert jobs
    for number in jobs:
        os.kill(number, signal.SIGSTOP)


def test_a_job_that_hangs_ends_with_its_study_and_the_study_starts_again_at_once(world, tmp_path):
    words = study(world, tmp_path)
    with Command(tmp_path, *words) as command:
        command.wait_until(is_at(tmp_path, 6))
        stop_the_job(command)
        command.kill()
    with Command(tmp_path, *words) as command:
        command.wait_until(is_at(tmp_path, 12))
        assert "goes on from step" in next(tmp_path.glob("outputs/.study/one/*.log")).read_text()
        command.kill()


def test_a_second_ctrl_c_kills_the_jobs_of_a_study(world, tmp_path):
    with Command(tmp_path, *study(world, tmp_path)) as command:
        command.wait_until(is_at(tmp_path, 3))
        stop_the_job(command)
        command.process.send_signal(signal.SIGINT)
        command.wait_until(lambda: "waiting for 1 job to save; Ctrl-C again kills it" in command.said())
        time.sleep(0.5)
        assert command.process.poll() is None
        command.process.send_signal(signal.SIGINT)
        said = command.finish(code=130)
        assert "stopped by SIGINT" in said and "Traceback" not in said
        assert not command.mark.left_after(2)


@pytest.mark.parametrize("verb", ["pretrain", "scan", "prepare", "study"])
def test_a_second_process_at_the_same_is_refused_alike(world, tmp_path, verb):
    """One line, exit code 2."""
    words = {
        "pretrain": pretraining(world, "steps=2000"),
        "scan": ["scan", str(world), f"index={tmp_path / 'index'}", "workers=1"],
        "prepare": ["prepare", str(world), f"out={tmp_path / 'out'}", "workers=1"],
        "study": study(world, tmp_path),
    }[verb]
    begun = {
        "pretrain": "outputs/*/metrics.jsonl", "scan": "index/.scan.lock", "prepare": "out/.ssv_prepare/unfinished",
        "study": "outputs/.study/one/*.log",
    }[verb]  # fmt: skip
    with Command(tmp_path, *words) as first:
        first.wait_until(lambda: list(tmp_path.glob(begun)))
        first.process.send_signal(signal.SIGSTOP)  # as long as the second one takes
        said = run(tmp_path, *words, code=2)
        lines = [line for line in said.splitlines() if line.startswith("ssv: ")]
        assert len(lines) == 1 and "another" in lines[0] and "Traceback" not in said
