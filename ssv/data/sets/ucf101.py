"""UCF101 as distributed: 13 320 clips of 101 actions, three official folds (Soomro, Zamir, Shah 2012)."""

from __future__ import annotations

import os
import re

from ssv.data.lists import read_lines
from ssv.data.sets.lookup import absent, named, not_found
from ssv.types import Video

FOLDS = (1, 2, 3)
GET = (
    "Get UCF101 from CRCV, University of Central Florida (the video archive UCF101.rar and the split lists "
    "'UCF101TrainTestSplits-RecognitionTask'), or make the small embedded stand-in with `ssv toy`."
)
LAYOUT = (
    "UCF-101/<Class>/v_<Class>_gXX_cYY.avi and ucfTrainTestlist/ with classInd.txt, trainlist01-03.txt, "
    "testlist01-03.txt"
)


def ucf101(root: str, split: str, *, fold: int = 1) -> list[Video]:
    """The videos of one official list, in its order.

    The label is the class's place in ``classInd.txt`` counted from 0, found from the folder's name without
    regard to case: ``HandstandPushups`` holds files named ``v_HandStandPushups``, test lists carry no labels,
    and sorted folder names do not give the official order. The group is the scene's number, ``"g07"``, common
    to all classes: holding out by it leaves no scene on both sides.

    Args:
        root: the folder with ``UCF-101`` and ``ucfTrainTestlist``.
        split: ``"train"`` or ``"test"``.
        fold: 1, 2 or 3.

    Raises:
        DataNotFound: a folder, a list or listed videos are missing.
        ValueError: an unknown split or fold, or a list that makes no sense.
    """
    if split not in ("train", "test"):
        raise ValueError(f"UCF101 has the splits 'train' and 'test', got {split!r}")
    if fold not in FOLDS:
        raise ValueError(f"UCF101 has the folds 1, 2 and 3, got data.videos.fold={fold}")
    folder, lists = os.path.join(root, "UCF-101"), os.path.join(root, "ucfTrainTestlist")
    for needed in (folder, lists):
        if not os.path.isdir(needed):
            raise not_found(root, f"UCF101: no folder {os.path.basename(needed)}", get=GET, layout=LAYOUT)
    labels = _classes(root, os.path.join(lists, "classInd.txt"))
    name = f"{split}list{fold:02d}.txt"
    lines = [line.split() for line in _lines(root, os.path.join(lists, name))]
    listed = [words[0] for words in lines]
    if not listed or len(set(listed)) < len(listed):
        raise ValueError(
            f"UCF101: {name} {'lists a video twice' if listed else 'lists no video'}; restore it from the archive"
        )
    for words in lines:  # train lists have the class's number beside the name
        known = labels.get(words[0].split("/")[0].lower())
        if known is not None and len(words) > 1 and words[1] != str(known + 1):
            raise ValueError(
                f"UCF101: {name} has {' '.join(words)!r}, but classInd.txt gives this class the number {known + 1}; restore both "
                "lists from the archive"
            )
    if missing := absent(folder, listed):
        what = f"UCF101: {len(missing)} of the {len(listed)} videos in {name} are missing: {named(missing)}"
        raise not_found(root, what, get=GET, layout=LAYOUT)
    return [_video(folder, name, line, labels) for line in listed]


def _video(folder: str, name: str, line: str, labels: dict[str, int]) -> Video:
    label = labels.get(line.split("/")[0].lower())
    group = re.search(r"_(g\d+)_c\d+\.", line)
    if label is None or group is None:
        expected = "a class of classInd.txt" if label is None else "a name ending in _gXX_cYY"
        raise ValueError(f"UCF101: {name} lists {line!r}, which is not {expected}")
    return Video(os.path.join(folder, *line.split("/")), label, group[1])


def _classes(root: str, path: str) -> dict[str, int]:
    """Lower-case class name to 0-based label, from lines such as ``1 ApplyEyeMakeup``."""
    pairs = [line.split() for line in _lines(root, path)]
    odd = [" ".join(pair) for pair in pairs if len(pair) != 2 or not pair[0].isdecimal()]
    if odd or not pairs:
        raise ValueError(f"UCF101: {path} needs lines such as '1 ApplyEyeMakeup', got {(odd or [''])[0]!r}")
    numbers = [int(index) for index, _ in pairs]
    if sorted(numbers) != list(range(1, len(pairs) + 1)) or len({name.lower() for _, name in pairs}) != len(pairs):
        raise ValueError(
            f"UCF101: {path} must number its {len(pairs)} classes from 1 to {len(pairs)}, each once; its numbers are "
            f"{min(numbers)} to {max(numbers)}"
        )
    return {name.lower(): number - 1 for number, (_, name) in zip(numbers, pairs)}


def _lines(root: str, path: str) -> list[str]:
    """The lines that are not empty, without their CRLF ends."""
    if not os.path.isfile(path):
        raise not_found(root, f"UCF101: no {os.path.basename(path)} in ucfTrainTestlist", get=GET, layout=LAYOUT)
    return [line for _, line in read_lines(path, file_names=True)]
