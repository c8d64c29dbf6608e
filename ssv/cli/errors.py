"""A user's mistake becomes one line that says what to do; everything here is about finding that line."""

from __future__ import annotations

import difflib
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path

from ssv.text import printable

PACKAGE = Path(__file__).resolve().parents[1]


class UserError(Exception):
    """A mistake of whoever typed the command: one line, exit code 2."""


def nearest(word: str, known: Iterable[str]) -> str:
    """The words ``; did you mean 'x'?`` or nothing."""
    options = list(known)

    def likeness(option: str) -> float:
        # A short form counts like the beginning it stands for: 'sped' for 'speed_prediction'.
        return max(difflib.SequenceMatcher(None, word, form).ratio() for form in (option, option[: len(word) + 1]))

    best = max(options, key=likeness, default="")
    return f"; did you mean '{best}'?" if best and likeness(best) >= 0.6 else ""


def from_hydra(error: Exception, keys: Iterable[str]) -> str:
    """Hydra's complaint in one line. ``keys`` are the full names that may be set."""
    text = str(error)
    options = getattr(error, "options", None)
    missing = re.search(r"Could not find '([^']+)'", text) or re.search(r"Could not load '([^']+)'", text)
    if missing:
        group, _, name = missing.group(1).rpartition("/")
        if options:
            known = ", ".join(options)
            return f"unknown {group} '{name}'{nearest(name, options)} (known: {known})"
        return f"nothing is called '{missing.group(1)}'{nearest(group or name, keys)}"
    override = re.search(r"Could not override '([^']+)'", text)
    if override:
        return unknown_key(override.group(1), keys)
    first = " ".join(line.strip() for line in text.splitlines() if line.strip())
    return first[:400]


def unknown_key(key: str, keys: Iterable[str]) -> str:
    """One line about a key that does not exist."""
    known = list(keys)
    if key in known:  # a group that no default chooses from
        return f"'{key}' has no value to change; add it: +{key}=..."
    hint = nearest(key, known)
    if not hint and "." in key:  # a slip in one part: compare within the parent
        parent, _, leaf = key.rpartition(".")
        siblings = [k.rpartition(".")[2] for k in known if k.rpartition(".")[0] == parent]
        hint = nearest(leaf, siblings).replace("'", f"'{parent}.", 1)
    return f"unknown key '{key}'{hint}"


def explain(error: BaseException) -> tuple[str, int] | None:
    """One line and exit code for an error that has a cause outside our code, or None for a defect of ours.

    Exit code 2: the command asks for something that cannot be. 1: the world failed (files, disk, broken videos).
    """
    from hydra.errors import InstantiationException

    from ssv.data.loading import ReadingStopped
    from ssv.data.readers.base import VideoError
    from ssv.locks import Busy
    from ssv.training.checkpoints import SaveError
    from ssv.training.finite import Diverged

    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        return explain(error.__cause__) or (one_line(error), 2)
    if isinstance(error, (UserError, Busy)):
        return one_line(error), 2
    if isinstance(error, (VideoError, SaveError, Diverged, ReadingStopped)):
        return one_line(error), 1
    if is_out_of_memory(error):
        return f"out of memory ({first_sentences(error)}); lower data.batch_size, or the frames or the size of clips", 1
    if isinstance(error, (ValueError, FileNotFoundError)):
        file, line = raised_at(error)
        if file.is_relative_to(PACKAGE):  # its text was written for the user
            return one_line(error), 2
        if not is_installed(file):
            return f"{file}:{line}: {type(error).__name__}: {one_line(error)}", 2
    if isinstance(error, OSError):
        return one_line(error), 1
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or this machine had no room; torch has no type of its own for the latter."""
    import torch

    words = ("can't allocate memory", "Cannot allocate memory")
    is_cpu = isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or is_cpu


def first_sentences(error: BaseException) -> str:
    """What was asked for, without the advice and the C++ places that torch puts around it."""
    text = one_line(error).partition("] ")[2] if str(error).startswith("[") else one_line(error)
    return ". ".join(re.split(r"\.\s", text)[:2]).rstrip(".") or type(error).__name__


def raised_at(error: BaseException) -> tuple[Path, int]:
    """File and line of the raise statement."""
    return places(error)[-1] if error.__traceback__ else (Path(), 0)


def places(error: BaseException) -> list[tuple[Path, int]]:
    """File and line of every call that led to an error, the raise statement last."""
    trace = traceback.walk_tb(error.__traceback__)
    return [(Path(frame.f_code.co_filename).resolve(), line) for frame, line in trace]


def user_code(error: BaseException) -> tuple[Path, int] | None:
    """File and line of the user's own module that an error came out of, or None where it came out of ssv."""
    for file, line in reversed(places(error)):
        if file.is_relative_to(PACKAGE):
            return None
        if not is_installed(file):
            return file, line
    return None


def is_installed(file: Path) -> bool:
    """Whether a file belongs to Python or to an installed package, or to none at all (``<string>``)."""
    folders = [Path(entry).resolve() for entry in sys.path if entry]
    packages = [folder for folder in folders if next(folder.glob("*.dist-info"), None)]
    standard = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")]
    return not file.is_file() or any(file.is_relative_to(folder) for folder in (*packages, *standard))


def one_line(error: BaseException) -> str:
    """The text of an error without line breaks and control characters."""
    return printable(" ".join(str(error).split()))
