"""One folder a class: the commonest way to keep labelled videos, and what many data sets are unpacked into."""

from __future__ import annotations

import os

from ssv.data.lists import read_lines
from ssv.data.sets.lookup import entries_below, is_listed, named, not_found
from ssv.types import Video

TESTS = ("test", "val", "validation")
GET = "Put the videos of each class into a folder of its name."
LAYOUT = "train/<class>/ and test/<class>/ (or val/<class>/), or <class>/ and a list of the test videos"


def class_folders(root: str, split: str, *, test: str | None = None) -> list[Video]:
    """The videos of one split, sorted by path; the label is the class's place among the sorted folder names, from 0.

    With a folder ``train`` its sub-folders are the classes, and the test videos are in ``test``, ``val`` or
    ``validation``, the first of these that exists. Without one the folders in ``root`` are the classes, and the test
    videos are those in a list. Videos may be at any depth of their class. Every video is its own group.

    Args:
        root: the folder with ``train`` or with the classes.
        split: ``"train"`` or ``"test"``.
        test: with ``train``: the folder of the test videos; without: a text file with one path a line, relative to
            ``root``.

    Raises:
        DataNotFound: a folder, the list or a video that it names is missing, or there is no video.
        ValueError: an unknown split, no way to tell the test videos, a video outside the class folders, or a class
            without training videos.
    """
    if split not in ("train", "test"):
        raise ValueError(f"class folders have the splits 'train' and 'test', got {split!r}")
    train = os.path.join(root, "train")
    if os.path.isdir(train):
        return _of_folders(root, train, split, test)
    return _of_list(root, split, test)


def _of_folders(root: str, train: str, split: str, test: str | None) -> list[Video]:
    found = _by_class(root, train)
    if split == "test":
        folders = [test] if test is not None else [name for name in TESTS if os.path.isdir(os.path.join(root, name))]
        if not folders:
            raise not_found(root, f"no folder {', '.join(TESTS[:-1])} or {TESTS[-1]}", get=GET, layout=LAYOUT)
        classes = sorted(found)
        found = _by_class(root, os.path.join(root, folders[0]))
        if unknown := sorted(set(found) - set(classes)):
            raise ValueError(f"{root}: {folders[0]} has classes that train has not: {named(unknown)}")
        return _labelled(root, found, classes)
    return _labelled(root, found, sorted(found))


def _of_list(root: str, split: str, test: str | None) -> list[Video]:
    found = _by_class(root, root)
    listed: set[str] = set()
    if test is not None:
        file = os.path.join(root, test)
        if not os.path.isfile(file):
            raise not_found(root, f"no list {test} (data.videos.test)", get=GET, layout=LAYOUT)
        listed = {os.path.normpath(os.path.join(root, line)) for _, line in read_lines(file, file_names=True)}
    elif split == "test":
        raise ValueError(
            f"{root} has no folder 'train', so that its test videos are unknown; set data.videos.test to a text file with "
            "one path a line, or make the folders train and test"
        )
    there = {os.path.normpath(path) for paths in found.values() for path in paths}
    if missing := sorted(os.path.relpath(path, root) for path in listed - there):
        what = f"{len(missing)} of the {len(listed)} videos in {test} are missing: {named(missing)}"
        raise not_found(root, what, get=GET, layout=LAYOUT)
    chosen = {
        name: [path for path in paths if (os.path.normpath(path) in listed) == (split == "test")]
        for name, paths in found.items()
    }
    return _labelled(root, chosen, sorted(found))


def _by_class(root: str, folder: str) -> dict[str, list[str]]:
    """The paths of every class that has videos."""
    if not os.path.isdir(folder):
        raise not_found(root, f"no folder {folder}", get=GET, layout=LAYOUT)
    found: dict[str, list[str]] = {}
    outside: list[str] = []
    for path in sorted(entry.path for entry in entries_below(folder) if is_listed(entry)):
        name, _, rest = os.path.relpath(path, folder).partition(os.sep)
        if rest:
            found.setdefault(name, []).append(path)
        else:
            outside.append(name)
    if outside:
        raise ValueError(f"{folder}: {len(outside)} videos are in no class folder: {named(outside)}; {GET}")
    if not found:
        raise not_found(root, f"no videos in the folders of {folder}", get=GET, layout=LAYOUT)
    return found


def _labelled(root: str, found: dict[str, list[str]], classes: list[str]) -> list[Video]:
    label = {name: place for place, name in enumerate(classes)}
    return [Video(path, label[name], os.path.relpath(path, root)) for name in sorted(found) for path in found[name]]
