"""Reading a file of weights that anybody may have written: nothing in it is executed, and its size limits what it costs."""

from __future__ import annotations

import argparse
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file


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
        except (SafetensorError, KeyError, ValueError) as error:  # KeyError: a type that torch does not have
            raise ValueError(f"{path} is a damaged safetensors file: {' '.join(str(error).split())}") from error
    if start.startswith(b"PK"):
        _check_archive(path, size)
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
