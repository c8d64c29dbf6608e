"""Features that are kept: found again, made anew where they must be, never half."""

import logging
import math
import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ssv.data.crops import CenterCrop
from ssv.data.readers.auto import AutoReader
from ssv.data.readers.pyav import PyAVReader
from ssv.evaluations import feature_cache
from ssv.evaluations.feature_cache import FeatureCache, features_of, kept, make_room
from ssv.evaluations.features import extract, over_views
from ssv.evaluations.knn import KNN
from ssv.evaluations.labelled import labelled_splits
from ssv.evaluations.linear_probe import LinearProbe
from ssv.evaluations.retrieval import Retrieval
from ssv.locks import hold
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
    first, second = (FeatureCache(str(tmp_path / "kept")).array(("a", 1), paths, work) for _ in range(2))
    assert work.times == 1 and first.tobytes() == second.tobytes() and first.dtype == second.dtype
    assert [name.endswith(".npy") for name in os.listdir(tmp_path / "kept")] == [True]


def test_no_folder_keeps_nothing(paths):
    work = Work()
    FeatureCache().array((), paths, work), FeatureCache().array((), paths, work)
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
    FeatureCache(str(tmp_path / "kept")).array((), paths, work)
    change(paths[1])
    FeatureCache(str(tmp_path / "kept")).array((), paths, work)
    assert work.times == 2


def test_order_and_identity_tell_apart(tmp_path, paths):
    work, folder = Work(), str(tmp_path / "kept")
    for identity, rows in ((("a",), paths), (("b",), paths), (("a",), paths[::-1])):
        FeatureCache(folder).array(identity, rows, work)
    assert work.times == 3


def test_videos_that_are_no_files_are_not_kept(tmp_path):
    work = Work()
    for _ in range(2):
        FeatureCache(str(tmp_path / "kept")).array((), ["not there"] * 3, work)
    assert work.times == 2 and not (tmp_path / "kept").exists()


