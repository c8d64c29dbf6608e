"""Features that are kept: found again, made anew where they must be, never half."""

import errno
import logging
import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from ssv.data.crops import CenterCrop
from ssv.evaluations import feature_cache
from ssv.evaluations.feature_cache import cached
from ssv.evaluations.features import extract, over_views
from ssv.evaluations.knn import KNN
from ssv.evaluations.labelled import labelled_splits
from ssv.evaluations.linear_probe import LinearProbe
from ssv.evaluations.retrieval import Retrieval
from tests.evaluations.fakes import FakeData, Tiny, centre, trainer, views


@pytest.fixture
def paths(tmp_path):
    rows = [tmp_path / f"{i} #[it's].avi" for i in range(3)]
    for row in rows:
        row.write_bytes(b"x")
    return [str(row) for row in rows]


USUAL = views(), centre()


class Work:
    """Counts how often it is done."""

    def __init__(self):
        self.times = 0

    def __call__(self):
        self.times += 1
        return np.arange(6, dtype=np.float32).reshape(3, 1, 2) + 0.1


def test_the_second_time_nothing_is_computed_and_every_digit_is_the_same(tmp_path, paths):
    work = Work()
    first, second = (cached(str(tmp_path / "kept"), ("a", 1), paths, work) for _ in range(2))
    assert work.times == 1 and first.tobytes() == second.tobytes() and first.dtype == second.dtype
    assert [name.endswith(".npz") for name in os.listdir(tmp_path / "kept")] == [True]


def test_no_folder_keeps_nothing(paths):
    work = Work()
    cached(None, (), paths, work), cached(None, (), paths, work)
    assert work.times == 2


def change_size(path):
    before = os.stat(path)
    Path(path).write_bytes(b"longer")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def change_time(path):
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize("change", [change_size, change_time])
def test_a_file_that_changed_is_read_again(tmp_path, paths, change):
    work = Work()
    cached(str(tmp_path / "kept"), (), paths, work)
    change(paths[1])
    cached(str(tmp_path / "kept"), (), paths, work)
    assert work.times == 2


def test_order_and_identity_tell_apart(tmp_path, paths):
    work, folder = Work(), str(tmp_path / "kept")
    for identity, rows in ((("a",), paths), (("b",), paths), (("a",), paths[::-1])):
        cached(folder, identity, rows, work)
    assert work.times == 3


def test_videos_that_are_no_files_are_not_kept(tmp_path):
    work = Work()
    for _ in range(2):
        cached(str(tmp_path / "kept"), (), ["not there"] * 3, work)
    assert work.times == 2 and not (tmp_path / "kept").exists()


@pytest.mark.parametrize("spoil", ["half", "empty", "flipped", "another", "fewer", "text"])
def test_a_file_that_cannot_be_read_is_made_anew(tmp_path, paths, spoil):
    work, folder = Work(), str(tmp_path / "kept")
    wanted = cached(folder, (), paths, work)
    (file,) = (tmp_path / "kept").iterdir()
    whole = file.read_bytes()
    if spoil == "another":
        np.savez(file, something=wanted)
    elif spoil == "fewer":
        np.savez(file, features=wanted[:2])
    else:
        middle = whole.index(wanted.tobytes())
        flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        file.write_bytes({"half": whole[: len(whole) // 2], "empty": b"", "flipped": flipped, "text": b"no"}[spoil])
    for _ in range(2):
        assert cached(folder, (), paths, work).tobytes() == wanted.tobytes()
    assert work.times == 2


@pytest.mark.parametrize("where", ["write", "folder"])
def test_a_full_disk_costs_one_line_and_no_result(tmp_path, paths, monkeypatch, caplog, where):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(feature_cache.np, "savez", lambda out, **_: out.write(b"half") and full())
    if where == "folder":
        (tmp_path / "kept").write_text("a file in the way")
    with caplog.at_level(logging.WARNING):
        features = cached(str(tmp_path / "kept"), (), paths, Work())
    assert features.shape == (3, 1, 2) and [
        r.message.count("\n") for r in caplog.records if "not kept" in r.message
    ] == [0]
    assert where == "folder" or not list((tmp_path / "kept").iterdir())


def test_two_at_once_both_have_the_right_features(tmp_path, paths, monkeypatch, caplog):
    work, meet, got, write = Work(), threading.Barrier(2), [], np.savez

    def both_write(out, **arrays):
        write(out, **arrays)
        meet.wait(10)  # neither file has its name yet

    monkeypatch.setattr(feature_cache.np, "savez", both_write)
    folder = str(tmp_path / "kept")
    threads = [threading.Thread(target=lambda: got.append(cached(folder, (), paths, work))) for _ in range(2)]
    [thread.start() for thread in threads], [thread.join() for thread in threads]
    assert len(got) == 2 and got[0].tobytes() == got[1].tobytes() == cached(folder, (), paths, work).tobytes()
    assert work.times == 2 and len(os.listdir(folder)) == 1 and not caplog.records


class Files(FakeData):
    """Videos that exist, and a count of the batches asked for; what is seen still comes from the path."""

    def __init__(self):
        super().__init__()
        self.reader, self.passes = None, 0
        for rows in self.lists.values():
            for video in rows:
                os.makedirs(os.path.dirname(video.path), exist_ok=True)
                Path(video.path).touch()

    def loader(self, *values, **more):
        self.passes += 1
        return super().loader(*values, **more)


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Files()


def test_frozen_evaluations_share_one_pass_and_say_the_same_without(data, tmp_path):
    backbone, made = Tiny(), {}
    for cls in (LinearProbe, KNN, Retrieval):
        few = {"k": 6} if cls is KNN else {}
        make = lambda folder: cls(sampler=views(), crop=centre(), batch_size=6, cache=folder, **few)  # noqa: B023, E731
        made[cls] = make(str(tmp_path / "kept")).run(backbone, data, trainer()), make(None)
    assert data.passes == 3  # train and test, for the three of them, and what retrieval draws
    for scores, without in made.values():
        assert without.run(backbone, data, trainer()) == scores


@pytest.mark.parametrize("what", ["weights", "arguments", "views", "size", "precision", "reader"])
def test_whatever_changes_features_is_part_of_their_name(data, tmp_path, what):
    splits, backbone = labelled_splits(data), Tiny()

    def features(backbone=backbone, sampler=USUAL[0], crop=USUAL[1], **settings):
        return extract(
            backbone,
            data,
            splits,
            sampler,
            crop,
            batch_size=6,
            trainer=trainer(**settings),
            cache=str(tmp_path / "kept"),
        )

    before = features()
    assert before.train.shape == (24, 2, 8) and data.passes == 2
    features()
    assert data.passes == 2
    if what == "weights":
        other = Tiny()
        other.load_state_dict(backbone.state_dict())
        other.norm.running_mean[0] += 1e-3
        after = features(other)
    elif what == "arguments":
        backbone.kwargs = {"width": 8, "padding": "reflect"}
        after = features()
    elif what == "views":
        after = features(sampler=views(3))
        assert after.test.shape == (24, 3, 8)
    elif what == "size":
        after = features(crop=CenterCrop(8, short_side=9))
    elif what == "precision":
        after = features(precision="bf16-mixed")
        assert 0 < np.abs(after.train - before.train).max() < 0.05
    else:
        data.reader = object()
        after = features()
    assert data.passes == 4 and after.train.dtype == np.float32
    torch.testing.assert_close(torch.from_numpy(over_views(before.train)), torch.from_numpy(before.train).mean(1))
