"""The index of a folder of videos: what a look at every file found, so that training starts without opening any.

It lies in ``<root>/ssv_index/``: ``meta.json`` names the folder beside it that holds the tables. A new index is written
into a folder of its own and ``meta.json`` replaced at the end, so that there is always a whole one or none.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ssv.data.grids import ROW, Grid, pack, unpack
from ssv.data.sets.lookup import INDEX_FOLDER
from ssv.files import replacing, sync_folder, write_text

NAME = INDEX_FOLDER
VERSION = 1
_COLUMNS = np.dtype(
    [
        *((name, ROW[name]) for name in ROW.names or ()),
        ("path_end", "<i8"),
        ("size", "<i8"),
        ("mtime_ns", "<i8"),
        ("first", "<i8"),
        ("height", "<u2"),
        ("width", "<u2"),
        ("rotation", "<u2"),
        ("codec", "u1"),
        ("sound", "?"),
    ]
)


class Entry(NamedTuple):
    """What is known of one file.

    path: relative to the root, with ``/``. size: bytes. mtime_ns: of its last change.
    ticks: int64 (n,), presentation times in display order. unit: seconds in a tick, (numerator, denominator).
    height, width: as shown, after rotation. rotation: degrees counter-clockwise stored in the file.
    codec: FFmpeg's name. reason: why it is broken, one line; "" when it is sound.
    """

    path: str
    size: int
    mtime_ns: int
    ticks: np.ndarray
    unit: tuple[int, int]
    height: int
    width: int
    rotation: int
    codec: str
    reason: str = ""


class Index:
    """The tables of an index, memory-mapped: nothing is read before it is asked for, and forks share the pages.

    Rows are videos, sorted by relative path. Pickled, it carries the folder's name alone and opens it again.
    """

    def __init__(self, folder: str, meta: dict[str, Any]) -> None:
        """Use ``Index.open``."""
        self.folder = folder
        self.meta = meta
        self._rows, self._hashes, self._order = (self.array(name) for name in ("videos", "hashes", "order"))
        self._off, self._paths = self.array("ticks"), self.array("paths")
        self._reasons: dict[str, str] | None = None

    @classmethod
    def open(cls, folder: str | Path) -> Index:
        """The index in ``folder`` (``<root>/ssv_index``).

        Raises ValueError when there is none, it is of another version, or it is damaged.
        """
        try:
            meta = json.loads(Path(folder, "meta.json").read_text())
            if meta["version"] == VERSION:
                return cls(str(folder), meta)
            problem = f"is of version {meta['version']}, this ssv reads version {VERSION}"
        except (OSError, ValueError, KeyError, TypeError) as error:
            problem = f"cannot be read ({type(error).__name__})"
        raise ValueError(f"the index {folder} {problem}; write it again with `ssv scan`, or remove the folder")

    def __reduce__(self) -> tuple[Any, ...]:
        return Index.open, (self.folder,)

    def __len__(self) -> int:
        return len(self._rows)

    def array(self, name: str) -> np.ndarray:
        """A table of the index, memory-mapped and read-only; also one that its writer added."""
        found = np.load(os.path.join(self.folder, self.meta["tables"], f"{name}.npy"), mmap_mode="r")
        return np.asarray(found)

    def row(self, path: str) -> int | None:
        """The row of a path relative to the root, or None."""
        name = os.fsencode(path)
        key = _hash(name)
        place = int(np.searchsorted(self._hashes, key))
        while place < len(self) and self._hashes[place] == key:
            row = int(self._order[place])
            if self._name(row) == name:
                return row
            place += 1
        return None

    def path(self, row: int) -> str:
        """The path of a row, relative to the root."""
        return os.fsdecode(self._name(row))

    def grid(self, row: int) -> Grid:
        """The presentation times of a row, compact; no frames for one that could not be looked at."""
        return unpack(self._rows[row], self._off)

    def seconds(self, row: int) -> np.ndarray:
        """Presentation times of a row, float64 (n,), first frame at 0: to the bit those of ``readers.probe.probe``."""
        return self.grid(row).seconds()

    def size(self, row: int) -> tuple[int, int]:
        """Height and width of a row as shown, after rotation."""
        found = self._rows[row]
        return int(found["height"]), int(found["width"])

    def is_current(self, row: int, status: os.stat_result) -> bool:
        """Whether the file has not changed since: its size and the time of its last change are the same."""
        found = self._rows[row]
        return int(found["size"]) == status.st_size and int(found["mtime_ns"]) == status.st_mtime_ns

    def reason(self, row: int) -> str:
        """Why the video of a row is broken; "" when it is sound."""
        if self._rows[row]["sound"]:
            return ""
        if self._reasons is None:
            lines = Path(self.folder, self.meta["tables"], "reasons.jsonl").read_text().splitlines()
            self._reasons = dict(json.loads(line) for line in lines)
        return self._reasons[self.path(row)]

    def entry(self, row: int) -> Entry:
        """All that is known of a row."""
        found, grid = self._rows[row], self.grid(row)
        return Entry(
            path=self.path(row),
            size=int(found["size"]),
            mtime_ns=int(found["mtime_ns"]),
            ticks=grid.ticks() + int(found["first"]),
            unit=grid.unit,
            height=int(found["height"]),
            width=int(found["width"]),
            rotation=int(found["rotation"]),
            codec=self.meta["codecs"][int(found["codec"])],
            reason=self.reason(row),
        )

    def _name(self, row: int) -> bytes:
        start = int(self._rows[row - 1]["path_end"]) if row else 0
        return self._paths[start : int(self._rows[row]["path_end"])].tobytes()


def find_index(root: str | Path) -> Index | None:
    """The index of a data set, or None where there is none. Raises ValueError when it cannot be used."""
    folder = Path(root, NAME)
    return Index.open(folder) if (folder / "meta.json").is_file() else None


def write_index(
    folder: str | Path,
    entries: Iterable[Entry],
    meta: Mapping[str, Any],
    *,
    arrays: Mapping[str, np.ndarray] | None = None,
) -> Index:
    """Writes the index ``folder`` (``<root>/ssv_index``); a former one stays until this one is whole.

    Args:
        folder: made if missing; other files in it are left alone.
        entries: in any order, each path once. Their ticks are not kept in memory.
        meta: what wrote it and how, as plain values.
        arrays: tables of one's own by name, for ``Index.array``; their rows in sorted order of the paths.

    Raises:
        ValueError: a path twice.
        OSError: the disk is full or may not be written to.
    """
    kept = sorted(_compact(entries), key=lambda pair: pair[0].path)
    codecs = sorted({entry.codec for entry, _ in kept})
    table, off = pack(grid for _, grid in kept)
    names = [os.fsencode(entry.path) for entry, _ in kept]
    if len(set(names)) < len(names):
        raise ValueError("an index takes each path once, got some twice")
    rows = np.empty(len(kept), dtype=_COLUMNS)
    for name in ROW.names or ():
        rows[name] = table[name]
    rows["path_end"] = np.cumsum([len(name) for name in names], dtype=np.int64)
    for name in ("size", "mtime_ns", "height", "width", "rotation"):
        rows[name] = [getattr(entry, name) for entry, _ in kept]
    rows["first"] = [int(entry.ticks[0]) for entry, _ in kept]
    rows["codec"] = [codecs.index(entry.codec) for entry, _ in kept]
    rows["sound"] = [not entry.reason for entry, _ in kept]
    hashes = np.array([_hash(name) for name in names], dtype=np.uint64)
    order = np.argsort(hashes, kind="stable").astype(np.uint32)
    tables = {"videos": rows, "hashes": hashes[order], "order": order, "ticks": off}
    tables["paths"] = np.frombuffer(b"".join(names), dtype=np.uint8)
    reasons = [json.dumps([entry.path, entry.reason]) + "\n" for entry, _ in kept if entry.reason]
    _commit(Path(folder), {**tables, **(arrays or {})}, "".join(reasons), {**meta, "codecs": codecs})
    return Index.open(folder)


def _compact(entries: Iterable[Entry]) -> Iterator[tuple[Entry, Grid]]:
    """Each entry with its times packed and its ticks cut down to the first."""
    for entry in entries:
        ticks = np.asarray(entry.ticks, dtype=np.int64)
        first = ticks[:1].copy() if len(ticks) else np.zeros(1, dtype=np.int64)
        yield entry._replace(ticks=first), Grid.of_ticks(ticks, entry.unit)


def _commit(folder: Path, tables: Mapping[str, np.ndarray], reasons: str, meta: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix="tables.", dir=folder))
    try:
        new.chmod(0o777 & ~_umask())  # mkdtemp keeps everybody else out
        for name, table in tables.items():
            with replacing(new / f"{name}.npy") as file:
                np.save(_Writing(file.write), table)
        write_text(new / "reasons.jsonl", reasons)
        text = json.dumps({"version": VERSION, **meta, "videos": len(tables["videos"]), "tables": new.name}, indent=1)
        write_text(new / "meta.json", text)
        (new / "meta.json").replace(folder / "meta.json")
        sync_folder(folder)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    for old in folder.glob("tables.*"):
        if old != new:
            shutil.rmtree(old, ignore_errors=True)


class _Writing(NamedTuple):
    """Makes numpy write through Python: by itself it does not notice that the last bytes do not fit on a disk."""

    write: Callable[[bytes], int]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _hash(name: bytes) -> np.uint64:
    return np.uint64(int.from_bytes(blake2b(name, digest_size=8).digest(), "little"))
