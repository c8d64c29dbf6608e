"""W&B as its users use it, against a loopback server: what arrives, and what is lost when the server is not there."""

import json
import os
import re
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

from ssv.cli.dashboard import open_dashboard
from tests.cli.fake_wandb import KEY, FakeWandb

pytestmark = pytest.mark.slow

RUN = {"name": "a-b-c-base-s0", "pretext": "a", "backbone": "b", "data": "c", "seed": 0}
LOGGER = {"project": "ssv", "mode": "auto", "weights": True}
CONFIG = {"logger": LOGGER, "run": {**RUN, "study": "toy"}, "seed": 0, "optimizer": {"lr": 0.1}}
STEM = "knn-u-123-s0-456"


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine where nobody is known to W&B, and nothing of it lies outside the test's folder."""
    import wandb

    wandb.teardown()
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("HOME", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "no_netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # should a test forget: nobody there
    yield monkeypatch
    wandb.teardown()


@pytest.fixture
def server(machine):
    with FakeWandb() as fake:
        use(machine, fake)
        yield fake


def use(machine, fake):
    for name, value in fake.environment.items():
        machine.setenv(name, value)


def row(step):
    return {
        "step": step,
        "clips_seen": 8 * step,
        "frames_seen": 64 * step,
        "hours": step / 10,
        "pretext/loss": 1 / step,
    }


def log(dashboard, steps):
    for step in steps:
        for sink in dashboard.sinks:
            sink(row(step))


def check_curve(server, steps):
    """The whole curve is there, with no other point."""
    assert set(server.run(RUN["name"]).curve("pretext/loss")) == {(8 * step, 1 / step) for step in steps}


def sync(line):
    """Run the command that a line of ours names, as a user would paste it."""
    command = re.search(r"`(wandb sync [^`]+)`", line).group(1)
    done = subprocess.run(f"{sys.executable} -m {command}", shell=True, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def wait_until(true, seconds=40):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def train(folder, steps):
    dashboard = open_dashboard(CONFIG, folder, job_type="pretrain")
    log(dashboard, steps)
    return dashboard


def measure(folder):
    """An evaluation of the folder's weights with a table, a picture and a film."""
    stem = folder / "evaluations" / STEM
    (stem / "films").mkdir(parents=True)
    columns = {"path": np.array(["x", "y"]), "label": np.array([0, 1]), "prediction": np.array([1, 1])}
    np.savez(f"{stem}-per_video.npz", **columns)
    np.savez(f"{stem}-features.npz", features=np.zeros((2, 3)))  # no table
    Image.new("RGB", (8, 8)).save(stem / "picture.png")
    (stem / "films" / "a.mp4").write_bytes(b"film")
    run = {**RUN, "evaluation": "knn", "measured_on": "u"}
    dashboard = open_dashboard({**CONFIG, "run": run}, folder, job_type="knn", key=STEM)
    dashboard.used(folder / "backbone.pt", {"name": RUN["name"]})
    dashboard.measured({"knn/u/top1": 0.5, "knn/u/chance": 0.1}, {"clips_seen": 40, "hours": 2.0, "state": "f"}, stem)
    dashboard.summarise({"weights_digest": "abc"})
    dashboard.close()


def check_lineage(server):
    measured = server.run(f"{RUN['name']}-knn-u")
    models = [artifact for artifact in server.artifacts.values() if artifact["type"] == "model"]
    assert [(m["name"], m["used_by"], m["state"]) for m in models] == [
        (f"backbone-{RUN['name']}", [measured.name], "COMMITTED")
    ]
    assert server.files[f"artifact/{models[0]['id']}/backbone.pt"] == b"weights"


def test_a_run_and_its_evaluation_arrive_with_all_they_have(server, tmp_path):
    pretraining = train(tmp_path, range(1, 6))
    (tmp_path / "backbone.pt").write_bytes(b"weights")
    pretraining.summarise({"weights_digest": "abc"})
    pretraining.made(tmp_path / "backbone.pt", {"name": RUN["name"]})
    pretraining.close()
    measure(tmp_path)

    run = server.run(RUN["name"])
    assert (run.project, run.group, run.job_type, run.exit_code) == ("ssv", RUN["name"], "pretrain", 0)
    assert run.tags == ["a", "b", "c", "toy"]
    assert [run.value(f"run.{key}") for key in ("pretext", "backbone", "data", "seed")] == ["a", "b", "c", 0]
    assert run.value("optimizer.lr") == 0.1
    assert run.axes() == {"clips_seen": None, "frames_seen": None, "hours": None, "*": "clips_seen"}
    check_curve(server, range(1, 6))
    assert run.curve("pretext/loss", "hours") == [(step / 10, 1 / step) for step in range(1, 6)]
    assert run.summary["weights_digest"] == "abc" and run.summary["pretext/loss"] == 1 / 5

    measured = server.run(f"{RUN['name']}-knn-u")
    assert (measured.group, measured.job_type) == (RUN["name"], "knn")
    assert measured.tags == ["a", "b", "c", "knn", "u"]
    assert measured.curve("knn/u/top1") == [(40, 0.5)] and measured.curve("knn/u/top1", "hours") == [(2, 0.5)]
    assert measured.summary["knn/u/chance"] == 0.1 and measured.summary["weights_digest"] == "abc"
    shown = {
        key: measured.summary[key]["path"] for key in ("table/per_video", "films/films/a.mp4", "pictures/picture.png")
    }
    sent = {key: server.files[f"{measured.name}/{path}"] for key, path in shown.items()}
    table = json.loads(sent["table/per_video"])
    assert table["columns"] == ["path", "label", "prediction", "correct"]
    assert table["data"] == [["x", 0, 1, False], ["y", 1, 1, True]]
    assert sent["films/films/a.mp4"] == b"film" and sent["pictures/picture.png"].startswith(b"\x89PNG")
    assert "table/features" not in measured.summary
    check_lineage(server)
    assert [a["made_by"] for a in server.artifacts.values() if a["type"] == "model"] == [run.name]
    assert server.others == [], "nothing is sent besides, no telemetry"


def test_a_resumed_run_is_one_curve(server, tmp_path):
    train(tmp_path, range(1, 7)).close()
    train(tmp_path, range(4, 9)).close()  # from a checkpoint after step 3
    assert len(server.runs) == 1 and len(server.run(RUN["name"]).rows) == 8, "no step counts twice"
    check_curve(server, range(1, 9))


def test_without_a_key_all_of_it_is_uploaded_later(machine, tmp_path, capsys):
    pretraining = train(tmp_path, range(1, 7))
    pretraining.close()
    line = next(line for line in capsys.readouterr().out.splitlines() if "no key found" in line)
    pretraining = train(tmp_path, range(4, 9))
    (tmp_path / "backbone.pt").write_bytes(b"weights")
    pretraining.made(tmp_path / "backbone.pt", {"name": RUN["name"]})
    pretraining.close()
    measure(tmp_path)
    with FakeWandb() as server:
        use(machine, server)
        sync(line)
        check_curve(server, range(1, 9))
        assert server.run(f"{RUN['name']}-knn-u").curve("knn/u/top1") == [(40, 0.5)]
        check_lineage(server)  # who is named its maker depends on which run `wandb sync` uploads first


def test_a_server_that_is_not_there_at_the_start(machine, tmp_path, capsys):
    machine.setenv("WANDB_API_KEY", KEY)
    machine.setenv("WANDB_INIT_TIMEOUT", "2")
    train(tmp_path, range(1, 4)).close()
    line = capsys.readouterr().out
    assert "its server does not take this run" in line
    with FakeWandb() as server:
        use(machine, server)
        sync(line)
        check_curve(server, range(1, 4))


def test_a_bad_day_of_the_server_loses_nothing(server, machine, tmp_path):
    machine.setenv("WANDB__FILE_STREAM_RETRY_WAIT_MIN_SECONDS", "0.1")
    machine.setenv("WANDB__FILE_STREAM_RETRY_WAIT_MAX_SECONDS", "0.2")
    pretraining = train(tmp_path, range(1, 4))
    server.failing = 6
    log(pretraining, range(4, 8))
    pretraining.close()
    assert server.failed == 6
    check_curve(server, range(1, 8))


def test_a_server_that_vanishes_loses_nothing(server, machine, tmp_path, capsys):
    machine.setenv("WANDB_FINISH_TIMEOUT", "3")
    pretraining = train(tmp_path, range(1, 4))
    wait_until(lambda: server.run(RUN["name"]).rows)
    server.vanish()
    log(pretraining, range(4, 8))
    started = time.monotonic()
    pretraining.close()
    assert time.monotonic() - started < 30
    line = capsys.readouterr().out
    assert "did not take all" in line
    with server:
        sync(line)
        check_curve(server, range(1, 8))


def test_a_server_that_falls_silent_loses_nothing(server, machine, tmp_path, capsys):
    machine.setenv("WANDB_FINISH_TIMEOUT", "3")
    pretraining = train(tmp_path, range(1, 4))
    wait_until(lambda: server.run(RUN["name"]).rows)
    server.answering.clear()
    started = time.monotonic()
    log(pretraining, range(4, 8))
    assert time.monotonic() - started < 5, "training does not wait for it"
    pretraining.close()
    assert time.monotonic() - started < 30
    line = capsys.readouterr().out
    assert "did not take all" in line
    server.answering.set()
    sync(line)
    check_curve(server, range(1, 8))


@pytest.mark.parametrize("trouble", ["errors", "gone"])
def test_trouble_with_the_server_costs_a_run_nothing(server, machine, tmp_path, capsys, trouble):
    """`ssv pretrain` as typed: the same bytes as without W&B, and the whole curve arrives later."""
    from ssv.cli.main import main
    from ssv.data.toy.world import write_world
    from tests.test_runs import TINY

    machine.setenv("WANDB_FINISH_TIMEOUT", "3")
    machine.chdir(tmp_path)
    world = tmp_path / "toy"
    write_world(world, size="tiny", workers=2)
    words = [*(word for word in TINY if not word.startswith(("logger", "data.workers"))), "data.workers=0", "steps=6"]

    def spoil():
        wait_until(lambda: server.runs)
        if trouble == "errors":
            server.failing = 10**6
        else:
            server.vanish()

    watch = threading.Thread(target=spoil)
    watch.start()
    assert main(["pretrain", *words, f"data.root={world}", "outputs=watched"]) == 0
    watch.join()
    out = capsys.readouterr().out
    assert main(["pretrain", *words, f"data.root={world}", "outputs=alone", "logger=none"]) == 0
    (run,), (alone,) = (list((tmp_path / name).glob("speed*")) for name in ("watched", "alone"))
    weights = [torch.load(folder / "backbone.pt", weights_only=True)["state_dict"] for folder in (run, alone)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [(row["clips_seen"], row["pretext/loss"]) for row in rows if "pretext/loss" in row]
    assert len(losses) == 6
    server.failing = 0
    if trouble == "gone":
        server.__enter__()
    sync(out)
    assert set(server.run(run.name).curve("pretext/loss")) == set(losses)


def test_pretrain_and_evaluate_as_typed(server, machine, tmp_path):
    from ssv.cli.main import main
    from ssv.data.toy.world import write_world
    from tests.test_runs import TINY

    machine.chdir(tmp_path)
    world, outputs = tmp_path / "toy", tmp_path / "outputs"
    write_world(world, size="tiny", workers=2)
    broken = world / "UCF-101" / (world / "ucfTrainTestlist" / "trainlist01.txt").read_text().split()[0]
    broken.write_bytes(b"")
    words = [word for word in TINY if not word.startswith(("logger", "data.workers"))]
    common = [f"data.root={world}", "data.workers=0", f"outputs={outputs}", "data.max_broken=1"]
    assert main(["pretrain", *words, *common, "tag=x", "steps=3"]) == 0
    folder = next(outputs.glob("*-x-s0"))
    run = server.run(folder.name)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    losses = [(row["clips_seen"], row["pretext/loss"]) for row in rows if "pretext/loss" in row]
    assert run.curve("pretext/loss") == losses and len(losses) == 3
    assert (run.group, run.job_type, run.exit_code) == (folder.name, "pretrain", 0)
    assert (run.summary["data/broken_videos"], run.summary["data/lost_samples"]) == (1, 0)
    (missed,) = json.loads((folder / "data.json").read_text())["broken"]
    assert missed.endswith(broken.name)

    few = ["data=toy", "evaluation=knn", "trainer=cpu", "threads=1", *common, f"weights={folder}"]
    assert main(["evaluate", *few]) == 0
    scores = json.loads((folder / "scores.jsonl").read_text())
    measured = server.run(f"{folder.name}-knn-toy")
    assert (measured.group, measured.job_type) == (folder.name, "knn")
    assert measured.summary["knn/toy/top1"] == scores["scores"]["top1"]
    assert measured.summary["weights_digest"] == run.summary["weights_digest"] == scores["weights"]
    assert (
        measured.value("upstream.run_id") == run.name and measured.value("upstream.weights_digest") == scores["weights"]
    )
    model = [artifact for artifact in server.artifacts.values() if artifact["type"] == "model"]
    assert [(m["made_by"], m["used_by"]) for m in model] == [(run.name, [measured.name])]
