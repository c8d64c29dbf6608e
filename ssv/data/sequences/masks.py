"""Files of label maps: palette, grey and RGB masks in, palette PNGs with the colours of DAVIS out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ssv.data.readers.base import VideoError

VOID = 255
MOST_GREYS = 64


class MaskReader:
    """Reads the masks of one sequence as label maps; what a colour means is settled by the first of them.

    A palette or grey file holds the numbers themselves, 255 being void in a palette file. A grey file of no other
    values than 0 and 255 is one object (DAVIS 2016). The colours of an RGB file are numbered: black is 0, a colour of
    the palette of DAVIS has its number there, or, if one has not, all of them are counted in the order of their
    values. A colour that the first mask has not is background: what appears later is not tracked.
    """

    def __init__(self, *, merged: bool = False) -> None:
        """``merged``: everything but background and void is object 1."""
        self.merged = merged
        self._colours: np.ndarray | None = None  # int64 (N,), of an RGB sequence
        self._numbers = np.zeros(0, dtype=np.uint8)

    def read(self, path: str) -> np.ndarray:
        """Label map uint8 (H,W).

        Raises:
            VideoError: if the file is missing, no picture, or of a kind that holds no labels.
        """
        try:
            with Image.open(path) as image:
                mode = image.mode
                pixels = np.asarray(image.convert("RGB") if mode == "RGBA" else image)
        except FileNotFoundError as error:
            raise VideoError(path, "there is no such mask") from error
        except (OSError, UnidentifiedImageError) as error:
            raise VideoError(path, "this mask is no picture that can be read, or a damaged one") from error
        if mode in ("RGB", "RGBA"):
            labels = self._by_colour(path, pixels)
        elif mode in ("P", "L", "1"):
            labels = pixels.astype(np.uint8)
            if mode == "L" and len(np.unique(labels)) > MOST_GREYS:
                raise VideoError(
                    path, f"a grey mask of more than {MOST_GREYS} values, as smoothing leaves them; threshold it first"
                )
            if mode == "L" and not np.any((labels > 0) & (labels < 255)):
                labels = (labels > 0).astype(np.uint8)
        else:
            raise VideoError(path, f"a mask of mode {mode}; needed is a palette, 8-bit grey or RGB file")
        return ((labels > 0) & (labels != VOID)).astype(np.uint8) if self.merged else labels

    def _by_colour(self, path: str, pixels: np.ndarray) -> np.ndarray:
        codes = pixels.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
        if self._colours is None:
            self._colours = np.unique(codes)
            if len(self._colours) > VOID:
                self._colours = None
                raise VideoError(
                    path, "this mask has more than 254 colours; save it without smoothing or compression, as PNG"
                )
            palette = mask_palette().astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
            number = {int(code): i for i, code in reversed(list(enumerate(palette)))}
            if all(int(code) in number for code in self._colours):
                self._numbers = np.array([number[int(code)] for code in self._colours], dtype=np.uint8)
            else:
                others = np.cumsum(self._colours != 0)
                self._numbers = np.where(self._colours == 0, 0, others).astype(np.uint8)
        place = np.searchsorted(self._colours, codes).clip(max=len(self._colours) - 1)
        return np.where(self._colours[place] == codes, self._numbers[place], 0).astype(np.uint8)


def write_mask(path: Path, ids: np.ndarray) -> None:
    """Writes object ids uint8 (H,W) as a palette PNG with the colours of DAVIS."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.frombytes("P", ids.shape[::-1], np.ascontiguousarray(ids).tobytes())
    image.putpalette(mask_palette().tobytes())
    image.save(path)


def mask_palette() -> np.ndarray:
    """The colours of object ids in DAVIS (and PASCAL VOC), uint8 (256,3)."""
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1  # (256,8), lowest first
    colours = np.zeros((256, 3), dtype=np.uint8)
    for channel in range(3):
        for step, bit in enumerate(range(channel, 8, 3)):
            colours[:, channel] |= (bits[:, bit] << (7 - step)).astype(np.uint8)
    return colours
