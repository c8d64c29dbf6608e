"""One sequence of the user's own: a video or a folder of frames, and a first mask, all masks, or points."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ssv.data.lists import number, read_table, whole
from ssv.data.sequences.pictures import pictures
from ssv.data.sequences.sequences import LabelledSequence
from ssv.data.sets.lookup import DataNotFound, is_video
from ssv.types import ObjectSequence, PointSequence

MOST_FRAMES = 10_000_000  # more are a slip, and no memory for them


def one(root: str, *, frames: str, labels: str, renumber: bool = False) -> list[LabelledSequence]:
    """The sequence; paths are relative to ``root``, or absolute.

    Args:
        root: folder.
        frames: a video file, or a folder of pictures.
        labels: a mask (of the first frame), a folder of masks (one for each frame), or a CSV file with the columns
            ``point,x,y`` (pixels from 0 in the first frame) or ``frame,point,x,y`` (all frames).
        renumber: whether the object numbers of the first mask, if they are not 1, 2, ... K, become these.

    Raises:
        DataNotFound: if one of them is not there, or a folder of masks does not match the frames.
        ValueError: if the CSV file is none, or names a point twice in a frame.
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
    return [ObjectSequence(film.stem, paths, masks, renumber=renumber)]


def _points(path: Path) -> np.ndarray:
    """float32 (T,K,2); points in the order in which they are first named."""
    file = str(path)
    rows = read_table(file, ("point", "x", "y"), ("frame",))
    if not rows:
        raise ValueError(f"{file} has no row; needed is one for each point, or for each point of each frame")
    has_frames = any(row.cells["frame"] for row in rows)
    frames = [whole(file, row, "frame") if has_frames else 0 for row in rows]
    names = list(dict.fromkeys(row.cells["point"] for row in rows))
    first: dict[tuple[int, str], int] = {}
    if max(frames) >= MOST_FRAMES:
        raise ValueError(f"{file} has a row of frame {max(frames)}; frames are counted from 0, at most {MOST_FRAMES}")
    points = np.full((max(frames) + 1, len(names), 2), np.nan, dtype=np.float32)
    for frame, row in zip(frames, rows):
        name = row.cells["point"]
        if not name or (frame, name) in first:
            twice = (
                f"repeats point {name!r} of frame {frame} in line {first[frame, name]}" if name else "names no point"
            )
            raise ValueError(f"{file}: line {row.line} {twice}")
        first[frame, name] = row.line
        points[frame, names.index(name)] = number(file, row, "x"), number(file, row, "y")
    if len(missing := [name for name in names if (0, name) not in first]):
        raise ValueError(f"{file}: the first frame lacks point {missing[0]!r}; every point needs a row of frame 0")
    return points
