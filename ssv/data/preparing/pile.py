"""What lies below a folder: videos, folders of numbered pictures, and other files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from PIL import Image, UnidentifiedImageError

from ssv.data.index import NAME
from ssv.data.sets.lookup import is_folder, is_listed, is_video, natural_order

PICTURES = (".jpg", ".jpeg", ".png")
FEWEST_PICTURES = 2
NUMBERED = re.compile(r"\d\.\w+$")  # the name of a frame ends in its number


class Item(NamedTuple):
    """One thing to prepare or to copy.

    path: of the result, relative, with ``/``. source: of what it is made from, likewise; a folder for "pictures".
    size: bytes of the source. mtime_ns: of its last change. pictures: names of the files, in order.
    """

    kind: Literal["video", "pictures", "other", "outside"]
    path: str
    source: str
    size: int
    mtime_ns: int
    pictures: tuple[str, ...] = ()


def walk(root: str, *, pictures: bool | None, links: bool = False) -> list[Item]:
    """All files below ``root``, sorted by the path of what becomes of them.

    Names that start with a dot and indexes are passed over; links to folders are followed, each folder once.
    A link that leads out of ``root`` is of the kind "outside", unless ``links`` says to follow it.
    ``pictures``: whether a folder of numbered pictures becomes a video; None: only where there is no video at all.

    Raises:
        ValueError: a folder of pictures would get the name of a video beside it.
    """
    files = list(_files(root, "", seen=set(), inside=None if links else os.path.realpath(root)))
    if pictures or (pictures is None and not any(item.kind == "video" for item in files)):
        files = list(_with_films(root, files))
    files.sort(key=lambda item: item.path)
    for item, after in zip(files, files[1:]):
        if item.path == after.path:
            raise ValueError(f"two sources would become {item.path}; rename the folder of pictures or the video")
    return files


def _files(root: str, relative: str, seen: set[str], inside: str | None) -> Iterator[Item]:
    here = os.path.join(root, relative)
    real = os.path.realpath(here)
    if real in seen:  # a link back up, or a second link to the same place
        return
    seen.add(real)
    # Real folders before links to them: the same path is found whatever the links are called.
    for entry in sorted(os.scandir(here), key=lambda entry: (entry.is_symlink(), entry.name)):
        path = f"{relative}/{entry.name}" if relative else entry.name
        if entry.name.startswith(".") or entry.name == NAME:
            continue
        if entry.is_symlink() and inside is not None and not _is_below(inside, entry.path):
            yield Item("outside", path, path, 0, 0)
        elif is_folder(entry):
            yield from _files(root, path, seen, inside)
        elif is_listed(entry):
            leads_nowhere = not os.path.exists(entry.path)  # found broken when it is prepared
            size, changed = (0, 0) if leads_nowhere else (entry.stat().st_size, entry.stat().st_mtime_ns)
            yield Item("video", path, path, size, changed)
        elif not is_video(entry.name) and os.path.isfile(entry.path):
            status = entry.stat()
            yield Item("other", path, path, status.st_size, status.st_mtime_ns)


def _is_below(folder: str, path: str) -> bool:
    real = os.path.realpath(path)
    return os.path.commonpath([folder, real]) == folder


def _with_films(root: str, files: list[Item]) -> Iterator[Item]:
    """The same, with each folder of numbered pictures in the place of its pictures."""
    folders: dict[str, list[Item]] = {}
    for item in files:
        if item.path.lower().endswith(PICTURES) and "/" in item.path:
            folders.setdefault(os.path.dirname(item.path), []).append(item)
    films = {folder: items for folder, items in folders.items() if _is_film(root, items)}
    for item in files:
        if item.kind != "other" or item not in films.get(os.path.dirname(item.path), ()):
            yield item
    for folder, items in films.items():
        names = sorted((os.path.basename(item.path) for item in items), key=natural_order)
        size, changed = sum(item.size for item in items), max(item.mtime_ns for item in items)
        yield Item("pictures", f"{folder}.mp4", folder, size, changed, tuple(names))


def _is_film(root: str, items: list[Item]) -> bool:
    if len(items) < FEWEST_PICTURES or not all(NUMBERED.search(item.path) for item in items):
        return False
    try:
        with Image.open(os.path.join(root, items[0].source)) as picture:
            return picture.mode != "P"  # masks are kept as they are
    except (OSError, UnidentifiedImageError):
        return True  # broken: said when it is prepared
