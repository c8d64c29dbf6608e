"""Reading a file of weights that anybody may have written: nothing in it is executed, and its size limits what it costs."""

from __future__ import annotations

import argparse
import io
import pickletools
import re
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

INFLATING = {
    *(f"{module} bytearray" for module in ("builtins", "__builtin__")),
    *(f"torch._utils _rebuild_{kind}" for kind in ("device_tensor_from_numpy", "device_tensor_from_cpu_tensor")),
    "torch._utils _rebuild_wrapper_subclass",
}
"""What torch calls for a file, though it may make more bytes than the file has."""
PICKLES = 5  # at the beginning of a file of torch before 1.6


def read_weights_file(path: Path) -> Any:
    """What a file written by ``torch.save`` or by safetensors holds, its tensors on the CPU.

    Args:
        path: of any name; the content tells which of the two it is.

    Raises:
        OSError: if it cannot be opened.
        ValueError: if it is neither, is cut off, holds more than tensors and plain values, or would unpack to more than
            its size.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(9)
    if start[8:] == b"{" and int.from_bytes(start[:8], "little") <= size - 8:
        try:
            return load_file(path)
        except (SafetensorError, LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise ValueError(f"{path} is a damaged safetensors file: {' '.join(str(error).split())}") from error
    if start.startswith(b"PK"):
        _check_archive(path, size)
    for name in _made_by(path):
        if name in INFLATING:
            raise ValueError(
                f"{path} is not a weights file: it makes {name.replace(' ', '.')}, of any size; save its state_dict alone"
            )
    try:
        # Namespace: many public files keep their command line beside the weights; it holds values, runs nothing.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # what is no weights file, or half of one, fails in any way, OSError among them
        if found := re.search(r"Unsupported (?:global|class): GLOBAL ([\w.]+)|Unsupported class ([\w.]+)", str(error)):
            name = found[1] or found[2]
            raise ValueError(
                f"{path} is not a weights file: it holds {name}, which is code and not run; save its state_dict alone"
            ) from error
        raise ValueError(
            f"{path} is not a weights file: needed are tensors and plain values, written whole by torch.save or safetensors"
        ) from error


def _made_by(path: Path) -> Iterator[str]:
    """The classes and functions, "module name", that the pickles of a file of ``torch.save`` call; none of them runs."""
    try:
        with zipfile.ZipFile(path) as archive:
            inner = [archive.read(name) for name in archive.namelist() if name.endswith("data.pkl")]
        streams = [(io.BytesIO(content), 1) for content in inner]
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        streams = [(io.BytesIO(path.read_bytes()), PICKLES)]  # as torch wrote it before 1.6
    for stream, count in streams:
        try:
            for _ in range(count):
                yield from (
                    str(text) for code, text, _ in pickletools.genops(stream) if code.name in ("GLOBAL", "INST")
                )
        except (ValueError, IndexError, UnicodeError, struct.error):  # whoever loads it will be told
            continue


def _check_archive(path: Path, size: int) -> None:
    """``torch.save`` compresses nothing: an archive that does may be small and fill any memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise ValueError(f"{path} is not a weights file: the archive is damaged or cut off") from error
    packed = [entry for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
    total = sum(entry.file_size for entry in entries)
    if packed or total > size:
        what = f"{len(packed)} compressed entries" if packed else "entries that overlap"
        raise ValueError(
            f"{path} is not a weights file: it has {what} ({total} bytes in a file of {size}), which torch.save never writes"
        )
