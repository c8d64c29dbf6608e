"""Files of label maps: palette, grey and RGB masks in, palette PNGs with the colours of DAVIS out."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from ssv.data.readers.base import VideoError
from ssv.data.sequences.pictures import opened
from ssv.data.sets.lookup import named

VOID = 255
MOST_VALUES = 64
"""More in a grey or RGB mask are not drawn by hand; smoothing and compression leave them."""
LOSSY = ("JPEG", "MPO", "JPEG2000", "WEBP", "AVIF")
CODE = np.array([1 << 16, 1 << 8, 1])  # of a colour, as one number


class MaskReader:
    """Reads the masks of one sequence as label maps. The first mask defines what a value means.

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
        self._late: set[int] = set()  # numbers that appeared after it

    def read(self, path: str) -> np.ndarray:
        """Label map uint8 (H,W).

        Raises:
            VideoError: if the file is missing, no picture, of a kind that holds no labels, or of values that are none.
        """
        mask = _load(path)
        _check_smoothing(path, mask)
        is_empty = not mask.values.any()
        if mask.kind == "palette":
            _check_palette(path, mask, self._first)
        if self._first is not None and not is_empty:
            mask = _as_kind(path, mask, self._first)
            _check_binary(path, mask, self._first)
        each_by_itself = self.merged or self.classes is not None
        if each_by_itself or self._first is None:
            self._numbers = self._meaning(path, mask)
        if self._first is None and not (each_by_itself and is_empty):
            self._first = mask
        values, inverse = np.unique(mask.values, return_inverse=True)
        if mask.kind != "colour" and not each_by_itself and not self.renumber:
            self._check_late(path, [int(value) for value in values if value not in self._numbers])
        labels = np.array([self._number(path, int(value), mask.kind) for value in values], dtype=np.uint8)
        return labels[inverse].reshape(mask.values.shape)

    def _number(self, path: str, value: int, kind: str) -> int:
        if value in self._numbers:
            return self._numbers[value]
        if kind == "colour" or self.renumber:
            return 0
        if self.classes is not None and self.classes <= value != VOID:
            raise VideoError(path, f"this mask has class {value}; " + RANGE.format(self.classes - 1))
        return value

    def _check_late(self, path: str, late: list[int]) -> None:
        """Refuse objects that appear later unless their numbers continue those of the first mask."""
        self._late |= {*late}
        most = len({*self._numbers.values()} - {0, VOID})
        if self._late and sorted(self._late) != list(range(most + 1, most + 1 + len(self._late))):
            raise VideoError(
                path,
                f"this mask has the numbers {_listed(late)}, the first of its sequence 1 to {most}; data.sequences.renumber=true "
                "skips what appears later",
            )

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
        has_gaps = ids != list(range(1, len(ids) + 1))
        if self.merged:
            if mask.kind == "grey" and has_gaps and VOID in values:
                raise VideoError(path, f"this mask has the grey values {_listed(values)}; {SMOOTHED}")
            return {0: 0, VOID: 0, **dict.fromkeys(ids, 1)}
        if has_gaps and not self.renumber:
            raise VideoError(path, f"the objects of this first mask must be {_range(ids)}, got {_listed(ids)}; {HELP}")
        return {0: 0, VOID: VOID, **{value: number for number, value in enumerate(ids, 1)}}

    def _colours(self, path: str, colours: list[int], mask: _Mask) -> dict[int, int]:
        palette = _davis_numbers()
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
                path, "this mask has colours that are not in the DAVIS and VOC palette; save the class numbers"
            )
        if not self.merged and len(colours) > 1 and not np.any(mask.values == 0):
            raise VideoError(
                path, "this mask has no black pixel, and black is the background; paint the background black"
            )
        return {0: 0, **{colour: 1 if self.merged else number for number, colour in enumerate(colours, 1)}}


