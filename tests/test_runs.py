"""Runs as users run them: killed, stopped, swept, in several processes. Slow, because each is a real program."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from PIL import Image

from ssv.cli.main import main
from tests.compose import ROOT

pytestmark = pytest.mark.slow

TINY = [
    "backbone=r3d_tiny",
    "data=toy",
    "pretext.frames=4",
    "data.sampler.frames=12",
    "data.sampler.seconds=0.0416667",
    "pretext.sizes=[24,32]",
    "pretext.test_size=32",
    "data.crop.size=32",
    "data.eval_sampler.views=1",
    "data.batch_size=4",
    "data.workers=2",
    "trainer=cpu",
    "threads=1",
    "log_every=1",
    "checkpoint_every=4",
    "held_out_every=10",
    "probe_every=0",
    "logger=none",
]


def start(cwd, world, *words, launcher=None, steps=14, **environment):
    """Start `ssv pretrain` in a folder of its own."""
    env = {k: v for k, v in os.environ.items() if k not in ("LOCAL_RANK", "RANK", "WORLD_SIZE")}
    env.update(PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1", WANDB_MODE="disabled", PYTHONUNBUFFERED="1", **environment)
    command = [
        *(launcher or [sys.executable, "-m", "ssv"]),
        "pretrain",
        *TINY,
        f"data.root={world}",
        f"steps={steps}",
        *words,
    ]
    return subprocess.Popen(
        command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def finish(process, code=0):
    output, _ = process.communicate(timeout=400)
    assert process.returncode == code, output
    return output


def kill(process):
    """As the kernel does when memory runs out, workers and all."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def only_run(cwd):
    runs = [p for p in (cwd / "outputs").iterdir() if not p.name.startswith(".")]
    assert len(runs) == 1, runs
    return runs[0]


def losses(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row["pretext/loss"]) for row in rows if "pretext/loss" in row]


def weights(run):
    return torch.load(run / "backbone.pt", weights_only=True)["state_dict"]


