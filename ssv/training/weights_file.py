"""Reading a file of weights that anybody may have written: nothing in it is executed, and its size limits what it costs."""

from __future__ import annotations

import argparse
import io
import pickletools
import re
import struct
import zipfile
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

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
    else:  # as torch wrote it before 1.6
        with open(path, "rb") as file:
            _check_calls(path, file, PICKLES)
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


def _check_calls(path: Path, stream: BinaryIO, pickles: int) -> None:
    """Refuse pickles that call what makes more bytes than they have; none of it is run. Raises ValueError."""
    try:
        codes = chain.from_iterable(pickletools.genops(stream) for _ in range(pickles))
        called = next(
            (str(name) for code, name, _ in codes if code.name in ("GLOBAL", "INST") and name in INFLATING), ""
        )
    except (ValueError, IndexError, UnicodeError, struct.error):  # no pickle: `torch.load` finds the reason
        return
    if called:
        raise ValueError(
            f"{path} is not a weights file: it makes {called.replace(' ', '.')}, of any size; save its state_dict alone"
        )


def _check_archive(path: Path, size: int) -> None:
    """``torch.save`` compresses nothing: an archive that does may be small and fill any memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            packed = [entry for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
            total = sum(entry.file_size for entry in entries)
            is_plain = not packed and total <= size
            pickles = [archive.read(entry) for entry in entries if is_plain and entry.filename.endswith("data.pkl")]
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise ValueError(f"{path} is not a weights file: the archive is damaged or cut off") from error
    if not is_plain:
        what = f"{len(packed)} compressed entries" if packed else "entries that overlap"
        raise ValueError(
            f"{path} is not a weights file: it has {what} ({total} bytes in a file of {size}), which torch.save never writes"
        )
    for content in pickles:
        _check_calls(path, io.BytesIO(content), 1)
