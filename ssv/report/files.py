"""Reading files that nobody vouches for: half written, damaged or odd, but never fatal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ssv.text import clean


def read_text(path: Path) -> str:
    """The text; bytes that are no UTF-8 become a mark. OSError if it cannot be read."""
    return path.read_text(encoding="utf-8", errors="replace")


def mapping(text: str, name: str) -> dict[str, Any]:
    """The mapping in a JSON text; ValueError, saying why, where there is none. ``name`` stands in the message."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is not JSON: {clean(error)}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{name} holds no mapping")
    return value


def is_number(value: object) -> bool:
    """A finite number; the bound refuses nan, infinity and integers that no float can hold."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300


def number(value: Any) -> float:
    """A finite number, 0 for anything else."""
    return float(value) if is_number(value) else 0.0


def lines_of(path: Path, notes: list[str]) -> Iterator[dict[str, Any]]:
    """The readable lines of a .jsonl; an unreadable last line was cut off by a kill, others are damage."""
    try:
        lines = read_text(path).split("\n")
    except FileNotFoundError:
        return
    except OSError as error:
        notes.append(f"{path.name} cannot be read: {clean(error.strerror or error)}")
        return
    damaged = 0
    for place, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield mapping(line, path.name)
        except ValueError:
            if place == len(lines):  # no newline follows: still being written, or killed while writing
                notes.append(f"{path.name}: the last line is cut off and was left out")
            else:
                damaged += 1
    if damaged:
        notes.append(f"{path.name}: {damaged} unreadable line{'s' if damaged > 1 else ''} left out")


def inside(folder: Path, name: object) -> Path | None:
    """An existing file inside the run folder, None for anything else."""
    if not isinstance(name, str) or "\0" in name:
        return None
    path = folder / name
    return path if path.is_file() and path.resolve().is_relative_to(folder.resolve()) else None
