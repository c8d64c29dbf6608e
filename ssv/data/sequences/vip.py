"""VIP, Video Instance-level Parsing (Zhou et al., ACM MM 2018): body parts of people, 19 and background."""

from __future__ import annotations

import os
from pathlib import Path

from ssv.data.lists import read_lines
from ssv.data.sequences.pictures import pictures
from ssv.data.sequences.sequences import LabelledSequence
from ssv.data.sets.lookup import named, not_found
from ssv.types import PartSequence

LAYOUT = "Images/<video>/*.jpg, Annotations/Category_ids/<video>/*.png, lists/<split>_videos.txt"


def vip(root: str, *, split: str = "val") -> list[LabelledSequence]:
    """The videos of a split (folder ``VIP_Fine`` of the archive). The layout follows its documentation, not a copy.

    Raises:
        DataNotFound: if the list, a video or one of its masks is missing.
    """
    file = Path(root) / "lists" / f"{split}_videos.txt"
    if not file.is_file():
        raise not_found(root, f"no list {file}", get="VIP_Fine, from the page of the data set.", layout=LAYOUT)
    found: list[LabelledSequence] = []
    for name in (word for _, line in read_lines(str(file), file_names=True) for word in line.split()):
        folder = os.path.join(root, "Images", name)
        frames = pictures(folder) if os.path.isdir(folder) else ()
        masks = tuple(
            os.path.join(root, "Annotations", "Category_ids", name, f"{Path(frame).stem}.png") for frame in frames
        )
        missing = [mask for mask in masks if not os.path.isfile(mask)]
        if missing or not frames:
            what = (
                f"{len(missing)} masks of {name} are missing: {named(missing)}" if missing else f"no frames: {folder}"
            )
            raise not_found(root, what, get="", layout=LAYOUT)
        found.append(PartSequence(name, frames, masks))
    return found
