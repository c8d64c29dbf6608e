"""Small tracking worlds on disk: coloured bands that move, so that pixels alone are perfect features."""

from functools import partial

import numpy as np
from PIL import Image

from ssv.data.readers.pyav import PyAVReader
from ssv.data.sequences.davis import davis
from ssv.data.sequences.masks import write_mask
from ssv.data.sequences.sequences import Sequences

HEIGHT, WIDTH, CELL = 64, 48, 8
COLOURS = np.array([[40, 40, 40], [230, 30, 30], [30, 30, 230], [30, 230, 30]], dtype=np.uint8)


def bands(frames=6, objects=2):
    """Label maps (T,H,W): bands of two cells over the whole width, each a cell lower from frame to frame."""
    ids = np.zeros((frames, HEIGHT, WIDTH), dtype=np.uint8)
    for t in range(frames):
        for number in range(1, objects + 1):
            top = (3 * (number - 1) + t) * CELL % HEIGHT
            for row in range(top, top + 2 * CELL):
                ids[t, row % HEIGHT] = number
    return ids


def write_davis(root, sequences, *, year=2017, save=write_mask, pictures=None):
    """``sequences``: name -> label maps; lossless frames in the colours of the labels, unless given."""
    folder = root / "ImageSets" / ("480p" if year == 2016 else str(year))
    folder.mkdir(parents=True)
    (folder / "val.txt").write_text("".join(f"{name}\n" for name in sequences))
    for name, ids in sequences.items():
        (root / "JPEGImages/480p" / name).mkdir(parents=True)
        (root / "Annotations/480p" / name).mkdir(parents=True)
        for t, labels in enumerate(ids):
            picture = COLOURS[labels] if pictures is None else pictures[t]
            Image.fromarray(picture).save(root / f"JPEGImages/480p/{name}/{t:05d}.png")
            save(root / f"Annotations/480p/{name}/{t:05d}.png", labels)
    return root


def davis_data(root, **options):
    return Sequences(str(root), partial(davis, **options), None, reader=PyAVReader(), seed=0)


def save_grey(path, ids):
    Image.fromarray(ids).save(path)


def save_rgb(path, ids):
    Image.fromarray(COLOURS[ids] * (ids > 0)[..., None].astype(np.uint8)).save(path)
