"""HMDB51 as distributed: 6 766 clips of 51 actions, three official splits (Kuehne et al., ICCV 2011)."""

from __future__ import annotations

import os

from ssv.data.lists import read_lines
from ssv.data.sets.lookup import absent, named, not_found
from ssv.types import Video

FOLDS = (1, 2, 3)
FLAGS = {"0": None, "1": "train", "2": "test"}
"""Of a line in a list; 0 is neither, in this fold: such a clip may share its film with one on the other side."""
VIDEOS, LISTS = "hmdb51_org", "testTrainMulti_7030_splits"
GET = (
    "Get HMDB51 from the Serre Lab, Brown University: hmdb51_org.rar, which holds one .rar for each class (unpack "
    "twice), and test_train_splits.rar."
)
LAYOUT = f"{VIDEOS}/<class>/<clip>.avi and {LISTS}/<class>_test_split1.txt to 3"


def hmdb51(root: str, split: str, *, fold: int = 1) -> list[Video]:
    """The videos of one official list, classes in the order of their names and clips in the lists' order.

    The label is the class's place in that order, from 0. The group is the film that a clip was cut from, as its name
    tells: what stands before ``_<class>_``. In each fold 70 clips of a class are for training and 30 for testing.

    Args:
        root: the folder with ``hmdb51_org`` and ``testTrainMulti_7030_splits``.
        split: ``"train"`` or ``"test"``.
        fold: 1, 2 or 3.

    Raises:
        DataNotFound: a folder, the lists or listed videos are missing.
        ValueError: an unknown split or fold, or a line that makes no sense.
    """
    if split not in ("train", "test"):
        raise ValueError(f"HMDB51 has the splits 'train' and 'test', got {split!r}")
    if fold not in FOLDS:
        raise ValueError(f"HMDB51 has the folds 1, 2 and 3, got data.videos.fold={fold}")
    folder, lists = os.path.join(root, VIDEOS), os.path.join(root, LISTS)
    for needed in (folder, lists):
        if not os.path.isdir(needed):
            raise not_found(root, f"HMDB51: no folder {os.path.basename(needed)}", get=GET, layout=LAYOUT)
    ending = f"_test_split{fold}.txt"
    classes = sorted(name.removesuffix(ending) for name in os.listdir(lists) if name.endswith(ending))
    if not classes:
        raise not_found(root, f"HMDB51: no list ending in {ending} in {LISTS}", get=GET, layout=LAYOUT)
    listed = [
        (f"{name}/{clip}", label)
        for label, name in enumerate(classes)
        for clip, side in _clips(os.path.join(lists, name + ending))
        if side == split
    ]
    if missing := absent(folder, [name for name, _ in listed]):
        what = (
            f"HMDB51: {len(missing)} of the {len(listed)} {split} videos of fold {fold} are missing: {named(missing)}"
        )
        raise not_found(root, what, get=GET, layout=LAYOUT)
    return [_video(folder, name, label) for name, label in listed]


def _clips(path: str) -> list[tuple[str, str | None]]:
    """File name and side of each line, such as ``April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1 ``."""
    clips: list[tuple[str, str | None]] = []
    first_line: dict[str, int] = {}
    for number, line in read_lines(path, file_names=True):
        words = line.rsplit(None, 1)  # from the right: nothing is known of a name
        if len(words) < 2 or words[1] not in FLAGS:
            raise ValueError(f"HMDB51: {path}: line {number} must be a file name and 0, 1 or 2, got {line!r}")
        if words[0] in first_line:
            raise ValueError(f"HMDB51: {path}: line {number} repeats the clip of line {first_line[words[0]]}")
        first_line[words[0]] = number
        clips.append((words[0], FLAGS[words[1]]))
    return clips


def _video(folder: str, name: str, label: int) -> Video:
    action, clip = name.split("/", 1)
    return Video(os.path.join(folder, action, clip), label, clip.split(f"_{action}_")[0])
