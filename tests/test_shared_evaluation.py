"""An evaluation whose work several processes share: to the digit that of one process, and no process left behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ssv.data.toy.world import write_world
from tests.compose import ROOT

WORDS = [
    "weights=random", "backbone=r3d_tiny", "data=toy", "trainer=cpu", "logger=none", "threads=1",
    "evaluation.batch_size=5", "data.workers=1", "data.batch_size=4", "data.sampler.frames=8",
    "data.eval_sampler.frames=8", "data.eval_sampler.views=2", "data.crop.size=32", "data.eval_crop.size=32",
]  # fmt: skip
LIGHTNING = ["trainer.devices=2", "trainer.strategy=ddp"]
TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29613"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """12 videos to test on: two batches of five and one of two, so that one process has more of them, and of videos."""
    root = tmp_path_factory.mktemp("shared") / "toy"
    write_world(root, size="tiny", workers=2)
    return root


def evaluate(cwd, world, *words, launcher=(), code=0):
    cwd.mkdir(exist_ok=True)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, "-m", "ssv", "evaluate", *WORDS, f"data.root={world}", *words]
    result = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
    assert result.returncode == code, result.stderr
    return result.stdout + result.stderr


def left(cwd):
    """The only row, without what the clock says, and all arrays."""
    (file,) = cwd.glob("outputs/*/scores.jsonl")
    (row,) = (json.loads(line) for line in file.read_text().splitlines())
    arrays = {path.name: dict(np.load(path)) for path in sorted((file.parent / "evaluations").glob("*.npz"))}
    timed = ("seconds", "peak_gb", "time", "file")
    return {key: value for key, value in row.items() if key not in timed}, arrays


def assert_same(one, other):
    assert left(one)[0] == left(other)[0]
    assert left(one)[1].keys() == left(other)[1].keys() and left(one)[1]
    for name, arrays in left(one)[1].items():
        for key, values in arrays.items():
            np.testing.assert_array_equal(values, left(other)[1][name][key], err_msg=f"{name} {key}")


@pytest.fixture(scope="module")
def alone(world, tmp_path_factory):
    cwd = tmp_path_factory.mktemp("alone") / "run"
    evaluate(cwd, world, "evaluation=linear_probe", "evaluation.strengths=[0.1]")
    return cwd


def test_two_processes_give_the_digits_of_one(world, alone, tmp_path):
    words = ["evaluation=linear_probe", "evaluation.strengths=[0.1]", "evaluation.cache=kept"]
    output = evaluate(tmp_path / "two", world, *words, *LIGHTNING)
    assert_same(alone, tmp_path / "two")
    assert output.count("row in ") == 1 and "Warning" not in output
    kept = sorted(Path(tmp_path / "two" / "kept").glob("*"))
    assert len(kept) == 2, "features of training and of test videos, once"
    evaluate(tmp_path / "two", world, *words, *LIGHTNING, "outputs=again")  # from the cache, in both
    assert sorted(Path(tmp_path / "two" / "kept").glob("*")) == kept


def test_torchrun_gives_them_too(world, alone, tmp_path):
    words = ["evaluation=linear_probe", "evaluation.strengths=[0.1]", *LIGHTNING]
    evaluate(tmp_path / "run", world, *words, launcher=TORCHRUN)
    assert_same(alone, tmp_path / "run")


def test_more_processes_than_batches(world, tmp_path):
    words = ["evaluation=retrieval", "evaluation.batch_size=20"]
    evaluate(tmp_path / "one", world, *words)
    evaluate(tmp_path / "two", world, *words, *LIGHTNING)
    assert_same(tmp_path / "one", tmp_path / "two")
    assert len(list((tmp_path / "two").rglob("retrieved.png"))) == 1


def test_a_video_that_breaks_in_one_process_ends_all(world, tmp_path):
    import shutil

    root = tmp_path / "toy"
    shutil.copytree(world, root)
    lists = (root / "ucfTrainTestlist" / "testlist01.txt").read_text().split()
    broken = root / "UCF-101" / lists[6]  # of the second batch, which is the second process's
    whole = broken.read_bytes()
    half = len(whole) // 2
    broken.write_bytes(whole[:half] + bytes(len(whole) - half - 3000) + whole[-3000:])
    output = evaluate(tmp_path / "run", root, "evaluation=knn", "evaluation.k=3", *LIGHTNING, code=1)
    assert "Traceback" not in output and broken.name in output
    assert not list((tmp_path / "run").rglob("scores.jsonl"))


def test_an_evaluation_of_one_device_says_so(world, tmp_path):
    output = evaluate(tmp_path / "run", world, "evaluation=fine_tune", *LIGHTNING, code=2)
    assert "this evaluation runs on one device, the trainer has 2; set trainer.devices=1" in output
    assert "Traceback" not in output