RANGE = "the classes are 0 to {}, 255 is void"
SMOOTHED = "smoothing or compression leaves them: save the masks as PNG without smoothing"
HELP = (
    "this happens if a palette is read as grey values, or edges are smoothed. Save the object numbers, or set "
    "data.sequences.renumber=true to use these values as the objects"
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
        if getattr(image, "n_frames", 1) > 1:
            raise VideoError(path, f"a mask of {image.n_frames} pages or frames; save each as a file")  # type: ignore[attr-defined]
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
                path, "this mask has pixels that are half transparent, as smoothed edges are; remove the transparency"
            )
        values = np.where(alpha == 0, 0, values)
    return _Mask(kind, values, palette)


def _has_16_bits(image: Image.Image) -> bool:
    """Whether the file has 16 bits a channel, of which Pillow keeps only the upper eight, without an error."""
    return any(";16" in str(tile[-1]) for tile in getattr(image, "tile", ()))


def _as_kind(path: str, mask: _Mask, first: _Mask) -> _Mask:
    """A later mask, whose file must be of the kind of the first; a grey one among colours shows white or grey objects."""
    if mask.kind == first.kind:
        return mask
    if first.kind == "colour" and mask.kind == "grey":
        as_colours = mask.values * int(CODE.sum())
        if np.isin(as_colours, first.values).all():
            return _Mask("colour", as_colours)
    raise VideoError(
        path, f"this mask is a {mask.kind} file, the first of its sequence a {first.kind} file; save them alike"
    )


def _check_binary(path: str, mask: _Mask, first: _Mask) -> None:
    """Grey masks of a sequence all have numbers, or all have 0 and 255 alone."""
    if mask.kind != "grey":
        return
    values, others = (set(np.unique(one.values).tolist()) - {0} for one in (mask, first))
    if (values == {VOID}) != (others == {VOID}) and others:
        raise VideoError(
            path,
            f"this mask has the grey values {_listed(sorted(values))}, the first of its sequence {_listed(sorted(others))}; "
            "save all with numbers, or all with 0 and 255 alone (smoothing or compression leaves other values)",
        )


def _check_palette(path: str, mask: _Mask, first: _Mask | None) -> None:
    """The colours of a palette must not say that its numbers mean something else.

    Programs that make files smaller, or that choose colours, sort the palette of each file as they like.
    """
    assert mask.palette is not None
    used = [int(value) for value in np.unique(mask.values)]
    if mask.palette[0] != 0 and any(mask.palette[value] == 0 for value in used):
        raise VideoError(
            path, "the background of this mask is not number 0, but another one that is black; save the numbers"
        )
    if first is None or first.palette is None:
        return
    davis = _davis_numbers()
    colours = {int(first.palette[value]): int(value) for value in np.unique(first.values)}
    if all(davis.get(code) == number for code, number in colours.items()):
        colours = davis
    for value in used:
        other = colours.get(int(mask.palette[value]), value)
        if other != value and first.palette[value] != mask.palette[value]:
            raise VideoError(
                path,
                f"the palette of this mask gives {value} the colour that {other} has in the first mask of its sequence; "
                "save all masks with one palette",
            )


def _check_smoothing(path: str, mask: _Mask) -> None:
    """Raises VideoError where values are most likely mixtures of others."""
    values = [int(value) for value in np.unique(mask.values) if value]
    palette = _davis_numbers().keys()
    is_drawn = mask.palette is not None and palette >= {*mask.palette[values].tolist()}
    if mask.kind != "colour":
        ids = [value for value in values if value != VOID]
        if not is_drawn and _is_grey_smoothed(mask.values, ids):
            raise VideoError(path, f"this mask has {len(ids)} {mask.kind} values, most of them on edges; {SMOOTHED}")
        return
    if not palette >= {*values} and (len(values) > MOST_VALUES or _is_smoothed(mask.values, values)):
        raise VideoError(path, f"this mask has {len(values)} colours, among them mixtures; {SMOOTHED}")


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
    return named([str(value) for value in values], most=8)


@cache
def _davis_numbers() -> dict[int, int]:
    """Object number of each colour of the DAVIS palette, as a code."""
    return {int(code): number for number, code in reversed(list(enumerate(mask_palette().astype(int) @ CODE)))}


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
