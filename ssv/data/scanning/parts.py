"""Which part of a data set a video belongs to: from lists in a known layout, or from lists of one's own."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from ssv.data.lists import read_lines
from ssv.data.sets.hmdb51 import hmdb51
from ssv.data.sets.kinetics import kinetics
from ssv.data.sets.table import table
from ssv.data.sets.ucf101 import ucf101
from ssv.types import Video

# What lies below the root of a data set, its name on the command line, and its lists.
LAYOUTS: tuple[tuple[str, str, Callable[[str, str], list[Video]]], ...] = (
    ("ucfTrainTestlist", "ucf101", ucf101),
    ("testTrainMulti_7030_splits", "hmdb51", hmdb51),
    ("videos.csv", "csv", table),
    ("train.csv", "kinetics400", partial(kinetics, missing="skip")),
    ("val", "kinetics400", partial(kinetics, missing="skip")),
)


def known_parts(root: str) -> tuple[str, dict[str, str]]:
    """The data set that ``root`` is laid out as ("folder" where as none), and "train" or "test" for the paths it lists.

    Paths are relative, with ``/``. Lists that cannot be used count as none: training will say why.
    """
    for marker, name, listed in LAYOUTS:
        if not os.path.exists(os.path.join(root, marker)):
            continue
        parts: dict[str, str] = {}
        for split in ("train", "test"):
            try:
                videos = listed(root, split)
            except (ValueError, OSError):
                continue
            parts |= {os.path.relpath(video.path, root).replace(os.sep, "/"): split for video in videos}
        if parts:
            return name, parts
    return "folder", {}


def read_list(file: str, root: str) -> list[str]:
    """The paths of a text file, one a line and relative to ``root``, with ``/``; a number behind a path is a label.

    Raises:
        ValueError: there is no such file, or no path in it.
    """
    if not os.path.isfile(file):
        raise ValueError(f"there is no list {file}")
    paths = []
    for _, name in read_lines(file, file_names=True):
        bare, _, label = name.rpartition(" ")
        name = bare if label.isdecimal() and not os.path.lexists(os.path.join(root, name)) else name
        paths.append(os.path.relpath(os.path.join(root, name), root).replace(os.sep, "/"))
    if not paths:
        raise ValueError(f"the list {file} names no video; it needs a path a line")
    return list(dict.fromkeys(paths))
