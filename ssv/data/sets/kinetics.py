"""Kinetics-400, 600 and 700: ten seconds of YouTube each, as lists with files, or as one folder for each class.

Kay et al., arXiv:1705.06950; Carreira et al., arXiv:1808.01340 and arXiv:1907.06987. Videos vanish from YouTube, so
that no two copies are the same: what a list names and the disk does not have is always counted.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from ssv.data.lists import read_table
from ssv.data.sets.lookup import DataNotFound, is_video, named, not_found
from ssv.types import Video

log = logging.getLogger(__name__)

NAMES = {"train": ("train",), "test": ("val", "validate", "validation")}
"""Of folders and lists; the test labels were not published at first, and everyone measures on val."""
LIST_FOLDERS = (".", "annotations")
COLUMNS = ("label", "youtube_id", "time_start", "time_end")
GET = "Get Kinetics from the CVD Foundation (github.com/cvdfoundation/kinetics-dataset)."
LAYOUT = (
    "train.csv and val.csv (or validate.csv; here or in annotations/) with the columns label,youtube_id,time_start,"
    "time_end, and train/ and val/ with <id>_<start>_<end>.mp4 or <id>.mp4, directly or in one folder for each class; "
    "or no lists, and train/<class>/*.mp4, val/<class>/*.mp4"
)


def kinetics(
    root: str, split: str, *, classes: int | None = None, missing: Literal["error", "skip"] = "error"
) -> list[Video]:
    """The videos of one split, in the order of its list; without lists those of the class folders, sorted by path.

    The label is the place of the class among the sorted names of all lists (or folders) together. ``"test"`` is the
    official val. A listed video is looked for as ``<id>_%06d_%06d`` (whole seconds of its start and end), then as
    ``<id>``, with any extension of a video. The group is the YouTube id.

    Args:
        root: the folder with ``train`` and ``val``.
        split: ``"train"`` or ``"test"``.
        classes: how many there have to be, 400, 600 or 700; a subset would number them otherwise. None: any number.
        missing: what listed videos that are not there are: an error, or left out with one line that counts them.

    Raises:
        DataNotFound: a folder or all listed videos are missing, or some with ``missing="error"``.
        ValueError: an unknown split, a list that makes no sense, or another number of classes.
    """
    if split not in NAMES:
        raise ValueError(f"Kinetics has the splits 'train' and 'test' (its val), got {split!r}")
    if missing not in ("error", "skip"):
        raise ValueError(f"data.videos.missing must be error or skip, got {missing!r}")
    folder = _first(root, [os.path.join(root, name) for name in NAMES[split]], split)
    lists = {side: path for side in NAMES if (path := _list(root, side))}
    rows = {side: _rows(path) for side, path in lists.items()}
    if rows and split not in rows:
        raise not_found(root, f"Kinetics: no list {NAMES[split][0]}.csv", get=GET, layout=LAYOUT)
    labels = _labels({row.label for each in rows.values() for row in each} if rows else set(_folders(root)), classes)
    if not rows:
        return _by_folder(folder, labels)
    return _by_list(root, folder, lists[split], rows[split], labels, missing)


class _Row(NamedTuple):
    label: str
    youtube_id: str
    start: int
    end: int


def _first(root: str, folders: Sequence[str], split: str) -> str:
    for folder in folders:
        if os.path.isdir(folder):
            return folder
    raise not_found(root, f"Kinetics: no folder {NAMES[split][0]}", get=GET, layout=LAYOUT)


def _list(root: str, split: str) -> str | None:
    paths = [os.path.join(root, folder, f"{name}.csv") for folder in LIST_FOLDERS for name in NAMES[split]]
    return next((os.path.normpath(path) for path in paths if os.path.isfile(path)), None)


def _rows(path: str) -> list[_Row]:
    rows, bad = [], []
    for line, cells in read_table(path, COLUMNS, others=True):
        label, youtube_id, *times = (cells[column] for column in COLUMNS)
        try:
            start, end = (round(float(time)) for time in times)
        except (ValueError, OverflowError):
            start, end = -1, -1
        if not label or not youtube_id or start < 0:
            bad.append(f"line {line}")
        rows.append(_Row(label, youtube_id, start, end))
    if bad:
        raise ValueError(f"{path}: a row needs a label, an id and two times in seconds; {named(bad)}")
    return rows


def _folders(root: str) -> Iterator[str]:
    """Names of all class folders."""
    for name in (name for names in NAMES.values() for name in names):
        if os.path.isdir(path := os.path.join(root, name)):
            yield from (entry.name for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith("."))


def _labels(names: set[str], classes: int | None) -> dict[str, int]:
    if classes is not None and len(names) != classes:
        raise ValueError(
            f"Kinetics: found {len(names)} classes where data.videos.classes={classes}; is it another edition or a "
            "subset? Set data.videos.classes=null to take it as it is"
        )
    return {name: label for label, name in enumerate(sorted(names))}


def _by_folder(folder: str, labels: dict[str, int]) -> list[Video]:
    videos = [
        Video(os.path.join(folder, name, file), label, re.sub(r"_\d{6}_\d{6}$", "", os.path.splitext(file)[0]))
        for name, label in labels.items()
        if os.path.isdir(os.path.join(folder, name))
        for file in sorted(os.listdir(os.path.join(folder, name)))
        if is_video(file)
    ]
    if not videos:
        raise not_found(folder, "Kinetics: no videos in folders of classes", get=GET, layout=LAYOUT)
    return videos


def _by_list(
    root: str, folder: str, path: str, rows: Sequence[_Row], labels: dict[str, int], missing: str
) -> list[Video]:
    files = _files(folder)
    videos, gone = [], []
    for row in rows:
        # Each file once: of two rows of one video the second is not there.
        found = files.pop(f"{row.youtube_id}_{row.start:06d}_{row.end:06d}", None) or files.pop(row.youtube_id, None)
        if found is None:
            gone.append(f"{row.youtube_id}_{row.start:06d}_{row.end:06d}")
        else:
            videos.append(Video(found, labels[row.label], row.youtube_id))
    if gone:
        _tell(
            root, f"Kinetics: {len(gone)} of the {len(rows)} videos in {os.path.basename(path)}", gone, videos, missing
        )
    return videos


def _tell(root: str, count: str, gone: Sequence[str], videos: Sequence[Video], missing: str) -> None:
    """Say which videos are missing: as an error, or in one line."""
    if missing == "skip" and videos:
        log.warning("%s are missing and left out: %s", count, named(gone))
        return
    error = not_found(root, f"{count} are missing: {named(gone)}", get=GET, layout=LAYOUT)
    advice = " To go on without them set data.videos.missing=skip." if videos else ""
    raise DataNotFound(f"{error}{advice}")


def _files(folder: str) -> dict[str, str]:
    """Path by name without its extension, of all videos in ``folder`` and in the folders in it."""
    files: dict[str, str] = {}
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        names = sorted(os.listdir(entry.path)) if entry.is_dir() else [entry.name]
        parent = entry.path if entry.is_dir() else folder
        files.update({os.path.splitext(name)[0]: os.path.join(parent, name) for name in names if is_video(name)})
    return files
