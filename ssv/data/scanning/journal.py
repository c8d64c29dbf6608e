"""The journal of a scan: a line for each file that was finished, so that an interrupted scan goes on where it was."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ssv.data.grids import NOTHING, Grid
from ssv.data.scanning.examine import Contents, Finding
from ssv.files import naming, replacing

NAME = "scan.jsonl"
VERSION = 2


class Journal:
    """Appends findings to a file; each line is on its way to the disk before the next one."""

    def __init__(self, path: Path) -> None:
        is_cut = path.is_file() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
        self._path, self._file = path, path.open("a", encoding="utf-8")
        if is_cut:  # an interruption in the middle of a line, which must not spoil the next one
            self._file.write("\n")

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with naming(self._path):
            self._file.close()

    def add(self, finding: Finding) -> None:
        """One more. Raises OSError when the disk is full."""
        with naming(self._path):
            self._file.write(as_line(finding))
            self._file.flush()


def read_journal(path: Path) -> dict[str, Finding]:
    """The findings of a journal by path, the latest of each; what cannot be read (a line cut short) is not there."""
    found: dict[str, Finding] = {}
    if not path.is_file():
        return found
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            finding = from_line(line)
            if finding is not None:
                found[finding.path] = finding
    return found


def rewrite_journal(path: Path, findings: Iterable[Finding]) -> None:
    """Replaces a journal by one that holds these findings alone; whole or not at all. For one process at a time."""
    for left in path.parent.glob(f".{path.name}.*.partial"):  # by a process that was killed
        left.unlink(missing_ok=True)
    with replacing(path) as file:
        file.writelines(as_line(finding).encode() for finding in findings)


def as_line(finding: Finding) -> str:
    """A finding as JSON, with the end of the line."""
    grid = finding.grid
    values: dict[str, Any] = finding._asdict() | {
        "version": VERSION,
        "grid": [grid.frames, grid.span, *grid.unit, grid.off.dtype.str, b64encode(grid.off.tobytes()).decode()],
        "contents": finding.contents and list(finding.contents),
    }
    return json.dumps(values, separators=(",", ":")) + "\n"


def from_line(line: str) -> Finding | None:
    """The finding of a line, or None where it is none of this version."""
    try:
        values = json.loads(line)
        if values.pop("version") != VERSION:
            return None
        frames, span, num, den, kind, off = values["grid"]
        offs = np.frombuffer(b64decode(off), dtype=kind) if off else NOTHING
        contents = None
        if values["contents"] is not None:
            decoded, still, black, cuts, hashes = values["contents"]
            contents = Contents(decoded, still, black, cuts, tuple(hashes))
        return Finding(**values | {"grid": Grid(frames, span, (num, den), offs), "contents": contents})
    except (ValueError, KeyError, TypeError):
        return None
