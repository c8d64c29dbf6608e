"""JHMDB (Jhuang et al., ICCV 2013): 15 joints of one person in every frame."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from ssv.data.lists import read_lines
from ssv.data.readers.base import VideoError
from ssv.data.sequences.pictures import pictures
from ssv.data.sequences.sequences import LabelledSequence
from ssv.data.sets.lookup import DataNotFound, not_found
from ssv.types import PointSequence

LAYOUT = (
    "Rename_Images/<class>/<video>/00001.png, joint_positions/<class>/<video>/joint_positions.mat, "
    "splits/<class>_test_split1.txt"
)
TEST = "2"  # 1 is training, as in HMDB51


def jhmdb(root: str, *, fold: int = 1) -> list[LabelledSequence]:
    """The test videos of a fold, by class and name.

    A video with more joint positions than frames, or fewer, is cut to what has both, as the field's loaders do.

    Raises:
        DataNotFound: if lists, frames or joints are missing.
        VideoError: if a file of joints cannot be read.
    """
    lists = sorted((Path(root) / "splits").glob(f"*_test_split{fold}.txt"))
    if not lists:
        raise not_found(root, f"no lists splits/*_test_split{fold}.txt", get="From jhmdb.is.tue.mpg.de.", layout=LAYOUT)
    found: list[LabelledSequence] = []
    for file in lists:
        action = file.name.removesuffix(f"_test_split{fold}.txt")
        for _, line in read_lines(str(file), file_names=True):
            words = line.rsplit(maxsplit=1)
            if len(words) == 2 and words[1] == TEST:
                found.append(_sequence(root, action, words[0].removesuffix(".avi")))
    if not found:
        raise DataNotFound(f"the lists of fold {fold} below {root} name no test video")
    return found


def _sequence(root: str, action: str, name: str) -> PointSequence:
    folder = os.path.join(root, "Rename_Images", action, name)
    file = os.path.join(root, "joint_positions", action, name, "joint_positions.mat")
    if not os.path.isdir(folder) or not os.path.isfile(file):
        absent = folder if not os.path.isdir(folder) else file
        raise not_found(root, f"no {absent}", get="", layout=LAYOUT)
    try:
        places = np.asarray(loadmat(file)["pos_img"], dtype=np.float32)  # (2,15,T), the first pixel is 1
    except Exception as error:  # scipy raises whatever a damaged file makes it stumble over
        raise VideoError(file, "this file of joints cannot be read; needed is a MATLAB file with pos_img") from error
    frames = pictures(folder)
    count = min(len(frames), places.shape[2])
    return PointSequence(f"{action}/{name}", frames[:count], places.transpose(2, 1, 0)[:count] - 1)
