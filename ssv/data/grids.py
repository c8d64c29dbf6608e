"""Presentation times in few bytes: a straight line of whole ticks, and how far each frame is off it where it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

WIDTHS = (np.int8, np.int16, np.int32, np.int64)
NOTHING = np.empty(0, dtype=np.int8)
ROW = np.dtype(
    [("frames", "<u4"), ("span", "<i8"), ("num", "<u4"), ("den", "<u4"), ("off_at", "<i8"), ("off_width", "u1")]
)
"""One video's times in a table: a ``Grid``, with the place (in bytes) and the width of its ``off``."""


class Grid(NamedTuple):
    """The presentation times of one video from its first frame on.

    frames: how many. span: ticks from the first frame to the last. unit: seconds in a tick, (numerator, denominator).
    off: int8 to int64 (frames,), ticks that each frame comes after its place on the even line; empty where none does.
        With the unit (0, 0) there are no ticks: float64 (frames,), the seconds themselves.
    """

    frames: int
    span: int
    unit: tuple[int, int]
    off: np.ndarray = NOTHING

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grid) and self._key() == other._key()

    def __ne__(self, other: object) -> bool:  # a tuple brings its own
        return not self == other

    def __hash__(self) -> int:
        return hash(self._key())

    @staticmethod
    def of_ticks(ticks: np.ndarray, unit: tuple[int, int]) -> Grid:
        """From int64 (n,) ticks of ``unit`` seconds, in display order, starting anywhere."""
        ticks = np.asarray(ticks, dtype=np.int64)
        if not len(ticks):
            return Grid(0, 0, unit)
        span = int(ticks[-1] - ticks[0])
        off = ticks - ticks[0] - _line(len(ticks), span)
        if not off.any():
            return Grid(len(ticks), span, unit)
        low, high = int(off.min()), int(off.max())
        width = next(w for w in WIDTHS if np.iinfo(w).min <= low and high <= np.iinfo(w).max)
        return Grid(len(ticks), span, unit, off.astype(width))

    @staticmethod
    def of_seconds(seconds: np.ndarray) -> Grid:
        """From float64 (n,) seconds, kept as they are."""
        return Grid(len(seconds), 0, (0, 0), np.ascontiguousarray(seconds, dtype=np.float64))

    def ticks(self) -> np.ndarray:
        """Ticks after the first frame's, int64 (frames,)."""
        line = _line(self.frames, self.span)
        return line + self.off if len(self.off) else line

    def seconds(self) -> np.ndarray:
        """Seconds after the first frame's, float64 (frames,): to the bit what a probe of the file says."""
        if self.unit == (0, 0):
            return self.off
        return self.ticks() * (self.unit[0] / self.unit[1])

    def _key(self) -> tuple[int, int, tuple[int, int], bytes]:
        return self.frames, self.span, self.unit, self.off.tobytes()


def pack(grids: Iterable[Grid]) -> tuple[np.ndarray, np.ndarray]:
    """Many grids as two arrays: a table ``ROW`` (M,), and the bytes of all that is off, uint8."""
    rows, parts, end = [], [], 0
    for grid in grids:
        width = grid.off.itemsize if len(grid.off) else 0
        rows.append((grid.frames, grid.span, *grid.unit, end, width))
        if width:
            parts.append(grid.off.tobytes())
            end += len(parts[-1])
    return np.array(rows, dtype=ROW), np.frombuffer(b"".join(parts), dtype=np.uint8)


def unpack(row: np.void, off: np.ndarray) -> Grid:
    """The grid of a row of a table that has the columns of ``ROW``; ``off`` as ``pack`` made it."""
    frames, unit, width = int(row["frames"]), (int(row["num"]), int(row["den"])), int(row["off_width"])
    if not width:
        return Grid(frames, int(row["span"]), unit)
    start = int(row["off_at"])
    kind = np.dtype(np.float64) if unit == (0, 0) else np.dtype(f"i{width}")
    return Grid(frames, int(row["span"]), unit, off[start : start + frames * width].view(kind))


def _line(frames: int, span: int) -> np.ndarray:
    # Where rates and units do not go together, frames lie a tick before or after: that fits in a byte each.
    return np.arange(frames, dtype=np.int64) * span // max(1, frames - 1)
