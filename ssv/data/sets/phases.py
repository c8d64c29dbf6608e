"""Lists of videos with key events: one's own (and Penn Action's) in a CSV file, and those of the toy world."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from ssv.data.lists import read_table
from ssv.data.sets.lookup import named, not_found
from ssv.types import PhasedVideo, Video

LAYOUT = "a CSV file with the columns video,split,action,events: files or folders of pictures, frames as in 12;40;77"
GET = "Write the list in any spreadsheet or text editor."
TOY_FILE = os.path.join("phases", "phases.csv")


def phases(root: str, split: str, *, file: str = "phases.csv") -> list[PhasedVideo]:
    """The videos of one split of a list with the columns ``video,split,action,events``, in the file's order.

    ``video`` is relative to ``root``: a file, or a folder of pictures such as Penn Action's ``frames/0001``.
    ``split`` is ``train`` or ``test``; ``action`` names what is done, each action is measured by itself; ``events``
    are the frames, from 0, at which the next phase begins, with ``;`` between them, as many for each video of an
    action. Penn Action's own ``labels/*.mat`` hold joints and no key events: their times have to be brought along.

    Args:
        root: the folder that paths start from.
        split: ``"train"`` or ``"test"``.
        file: the list, relative to ``root``.

    Raises:
        DataNotFound: the list or videos it names are missing.
        ValueError: bad rows, with their line numbers; or no row of this split.
    """
    path = _existing(root, file, split, GET, LAYOUT)
    videos, bad, missing = [], [], []
    for line, row in read_table(path, ("video", "split", "action", "events")):
        try:
            events = tuple(int(frame) for frame in row["events"].split(";"))
        except ValueError:
            bad.append(f"line {line} has events {row['events']!r}, not frames as in 12;40;77")
            continue
        if row["split"] not in ("train", "test"):
            bad.append(f"line {line} has split {row['split']!r}, not train or test")
        if row["split"] == split:
            videos.append(PhasedVideo(os.path.join(root, row["video"]), events, row["action"]))
            missing += [] if os.path.exists(videos[-1].path) else [f"line {line}: {row['video']}"]
    if bad:
        raise ValueError(f"{path}: {named(bad)}")
    if missing:
        what = f"{len(missing)} of the {len(videos)} {split} videos in {file} are missing: {named(missing)}"
        raise not_found(root, what, get=GET, layout=LAYOUT)
    return _some(videos, path, split)


def toy_phases(root: str, split: str, *, fractions: Sequence[float] = (0.25, 0.5, 0.75)) -> list[PhasedVideo]:
    """The processes of the toy world, each one run of the same action at a pace of its own.

    Args:
        root: the folder of the toy world.
        split: ``"train"`` or ``"test"``.
        fractions: an event is the first frame at which so much of the process is done, between 0 and 1, ascending.

    Raises:
        DataNotFound: there is no toy world.
        ValueError: fractions that are none.
    """
    if not fractions or not all(0 < low < high for low, high in zip(fractions, (*fractions[1:], 1.0))):
        raise ValueError(f"data.videos.fractions must be between 0 and 1, ascending, got {list(fractions)}")
    get, layout = "`ssv toy` writes it.", f"{TOY_FILE} with the columns video,split,frame,phase"
    path = _existing(root, TOY_FILE, split, get, layout)
    done: dict[str, list[float]] = {}  # by video; rows are in the order of frames
    for _, row in read_table(path, ("video", "split", "frame", "phase")):
        if row["split"] == split:
            done.setdefault(row["video"], []).append(float(row["phase"]))
    folder = os.path.dirname(path)
    videos = [
        PhasedVideo(
            os.path.join(folder, video),
            tuple(next(i for i, phase in enumerate(each) if phase >= fraction) for fraction in fractions),
            "process",
        )
        for video, each in done.items()
    ]
    return _some(videos, path, split)


def by_action(root: str, split: str, *, videos: Callable[[str, str], list[PhasedVideo]]) -> list[Video]:
    """Videos with key events as videos to train on: their actions, numbered in alphabetical order, are the labels.

    Each video is a group of its own. Of their phases nothing remains.

    Args:
        root: as for ``videos``.
        split: ``"train"`` or ``"test"``.
        videos: the list, such as `phases` or `toy_phases`; actions are those of its split "train".

    Raises:
        ValueError: an action of the split "test" that is not in "train".
    """
    place = {action: i for i, action in enumerate(sorted({video.action for video in videos(root, "train")}))}
    listed = videos(root, split)
    new = sorted({video.action for video in listed} - place.keys())
    if new:
        raise ValueError(f"no training video of the action {named(new)}")
    return [Video(video.path, place[video.action], os.path.relpath(video.path, root)) for video in listed]


def _existing(root: str, file: str, split: str, get: str, layout: str) -> str:
    if split not in ("train", "test"):
        raise ValueError(f"a list of phases has the splits 'train' and 'test', got {split!r}")
    path = os.path.join(root, file)
    if not os.path.isfile(path):
        raise not_found(root, f"no list {file}", get=get, layout=layout)
    return path


def _some(videos: list[PhasedVideo], path: str, split: str) -> list[PhasedVideo]:
    if not videos:
        raise ValueError(f"{path}: no row with split {split!r}")
    return videos
