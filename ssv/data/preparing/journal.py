"""What has been prepared, a line a file, so that an interrupted preparation goes on where it was."""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ssv.data.preparing.packets import PACKET
from ssv.files import naming, replacing


class Done(NamedTuple):
    """A prepared video, or a broken one: then ``reason`` says why and the fields after ``mtime_ns`` are empty.

    path: relative. source_size: bytes of what it was made from. mtime_ns: of both. size: bytes.
    ticks: int64 (n,), the source's. unit: seconds in a tick, (numerator, denominator). first: frames of the first
    group. header: of the decoder. packets: ``PACKET`` (n,).
    """

    path: str
    source_size: int
    mtime_ns: int
    reason: str = ""
    size: int = 0
    ticks: np.ndarray = np.empty(0, np.int64)
    unit: tuple[int, int] = (1, 1)
    height: int = 0
    width: int = 0
    first: int = 0
    header: bytes = b""
    packets: np.ndarray = np.empty(0, PACKET)


class Journal:
    """A file of lines, the first with the settings; only ever appended to until ``sort``. For one process at a time.

    A line that was being written when the process was killed, or the power was cut, is dropped with all that follow it
    when the journal is opened again: those files are prepared once more.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        """Opens or begins the journal ``path``.

        Raises ValueError when it was written under other ``settings``.
        """
        self._path = path
        self._places: dict[str, int] = {}
        self._file = open(path, "a+b")  # noqa: SIM115 - open for as long as the journal is
        found = self._read()
        if found is None:
            self._write({"settings": dict(settings)})
        elif found != settings:
            self.close()
            raise ValueError(f"{path.parent.parent} was prepared {_difference(found, settings)}")

    def close(self) -> None:
        """No more is noted."""
        self._file.close()

    def __len__(self) -> int:
        return len(self._places)

    def paths(self) -> list[str]:
        """What is done, sorted."""
        return sorted(self._places)

    def get(self, path: str) -> Done | None:
        """What was noted of a path, or None."""
        if path not in self._places:
            return None
        self._file.seek(self._places[path])
        return _unpack(json.loads(self._file.readline()))

    def all(self) -> Iterator[Done]:
        """All that is done, in the order of the paths."""
        for path in self.paths():
            done = self.get(path)
            assert done is not None
            yield done

    def append(self, done: Done) -> None:
        """Notes one more; a later line of the same path replaces the former."""
        self._places[done.path] = self._write(_pack(done))

    def sort(self) -> None:
        """Writes it anew in the order of the paths: the same files make the same journal, whoever was first."""
        self._file.seek(0)
        with replacing(self._path) as file:
            file.write(self._file.readline())
            for path in self.paths():
                self._file.seek(self._places[path])
                self._places[path] = file.tell()
                file.write(self._file.readline())
        self._file.close()
        self._file = open(self._path, "a+b")  # noqa: SIM115 - as above

    def _read(self) -> dict[str, Any] | None:
        """The settings, None for a new journal; finds all lines and cuts off what was not finished."""
        self._file.seek(0)
        settings, end = None, 0
        for line in self._file:
            try:
                found = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:  # zero bytes or half a line: a power cut
                found = None
            if found is None:
                break
            if settings is None:
                settings = found["settings"]
            else:
                self._places[found["path"]] = end
            end += len(line)
        self._file.truncate(end)
        return settings

    def _write(self, line: Mapping[str, Any]) -> int:
        """Appends a line; returns where it begins."""
        at = self._file.seek(0, os.SEEK_END)
        with naming(self._path):
            self._file.write(json.dumps(line).encode() + b"\n")
            self._file.flush()
        return at


def _pack(done: Done) -> dict[str, Any]:
    plain = done._asdict()
    for name in ("ticks", "packets"):
        plain[name] = base64.b64encode(zlib.compress(plain[name].tobytes(), 1)).decode()
    return {**plain, "header": done.header.hex()}


def _unpack(plain: dict[str, Any]) -> Done:
    arrays = {
        name: np.frombuffer(zlib.decompress(base64.b64decode(plain[name])), dtype)
        for name, dtype in (("ticks", np.dtype(np.int64)), ("packets", PACKET))
    }
    return Done(**{**plain, **arrays, "unit": tuple(plain["unit"]), "header": bytes.fromhex(plain["header"])})


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    if found.get("prepare") != wanted.get("prepare"):
        return "by another version of ssv; name another folder for out, or remove that one"
    keys = [key for key in {**found, **wanted} if found.get(key) != wanted.get(key)]
    changes = ", ".join(f"{key}={found.get(key)} (now {wanted.get(key)})" for key in keys)
    return f"with {changes}; name another folder for out, or set the former"
