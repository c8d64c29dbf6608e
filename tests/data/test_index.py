"""The index of a folder: what it keeps to the bit, what it costs, and a training start that opens no file."""

import json
import logging
import os
import pickle
import shutil

import numpy as np
import pytest

from ssv.data import index as index_module
from ssv.data import probing
from ssv.data.crops import CenterCrop, RandomResizedCrop
from ssv.data.datamodule import VideoDataModule
from ssv.data.grids import Grid, pack, unpack
from ssv.data.index import NAME, Entry, Index, find_index, write_index
from ssv.data.probing import Times
from ssv.data.readers.base import VideoError
from ssv.data.readers.probe import look, probe
from ssv.data.readers.pyav import PyAVReader
from ssv.data.sampling import RandomClips, UniformClips
from ssv.data.sets.folder import folder
from tests import videos

KINDS = (videos.constant_rate, videos.variable_rate, videos.packed_avi, videos.edit_list, videos.rotated)


def entry(path, root, **changes):
    """What a look finds, as an entry."""
    found, status = look(str(path)), os.stat(path)
    made = Entry(
        path=os.path.relpath(path, root),
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        ticks=found.table.ticks,
        unit=found.unit,
        height=found.info.height,
        width=found.info.width,
        rotation=found.info.rotation,
        codec=found.info.codec,
    )
    return made._replace(**changes)


def invented(path, ticks=range(0, 100, 2), **changes):
    values = {"size": 7, "mtime_ns": 1, "unit": (1, 50), "height": 48, "width": 64, "rotation": 0, "codec": "h264"}
    return Entry(path, ticks=np.array(ticks, dtype=np.int64), **(values | changes))


@pytest.mark.parametrize(
    "ticks",
    [
        [0],
        [5, 6],
        np.arange(300) * 512,
        np.arange(7) * 1001 - 4004,
        [round(1000 * i / 30) for i in range(200)],  # Matroska at 30 frames per second
        [0, 1, 5, 700, 701, 90_000, 90_001],
        [0, 2**33, 2**33 + 1],
        [0, 2**60, 2**60 + 2**20, 2**61],
    ],
)
def test_a_grid_gives_back_every_tick(ticks):
    ticks = np.array(ticks, dtype=np.int64)
    for num, den in ((1, 12800), (1001, 30000), (1, 1000)):
        grid = Grid.of_ticks(ticks, (num, den))
        table, off = pack([Grid.of_ticks(np.array([0, 1000, 1001]), (1, 25)), grid])
        back = unpack(table[1], off)
        assert back.ticks().tolist() == (ticks - ticks[0]).tolist()
        assert (back.seconds() == (ticks - ticks[0]) * (num / den)).all()


def test_even_grids_need_no_bytes_a_frame_and_rounded_ones_one():
    assert len(Grid.of_ticks(np.arange(1000) * 512, (1, 12800)).off) == 0
    assert Grid.of_ticks(np.round(np.arange(1000) * 1000 / 30), (1, 1000)).off.itemsize == 1


def test_times_are_those_given_in_whatever_form():
    seconds = [np.array([0.0, 0.1, 0.30000000000000004]), np.arange(9) / 7]
    times = Times([seconds[0], Grid.of_ticks(np.arange(5), (1, 3)), seconds[1], Grid(0, 0, (1, 1))])
    assert times.ends.tolist() == [3, 8, 17, 17] and len(times) == 4
    assert (times[0] == seconds[0]).all() and (times[2] == seconds[1]).all()
    assert (times[1] == np.arange(5) * (1 / 3)).all() and len(times[3]) == 0
    assert (pickle.loads(pickle.dumps(times))[2] == seconds[1]).all()


def test_rows_say_what_a_probe_says(tmp_path):
    files = [kind(tmp_path) for kind in KINDS]
    write_index(tmp_path / NAME, [entry(file, tmp_path) for file in files], {"writer": "test", "depth": 3})
    index = find_index(tmp_path)
    assert len(index) == len(KINDS) and index.meta["writer"] == "test" and index.meta["depth"] == 3
    for file in files:
        row, info = index.row(file.name), probe(str(file))
        assert index.seconds(row).dtype == np.float64 and (index.seconds(row) == info.seconds).all()
        assert index.size(row) == (info.height, info.width) and index.path(row) == file.name
        assert index.reason(row) == ""
        for value, wanted in zip(index.entry(row), entry(file, tmp_path), strict=True):
            assert np.array_equal(value, wanted)


