"""A run whose files a power cut left empty, halved or full of zero bytes: the same commands work, with one line."""

import json
import shutil

import pytest
import torch

from ssv.cli.main import main

pytestmark = pytest.mark.slow

RUN = [
    "backbone=r3d_tiny", "data=toy", "pretext.frames=2", "data.sampler.frames=6", "data.sampler.seconds=0.0416667",
    "pretext.sizes=[24,32]", "pretext.test_size=32", "data.crop.size=32", "data.batch_size=4", "data.workers=0",
    "trainer=cpu", "threads=1", "log_every=1", "checkpoint_every=1", "held_out_every=0", "probe_every=0", "logger=none",
    "steps=3", "tag=x",
]  # fmt: skip
MEASURE = [
    "evaluation=knn", "data=toy", "data.workers=0", "data.eval_sampler.views=1", "data.eval_crop.size=32", "trainer=cpu",
    "threads=1", "logger=none",
]  # fmt: skip
DAMAGES = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "zeros": lambda content: bytes(len(content)),
    "tail of zeros": lambda content: content[: len(content) // 2].ljust(len(content), b"\0"),
}


@pytest.fixture(scope="module")
def finished(world, tmp_path_factory):
    """The folder ``outputs`` with one run, evaluated once."""
    outputs = tmp_path_factory.mktemp("finished") / "outputs"
    assert main(["pretrain", *RUN, f"data.root={world}", f"outputs={outputs}"]) == 0
    run = next(outputs.glob("*/run.json")).parent
    assert main(["evaluate", f"weights={run}", *MEASURE, f"data.root={world}", f"outputs={outputs}"]) == 0
    return outputs


@pytest.fixture
def outputs(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "outputs")
    return tmp_path / "outputs"


@pytest.fixture
def ssv(world, outputs, capfd):
    """Runs a verb on the copy; gives its code and what it printed, which holds no traceback."""

    def typed(verb, *words):
        capfd.readouterr()
        common = {"pretrain": RUN, "evaluate": MEASURE, "audit": ["trainer=cpu", "steps=0"]}.get(verb, [])
        place = {"pretrain": [f"data.root={world}"], "evaluate": [f"data.root={world}"]}.get(verb, [])
        words = [*words, *common, *place] + ([] if verb == "audit" else [f"outputs={outputs}"])
        code = main([verb, *words])
        printed = "".join(capfd.readouterr()).replace(str(outputs), "outputs")
        assert "Traceback" not in printed, printed
        return code, printed

    return typed


def run_in(outputs):
    return next(path for path in outputs.iterdir() if path.name.startswith("speed_prediction"))


def spoil(path, damage):
    path.write_bytes(DAMAGES[damage](path.read_bytes()))


def weights(run):
    return torch.load(run / "backbone.pt", weights_only=True)["state_dict"]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["status.json", "config.yaml", "run.json"])
def test_the_same_command_works_with_a_damaged_file(ssv, outputs, name, damage):
    run = run_in(outputs)
    before, kept = weights(run), json.loads((run / "run.json").read_text())
    spoil(run / name, damage)
    code, printed = ssv("compare")
    assert code == (2 if name == "run.json" else 0), printed
    if name == "run.json":  # the only run there is
        assert len(printed.splitlines()) == 1 and "run.json is not JSON" in printed
    code, printed = ssv("evaluate", f"weights={run}")
    assert code == 0, printed
    code, printed = ssv("pretrain")
    assert code == 0, printed
    if name != "run.json":  # the evaluation has written that one anew
        told = [line for line in printed.splitlines() if name in line and "damaged" in line]
        assert len(told) == 1, printed
    assert json.loads((run / "status.json").read_text())["state"] == "finished"
    born = json.loads((run / "run.json").read_text())
    assert all(born[key] == kept[key] for key in ("name", "pretext", "backbone", "data", "tag", "seed", "network"))
    after = weights(run)
    assert all(torch.equal(after[key], before[key]) for key in before)
    code, printed = ssv("pretrain")
    assert code == 0 and "finished already" in printed and "damaged" not in printed
    code, printed = ssv("audit", str(run), "only=[frozen_time]", "videos=4")
    assert code == 0, printed


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("names", [["last.ckpt"], ["last.ckpt", "previous.ckpt"]], ids=["last", "both"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(ssv, outputs, names, damage):
    run = run_in(outputs)
    before = weights(run)
    for name in names:
        spoil(run / "checkpoints" / name, damage)
    code, printed = ssv("audit", str(run))
    assert code == 2 and len(printed.splitlines()) == 1 and "last.ckpt is damaged; run the command" in printed
    code, printed = ssv("pretrain")
    told = [line for line in printed.splitlines() if "damaged" in line]
    assert code == 0 and len(told) == 1, printed
    assert ("previous.ckpt" in told[0].partition(";")[2]) if len(names) == 1 else ("from its first step" in told[0])
    after = weights(run)
    assert all(torch.equal(after[key], before[key]) for key in before), "the same bits"
    last, previous = (torch.load(run / "checkpoints" / n, weights_only=True) for n in ("last.ckpt", "previous.ckpt"))
    assert (last["global_step"], previous["global_step"]) == (3, 2)


def test_a_damaged_checkpoint_never_replaces_the_one_before(tmp_path):
    from ssv.training.checkpoints import AtomicCheckpointIO

    io = AtomicCheckpointIO()
    for step in (1, 2):
        io.save_checkpoint({"step": step}, tmp_path / "last.ckpt")
    spoil(tmp_path / "last.ckpt", "half")
    io.save_checkpoint({"step": 3}, tmp_path / "last.ckpt")
    assert torch.load(tmp_path / "previous.ckpt", weights_only=True) == {"step": 1}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_weights_are_exported_again(ssv, outputs, damage):
    run = run_in(outputs)
    before = weights(run)
    spoil(run / "backbone.pt", damage)
    code, printed = ssv("pretrain")
    assert code == 0 and "finished already" not in printed
    after = weights(run)
    assert all(torch.equal(after[key], before[key]) for key in before)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_lines_of_scores_are_set_aside_and_named(ssv, outputs, damage):
    run = run_in(outputs)
    scores = run / "scores.jsonl"
    row = scores.read_bytes()
    scores.write_bytes(DAMAGES[damage](row).rstrip(b"\n") + b"\n" + row.replace(b'"seed": 0', b'"seed": 5'))
    code, printed = ssv("compare")
    assert code == 0, printed
    code, printed = ssv("evaluate", f"weights={run}", "seed=0")
    told = [line for line in printed.splitlines() if "damaged" in line]
    assert code == 0 and len(told) == (damage != "empty"), printed
    assert [json.loads(line)["seed"] for line in scores.read_text().splitlines()] == [5, 0]
    if damage != "empty":
        assert "scores.jsonl.damaged" in told[0]
        assert len((run / "scores.jsonl.damaged").read_text().splitlines()) == 1
    code, printed = ssv("evaluate", f"weights={run}", "seed=0")
    assert code == 0 and "damaged" not in printed
