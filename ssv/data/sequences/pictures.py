"""A folder of pictures read as if it were a video: how Penn Action comes, and frames that somebody has extracted."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
from PIL import Image

from ssv.data.probing import probe_times
from ssv.data.readers.base import Reader, VideoError
from ssv.data.readers.pyav import check_indices
from ssv.data.sets.lookup import natural_order

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
OTHERS = (".webp", ".tif", ".tiff", ".gif", ".jp2", ".avif", ".heic", ".ppm", ".pgm")  # not passed over in silence
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
"""What Pillow raises for files that are no pictures, damaged, or far too large."""
PICTURES_PER_SECOND = 25.0
"""Pictures have no times; this is what they are given where seconds are asked for."""


class PicturesReader(Reader):
    """Reads folders of pictures, by name in natural order, itself; leaves files to the reader it is given."""

    def __init__(self, videos: Reader) -> None:
        self.videos = videos

    def read(self, path: str, indices: Sequence[int]) -> np.ndarray:
        """See ``Reader.read``."""
        if not os.path.isdir(path):
            return self.videos.read(path, indices)
        paths = pictures(path)
        return _same_size(path, [read_picture(paths[i]) for i in check_indices(path, indices, len(paths))])


def frame_times(paths: Sequence[str]) -> dict[str, np.ndarray]:
    """Presentation time of every frame of each video or folder, float64 (n,).

    Raises:
        VideoError: of the first that cannot be read.
    """
    found = probe_times([path for path in paths if not os.path.isdir(path)], announce=True)
    times = {}
    for path in paths:
        answer = np.arange(len(pictures(path))) / PICTURES_PER_SECOND if os.path.isdir(path) else found[path]
        if isinstance(answer, VideoError):
            raise answer
        times[path] = answer
    return times


@lru_cache(maxsize=8)
def pictures(folder: str) -> tuple[str, ...]:
    """The pictures of a folder, by name, in natural order."""
    seen = [name for name in os.listdir(folder) if name[0] != "."]
    if others := sorted(name for name in seen if name.lower().endswith(OTHERS)):
        raise VideoError(
            folder, f"holds {len(others)} pictures such as {others[0]}; needed are jpg, png or bmp: convert them"
        )
    names = (name for name in seen if name.lower().endswith(SUFFIXES))
    return tuple(os.path.join(folder, name) for name in sorted(names, key=natural_order))


@contextmanager
def opened(path: str, what: str = "picture") -> Iterator[Image.Image]:
    """A picture file, to be read within the block. Raises VideoError, also for what is found damaged within it."""
    try:
        with Image.open(path) as image:
            yield image
    except VideoError:
        raise
    except FileNotFoundError as error:
        raise VideoError(path, f"there is no such {what}") from error
    except UNREADABLE as error:
        raise VideoError(
            path, f"this {'' if what == 'picture' else what + ' '}is no picture that can be read, or a damaged one"
        ) from error


def read_picture(path: str) -> np.ndarray:
    """A picture as uint8 (H,W,3). Raises VideoError."""
    with opened(path) as image:
        return np.array(image.convert("RGB"))  # a copy: the array of an image is read-only


def _same_size(path: str, frames: list[np.ndarray]) -> np.ndarray:
    sizes = sorted({frame.shape for frame in frames})
    if len(sizes) > 1:
        raise VideoError(path, f"its pictures have several sizes, among them {sizes[0]} and {sizes[1]}")
    return np.stack(frames) if frames else np.empty((0, 0, 0, 3), dtype=np.uint8)
