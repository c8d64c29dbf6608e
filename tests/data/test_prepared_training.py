"""Training on prepared videos: the same losses however clips are read, and memory that does not grow."""

import multiprocessing
from functools import partial
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from ssv.backbones.resnet3d import ResNet3D
from ssv.data.crops import Box, CenterCrop, RandomResizedCrop
from ssv.data.datamodule import VideoDataModule
from ssv.data.prepared import PreparedReader
from ssv.data.preparing.run import prepare
from ssv.data.readers.auto import AutoReader
from ssv.data.readers.pyav import PyAVReader
from ssv.data.sampling import RandomClips, UniformClips
from ssv.data.sets.ucf101 import ucf101
from ssv.data.toy.world import write_world
from ssv.pretexts.speed_prediction import SpeedPrediction
from ssv.training.pretrain_module import PretrainModule
from ssv.training.schedules import warmup_cosine
from ssv.training.seeding import SeedSteps

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    pytest.mark.filterwarnings("ignore:You passed in a `val_dataloader`"),
]
STEPS = 14  # more than an epoch of twelve batches
READS, GROWTH = 2000, 20  # clips, megabytes


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("world") / "toy"
    write_world(str(root), size="tiny", workers=2)
    return root


@pytest.fixture(scope="module")
def prepared(world) -> str:
    out = world.parent / "prepared"
    prepare(str(world), str(out), encoder="mpeg4", short_side=48, workers=2)
    return str(out)


class Losses(pl.Callback):
    """Every loss, to the bit; a checkpoint after step ``stop``, and no step after it."""

    def __init__(self, stop: int, checkpoint: Path | None) -> None:
        self.values: list[float] = []
        self.stop, self.checkpoint = stop, checkpoint

    def on_train_batch_end(self, trainer, module, outputs, *_) -> None:
        self.values.append(float(outputs["loss"]))
        if self.checkpoint and trainer.global_step == self.stop:
            trainer.save_checkpoint(self.checkpoint)
            trainer.should_stop = True


def losses(root: str, workers: int, method: str = "fork", stop: int = STEPS, checkpoint: Path | None = None):
    """The losses of a training run, stopped and taken up again from ``checkpoint`` where one is given."""
    clip = UniformClips(views=1, frames=8, stride=None, seconds=0.12, short="loop")
    data = VideoDataModule(
        root,
        ucf101,
        sampler=RandomClips(frames=24, stride=None, seconds=1 / 24),
        crop=RandomResizedCrop(32),
        eval_sampler=clip,
        eval_crop=CenterCrop(32, short_side=36),
        batch_size=3,
        workers=workers,
        held_out=0,
        max_broken=0,
        reader=AutoReader(),
        seed=0,
    )
    original = data.train_dataloader

    def started_by_method():
        loader = original()
        if workers:
            loader.multiprocessing_context = method
        return loader

    data.train_dataloader = started_by_method  # type: ignore[method-assign]
    torch.manual_seed(0)
    backbone = ResNet3D(
        blocks=(1, 1, 1, 1), widths=(8, 16, 16, 16), stem_kernel=(3, 5, 5), last_stage=2, temporal_stride=2
    )
    pretext = SpeedPrediction(backbone, frames=8, sizes=(24, 32), test_size=32)
    module = PretrainModule(pretext, lambda groups: torch.optim.SGD(groups, lr=0.1), warmup_cosine, steps=STEPS)
    seen = Losses(stop, checkpoint)
    trainer = pl.Trainer(
        max_steps=STEPS, callbacks=[SeedSteps(0), seen], use_distributed_sampler=False, limit_val_batches=0,
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    resume = checkpoint if checkpoint and checkpoint.exists() else None
    trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True if resume else None)
    assert isinstance(data.reader, PreparedReader)
    return seen.values


@pytest.fixture(scope="module")
def expected(prepared) -> list[float]:
    return losses(prepared, 0)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_number_of_reading_processes_changes_no_loss(prepared, expected, workers) -> None:
    assert len(expected) == STEPS and len(set(expected)) > STEPS // 2
    assert losses(prepared, workers) == expected


def test_neither_does_the_way_they_start(prepared, expected) -> None:
    assert losses(prepared, 2, "spawn") == expected


@pytest.mark.parametrize("stop", [5, 12, 13])
def test_nor_does_an_interruption(prepared, expected, tmp_path, stop) -> None:
    before = losses(prepared, 2, stop=stop, checkpoint=tmp_path / "last.ckpt")
    assert len(before) == stop
    assert before + losses(prepared, 2, checkpoint=tmp_path / "last.ckpt") == expected


def megabytes() -> float:
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) / 1024


def growth(read, paths, answer) -> None:
    """Tell by how much the memory of a process that reads has grown, after every file was read once."""
    for number in range(len(paths)):
        read(paths[number])
    before = megabytes()
    for number in range(READS):
        read(paths[number % len(paths)])
    answer.put(megabytes() - before)


def read_planes(reader, path):
    return reader.read_planes(path, range(0, 16, 2), Box(0, 0, 40, 40))


def read_frames(reader, path):
    return reader.read(path, list(range(0, 16, 2)))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize("is_prepared", [True, False], ids=["prepared", "unprepared"])
def test_memory_does_not_grow_with_reading(world, prepared, is_prepared) -> None:
    root = Path(prepared if is_prepared else world)
    paths = [str(path) for path in sorted(root.rglob("*.avi"))]
    read = partial(read_planes, PreparedReader(prepared)) if is_prepared else partial(read_frames, PyAVReader())
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    process = context.Process(target=growth, args=(read, paths, answer))
    process.start()
    grown = answer.get(timeout=240)
    process.join()
    assert len(paths) > 20 and grown <= GROWTH, f"{grown:.1f} MB over {READS} reads"
