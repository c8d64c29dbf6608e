"""Five mistakes that everybody makes once: each ends in one line that says what to change, and with the right exit code."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest
import torch

from ssv.cli.errors import explain
from ssv.cli.main import main
from tests.backbones import families, published
from tests.compose import ROOT

TINY = [
    "+experiment=fair_speed_prediction", "data.workers=0", "data.sampler.frames=16", "pretext.frames=2",
    "pretext.sizes=[24,32]", "pretext.test_size=32", "data.crop.size=32", "held_out_every=0", "logger=none", "tag=small",
]  # fmt: skip


@pytest.fixture
def refusal(tmp_path, monkeypatch, capfd):
    """Types a command in an empty folder; gives its exit code and the one line that it ends in."""
    monkeypatch.chdir(tmp_path)

    def typed(*words):
        capfd.readouterr()
        code = main(list(words))
        lines = capfd.readouterr().err.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("ssv: "), lines
        return code, lines[0]

    return typed


def test_wrong_root(refusal, tmp_path):
    (tmp_path / "empty").mkdir()
    code, line = refusal("pretrain", "data=ucf101", "logger=none")
    assert code == 2 and "UCF-101" in line and "Set data.root=/path" in line
    code, line = refusal("pretrain", "data=folder", "data.root=empty", "logger=none")
    assert code == 2 and "no videos in this folder" in line and "Put videos there" in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("words", ["pretrain", "evaluate weights=random", "bench"])
def test_no_gpu(words, refusal, tmp_path):
    code, line = refusal(*words.split(), "data=toy", "backbone=r3d_tiny", "trainer=gpu", "logger=none")
    assert code == 2 and "torch sees no GPU here" in line and "trainer=cpu" in line
    assert not list(tmp_path.iterdir()), "no folder that would stand in the way of the next try"


def test_a_trainer_that_lightning_refuses(refusal, world):
    code, line = refusal("evaluate", "weights=random", *EVALUATED, f"data.root={world}", "trainer.strategy=nonsense")
    assert code == 2 and "trainer: Lightning says " in line and "nonsense" in line


EVALUATED = ["backbone=r3d_tiny", "data=toy", "data.workers=0", "data.batch_size=2", "trainer=cpu", "logger=none"]


def test_batch_larger_than_the_data(refusal, world):
    code, line = refusal("bench", *TINY, f"data.root={world}", "data.batch_size=500")
    assert code == 2 and "data.batch_size=500 is more than the" in line and "lower it" in line


CUDA = (
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 139.80 GiB of which 3.00 GiB is "
    "free. If reserved but unallocated memory is large try setting PYTORCH_ALLOC_CONF=expandable_segments:True"
)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError(CUDA), MemoryError()], ids=["GPU", "numpy"])
def test_out_of_memory(error):
    line, code = explain(error)
    assert code == 1 and line.startswith("out of memory (") and "lower data.batch_size" in line
    assert "PYTORCH" not in line and "\n" not in line


def test_out_of_the_memory_of_this_machine():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    line, code = explain(caught.value)
    assert code == 1 and "you tried to allocate" in line and "lower data.batch_size" in line and "alloc_cpu" not in line


def test_wrong_weights_file(refusal, tmp_path, world):
    (tmp_path / "notes.pt").write_text("no weights")
    torch.save({"some": torch.zeros(3)}, tmp_path / "other.pt")
    torch.save({"pytorch-lightning_version": "2"}, tmp_path / "last.ckpt")
    (tmp_path / "run").mkdir()
    public = published.weights(families.small_kenshohara_shapes())
    torch.save({"model": public, "model_ema": dict(public)}, tmp_path / "ema.pth")
    torch.save({**public, "conv1.weight": 5}, tmp_path / "int.pth")
    wrong = {
        "ema.pth": "there are several networks: model, model_ema; choose one with entry=model or another",
        "int.pth": "int.pth: conv1.weight is int, not a tensor",
        "notes.pt": "is not a weights file",
        "other.pt": "holds tensors of no architecture known here",
        "last.ckpt": "is a checkpoint to resume a run from, not weights; use ",
        "run": "holds no backbone.pt; is the run finished?",
        "nowhere": "no such file or run folder",
    }
    for name, expected in wrong.items():
        code, line = refusal("evaluate", f"weights={name}", "data=toy", f"data.root={world}", "logger=none")
        assert code == 2 and expected in line


def test_interrupted(world, tmp_path, refusal):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    words = [*TINY, f"data.root={world}", "data.batch_size=2", "log_every=1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "ssv", "pretrain", *words],
        cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    run = tmp_path / "outputs" / "speed_prediction-r3d_tiny-toy-small-s0"
    deadline = time.monotonic() + 200
    while not (run / "metrics.jsonl").exists() or not (run / "metrics.jsonl").read_text():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 130, output
    assert output.strip().splitlines()[-1].endswith("saved; the same command goes on"), output
    assert json.loads((run / "status.json").read_text())["state"] == "stopped"
    code, line = refusal("evaluate", f"weights={run}", "data=toy", f"data.root={world}", "logger=none")
    assert code == 2 and "is the run finished?" in line


def quoted():
    """The commands of the page about trouble, each with the line that it says is printed and its exit code."""
    text = (ROOT / "docs" / "troubleshooting.md").read_text()
    found = re.findall(r"^\$ ssv ([^\n]+)\n(ssv: [^\n]+(?:\n[^`$\n][^\n]*)*)", text, re.M)
    return [pytest.param(command, " ".join(said.split()), id=command) for command, said in found]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize(("command", "said"), quoted())
def test_the_page_about_trouble_quotes_what_is_printed(command, said, refusal, tmp_path, world):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "toy").symlink_to(world)
    (tmp_path / "outputs" / "mine" / "checkpoints").mkdir(parents=True)
    torch.save({"pytorch-lightning_version": "2"}, tmp_path / "outputs" / "mine" / "checkpoints" / "last.ckpt")
    code, line = refusal(*shlex.split(command))
    pattern = ".*".join(re.escape(part) for part in said.split("..."))
    assert code == 2 and re.fullmatch(pattern, line), line