def wait_for_step(cwd, step, process):
    """Block until the run's metrics hold a step."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        files = list((cwd / "outputs").glob("*/metrics.jsonl"))
        if files and f'"step": {step},' in files[0].read_text():
            return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    raise AssertionError("the run never came that far")


def assert_same(run, reference):
    assert losses(run) == losses(reference), "every loss, bit for bit"
    one, two = weights(run), weights(reference)
    assert all(torch.equal(one[name], two[name]) for name in two)


@pytest.fixture(scope="module")
def uninterrupted(world, tmp_path_factory):
    cwd = tmp_path_factory.mktemp("uninterrupted")
    finish(start(cwd, world))
    return only_run(cwd)


def test_killed_in_mid_epoch_continues_bit_for_bit(world, uninterrupted, tmp_path):
    process = start(tmp_path, world)
    wait_for_step(tmp_path, 6, process)  # checkpoint at 4: steps 5 and 6 have to be done again
    kill(process)
    process = start(tmp_path, world)
    wait_for_step(tmp_path, 10, process)  # and once more, after a resume
    kill(process)
    assert "goes on from" in finish(start(tmp_path, world))
    assert_same(only_run(tmp_path), uninterrupted)


def test_killed_twice_with_checkpoints_at_ends_of_epochs_continues_bit_for_bit(world, uninterrupted, tmp_path):
    for step in (4, 8):  # three steps an epoch
        process = start(tmp_path, world, "checkpoint_every=3")
        wait_for_step(tmp_path, step, process)
        kill(process)
    finish(start(tmp_path, world, "checkpoint_every=3"))
    assert_same(only_run(tmp_path), uninterrupted)


def test_sigterm_saves_exits_143_and_continues(world, uninterrupted, tmp_path):
    process = start(tmp_path, world)
    wait_for_step(tmp_path, 6, process)
    process.terminate()
    output = finish(process, code=143)
    assert "stopped by SIGTERM" in output and "Traceback" not in output
    run = only_run(tmp_path)
    assert json.loads((run / "status.json").read_text())["state"] == "stopped"
    before = losses(run)
    finish(start(tmp_path, world))
    assert losses(run)[: len(before)] == before, "no step is done twice"
    assert_same(run, uninterrupted)


@pytest.mark.parametrize("answer", [0, 1])
def test_slurm_requeues_a_job_that_is_told_so(world, uninterrupted, tmp_path, answer):
    """A fake `scontrol` writes down what it is asked; the command, typed again as SLURM would, goes on to the same bits."""
    asked = tmp_path / "asked"
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {asked}\n[ {answer} = 0 ] || echo no such job >&2\nexit {answer}\n')
    scontrol.chmod(0o755)
    slurm = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}
    slurm |= {"SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_NTASKS_PER_NODE": "1", "SLURM_NODELIST": "localhost"}
    slurm["PATH"] = f"{scontrol.parent}:{os.environ['PATH']}"
    process = start(tmp_path, world, **slurm)
    wait_for_step(tmp_path, 6, process)
    os.killpg(process.pid, signal.SIGUSR1)  # to reading processes too
    output = finish(process, code=128 + signal.SIGUSR1)
    assert asked.read_text() == "requeue 4711\n", "once"
    said = (
        "SLURM job 4711 is requeued" if answer == 0 else "SLURM job 4711 is not requeued: no such job; submit it again"
    )
    assert "stopped by SIGUSR1 after step" in output and said in output and "Traceback" not in output
    assert not list(tmp_path.rglob("hpc_ckpt*")), "Lightning's own, made in the middle of a step"
    finish(start(tmp_path, world, **slurm))
    assert_same(only_run(tmp_path), uninterrupted)


def test_finished_run_does_nothing_and_says_so(world, uninterrupted):
    stamp = (uninterrupted / "backbone.pt").stat().st_mtime_ns
    assert "finished already" in finish(start(uninterrupted.parents[1], world))
    assert (uninterrupted / "backbone.pt").stat().st_mtime_ns == stamp


def test_another_configuration_of_the_same_name_is_refused(world, uninterrupted):
    output = finish(start(uninterrupted.parents[1], world, "tag=x", steps=2))
    assert "done" in output
    output = finish(start(uninterrupted.parents[1], world, "tag=x", steps=3), code=2)
    assert "steps: 2 -> 3" in output and "Traceback" not in output


def test_two_processes_killed_continue_bit_for_bit(world, tmp_path):
    two = ["trainer.devices=2", "trainer.strategy=ddp"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    finish(start(whole, world, *two, steps=10))
    process = start(broken, world, *two, steps=10)
    wait_for_step(broken, 6, process)
    kill(process)
    finish(start(broken, world, *two, steps=10))
    assert_same(only_run(broken), only_run(whole))


# Labels and dropout 0: no random draws. C3D: no batch norm, which would see another batch in each process. SGD: Adam makes
# whole steps of gradients that are nothing but rounding.
PLAIN = [
    "pretext=supervised", "pretext.classes=12", "pretext.frames=8",
    "data.sampler.frames=8", "backbone=c3d", "backbone.last_stage=2", "optimizer=sgd", "checkpoint_every=100",
]  # fmt: skip


def plain(cwd, world, *words):
    """A run of 20 steps without draws and batch norms; the words of TINY that it has no use for are left out."""
    cwd.mkdir()
    left_out = ("backbone=", "pretext.", "data.sampler.frames", "checkpoint_every")
    kept = [word for word in TINY if not word.startswith(left_out)]
    command = [sys.executable, "-m", "ssv", "pretrain", *kept, *PLAIN, *words]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [*command, f"data.root={world}", "steps=20"], cwd=cwd, env=env, capture_output=True, text=True, timeout=400
    )
    assert result.returncode == 0, result.stderr
    return only_run(cwd)


@pytest.fixture(scope="module")
def one_process(world, tmp_path_factory):
    return plain(tmp_path_factory.mktemp("one") / "run", world)


def close(run, other):
    one, two = weights(run), weights(other)
    assert any(not torch.equal(one[name], two[name]) for name in two), "another order of sums, as a rule"
    return all(torch.allclose(one[name], two[name], rtol=1e-3, atol=1e-5) for name in two)


def test_two_processes_train_as_one_with_the_same_global_batch(world, one_process, tmp_path):
    two = plain(tmp_path / "two", world, "trainer.devices=2", "trainer.strategy=ddp")
    assert len(losses(two)) == 20
    for (step, one), (same, other) in zip(losses(one_process), losses(two)):
        assert step == same and one == pytest.approx(other, rel=1e-4), "the loss of the whole batch, not of a half"
    assert close(two, one_process)


def test_two_batches_accumulated_train_as_one_of_twice_the_size(world, one_process, tmp_path):
    words = ["data.batch_size=2", "trainer.accumulate_grad_batches=2"]
    run = plain(tmp_path / "halves", world, *words)
    assert [step for step, _ in losses(run)] == list(range(1, 21)), "a row for each step, and not for each batch"
    assert close(run, one_process)
    seen = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()][-1]
    assert seen["clips_seen"] == 80


def test_torchrun_makes_one_folder(world, tmp_path):
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        "29611",
        "-m",
        "ssv",
    ]
    finish(start(tmp_path, world, "trainer.devices=2", "trainer.strategy=ddp", launcher=launcher, steps=3))
    assert len(losses(only_run(tmp_path))) == 3


def test_sweeps_make_one_folder_per_job(world, tmp_path):
    finish(start(tmp_path, world, "-m", "seed=0,1", steps=2))
    finish(start(tmp_path, world, "-m", "optimizer.lr=0.1,0.01", steps=2))
    names = sorted(p.name for p in (tmp_path / "outputs").iterdir() if not p.name.startswith("."))
    assert len(names) == 4 and len(set(names)) == 4
    assert sum(name.endswith("-s1") for name in names) == 1
    assert all((tmp_path / "outputs" / name / "backbone.pt").exists() for name in names)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["outputs"], "nothing beside the runs"


def test_a_diverging_run_stops_with_its_step(world, tmp_path):
    output = finish(start(tmp_path, world, "optimizer.lr=1e30", "schedule=constant"), code=1)
    assert "the loss is nan after step" in output and "smaller optimizer.lr" in output and "Traceback" not in output


def test_a_run_that_diverges_between_two_rows_keeps_its_finite_checkpoint(world, tmp_path):
    words = ("checkpoint_every=1", "log_every=100", "held_out_every=0", "optimizer.lr=1e30", "schedule=constant")
    output = finish(start(tmp_path, world, *words), code=1)
    last = output.splitlines()[-1]
    assert last.startswith("ssv: the ") and " after step " in last and "Traceback" not in output
    run = only_run(tmp_path)
    assert not (run / "backbone.pt").exists()
    for file in (run / "checkpoints").glob("*.ckpt"):
        state = torch.load(file, weights_only=True)["state_dict"]
        assert all(value.isfinite().all() for value in state.values())


def test_less_than_single_precision_on_a_cpu_is_refused(world, tmp_path):
    output = finish(start(tmp_path, world, "trainer.precision=bf16-mixed"), code=2)
    assert "trainer.precision=32-true" in output and "Traceback" not in output


def test_a_failed_job_does_not_stop_a_sweep(world, tmp_path):
    output = finish(start(tmp_path, world, "-m", "pretext.frames=5,4", steps=2), code=2)
    assert "set data.sampler" in output and "Traceback" not in output
    states = sorted(json.loads(p.read_text())["state"] for p in (tmp_path / "outputs").glob("*/status.json"))
    assert states == ["failed", "finished"]


def test_a_broken_video_stops_with_its_name_unless_allowed(world, tmp_path):

    copy = tmp_path / "copy"
    shutil.copytree(world, copy)
    listed = (copy / "ucfTrainTestlist" / "trainlist01.txt").read_text().split()
    victim = next(copy / "UCF-101" / name for name in listed if name.endswith(".avi"))
    victim.write_bytes(victim.read_bytes()[:200])
    output = finish(start(tmp_path, copy, steps=2), code=1)
    assert victim.name in output and "max_broken=1" in output and "Traceback" not in output
    assert victim.name in finish(start(tmp_path, copy, "data.max_broken=1", steps=2))


@pytest.mark.skipif(not os.path.exists("/dev/full") or os.geteuid() != 0, reason="needs root to mount a small disk")
def test_a_full_disk_while_saving_loses_nothing(world, tmp_path):
    disk = tmp_path / "outputs"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        process = start(tmp_path, world, steps=2000)
        wait_for_step(tmp_path, 5, process)
        with (disk / "filler").open("wb") as filler, pytest.raises(OSError):
            while True:
                filler.write(b"0" * 100_000)
                filler.flush()
        output = finish(process, code=1)
        assert "No space left on device" in output and "Traceback" not in output
        run = next(disk.glob("speed*"))
        kept = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
        (disk / "filler").unlink()
        process = start(tmp_path, world, steps=2000)
        wait_for_step(tmp_path, kept["global_step"] + 5, process)
        kill(process)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def evaluate(cwd, world, *words):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}
    common = ["weights=random", "backbone=r3d_tiny", "data=toy", f"data.root={world}", "data.eval_sampler.views=1"]
    small = ["data.eval_sampler.frames=4", "data.batch_size=4", "data.workers=0", "trainer=cpu", "logger=none"]
    command = [sys.executable, "-m", "ssv", "evaluate", *common, *small, *words]
    return subprocess.Popen(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_evaluations_at_once_lose_no_row_and_again_replace_it(world, tmp_path):
    kinds = ["linear_probe", "knn", "retrieval"]
    for _ in range(2):
        for process in [evaluate(tmp_path, world, f"evaluation={kind}") for kind in kinds]:
            finish(process)
        rows = [json.loads(line) for line in (only_run(tmp_path) / "scores.jsonl").read_text().splitlines()]
        assert sorted(row["evaluation"] for row in rows) == sorted(kinds)
        assert len({row["weights"] for row in rows}) == 1
        assert all({"backbone", "pixels", "precision"} <= row["card"].keys() for row in rows)


def audit(run, *words, code=0):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    command = [sys.executable, "-m", "ssv", "audit", run.name, "trainer=cpu", "threads=1", "workers=0", *words]
    process = subprocess.Popen(
        command, cwd=run.parent, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return finish(process, code)


def test_audit_of_a_run_is_a_table_and_a_file_and_the_same_again(world, uninterrupted):
    before = {path: path.stat().st_mtime_ns for path in uninterrupted.rglob("*") if path.is_file()}
    results = []
    for _ in range(2):
        output = audit(uninterrupted, "only=[borders,frozen_time]", "steps=3", f"other={world / 'phases'}")
        results.append(json.loads((uninterrupted / "audit.json").read_text()))
        (uninterrupted / "audit.json").unlink()
    rows = results[0]["rows"]
    assert rows == results[1]["rows"], "the same seed, the same figures"
    assert [row["audit"] for row in rows] == ["none", "frozen_time", "borders", "other"]
    assert all(row["reading"].split()[0] in output and row["audit"] in output for row in rows)
    assert rows[1]["fresh"]["accuracy"] == 0.5 == rows[1]["trained"]["accuracy"], "a frozen clip has no speed"
    assert results[0]["weights"] and results[0]["is_temporal"]
    assert {path: path.stat().st_mtime_ns for path in before} == before, "a run is looked at, not changed"


def test_audit_alone_of_the_trained_network_is_the_held_out_accuracy(uninterrupted):
    audit(uninterrupted, "only=frozen_time", "steps=0", "looks=1")
    row = json.loads((uninterrupted / "audit.json").read_text())["rows"][0]
    (uninterrupted / "audit.json").unlink()
    rows = [json.loads(line) for line in (uninterrupted / "metrics.jsonl").read_text().splitlines()]
    held_out = [row["held_out/accuracy"] for row in rows if "held_out/accuracy" in row]
    assert row["fresh"] is None and row["trained"]["accuracy"] == pytest.approx(held_out[-1])


def test_audit_says_what_is_missing(uninterrupted, tmp_path, capsys):
    def refused(run, *words):
        assert main(["audit", str(run), "trainer=cpu", "threads=1", "workers=0", *words]) == 2
        return capsys.readouterr().err

    assert "did you mean 'frozen_time'?" in refused(uninterrupted, "only=[frozn_time]")
    assert "other=nowhere: no such folder" in refused(uninterrupted, "other=nowhere")
    bare = tmp_path / uninterrupted.name
    shutil.copytree(uninterrupted, bare, ignore=shutil.ignore_patterns("checkpoints"))
    assert "has no checkpoint yet" in refused(bare)
    (bare / "checkpoints").mkdir()
    (bare / "checkpoints" / "last.ckpt").write_bytes(b"half")
    assert "last.ckpt is damaged; run the command" in refused(bare)
    torch.save({"state_dict": {}}, bare / "checkpoints" / "last.ckpt")
    assert "does not fill the pretext" in refused(bare)
    shutil.copy(uninterrupted / "checkpoints" / "previous.ckpt", bare / "checkpoints" / "last.ckpt")
    assert "hold different weights" in refused(bare)
    config = (bare / "config.yaml").read_text()
    (bare / "config.yaml").write_text(config.replace("test_size:", "tset_size:"))
    assert "unknown key 'pretext.tset_size'; did you mean 'pretext.test_size'?" in refused(bare)
    assert "did you mean" in refused(tmp_path / (uninterrupted.name + "0"))


def test_the_pretext_leaves_its_picture(uninterrupted):
    with Image.open(uninterrupted / "pictures" / "pretext.png") as picture:
        assert picture.width >= picture.height > 0 and len(picture.getcolors(2**16)) > 100, "something is on it"


def test_vital_signs_are_logged_from_the_start(uninterrupted):
    rows = [json.loads(line) for line in (uninterrupted / "metrics.jsonl").read_text().splitlines()]
    signs = {row["step"]: row for row in rows if "features/std" in row}
    assert list(signs) == [0, 10, 14]
    assert all(0 < row["features/std"] < 1.5 and 1 <= row["features/effective_rank"] <= 12 for row in signs.values())
    assert all("held_out/accuracy" in row for row in signs.values())
    assert all(
        row["features/order_sensitivity"] > 0 and 1 / 12 <= row["features/same_video"] <= 1 for row in signs.values()
    )
