"""Studies as users run them: killed, started again, with a cell that fails. Slow, because each is many real programs."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.compose import ROOT, tiny_overrides

pytestmark = pytest.mark.slow

CLIPS = "data=toy data.eval_sampler.views=1 data.eval_sampler.frames=4 data.workers=0 trainer=cpu"
COMMON = (
    "backbone=r3d_tiny data=toy data.crop.size=32 data.batch_size=4 data.workers=1 trainer=cpu tag=small "
    "steps=8 checkpoint_every=2 log_every=1 held_out_every=0 probe_every=0"
)
KILLS = int(os.environ.get("SSV_KILLS", 3))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    from ssv.data.toy.world import write_world

    folder = tmp_path_factory.mktemp("studies")
    write_world(folder / "data" / "toy", size="tiny", workers=2)
    (folder / "conf" / "study").mkdir(parents=True)
    return folder


def write_study(world, name="small", evaluate=("evaluation=knn",), pretrain=(), count=2):
    lines = [
        f"pretext=speed_prediction {' '.join(tiny_overrides('speed_prediction'))}",
        f"pretext=order_verification {' '.join(tiny_overrides('order_verification'))} data.sampler.seconds=0.09",
    ]
    study = {
        "seeds": [0, 1],
        "pretrain": [*lines[:count], *pretrain],
        "random": True,
        "weights": [],
        "evaluate": list(evaluate),
        "every": {"pretrain": COMMON, "evaluate": CLIPS},
    }
    (world / "conf" / "study" / f"{name}.yaml").write_text(json.dumps(study))  # JSON is YAML


def start(world, cwd, *words, name="small"):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    command = [sys.executable, "-m", "ssv", "study", name, f"--config-dir={world / 'conf'}", "slots=2", "logger=none"]
    return subprocess.Popen(
        [*command, f"data_root={world / 'data'}", *words],
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process, code=0):
    output, _ = process.communicate(timeout=500)
    assert process.returncode == code, output
    return output


def scores(cwd):
    """Every score of every run, with the digest of the weights that it measures."""
    rows = {}
    for file in (cwd / "outputs").glob("*/scores.jsonl"):
        for row in map(json.loads, file.read_text().splitlines()):
            key = (file.parent.name, row["evaluation"], row["protocol"], row["seed"])
            assert key not in rows
            rows[key] = (row["weights"], row["scores"])
    return rows


@pytest.fixture(scope="module")
def undisturbed(world, tmp_path_factory):
    write_study(world)
    cwd = tmp_path_factory.mktemp("undisturbed")
    output = finish(start(world, cwd))
    assert len(scores(cwd)) == 2 * (2 + 2), output  # two pretexts, and the random starts of their networks
    return cwd


def test_again_there_is_nothing_to_do_and_another_evaluation_is_all_that_is_missing(world, undisturbed):
    before = {path: path.stat().st_mtime_ns for path in (undisturbed / "outputs").glob("*/backbone.pt")}
    output = finish(start(world, undisturbed))
    assert "12 cells, 12 done" in output and "nothing to do" in output
    write_study(world, "wider", evaluate=["evaluation=knn", "evaluation=knn evaluation.k=3"])
    output = finish(start(world, undisturbed, "--dry-run", name="wider"))
    assert "20 cells, 12 done" in output and "about" in output
    assert before == {path: path.stat().st_mtime_ns for path in (undisturbed / "outputs").glob("*/backbone.pt")}


def test_a_study_killed_at_random_moments_gives_the_same_scores(world, undisturbed, tmp_path):
    draw = random.Random(4)
    for _ in range(KILLS):
        process = start(world, tmp_path)
        time.sleep(draw.uniform(5, 30))
        os.kill(process.pid, signal.SIGKILL)  # itself alone: its cells have to notice
        process.communicate()
    finish(start(world, tmp_path))
    assert scores(tmp_path) == scores(undisturbed)


def test_a_cell_that_fails_is_told_and_the_rest_is_done(world, tmp_path):
    bad = f"pretext=speed_prediction {' '.join(tiny_overrides('speed_prediction'))} tag=bad optimizer.lr=1e30"
    write_study(world, "bad", evaluate=["evaluation=knn"], pretrain=[bad])
    output = finish(start(world, tmp_path, "study.seeds=[0]", name="bad"), code=1)
    assert re.search(r"speed_prediction-r3d_tiny-toy-bad-s0 failed: the loss is nan.*optimizer\.lr", output), output
    assert "knn toy" in output and "skipped: speed_prediction-r3d_tiny-toy-bad-s0 failed" in output
    states = [cell["state"] for cell in json.loads((tmp_path / "outputs" / "study-bad.json").read_text())["cells"]]
    assert sorted(states) == ["done"] * 6 + ["failed", "skipped"]


def test_sigterm_stops_the_study_and_its_cells(world, tmp_path):
    write_study(world)
    process = start(world, tmp_path)
    folder = tmp_path / "outputs" / ".study" / "small"
    while not list(folder.glob("*.log")):
        assert process.poll() is None
        time.sleep(0.1)
    process.terminate()
    assert "stopped by SIGTERM; the same command goes on" in finish(process, code=143)
    time.sleep(1)
    left = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True).stdout.split()
    assert not left


def test_a_cluster_runs_the_cells_through_submitit(world, tmp_path):
    pytest.importorskip("submitit", reason="pip install 'ssv[slurm]'")
    write_study(world, "cluster", count=1)
    output = finish(start(world, tmp_path, "study.seeds=[0]", "launcher.cluster=local", name="cluster"))
    assert "3 cells, 0 done" in output and "[3/3]" in output
    assert len(scores(tmp_path)) == 2
    assert list((tmp_path / "outputs" / ".study" / "cluster" / "submitit").glob("*_submitted.pkl"))
