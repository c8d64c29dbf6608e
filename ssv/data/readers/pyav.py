"""The judge of correctness: every frame decoded in sequence, and known by its time or by counting."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
from av.video.reformatter import VideoReformatter

from ssv.data.readers.base import Reader, VideoError
from ssv.data.readers.probe import (
    Look,
    changes_size,
    contradicts,
    decodable_packets,
    decode,
    look,
    open_video,
    orientation,
)

_WORTH_A_SEEK = 8  # frames; decoding fewer costs no more than seeking over them


class PyAVReader(Reader):
    """Reads with PyAV, FFmpeg's libraries in process. Holds no open file, so that it may be forked.

    The packets of a file are looked at once and remembered. Decoding starts at the last keyframe before the frames asked where the packets prove that nothing reaches
    across it, else at the first frame. A damaged stream raises VideoError: no frame is guessed or repeated.
    """

    def read(self, path: str, indices: Sequence[int]) -> np.ndarray:
        """See ``Reader.read``."""
        known = look(path)
        places = check_indices(path, indices, len(known.info.seconds))
        frames = np.empty((len(places), known.info.height, known.info.width, 3), dtype=np.uint8)
        wanted = np.unique(places)
        convert = VideoReformatter()  # one for all frames: a new one costs four times the decoding of a small frame
        for run, entry in _runs(wanted, known.table.entries):
            remaining = set(run.tolist())
            for position, frame in _decode(path, known, entry):
                if position in remaining:
                    shown = _as_shown(path, frame, known, convert)
                    for at in np.flatnonzero(places == position):
                        frames[at] = shown
                    remaining.remove(position)
                if not remaining:
                    break
            else:
                raise _missing(path, min(remaining))
        return frames


def every_frame(path: str) -> Iterator[Any]:
    """All frames shown, decoded in sequence, in display order; not turned upright.

    Raises VideoError where one is damaged, and unless exactly those come out that the packets announce.
    """
    known = look(path)
    frames, count = len(known.info.seconds), 0
    for position, frame in _decode(path, known, 0):
        if position == frames:
            raise VideoError(path, f"more frames come out of the decoder than the {frames} its packets announce")
        if position != count:
            raise _missing(path, count)
        _check_size(path, known, orientation(path, frame).size(frame.height, frame.width))
        yield frame
        count += 1
    if count < frames:
        raise _missing(path, count)


def check_indices(path: str, indices: Sequence[int], frames: int) -> np.ndarray:
    """The ``indices`` as int64 (n,); VideoError where one lies outside a video of ``frames`` frames."""
    places = np.asarray(indices, dtype=np.int64).reshape(-1)
    outside = places[(places < 0) | (places >= frames)]
    if len(outside):
        raise VideoError(path, f"has frames 0 to {frames - 1}, asked for frame {outside[0]}")
    return places


def _runs(wanted: np.ndarray, entries: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """Cuts ascending positions into runs, each with the position to start decoding at."""
    starts = entries[np.searchsorted(entries, wanted, side="right") - 1]
    skipped = starts[1:] - wanted[:-1]
    cuts = np.flatnonzero(skipped > _WORTH_A_SEEK) + 1
    for run in np.split(np.arange(len(wanted)), cuts):
        if len(run):
            yield wanted[run], int(starts[run[0]])


def _decode(path: str, known: Look, entry: int) -> Iterator[tuple[int, Any]]:
    """Display positions and decoded frames from position ``entry`` on, in display order."""
    ticks = known.table.ticks
    with open_video(path) as (container, stream):
        if entry:
            container.seek(int(ticks[entry]), stream=stream)
        packets = decodable_packets(container, stream)
        first = next(packets, None)
        if first is not None and (not entry or first.pts == ticks[entry]):
            frames = (frame for packet in chain([first], packets) for frame in decode(packet))
            yield from _place(path, known, frames, entry)
            return
    if entry:  # the seek went elsewhere
        yield from _decode(path, known, 0)


def _place(path: str, known: Look, frames: Iterator[Any], entry: int) -> Iterator[tuple[int, Any]]:
    """Gives each decoded frame its display position, ``entry`` first; leaves out those not shown.

    Raises VideoError where a position is left out: the frame there comes later, or never.
    """
    ticks: list[int] = known.table.ticks.tolist()  # a search in an array costs ten times one in a list
    latest, missing = entry - 1, None
    for frame in frames:
        if frame.is_corrupt:
            raise VideoError(path, f"damaged after frame {latest}")
        if not known.table.timed:
            latest += 1
            yield latest, frame
            continue
        position = bisect_left(ticks, frame.pts) if frame.pts is not None else len(ticks)
        if position == len(ticks) or ticks[position] != frame.pts:
            continue
        if position <= latest:
            raise contradicts(path, latest)
        if missing is None and position > latest + 1:
            missing = latest + 1
        latest = position
        if missing is None:
            yield position, frame
    if missing is not None:
        raise _missing(path, missing)


def _missing(path: str, frame: int) -> VideoError:
    return VideoError(path, f"frame {frame} does not come out of the decoder; is the file damaged?")


def _as_shown(path: str, frame: Any, known: Look, convert: VideoReformatter) -> np.ndarray:
    """The frame upright, uint8 (H,W,3) RGB; a view."""
    rgb = convert.reformat(frame, format="rgb24", threads=1)
    plane: Any = rgb.planes[0]
    pixels = np.ndarray((rgb.height, rgb.width, 3), np.uint8, plane, 0, (plane.line_size, 3, 1))
    upright = orientation(path, frame).upright(pixels)
    _check_size(path, known, (upright.shape[0], upright.shape[1]))
    return upright


def _check_size(path: str, known: Look, size: tuple[int, int]) -> None:
    """``size`` is the height and width of a frame upright."""
    if size != (known.info.height, known.info.width):
        raise changes_size(path, (known.info.height, known.info.width), size)
