"""Small files that are the old one or the new one, whole, after a kill, a full disk or a power cut; and reading them.

Reading never raises for what a file holds: a disk that lost power may return it empty, halved or full of zero bytes.
"""

from __future__ import annotations

import errno
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write that replaces ``path``, flushed to the disk, when the block ends without an error.

    Args:
        path: its folder is made if missing.

    Raises:
        OSError: the disk is full or not writable; ``path`` is as before and nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with naming(path), partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of the disk in the block say which file was written: those of writing, unlike those of opening, do not."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            raise OSError(error.errno or errno.EIO, f"cannot write {path}: {error.strerror or error}") from error
        raise


def sync_folder(folder: Path) -> None:
    """Flush names in a folder to the disk; does nothing where the file system cannot."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Replace a file as a whole; see ``replacing``."""
    with replacing(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Replace a text file, UTF-8, as a whole; see ``replacing``."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a small JSON file as a whole; see ``replacing``."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file; empty if the file is missing, unreadable or holds no mapping."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def read_lines(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The mappings in a ``.jsonl`` file, one a line, and the lines that hold none; both empty if there is no file.

    Raises:
        OSError: the file is there and cannot be read.
    """
    rows: list[dict[str, Any]] = []
    damaged: list[str] = []
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    for line in text.split("\n"):
        try:
            value = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError):
            value = line
        if isinstance(value, dict):
            rows.append(value)
        elif value is not None:
            damaged.append(line)
    return rows, damaged


def is_whole_archive(path: Path) -> bool:
    """Whether a file written by ``torch.save`` (a zip archive) is there, to its end and with the sums it was written with."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, ValueError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile):
        return False
