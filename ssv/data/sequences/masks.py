"""Files of label maps: palette, grey and RGB masks in, palette PNGs with the colours of DAVIS out."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from ssv.data.readers.base import VideoError
from ssv.data.sequences.pictures import opened

VOID = 255
MOST_VALUES = 64
"""More in a grey or RGB mask are not drawn by hand; smoothing and compression leave them."""
LOSSY = ("JPEG", "MPO", "JPEG2000", "WEBP", "AVIF")
CODE = np.array([1 << 16, 1 << 8, 1])  # of a colour, as one number


class MaskReader:
    """Reads the masks of one sequence as label maps. What a value means is settled by the first of them.

    - A palette file holds the object numbers themselves; 255 is void.
    - A grey file (also saved as RGB) does too, except that one of 0 and 255 alone is one object (DAVIS 2016).
    - An RGB file has colours: black is 0. If all others are colours of the DAVIS palette, they have its numbers;
      otherwise they are numbered in the order of their values.
    - A transparent pixel is background.

    The objects of the first mask are 1, 2, ... K. Other numbers come from files that were converted (a palette read as
    grey values, smoothed edges) and are an error, unless ``renumber`` is set. Later masks may show fewer objects. An
    object that appears later is not tracked.
    """

    def __init__(self, *, merged: bool = False, renumber: bool = False, classes: int | None = None) -> None:
        """A reader for one sequence.

        Args:
            merged: everything but background and void is object 1, in each mask by itself.
            renumber: the numbers of the first mask, in ascending order, become 1, 2, ... K.
            classes: the numbers are classes below this one, and not objects: any of them may be absent.
        """
        self.merged, self.renumber, self.classes = merged, renumber, classes
        self._first: _Mask | None = None
        self._numbers: dict[int, int] = {}  # of the values of the first mask

    def read(self, path: str) -> np.ndarray:
        """Label map uint8 (H,W).

        Raises:
            VideoError: if the file is missing, no picture, of a kind that holds no labels, or of values that are none.
        """
        mask = _load(path)
        if self.merged or self._first is None:
            self._numbers, self._first = self._meaning(path, mask), mask
        elif mask.kind != self._first.kind:
            mask = _as_kind(path, mask, self._first)
        elif mask.kind == "palette":
            _check_palette(path, mask, self._first)
        values, inverse = np.unique(mask.values, return_inverse=True)
        if mask.kind == "grey" and len(values) > MOST_VALUES:
            raise VideoError(path, f"this mask has {len(values)} grey values; {SMOOTHED}")
        labels = np.array([self._number(path, int(value), mask.kind) for value in values], dtype=np.uint8)
        return labels[inverse].reshape(mask.values.shape)

    def _number(self, path: str, value: int, kind: str) -> int:
        if value in self._numbers:
            return self._numbers[value]
        if kind == "colour" or self.renumber:
            return 0
        if self.classes is not None and self.classes <= value != VOID:
            raise VideoError(path, f"this mask has class {value}; " + RANGE.format(self.classes - 1))
        if VOID in self._numbers and self._numbers[VOID] != VOID:
            raise VideoError(
                path,
                f"this mask has the grey value {value}, the first of its sequence 0 and 255 only; smoothing or compression "
                "leaves such values: threshold the masks",
            )
        return value

    def _meaning(self, path: str, mask: _Mask) -> dict[int, int]:
        """Label of each value of a first mask."""
        values = [int(value) for value in np.unique(mask.values) if value]
        if mask.kind == "colour":
            return self._colours(path, values, mask)
        if self.classes is not None:
            return {}
        if mask.kind == "grey" and values == [VOID]:
            return {0: 0, VOID: 1}
        ids = [value for value in values if value != VOID]
        if mask.kind == "grey" and _is_grey_smoothed(mask.values, ids):
            raise VideoError(path, f"this mask has {len(ids)} grey values, most of them on edges; {SMOOTHED}")
        has_gaps = ids != list(range(1, len(ids) + 1))
        if self.merged:
            if mask.kind == "grey" and has_gaps and VOID in values:
                raise VideoError(path, f"this mask has the grey values {_listed(values)}; {SMOOTHED}")
            return {0: 0, VOID: 0, **dict.fromkeys(ids, 1)}
        if has_gaps and not self.renumber:
            raise VideoError(path, f"the objects of this first mask must be {_range(ids)}, got {_listed(ids)}; {HELP}")
        return {0: 0, VOID: VOID, **{value: number for number, value in enumerate(ids, 1)}}

    def _colours(self, path: str, colours: list[int], mask: _Mask) -> dict[int, int]:
        if len(colours) > VOID - 1:
            raise VideoError(path, f"this mask has {len(colours)} colours; {SMOOTHED}")
        palette = {int(code): number for number, code in reversed(list(enumerate(mask_palette().astype(int) @ CODE)))}
        if all(colour in palette for colour in colours):
            ids = sorted(palette[colour] for colour in colours if palette[colour] != VOID)
            if self.merged:
                return {0: 0, **{colour: int(palette[colour] != VOID) for colour in colours}}
            if self.classes is not None:
                if max(ids, default=0) >= self.classes:
                    raise VideoError(
                        path, f"this mask has the colour of class {ids[-1]}; " + RANGE.format(self.classes - 1)
                    )
                return {0: 0, **{colour: palette[colour] for colour in colours}}
            if not self.renumber and ids != list(range(1, len(ids) + 1)):
                what = f"the colours of this first mask are those of the objects {_listed(ids)} in the palette of DAVIS"
                raise VideoError(path, f"{what}, needed are {_range(ids)}; {HELP}")
            place = {number: place for place, number in enumerate(ids, 1)}
            return {0: 0, **{colour: place.get(palette[colour], VOID) for colour in colours}}
        if self.classes is not None:
            raise VideoError(
                path, "this mask has colours that are none of the palette of DAVIS and VOC; save the classes"
            )
        if len(colours) > MOST_VALUES or _is_smoothed(mask.values, colours):
            raise VideoError(path, f"this mask has {len(colours)} colours, among them mixtures; {SMOOTHED}")
        return {0: 0, **{colour: 1 if self.merged else number for number, colour in enumerate(colours, 1)}}


RANGE = "the classes are 0 to {}, 255 is void"
SMOOTHED = "smoothing or compression leaves them: save the masks as PNG, without smoothing"
HELP = (
    "a palette read as grey values or a smoothed edge looks so: save the object numbers, or set "
    "data.sequences.renumber=true to take these values for the objects"
)


class _Mask(NamedTuple):
    """A file: ``palette`` and ``grey`` have numbers, ``colour`` has codes, int64 (H,W); ``palette`` is int64 (256,)."""

    kind: str
    values: np.ndarray
    palette: np.ndarray | None = None


def _load(path: str) -> _Mask:
    with opened(path, "mask") as image:
        if image.format in LOSSY:
            raise VideoError(path, f"a mask in the format {image.format}, which changes values; save it as PNG")
        if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA") or _has_16_bits(image):
            raise VideoError(path, f"a mask of mode {image.mode}; needed is a palette, 8-bit grey or 8-bit RGB file")
        alpha = np.asarray(image.convert("RGBA"))[..., 3] if image.has_transparency_data else None
        palette = None
        if image.mode == "P":
            kind, values = "palette", np.asarray(image).astype(np.int64)
            given = np.frombuffer(bytes(image.getpalette("RGB") or b"")[:768].ljust(768, b"\0"), np.uint8)
            palette = given.reshape(256, 3) @ CODE
        else:
            colours = np.asarray(image.convert("RGB"))
            is_grey = bool((colours == colours[..., :1]).all())
            kind = "grey" if is_grey else "colour"
            values = colours[..., 0].astype(np.int64) if is_grey else colours.astype(np.int64) @ CODE
    if alpha is not None:
        if np.any((alpha > 0) & (alpha < 255)):
            raise VideoError(
                path, "this mask has pixels that are half transparent, as smoothed edges are; save it without"
            )
        values = np.where(alpha == 0, 0, values)
    return _Mask(kind, values, palette)


def _has_16_bits(image: Image.Image) -> bool:
    """Whether the file has 16 bits a channel, of which Pillow keeps the upper eight without a word."""
    return any(";16" in str(tile[-1]) for tile in getattr(image, "tile", ()))


def _as_kind(path: str, mask: _Mask, first: _Mask) -> _Mask:
    """A later mask whose file is of another kind than the first: a grey one among colours shows some of them."""
    if first.kind == "colour" and mask.kind == "grey":
        return _Mask("colour", mask.values * int(CODE.sum()))
    if not mask.values.any():
        return _Mask(first.kind, mask.values)
    raise VideoError(
        path, f"this mask is a {mask.kind} file, the first of its sequence a {first.kind} file; save them alike"
    )


def _check_palette(path: str, mask: _Mask, first: _Mask) -> None:
    """Programs that make files smaller sort the palette of each anew, after which the numbers mean nothing."""
    assert mask.palette is not None and first.palette is not None
    colours = {int(first.palette[value]): int(value) for value in np.unique(first.values)}
    for value in np.unique(mask.values):
        other = colours.get(int(mask.palette[value]), value)
        if other != value and first.palette[value] != mask.palette[value]:
            raise VideoError(
                path,
                f"the palette of this mask gives {value} the colour that {other} has in the first mask of its sequence; "
                "save all masks with one palette",
            )


def _is_grey_smoothed(values: np.ndarray, ids: list[int]) -> bool:
    """Whether there are too many values, or most of several are on edges only."""
    return len(ids) > MOST_VALUES or (len(ids) > 3 and 2 * sum(_has_inside(values, id) for id in ids) < len(ids))


def _is_smoothed(values: np.ndarray, colours: list[int]) -> bool:
    """Whether a colour that is on edges only is a mixture of two others."""
    channels = np.array([[code >> 16, code >> 8 & 255, code & 255] for code in (0, *colours)], dtype=np.float64)
    for number, colour in enumerate(colours, 1):
        if _has_inside(values, colour):
            continue
        others = np.delete(channels, number, axis=0)
        start, end = others[:, None], others[None]
        line, along = end - start, channels[number] - start
        share = (along * line).sum(-1) / np.maximum((line * line).sum(-1), 1)
        is_near = np.abs(along - share[..., None] * line).max(-1) <= 2
        if np.any(is_near & (share > 0) & (share < 1)):
            return True
    return False


def _has_inside(values: np.ndarray, value: int) -> bool:
    """Whether some pixel and its eight neighbours have the value."""
    return bool(cv2.erode((values == value).astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0).any())


def _range(ids: list[int]) -> str:
    return f"1 to {len(ids)}" if len(ids) > 1 else "1"


def _listed(values: list[int]) -> str:
    more = len(values) - 8
    return ", ".join(map(str, values[:8])) + (f" and {more} more" if more > 0 else "")


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
