"""DAVIS 2016 (Perazzi et al., CVPR 2016) and 2017 (Pont-Tuset et al., arXiv:1704.00675) as distributed."""

from __future__ import annotations

import os
from pathlib import Path

from ssv.data.lists import read_lines
from ssv.data.sequences.pictures import pictures
from ssv.data.sequences.sequences import LabelledSequence
from ssv.data.sets.lookup import DataNotFound, named, not_found
from ssv.types import ObjectSequence

LAYOUT = "JPEGImages/480p/<sequence>/00000.jpg, Annotations/480p/<sequence>/00000.png, ImageSets/<year>/<split>.txt"


def davis(
    root: str, *, year: int = 2017, split: str = "val", resolution: str = "480p", renumber: bool = False
) -> list[LabelledSequence]:
    """The sequences of a split, in the order of its list.

    Args:
        root: folder with ``JPEGImages``, ``Annotations`` and ``ImageSets``.
        year: 2017 has several objects in a sequence, 2016 one.
        split: stem of the list in ``ImageSets/<year>``; for 2016 the lists lie in ``ImageSets/480p``.
        resolution: folder below ``JPEGImages`` and ``Annotations``.
        renumber: whether the object numbers of a first mask, if they are not 1, 2, ... K, become these.

    Raises:
        DataNotFound: if the list, a sequence or one of its masks is missing. The first mask is enough where all others
            are missing (test-dev): such a sequence is tracked, not scored.
    """
    folder = Path(root) / "ImageSets" / ("480p" if year == 2016 else str(year))
    file = folder / f"{split}.txt"
    if not file.is_file():
        there = ", ".join(sorted(path.stem for path in folder.glob("*.txt"))) if folder.is_dir() else ""
        have = f" (there are: {there}; set data.sequences.split)" if there else ""
        raise not_found(root, f"no list {file}{have}", get="From davischallenge.org.", layout=LAYOUT)
    names = _names(file)
    found: list[LabelledSequence] = [
        _sequence(root, resolution, name, merged=year == 2016, renumber=renumber) for name in names
    ]
    if not found:
        raise DataNotFound(f"{file} lists no sequence")
    return found


def _names(file: Path) -> list[str]:
    """One name a line; the lists of 2016 give the paths of a frame and its mask instead, for every frame."""
    names = []
    for _, line in read_lines(str(file), file_names=True):
        first = line.split()[0]
        names.append(Path(first).parent.name if "/" in first.strip("/") else first)
    return list(dict.fromkeys(names))


def _sequence(root: str, resolution: str, name: str, *, merged: bool, renumber: bool) -> ObjectSequence:
    folder = os.path.join(root, "JPEGImages", resolution, name)
    frames = pictures(folder) if os.path.isdir(folder) else ()
    if not frames:
        raise not_found(root, f"no frames of the sequence {name} ({folder})", get="", layout=LAYOUT)
    masks = tuple(os.path.join(root, "Annotations", resolution, name, f"{Path(frame).stem}.png") for frame in frames)
    missing = [mask for mask in masks if not os.path.isfile(mask)]
    if missing and missing != list(masks[1:]):
        raise not_found(root, f"{len(missing)} masks of {name} are missing: {named(missing)}", get="", layout=LAYOUT)
    return ObjectSequence(name, frames, masks[:1] if missing else masks, merged, renumber)
