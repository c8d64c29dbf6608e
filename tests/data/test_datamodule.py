"""Splits, what is left out, and a real Lightning run that is interrupted and goes on."""

import logging
import shutil

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from ssv.cli.main import main
from ssv.data.crops import CenterCrop, RandomResizedCrop
from ssv.data.datamodule import VideoDataModule
from ssv.data.prepared import PreparedReader
from ssv.data.readers.auto import AutoReader
from ssv.data.readers.base import VideoError
from ssv.data.readers.pyav import PyAVReader
from ssv.data.sampling import RandomClips, UniformClips
from ssv.types import Video
from tests.videos import write_numbered

LENGTHS = (40, 40, 40, 40, 40, 40, 20, 20)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Eight files of 25 frames per second, the last two of them short; clips/broken.mp4 is none."""
    folder = tmp_path_factory.mktemp("clips")
    originals = {n: write_numbered(folder / f"{n}.avi", frames=n, codec="mpeg4") for n in set(LENGTHS)}
    for number, length in enumerate(LENGTHS):
        shutil.copy(originals[length], folder / f"{number}_{length}.avi")
    (folder / "broken.avi").write_bytes(b"no video" * 100)
    return str(folder)


def listing(*, broken=False, short=False, groups=4):
    def videos(root, split):
        names = [f"{n}_{length}.avi" for n, length in enumerate(LENGTHS) if short or length == 40]
        rows = [Video(f"{root}/{name}", n % 2, f"g{n % groups}") for n, name in enumerate(names)]
        rows += [Video(f"{root}/broken.avi", 0, "g0")] if broken else []
        return rows if split == "train" else rows[:2]

    return videos


def data(root, videos=None, **changes):
    values = {
        "sampler": RandomClips(frames=4, stride=8),
        "crop": RandomResizedCrop(16),
        "eval_sampler": UniformClips(frames=4),
        "eval_crop": CenterCrop(16, short_side=16),
        "batch_size": 2,
        "workers": 0,
        "held_out": 0.25,
        "max_broken": 0,
        "reader": PyAVReader(),
        "seed": 0,
    }
    return VideoDataModule(root, videos or listing(), **(values | changes))


def test_whole_groups_are_held_out(root):
    module = data(root)
    fit, held_out, train = module.split("fit"), module.split("held_out"), module.split("train")
    assert sorted(fit + held_out) == sorted(train) and len(train) == 6
    assert {v.group for v in held_out} and not {v.group for v in fit} & {v.group for v in held_out}
    assert len({v.group for v in held_out}) == 1
    assert data(root, seed=5).split("held_out") == held_out  # the same for every seed
    assert data(root, held_out=0.01).split("held_out") == held_out  # at least one
    assert data(root, held_out=0.0).split("held_out") == []
    assert len({v.group for v in data(root, held_out=0.5).split("held_out")}) == 2
    assert len(module.split("test")) == 2
    with pytest.raises(ValueError, match="'val'"):
        module.split("val")


def test_hold_outs_that_cannot_be(root):
    with pytest.raises(ValueError, match="data.held_out=0"):
        data(root, listing(groups=1)).setup()
    with pytest.raises(ValueError, match="data.held_out"):
        data(root, held_out=1.0)
    assert len({v.group for v in data(root, held_out=0.99).split("fit")}) == 1  # something remains to train on


def test_a_broken_file_is_held_out_with_its_group_whether_it_counts_or_not(root):
    sound = {v.group for v in data(root).split("held_out")}
    assert {v.group for v in data(root, listing(broken=True), max_broken=1).split("held_out")} == sound


def test_broken_files_stop_the_start_unless_allowed(root, caplog):
    with pytest.raises(VideoError, match=r"broken.avi: .*data.max_broken=1"):
        data(root, listing(broken=True)).setup()
    module = data(root, listing(broken=True), max_broken=1)
    with caplog.at_level(logging.WARNING, logger="ssv"):
        summary = module.summary()
    assert [path.rsplit("/")[-1] for path in summary["broken"]] == ["broken.avi"]
    assert summary["fit"] + summary["held_out"] == 6
    assert "left out 1 of" in caplog.text and "broken.avi" in caplog.text


def test_videos_that_do_not_fit(root, caplog):
    with pytest.raises(ValueError, match=r"2 of 6 videos give no clip: .*6_20.avi has 20 frames.*data.sampler.short"):
        data(root, listing(short=True, groups=8)).setup()
    module = data(root, listing(short=True), sampler=RandomClips(frames=4, stride=8, short="skip"), held_out=0.0)
    with caplog.at_level(logging.WARNING, logger="ssv"):
        summary = module.summary()
    assert sorted(path.rsplit("/")[-1] for path in summary["left_out"]) == ["6_20.avi", "7_20.avi"]
    assert (summary["fit"], summary["held_out"]) == (6, 0)
    assert summary["fit_hours"] == pytest.approx(6 * 39 / 25 / 3600)
    assert caplog.text.count("left out 2 of 8") == 1
    assert {row for clips in module.train_dataloader() for row in clips.video.tolist()} == {0, 1, 2, 3, 4, 5}
    assert len(module.split("fit")) == 8  # an evaluation may have a shorter clip
    with pytest.raises(ValueError, match="8 of 8 videos give no clip"):
        data(root, listing(short=True), sampler=RandomClips(frames=40, stride=2, short="skip"), held_out=0.0).setup()
    held = data(root, listing(short=True), sampler=RandomClips(frames=4, stride=8, short="hold"), held_out=0.0)
    assert len(held.train_dataloader().batches.rows) == 8


def labelled(*labels):
    def videos(root, split):
        return [Video(f"{root}/{n}_40.avi", label, f"g{n}") for n, label in enumerate(labels)]

    return videos


def test_batches_of_pairs_leave_out_who_has_no_partner(root, caplog):
    module = data(root, labelled(0, 0, 1, 2, 0, 2), pairs=True, held_out=0.0)
    with caplog.at_level(logging.WARNING, logger="ssv"):
        summary = module.summary()
    assert [path.rsplit("/")[-1] for path in summary["left_out"]] == ["2_40.avi"] and summary["fit"] == 5
    assert caplog.text.count("left out 1 of 6 videos, the only ones of their label") == 1
    batches = [(clips.video.tolist(), clips.label.tolist()) for clips in module.train_dataloader()]
    assert len(batches) == 3 and all(a == b for _, (a, b) in batches)
    assert {row for rows, _ in batches for row in rows} == {0, 1, 3, 4, 5}  # rows of the list, the odd one once more
    videos = module.split("train")
    looked = module.loader(videos, UniformClips(frames=4), CenterCrop(16, short_side=16), batch_size=2, pairs=True)
    assert [clips.video.tolist() for clips in looked] == [[0, 1], [4, 0], [3, 5]]


def test_held_out_videos_come_in_pairs_too(root):
    module = data(root, labelled(0, 0, 0, 0, 0, 0), pairs=True, held_out=0.5)
    assert [len(clips.video) for clips in module.val_dataloader()] == [2, 2]  # three of them, one twice
    alone = data(root, labelled(0, 0, 0, 0, 0, 0), pairs=True, held_out=0.1)
    alone.setup()
    assert alone.val_dataloader() == [] and len(alone.left_out) == 1


def test_pairs_that_cannot_be(root):
    with pytest.raises(ValueError, match=r"2 of 6 videos have none.*data\.pairs=false"):
        data(root, labelled(0, 0, -1, 1, 1, -1), pairs=True, held_out=0.0).setup()
    with pytest.raises(ValueError, match=r"no two training videos.*data\.pairs=false"):
        data(root, labelled(0, 1, 2, 3, 4, 5), pairs=True, held_out=0.0).setup()


def test_held_out_clips_are_the_same_each_time_and_for_every_seed(root):
    first = list(data(root).val_dataloader())
    loader = data(root, seed=9).val_dataloader()
    loader.batches.set_epoch(4)  # Lightning does
    list(loader)
    assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(first, loader, strict=True))
    assert data(root, held_out=0.0).val_dataloader() == []


def test_loader_for_evaluations(root, caplog):
    module = data(root, listing(short=True))
    videos = module.split("train")
    crop = CenterCrop(16, short_side=16)
    loader = module.loader(videos, UniformClips(views=2, frames=4, stride=4), crop, batch_size=3)
    rows = [clips.video.tolist() for clips in loader]
    assert rows == [[0, 1, 2], [3, 4, 5], [6, 7]] == [clips.video.tolist() for clips in loader]
    shuffled = module.loader(videos, UniformClips(frames=4), crop, batch_size=3, shuffle=True, seed=1)
    orders = [[row for clips in shuffled for row in clips.video.tolist()] for _ in range(3)]
    assert all(sorted(order) == list(range(8)) for order in orders) and len({*map(tuple, orders)}) == 3
    skipping = UniformClips(frames=4, stride=8, short="skip")
    some = module.loader(videos[::-1], skipping, crop, batch_size=8)
    assert [clips.video.tolist() for clips in some] == [[2, 3, 4, 5, 6, 7]]  # rows of what was passed
    assert "left out 2 of 8" in caplog.text and not module.left_out
    assert [clips.label.tolist() for clips in some] == [[video.label for video in videos[::-1][2:]]]


def test_loader_keeps_row_numbers_when_a_file_is_broken(root):
    module = data(root, max_broken=1)
    videos = module.split("train")
    videos.insert(2, Video(f"{root}/broken.avi"))
    loader = module.loader(videos, UniformClips(frames=4), CenterCrop(16, short_side=16), batch_size=8)
    assert [clips.video.tolist() for clips in loader] == [[0, 1, 3, 4, 5, 6]]


def test_batch_sizes(root):
    with pytest.raises(ValueError, match="data.batch_size=64 is more than the"):
        data(root, batch_size=64).train_dataloader()


class BreaksLater(PyAVReader):
    """Reads what a probe finds sound, except for one file."""

    def read(self, path, indices):
        if "/3_" in path:
            raise VideoError(path, "damaged in the middle")
        return super().read(path, indices)


def test_a_file_that_breaks_while_decoded(root, caplog):
    with pytest.raises(VideoError, match="3_40.avi: damaged in the middle; .*data.max_broken=1"):
        list(data(root, reader=BreaksLater(), held_out=0.0).train_dataloader())
    module = data(root, reader=BreaksLater(), held_out=0.0, max_broken=1)
    loader = module.train_dataloader()
    for _ in range(2):  # counted once, however often it is met
        assert sorted(row for clips in loader for row in clips.video.tolist()) == [0, 1, 2, 4, 5]
    assert [path.rsplit("/")[-1] for path in module.summary()["broken"]] == ["3_40.avi"]
    assert caplog.text.count("damaged in the middle") == 1
    assert module.lost == module.summary()["lost"] == 2  # once in each epoch
    # After a restart the count goes on, and the list of videos is what it was.
    again = data(root, reader=BreaksLater(), held_out=0.0, max_broken=1)
    again.load_state_dict(module.state_dict())
    again.train_dataloader().load_state_dict(loader.state_dict())
    assert again.summary()["broken"] == module.broken
    list(again.train_dataloader())
    assert again.lost == 3 and len(again.broken) == 1


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a small machine
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_what_is_lost_is_counted_alike_by_any_number_of_processes(root, workers):
    module = data(root, reader=BreaksLater(), held_out=0.0, max_broken=1, workers=workers)
    source = iter(module.train_dataloader())
    next(source)
    early = module.lost  # batches read ahead do not count
    list(source)
    list(module.loader(module.split("fit"), module.eval_sampler, module.eval_crop, batch_size=2))
    alone = data(root, reader=BreaksLater(), held_out=0.0, max_broken=1)
    first = iter(alone.train_dataloader())
    next(first)
    assert (early, module.lost, len(module.broken)) == (alone.lost, 2, 1)


def test_a_prepared_data_set_is_read_by_its_own_reader_unless_another_is_asked_for(root, tmp_path):
    target = tmp_path / "prepared"
    (tmp_path / "source").mkdir()
    for number in range(4):
        shutil.copy(f"{root}/{number}_40.avi", tmp_path / "source")
    assert main(["prepare", str(tmp_path / "source"), f"out={target}", "workers=1"]) == 0

    def videos(root, split):
        return [Video(f"{root}/{n}_40.avi", 0, f"g{n}") for n in range(4)]

    modules = [data(str(target), videos, reader=reader, held_out=0.0) for reader in (AutoReader(), PyAVReader())]
    assert [type(module.reader) for module in modules] == [PreparedReader, PyAVReader]
    assert isinstance(data(root, reader=AutoReader()).reader, AutoReader)
    planes, rgb = (list(module.train_dataloader()) for module in modules)
    for one, other in zip(planes, rgb, strict=True):
        assert torch.equal(one.video, other.video) and torch.equal(one.seconds, other.seconds)
        assert one.pixels.shape == other.pixels.shape
        assert (one.pixels.int() - other.pixels.int()).abs().float().mean() < 3


class Recorder(pl.LightningModule):
    """Writes down what it is trained on; stops itself after ``stop`` steps as a killed process would."""

    def __init__(self, stop=None):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        nn.init.zeros_(self.layer.weight)
        self.stop = stop
        self.seen = []

    def training_step(self, clips, batch_index):
        key = (self.current_epoch, batch_index, clips.video.tolist(), int(clips.pixels.long().sum()))
        if self.stop is not None and self.global_step == self.stop:
            raise InterruptedError
        self.seen.append(key)
        return self.layer(clips.seconds.sum().reshape(1, 1) * 1e-3).mean()

    def validation_step(self, clips, batch_index):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def train(root, folder, *, stop=None, resume=None, workers=0):
    keep = pl.callbacks.ModelCheckpoint(folder, every_n_train_steps=1, save_top_k=-1, filename="{step}")
    trainer = pl.Trainer(
        max_epochs=3,
        accelerator="cpu",
        use_distributed_sampler=False,
        logger=False,
        callbacks=[keep],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = Recorder(stop)
    try:
        trainer.fit(module, datamodule=data(root, workers=workers, held_out=0.25), ckpt_path=resume)
    except InterruptedError:
        assert stop is not None
    return module


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_lightning_goes_on_exactly_wherever_it_was_stopped(root, tmp_path):
    whole = train(root, tmp_path / "whole")
    steps = len(whole.seen)
    assert steps == 6 and len({tuple(rows) for _, _, rows, _ in whole.seen}) > 3
    for stop in range(1, steps):  # in the middle of an epoch, and after its last batch
        folder = tmp_path / str(stop)
        train(root, folder, stop=stop)
        resumed = train(
            root, tmp_path / f"{stop} resumed", resume=folder / f"step={stop}.ckpt", workers=2 * (stop == 3)
        )
        assert resumed.seen == whole.seen[stop:]
        assert torch.equal(resumed.layer.weight, whole.layer.weight)