@pytest.mark.parametrize("spoil", ["half", "empty", "flipped", "another", "fewer", "text"])
def test_a_file_that_cannot_be_read_is_made_anew(tmp_path, paths, spoil):
    work, folder = Work(), str(tmp_path / "kept")
    wanted = FeatureCache(folder).array((), paths, work)
    (file,) = (tmp_path / "kept").iterdir()
    whole = file.read_bytes()
    if spoil == "another":
        np.save(file, wanted.astype(np.float64))
    elif spoil == "fewer":
        file.write_bytes(_of(tmp_path / "few", wanted[:2], paths[:2]))
    else:
        middle = whole.index(wanted.tobytes())
        flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        file.write_bytes({"half": whole[: len(whole) // 2], "empty": b"", "flipped": flipped, "text": b"no"}[spoil])
    for _ in range(2):
        assert FeatureCache(folder).array((), paths, work).tobytes() == wanted.tobytes()
    assert work.times == 2


@pytest.mark.parametrize("where", ["write", "folder"])
def test_a_full_disk_costs_one_line_and_no_result(tmp_path, paths, monkeypatch, caplog, where):
    if where == "folder":
        (tmp_path / "kept").write_text("a file in the way")
    else:
        monkeypatch.setattr(FeatureCache, "_begin", lambda *_: Path("/dev/full").open("wb"))  # noqa: SIM115 - closed there
    with caplog.at_level(logging.WARNING):
        features = FeatureCache(str(tmp_path / "kept")).array((), paths, Work())
    assert features.shape == (3, 1, 2)
    (line,) = [record.message for record in caplog.records if record.name.startswith("ssv")]
    assert f"not kept in {tmp_path / 'kept'}: " in line and "\n" not in line
    assert where == "folder" or not (tmp_path / "kept").exists()


def test_two_at_once_both_have_the_right_features(tmp_path, paths, monkeypatch, caplog):
    work, meet, got, finish = Work(), threading.Barrier(2), [], FeatureCache._finish

    def both_finish(*values):
        meet.wait(10)  # neither file has its name yet
        finish(*values)

    monkeypatch.setattr(FeatureCache, "_finish", both_finish)
    cache = FeatureCache(str(tmp_path / "kept"))
    threads = [threading.Thread(target=lambda: got.append(cache.array((), paths, work))) for _ in range(2)]
    [thread.start() for thread in threads], [thread.join() for thread in threads]
    assert len(got) == 2 and got[0].tobytes() == got[1].tobytes() == cache.array((), paths, work).tobytes()
    assert work.times == 2 and len(os.listdir(cache.folder)) == 1 and not caplog.records


def test_beyond_the_limit_the_least_recently_used_is_removed(tmp_path, paths, caplog):
    """Each file takes 160 bytes, so that two fit."""
    work, cache = Work(), FeatureCache(str(tmp_path), 400e-9)
    for age, name in ((300, "a"), (200, "b")):
        before = set(os.listdir(tmp_path))
        cache.array((name,), paths, work)
        (made,) = set(os.listdir(tmp_path)) - before
        os.utime(tmp_path / made, (time.time() - age,) * 2)
    cache.array(("a",), paths, work)  # used now: b is the oldest
    cache.array(("c",), paths, work)
    assert work.times == 3 and sum(size for _, size, _ in kept(tmp_path)) <= 400
    cache.array(("a",), paths, work), cache.array(("c",), paths, work)
    assert work.times == 3
    cache.array(("b",), paths, work)
    assert work.times == 4 and not caplog.records


def test_what_alone_is_beyond_the_limit_is_not_kept_and_removes_nothing(tmp_path, paths, caplog):
    work = Work()
    FeatureCache(str(tmp_path / "kept")).array(("a",), paths, work)
    before = os.listdir(tmp_path / "kept")
    assert FeatureCache(str(tmp_path / "kept"), 10e-9).array(("b",), paths, work).shape == (3, 1, 2)
    assert os.listdir(tmp_path / "kept") == before
    assert "evaluation.cache_gb allows 1e-08" in caplog.text


def test_old_files_and_those_of_killed_writers_go_first_and_files_of_others_stay(tmp_path):
    others = ["notes.npy", "backbone.pt", "0123.npz", ".hidden.partial"]
    partial = "." + "4" * 32 + ".cd.partial"
    old = ["0" * 24 + ".npy", "1" * 32 + ".npz", "." + "2" * 24 + ".77.npy", "." + "3" * 32 + ".ab.partial"]
    for name in [*others, *old, partial]:
        (tmp_path / name).write_bytes(b"x" * 100)
    for name in [*others, *old]:
        os.utime(tmp_path / name, (1, 1))
    assert sum(size for _, size, _ in kept(tmp_path)) == 500
    with hold(tmp_path / partial):
        make_room(tmp_path, 200)
    assert sorted(os.listdir(tmp_path)) == sorted([*others, old[1], partial])
    make_room(tmp_path, 200)
    assert sorted(os.listdir(tmp_path)) == sorted([*others, old[1]]), "its writer is gone"


def test_a_sequence_is_read_to_its_end_when_it_is_removed_meanwhile(tmp_path, paths):
    cache, rows = FeatureCache(str(tmp_path / "kept")), torch.arange(24.0).reshape(4, 3, 2, 1)
    first = list(cache.maps((), paths[:1], 4, lambda: iter(rows)))
    again = cache.maps((), paths[:1], 4, lambda: pytest.fail("computed again"))
    seen = [next(again)]
    make_room(tmp_path / "kept", 0)
    assert not os.listdir(tmp_path / "kept")
    assert torch.equal(torch.stack([*seen, *again]), rows) and torch.equal(torch.stack(first), rows)


@pytest.mark.parametrize("spoil", ["half", "flipped"])
def test_a_sequence_that_is_damaged_is_computed_again(tmp_path, paths, spoil, caplog):
    cache, rows = FeatureCache(str(tmp_path / "kept")), torch.arange(24.0).reshape(4, 3, 2, 1)
    list(cache.maps((), paths[:1], 4, lambda: iter(rows)))
    (file,) = (tmp_path / "kept").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:150] if spoil == "half" else whole[:140] + bytes([whole[140] ^ 8]) + whole[141:])
    assert torch.equal(torch.stack(list(cache.maps((), paths[:1], 4, lambda: iter(rows)))), rows)
    assert caplog.text.count("computed again") == 1 and file.read_bytes() == whole


def test_a_limit_that_is_no_size_is_refused():
    for limit in (-1, math.nan):
        with pytest.raises(ValueError, match="evaluation.cache_gb must be 0 or more"):
            FeatureCache(None, limit)


@pytest.mark.parametrize("what", ["version", "torch", "device", "precision", "reader", "weights", "arguments"])
def test_one_identity_for_all_features(monkeypatch, what):
    backbone, reader, usual = Tiny(), PyAVReader(), trainer()
    before = features_of(backbone, usual, reader)
    assert features_of(backbone, trainer(), PyAVReader()) == before
    if what == "version":
        monkeypatch.setattr(feature_cache, "__version__", "0")
    elif what == "torch":
        monkeypatch.setattr(torch, "__version__", "0")
    elif what == "device":
        usual = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cuda:0")), precision="32-true")
    elif what == "precision":
        usual = trainer(precision="bf16-mixed")
    elif what == "reader":
        reader = AutoReader()
    elif what == "weights":
        backbone.norm.running_mean[0] += 1e-3
    else:
        backbone.kwargs = {"width": 8, "padding": "reflect"}
    assert features_of(backbone, usual, reader) != before


def _of(folder, array, paths):
    FeatureCache(str(folder)).array((), paths, lambda: array)
    (file,) = folder.iterdir()
    return file.read_bytes()


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
            cache=FeatureCache(str(tmp_path / "kept")),
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