def test_paths_are_found_as_in_a_dict(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    names = sorted(
        {f"class {n % 7}/{n:x}ü.mp4" for n in rng.integers(0, 10**9, 500)} | {os.fsdecode(b"no/utf\xff8.avi")}
    )
    monkeypatch.setattr(index_module, "_hash", lambda name: np.uint64(len(name) % 3))  # collisions everywhere
    write_index(tmp_path / NAME, [invented(name) for name in rng.permutation(names).tolist()], {})
    index = find_index(str(tmp_path))
    assert [index.path(row) for row in range(len(index))] == names
    rows = {name: row for row, name in enumerate(names)}
    assert all(index.row(name) == row for name, row in rows.items())
    assert index.row("class 1/none.mp4") is None and index.row("") is None


def test_broken_rows_and_changes(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"1234567")
    broken = invented("b.mp4", [], reason="holds no video, only audio", codec="")
    index = write_index(tmp_path / NAME, [broken, invented("a.mp4")], {})
    assert index.reason(1) == "holds no video, only audio" and len(index.seconds(1)) == 0
    assert index.reason(0) == ""
    os.utime(tmp_path / "a.mp4", ns=(1, 1))
    assert index.is_current(0, os.stat(tmp_path / "a.mp4"))
    os.utime(tmp_path / "a.mp4", ns=(1, 2))
    assert not index.is_current(0, os.stat(tmp_path / "a.mp4"))
    (tmp_path / "a.mp4").write_bytes(b"12345678")
    os.utime(tmp_path / "a.mp4", ns=(1, 1))
    assert not index.is_current(0, os.stat(tmp_path / "a.mp4"))


def test_tables_are_mapped_and_opened_again_elsewhere(tmp_path):
    index = write_index(
        tmp_path / NAME, [invented(f"{n}.mp4") for n in range(9)], {}, arrays={"packets": np.arange(18)}
    )
    assert isinstance(index.array("videos").base, np.memmap)
    assert index.array("packets").tolist() == list(range(18))
    text = pickle.dumps(index)
    assert len(text) < 500
    assert pickle.loads(text).row("7.mp4") == 7


def test_an_interrupted_write_leaves_the_former_index(tmp_path, monkeypatch):
    where = tmp_path / NAME
    write_index(where, [invented("a.mp4")], {"n": 1})
    (where / "scan.jsonl").write_text("kept")

    def full(file, table):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(index_module.np, "save", full)
        with pytest.raises(OSError, match="No space"):
            write_index(where, [invented("b.mp4")], {"n": 2})
    index = find_index(tmp_path)
    assert index.meta["n"] == 1 and index.path(0) == "a.mp4"
    assert len(list(where.glob("tables.*"))) == 1
    write_index(where, [invented("c.mp4")], {"n": 3})
    assert find_index(tmp_path).path(0) == "c.mp4"
    assert len(list(where.glob("tables.*"))) == 1 and (where / "scan.jsonl").read_text() == "kept"
    with pytest.raises(ValueError, match="once"):
        write_index(where, [invented("c.mp4")] * 2, {})


def test_an_index_that_cannot_be_used_says_what_to_do(tmp_path):
    assert find_index(tmp_path) is None
    write_index(tmp_path / NAME, [invented("a.mp4")], {})
    meta = json.loads((tmp_path / NAME / "meta.json").read_text())
    for text, problem in ((json.dumps({**meta, "version": 99}), "version 99"), ("{", "cannot be read")):
        (tmp_path / NAME / "meta.json").write_text(text)
        with pytest.raises(ValueError, match=f"{problem}.*ssv scan"):
            find_index(tmp_path)
    shutil.rmtree(tmp_path / NAME / meta["tables"])
    (tmp_path / NAME / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(ValueError, match="cannot be read.*ssv scan"):
        Index.open(tmp_path / NAME)


def test_a_million_videos_take_less_than_300_megabytes(tmp_path):
    names = [f"some class of videos/{n:06d}_abcdefghijk_000010_000020.mp4" for n in range(1000)]
    rounded = [round(1000 * i / 30) for i in range(300)]  # every eighth a Matroska file of ten seconds
    write_index(
        tmp_path / NAME, [invented(name, rounded if n % 8 == 0 else range(300)) for n, name in enumerate(names)], {}
    )
    size = sum(file.stat().st_size for file in (tmp_path / NAME).rglob("*") if file.is_file())
    assert size * 1000 < 300e6


@pytest.fixture(scope="module")
def pile(tmp_path_factory):
    """Twelve sound files and one that is none, with an index."""
    root = tmp_path_factory.mktemp("pile")
    one = videos.write_numbered(root / "0.mp4", frames=30)
    for n in range(1, 12):
        shutil.copy(one, root / f"{n}.mp4")
    (root / "broken.mp4").write_bytes(b"no video" * 100)
    status = os.stat(root / "broken.mp4")
    broken = invented(
        "broken.mp4", [], size=status.st_size, mtime_ns=status.st_mtime_ns, reason="not a video, said the scan"
    )
    write_index(root / NAME, [entry(root / f"{n}.mp4", root) for n in range(12)] + [broken], {})
    return root


def data(root, **changes):
    values = {"held_out": 0.25, "max_broken": 1, "workers": 0, "reader": PyAVReader(), "seed": 0}
    sampler, crop = RandomClips(frames=4, stride=2), RandomResizedCrop(16)
    measured = UniformClips(frames=4), CenterCrop(16, short_side=16)
    return VideoDataModule(str(root), folder, sampler, crop, *measured, batch_size=3, **(values | changes))


def test_training_starts_without_opening_a_file(pile, monkeypatch, tmp_path, caplog):
    plain = tmp_path / "plain"
    shutil.copytree(pile, plain, ignore=shutil.ignore_patterns(NAME))
    wanted = data(plain).summary()
    looked = []
    monkeypatch.setattr(probing, "look", lambda path: looked.append(path) or look(path))
    module = data(pile)
    summary = module.summary()
    assert not looked
    assert [summary[key] for key in ("fit", "held_out", "fit_hours")] == [
        wanted[key] for key in ("fit", "held_out", "fit_hours")
    ]
    assert summary["broken"] == {str(pile / "broken.mp4"): "not a video, said the scan"}
    assert [v.path for v in module.split("fit")] == [
        v.path.replace(str(plain), str(pile)) for v in data(plain).split("fit")
    ]
    assert len(list(module.train_dataloader())) == 3
    with pytest.raises(VideoError, match="said the scan; .*data.max_broken=1"):
        data(pile, max_broken=0).setup()


def test_files_that_changed_are_looked_at_again(pile, monkeypatch, tmp_path, caplog):
    root = tmp_path / "changed"
    shutil.copytree(pile, root)
    os.utime(root / "3.mp4")
    shutil.copy(pile / "0.mp4", root / "new.mp4")
    shutil.copy(pile / "0.mp4", root / "broken.mp4")
    looked = []
    monkeypatch.setattr(probing, "look", lambda path: looked.append(os.path.basename(path)) or look(path))
    with caplog.at_level(logging.INFO, logger="ssv"):
        module = data(root, held_out=0.0)
        summary = module.summary()
    assert sorted(looked) == ["3.mp4", "broken.mp4", "new.mp4"]
    assert summary["fit"] == 14 and not summary["broken"]
    assert "3 of 14 videos are new or changed" in caplog.text


@pytest.mark.parametrize("short", [1, 40, 4000])
def test_tables_whose_last_bytes_do_not_fit_are_an_error(tmp_path, short):
    resource = pytest.importorskip("resource")  # a limit of the size of files stands for a full disk
    table = np.arange(30_000)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (table.nbytes + 128 - short, before[1]))
    try:
        with pytest.raises(OSError, match="cannot write"):
            index_module._commit(tmp_path / "index", {"videos": table}, "", {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list((tmp_path / "index").iterdir())
