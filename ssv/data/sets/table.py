"""A list of videos in a CSV file: the shortest way to bring labels of one's own."""

from __future__ import annotations

import os

from ssv.data.lists import read_table
from ssv.data.sets.lookup import named, not_found
from ssv.types import Video

GET = "Write the list in any spreadsheet or text editor."
LAYOUT = "a CSV file with the columns path,label and, if wanted, split (train or test) and group"


def table(root: str, split: str, *, file: str = "videos.csv") -> list[Video]:
    """The rows of one split, in the file's order.

    The first line names the columns, in any order: ``path`` (relative to ``root``), ``label``, and, if
    wanted, ``split`` (without it every row is ``train``) and ``group`` (what must stay together when videos
    are held out; without it every video is its own). Labels are all whole numbers from 0, or all names, which
    are numbered in sorted order over both splits; an empty label is -1, none.

    Args:
        root: the folder that paths start from.
        split: ``"train"`` or ``"test"``.
        file: the list, relative to ``root``.

    Raises:
        DataNotFound: the list or videos it names are missing.
        ValueError: bad rows, with their line numbers; or no row of this split.
    """
    if split not in ("train", "test"):
        raise ValueError(f"a list of videos has the splits 'train' and 'test', got {split!r}")
    path = os.path.join(root, file)
    if not os.path.isfile(path):
        raise not_found(root, f"no list {file} (data.videos.file)", get=GET, layout=LAYOUT)
    rows = _rows(path)
    labels = _labels(path, rows)
    chosen = {line: row for line, row in rows.items() if row["split"] == split}
    if not chosen:
        raise ValueError(f"{path}: no row with split {split!r}; {len(rows)} rows in all")
    missing = [f"line {line}: {row['path']}" for line, row in chosen.items() if not _exists(root, row["path"])]
    if missing:
        what = f"{len(missing)} of the {len(chosen)} {split} videos in {file} are missing: {named(missing)}"
        raise not_found(root, what, get=GET, layout=LAYOUT)
    return [
        Video(os.path.join(root, row["path"]), labels[line], row["group"] or row["path"])
        for line, row in chosen.items()
    ]


def _rows(path: str) -> dict[int, dict[str, str]]:
    """Line number to row, with every column filled in; ValueError naming all that is wrong."""
    rows: dict[int, dict[str, str]] = {}
    first_line: dict[str, int] = {}
    bad: list[str] = []
    for line, cells in read_table(path, ("path",), ("label", "split", "group")):
        row = cells | {"split": cells["split"] or "train"}
        if not row["path"]:
            bad.append(f"line {line} has no path")
        elif row["split"] not in ("train", "test"):
            bad.append(f"line {line} has split {row['split']!r}, not train or test")
        elif (place := os.path.normpath(row["path"])) in first_line:
            bad.append(f"line {line} repeats the video of line {first_line[place]}")
        else:
            first_line[place] = line
            rows[line] = row
    if bad:
        raise ValueError(f"{path}: {named(bad, between='; ')}")
    return rows


def _labels(path: str, rows: dict[int, dict[str, str]]) -> dict[int, int]:
    """Line number to 0-based label."""
    given = {line: row["label"] for line, row in rows.items() if row["label"]}
    numbers = {line for line, label in given.items() if label.isdecimal() and len(label) < 10}
    if not numbers and not any(map(_is_number, given.values())):
        place = {name: i for i, name in enumerate(sorted(set(given.values())))}
        return {line: place.get(row["label"], -1) for line, row in rows.items()}
    if odd := [f"line {line} has {label!r}" for line, label in given.items() if line not in numbers]:
        raise ValueError(f"{path}: labels must be all whole numbers from 0 or all names; {named(odd)}")
    return {line: int(row["label"] or -1) for line, row in rows.items()}


def _is_number(text: str) -> bool:
    """Whether it reads as a number, such as -1 and the 2.0 of programs that have no whole numbers."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _exists(root: str, path: str) -> bool:
    return os.path.isfile(os.path.join(root, path))
