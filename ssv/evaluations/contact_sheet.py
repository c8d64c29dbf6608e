"""A picture of what was found: a row a query, its nearest videos beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ssv.data.crops import Crop
from ssv.data.sampling import Sampler
from ssv.types import Video

if TYPE_CHECKING:
    from ssv.data.datamodule import VideoDataModule

SIDE, BORDER, GAP = 96, 4, 6
"""Pixels of a tile with its border, of the border, and between the query and what was found."""
RIGHT, WRONG, QUERY = (0x2E, 0x9E, 0x5B), (0xC8, 0x3C, 0x3C), (0x80, 0x80, 0x80)
"""Colours of borders, RGB."""


def write_contact_sheet(
    path: Path,
    data: VideoDataModule,
    rows: Sequence[Sequence[Video]],
    *,
    sampler: Sampler,
    crop: Crop,
    batch_size: int,
) -> None:
    """Writes a PNG with the middle frame of the first view of each video, as the network saw it.

    The first video of a row is the query, which gets a grey border; the others get a green one where they have its
    label and a red one where not. All rows have the same number of videos.
    """
    videos = list({video.path: video for row in rows for video in row}.values())
    tiles: dict[str, np.ndarray] = {}
    for clips in data.loader(videos, sampler, crop, batch_size=batch_size):
        middle = clips.pixels[:, 0, :, clips.pixels.shape[3] // 2].permute(0, 2, 3, 1).cpu().numpy()
        tiles.update((videos[number].path, pixels) for number, pixels in zip(clips.video.tolist(), middle))
    lines = []
    for query, *found in rows:
        cells = [_tile(tiles[query.path], QUERY), np.full((SIDE, GAP, 3), 255, dtype=np.uint8)]
        cells += [_tile(tiles[video.path], RIGHT if video.label == query.label else WRONG) for video in found]
        lines.append(np.concatenate(cells, axis=1))
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = cv2.imencode(".png", np.concatenate(lines)[:, :, ::-1])[1]
    path.write_bytes(encoded.tobytes())  # cv2.imwrite would tell nobody of a full disk


def _tile(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """uint8 (H,W,3) to (SIDE,SIDE,3) with a border."""
    inner = SIDE - 2 * BORDER
    how = cv2.INTER_AREA if min(pixels.shape[:2]) > inner else cv2.INTER_CUBIC
    small = cv2.resize(np.ascontiguousarray(pixels), (inner, inner), interpolation=how)
    return np.asarray(cv2.copyMakeBorder(small, BORDER, BORDER, BORDER, BORDER, cv2.BORDER_CONSTANT, value=colour))
