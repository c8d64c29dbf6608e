"""Any folder with videos in it: no labels, no lists, every file found."""

from __future__ import annotations

import os

from ssv.data.sets.lookup import EXTENSIONS, entries_below, is_listed, not_found
from ssv.types import Video

GET = "Put videos there, at any depth."
LAYOUT = f"files ending in {', '.join(sorted(EXTENSIONS))}"


def folder(root: str, split: str) -> list[Video]:
    """All videos below ``root``, sorted by path; label -1, and every file is its own group.

    Extensions count in either case; names that start with a dot and the folder of the index are passed over.
    Links to folders are followed, each folder once.

    Raises:
        DataNotFound: no such folder, or no video in it.
        ValueError: ``split`` is ``"test"``; a folder has no labels to test on.
    """
    if split != "train":
        raise ValueError(
            f"a folder of videos has only the split 'train', got {split!r}; to evaluate, take a labelled "
            "data set (data=class_folders for one folder a class, data=csv for a list, data=ucf101)"
        )
    if not os.path.isdir(root):
        raise not_found(root, "no such folder", get=GET, layout=LAYOUT)
    paths = sorted(entry.path for entry in entries_below(root) if is_listed(entry))
    if not paths:
        raise not_found(root, "no videos in this folder", get=GET, layout=LAYOUT)
    return [Video(path, -1, os.path.relpath(path, root)) for path in paths]
