"""What all data sets share: which files are videos, and a useful answer when a data set is not there."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence

EXTENSIONS = frozenset(
    (".264", ".265", ".3g2", ".3gp", ".apng", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".h264", ".hevc")
    + (".m1v", ".m2p", ".m2t", ".m2ts", ".m2v", ".m4v", ".mkv", ".mod", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mpv")
    + (".mts", ".mxf", ".nut", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".tod", ".ts", ".vob", ".webm", ".wmv", ".wtv")
    + (".xvid", ".y4m")
)
INDEX_FOLDER = "ssv_index"  # written by `ssv scan` and `ssv prepare`; nothing in it is a video of the set
NAMED = 3  # files an error names before it says how many more


class DataNotFound(FileNotFoundError):
    """A data set, or a part of it, is not where it was looked for."""


def not_found(root: str, missing: str, *, get: str, layout: str) -> DataNotFound:
    """The error that says what is missing below ``root``, where to ``get`` it and how to lay it out."""
    return DataNotFound(
        f"{missing} (looked in {os.path.abspath(root)}). {get} Needed there: {layout}. "
        "Kept elsewhere? Set data.root=/path (this data set) or data_root=/path (all of them)."
    )


def named(names: Sequence[str], *, most: int = NAMED, between: str = ", ") -> str:
    """The first few names of a list, or other parts of a message, and how many more there are."""
    more = len(names) - most
    return between.join(names[:most]) + (f" and {more} more" if more > 0 else "")


def natural_order(name: str) -> tuple[list[tuple[int, str]], str]:
    """A key to sort names by, with numbers in them by value: ``2.jpg`` before ``10.jpg``."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if number % 2 else (-1, part) for number, part in enumerate(parts)], name


def absent(folder: str, names: Sequence[str]) -> list[str]:
    """Those of ``names`` (``Class/file.avi``, with ``/``) that are not below ``folder``, in order."""
    # One look into each folder: asking file by file takes minutes on a network disk.
    parts = {os.path.dirname(name) for name in names}
    there = {part: set(os.listdir(path)) for part in parts if os.path.isdir(path := os.path.join(folder, part))}
    return [name for name in names if os.path.basename(name) not in there.get(os.path.dirname(name), ())]


def is_video(name: str) -> bool:
    """Whether a file name looks like a video that is meant to be seen."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS


def entries_below(
    folder: str, *, on_error: Callable[[OSError], None] | None = None, seen: set[str] | None = None
) -> Iterator[os.DirEntry[str]]:
    """Everything at any depth below ``folder``, folders too, except for names that start with a dot and the index.

    Links to folders are followed, each folder once. A folder that cannot be listed is told to ``on_error`` and passed
    over, or raises OSError.
    """
    seen = set() if seen is None else seen
    real = os.path.realpath(folder)
    if real in seen:  # a link back up, or a second link to the same place
        return
    seen.add(real)
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        if on_error is None:
            raise
        on_error(error)
        return
    # Real folders before links to them: the same path is found whatever the links are called.
    for entry in sorted(entries, key=lambda entry: (entry.is_symlink(), entry.name)):
        if entry.name.startswith(".") or entry.name == INDEX_FOLDER:
            continue
        yield entry
        if is_folder(entry):
            yield from entries_below(entry.path, on_error=on_error, seen=seen)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder or leads to one; a link that leads round in a circle does not."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_listed(entry: os.DirEntry[str]) -> bool:
    """Whether it is named like a video and is a file, or a link that leads nowhere: a broken video, and no absent one."""
    try:
        is_file = entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))
    except OSError:  # round in a circle
        is_file = True
    return is_file and is_video(entry.name)
