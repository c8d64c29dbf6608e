"""One sequence of the user's own: a video or a folder of frames, and a first mask, all masks, or points."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from ssv.data.readers.base import VideoError
from ssv.data.sequences.pictures import pictures
from ssv.data.sequences.sequences import LabelledSequence
from ssv.data.sets.lookup import DataNotFound, is_video
from ssv.types import ObjectSequence, PointSequence


def one(root: str, *, frames: str, labels: str) -> list[LabelledSequence]:
    """The sequence; paths are relative to ``root``, or absolute.

    Args:
        root: folder.
        frames: a video file, or a folder of pictures.
        labels: a mask (of the first frame), a folder of masks (one for each frame), or a CSV file with the columns
            ``point,x,y`` (pixels from 0 in the first frame) or ``frame,point,x,y`` (all frames).

    Raises:
        DataNotFound: if one of them is not there, or a folder of masks does not match the frames.
        VideoError: if the CSV file is none.
    """
    film, given = Path(root) / frames, Path(root) / labels
    for what, path in (("frames", film), ("labels", given)):
        if not path.exists():
            raise DataNotFound(f"data.sequences.{what}: there is no {path}; give a path relative to data.root={root}")
    paths = pictures(str(film)) if film.is_dir() else (str(film),)
    if not paths or not (film.is_dir() or is_video(film.name)):
        raise DataNotFound(f"data.sequences.frames: {film} is neither a video nor a folder of pictures")
    if given.suffix.lower() == ".csv":
        return [PointSequence(film.stem, paths, _points(given))]
    masks = pictures(str(given)) if given.is_dir() else (str(given),)
    if film.is_dir() and len(masks) not in (1, len(paths)):
        raise DataNotFound(
            f"data.sequences.labels: {given} holds {len(masks)} masks for {len(paths)} frames; needed is one for each, "
            "or one for the first"
        )
    return [ObjectSequence(film.stem, paths, masks)]


def _points(path: Path) -> np.ndarray:
    """float32 (T,K,2)."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        frames = [int(row.get("frame") or 0) for row in rows]
        names = list(dict.fromkeys(row["point"] for row in rows))
        points = np.full((max(frames) + 1, len(names), 2), np.nan, dtype=np.float32)
        for frame, row in zip(frames, rows):
            points[frame, names.index(row["point"])] = float(row["x"]), float(row["y"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise VideoError(str(path), "needed is a CSV file with the columns point,x,y or frame,point,x,y") from error
    return points
