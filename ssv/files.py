"""Small files that are the old one or the new one, whole, after a kill, a full disk or a power cut; and reading them.

Reading never raises for what a file holds: a disk that lost power may return it empty, halved or full of zero bytes.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

MOST_BYTES, MOST_LINES = 2**24, 2**30
"""Of a small file and of a file of lines; what is larger was not written by ssv, and is not read into memory."""


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


def read_regular(path: Path, most: int) -> bytes:
    """The content of a file.

    Raises:
        OSError: it cannot be read, is a device or a pipe, or holds more than ``most`` bytes.
    """
    known = path.stat()
    if not stat.S_ISREG(known.st_mode) or known.st_size > most:
        raise OSError(errno.EINVAL, f"no file of {most} bytes at most", str(path))
    return path.read_bytes()


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file; empty if the file is missing, unreadable or holds no mapping."""
    try:
        value = json.loads(read_regular(path, MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def read_json_lines(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The mappings in a ``.jsonl`` file, one a line, and the lines that hold none; both empty if there is no file.

    Raises:
        OSError: the file is there and cannot be read.
    """
    rows: list[dict[str, Any]] = []
    damaged: list[str] = []
    text = read_regular(path, MOST_LINES).decode(errors="replace") if path.exists() else ""
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
    damaged = (OSError, ValueError, EOFError, NotImplementedError, RuntimeError, LookupError, struct.error, zlib.error)
    try:
        if not path.is_file():
            return False
        with zipfile.ZipFile(path) as archive:
            is_stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
            return is_stored and archive.testzip() is None
    except (*damaged, zipfile.BadZipFile):
        return False
