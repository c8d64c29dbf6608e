import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ssv.training.checkpoints import AtomicCheckpointIO, Checkpoints, SaveError, save_atomically
from ssv.training.recorder import MetricsFile
from ssv.training.seeding import derive_seed, isolated_random


def test_the_one_before_is_kept(tmp_path):
    io = AtomicCheckpointIO()
    for step in (1, 2, 3):
        io.save_checkpoint({"step": step}, tmp_path / "last.ckpt")
    assert torch.load(tmp_path / "last.ckpt", weights_only=True) == {"step": 3}
    assert torch.load(tmp_path / "previous.ckpt", weights_only=True) == {"step": 2}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.ckpt", "previous.ckpt"]


def test_a_full_disk_leaves_the_old_file_and_says_so(tmp_path, monkeypatch):
    target = tmp_path / "last.ckpt"
    save_atomically({"step": 1}, target)

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SaveError, match="No space left on device.*intact"):
        save_atomically({"step": 2}, target)
    assert torch.load(target, weights_only=True) == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_full_device_for_real(tmp_path, monkeypatch):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full on this system")
    # torch reports a full disk from inside its zip writer; what comes out must still be our one line.
    target, real_open = tmp_path / "x.ckpt", Path.open
    monkeypatch.setattr(Path, "open", lambda self, mode: real_open(Path("/dev/full"), mode))
    with pytest.raises(SaveError, match="could not write"):
        save_atomically({"x": torch.zeros(100000)}, target)
    assert not target.exists()


def test_metrics_after_the_resumed_step_are_taken_back(tmp_path):
    file = MetricsFile(tmp_path / "metrics.jsonl")
    for step in range(1, 6):
        file({"step": step, "pretext/loss": 0.5})
    with file.path.open("a") as half:
        half.write('{"step": 6, "pre')
    file.rewind(3)
    file({"step": 4, "pretext/loss": 0.25})
    assert file.path.read_text().splitlines() == [
        *(f'{{"step": {s}, "pretext/loss": 0.5}}' for s in (1, 2, 3)),
        '{"step": 4, "pretext/loss": 0.25}',
    ]


def test_seeds_are_a_function_of_their_parts():
    assert derive_seed(0, 1, 2) == 603432347784401458  # changes every run's randomness if it changes
    assert len({derive_seed(a, b) for a in range(30) for b in range(30)}) == 900
    assert derive_seed(1, 11) != derive_seed(11, 1)


def test_isolated_random_leaves_the_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with isolated_random("elsewhere"):
        first = torch.rand(1)
    with isolated_random("elsewhere"):
        assert torch.equal(first, torch.rand(1))
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("signum", [None, 15])
def test_no_checkpoint_of_the_last_step_before_the_weights_are_exported(tmp_path, monkeypatch, signum):
    # A run killed between the two would resume with nothing left to do, and never write its weights.
    saved = []
    monkeypatch.setattr("ssv.training.checkpoints.require_finite", lambda trainer, module: None)
    trainer = SimpleNamespace(global_step=8, max_steps=8, world_size=1, save_checkpoint=saved.append)
    checkpoints = Checkpoints(tmp_path, every=4)
    checkpoints.signum = signum
    checkpoints.on_train_batch_end(trainer, None)
    assert saved == []
    checkpoints.on_train_end(trainer, None)  # the callbacks before it, the export among them, have had their turn
    assert saved == [tmp_path / "last.ckpt"]
