import errno
import os
from pathlib import Path

import pytest

from ssv.files import (
    is_whole_archive,
    naming,
    read_json,
    read_json_lines,
    replacing,
    write_bytes,
    write_json,
    write_text,
)

WRITERS = {"json": lambda path: write_json(path, {"a": 2}), "text": lambda path: write_text(path, "new"),
           "bytes": lambda path: write_bytes(path, b"new")}  # fmt: skip


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
def test_a_file_is_flushed_before_it_gets_its_name_and_its_folder_after(tmp_path, monkeypatch, write):
    done = []
    fsync, replace = os.fsync, type(tmp_path).replace
    monkeypatch.setattr(
        os, "fsync", lambda number: done.append(os.readlink(f"/proc/self/fd/{number}")) or fsync(number)
    )
    monkeypatch.setattr(type(tmp_path), "replace", lambda self, to: done.append("renamed") or replace(self, to))
    if not os.path.exists("/proc/self/fd"):
        pytest.skip("no /proc on this system")
    write(tmp_path / "x")
    assert done == [str(tmp_path / f".x.{os.getpid()}.partial"), "renamed", str(tmp_path)]
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, write):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "x").write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["x"] and (tmp_path / "x").read_text() == "old"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize(
    "write",
    [
        lambda: Path("/dev/full").write_bytes(b"x" * 99999),
        lambda: Path("/dev/full").write_text("x"),
    ],
    ids=["bytes", "text"],
)
def test_a_full_disk_is_named(write):
    with pytest.raises(OSError, match="cannot write place: .*(No space left|written)"), naming(Path("place")):
        write()


def test_an_error_in_the_block_leaves_nothing_behind(tmp_path):
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "new" / "x"):
        raise ZeroDivisionError
    assert not list((tmp_path / "new").iterdir())


@pytest.mark.parametrize("content", [b"", b'{"a": ', bytes(9), b"\xff\xfe", b"[1]", b"3", b"[" * 100_000])
def test_what_is_no_mapping_reads_as_missing(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    assert read_json(tmp_path / "x") == {} == read_json(tmp_path / "missing")


def test_lines_that_hold_no_mapping_are_told_apart(tmp_path):
    (tmp_path / "x").write_bytes(b'{"a": 1}\n{"a": \n\0\0\0\n\n7\n\xff\n{"b": 2}')
    rows, damaged = read_json_lines(tmp_path / "x")
    assert rows == [{"a": 1}, {"b": 2}] and damaged == ['{"a": ', "\0\0\0", "7", "\ufffd"]
    assert read_json_lines(tmp_path / "missing") == ([], [])


def test_a_whole_archive(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "x.pt"
    torch.save({"x": torch.arange(1000)}, path)
    content = path.read_bytes()
    assert is_whole_archive(path) and not is_whole_archive(tmp_path / "missing")
    middle = len(content) // 2
    for spoilt in (b"", content[:middle], bytes(len(content)), content[:middle] + bytes(512) + content[middle + 512 :]):
        path.write_bytes(spoilt)
        assert not is_whole_archive(path)
