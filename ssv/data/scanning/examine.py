"""What one file holds: a look at its packets, and one decode from beginning to end that keeps only small pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
import torch
from av.video.reformatter import VideoReformatter

from ssv.data.grids import Grid
from ssv.data.readers.base import VideoError
from ssv.data.readers.probe import Look, changes_size, contradicts, look, open_video, orientation, sound_frames
from ssv.data.scanning.workers import Beat
from ssv.ops.tuples import shot_numbers

WIDTH, HEIGHT = 32, 24  # of the small pictures
CHUNK = 256  # small pictures looked at together
STILL_LEVELS = 6  # of 255: what coding noise changes in an area of a small picture
BLACK_LEVEL = 20  # of 255: a frame with no brighter area is black
CUT = 0.5  # share of the colour histogram that changes; as in pretexts that look for cuts
CUT_LEVELS = 12  # mean change at a cut; flat frames that grow brighter change their histogram all at once, too
HASH_SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)  # places of the hashed frames in a video
HASH_CONTRAST = 8.0  # standard deviation in levels; flatter frames look like any other


class Contents(NamedTuple):
    """What decoding all frames tells.

    decoded: frames shown that come out without a complaint, in order and of one size. still_seconds: the longest time
    without a change. black: share of the frames. cuts: hard ones. hashes: 64 bits each, at ``HASH_SHARES``; None for a
    flat frame.
    """

    decoded: int
    still_seconds: float
    black: float
    cuts: int
    hashes: tuple[int | None, ...]


class Finding(NamedTuple):
    """What is known of one file.

    path, size, mtime_ns: as in ``ssv.data.index.Entry``, also height, width, rotation and codec. reason: why it is
    broken, or "". grid, first: presentation times and the tick of the first frame. container: FFmpeg's name.
    header_frames: what the container claims, 0 where it does not. gop: most frames between two places at which decoding
    may start. pixel: width of a stored pixel by its height, "1" where it is square. interlaced: made of fields. contents:
    None where it was not decoded.
    """

    path: str
    size: int
    mtime_ns: int
    reason: str = ""
    grid: Grid = Grid(0, 0, (1, 1))
    first: int = 0
    height: int = 0
    width: int = 0
    rotation: int = 0
    codec: str = ""
    container: str = ""
    header_frames: int = 0
    gop: int = 0
    pixel: str = "1"
    interlaced: bool = False
    contents: Contents | None = None

    @property
    def seconds(self) -> float:
        """How long it lasts: the last frame is on show as long as the others."""
        frames = self.grid.frames
        return self.grid.span * self.grid.unit[0] / self.grid.unit[1] * frames / max(1, frames - 1)

    @property
    def rate(self) -> float:
        """Mean frames per second; 0 for fewer than two frames."""
        return self.grid.frames / self.seconds if self.seconds else 0.0

    @property
    def is_constant(self) -> bool:
        """Whether frames lie where an even rate puts them, to a tick or a twentieth of a frame."""
        step = self.grid.span / max(1, self.grid.frames - 1)
        return not len(self.grid.off) or int(np.abs(self.grid.off).max()) <= max(1.0, step / 20)


def examine(path: str, beat: Beat, *, decode: bool) -> Finding:
    """Looks at the packets of a file and, with ``decode``, at all its frames.

    What is damaged inside has a ``reason`` beside what is known of it. Raises VideoError when nothing can be known.
    """
    found = look(path, beat)
    status = os.stat(path)
    edges = np.append(found.table.entries, len(found.table.ticks))
    finding = Finding(
        path=path,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        grid=Grid.of_ticks(found.table.ticks, found.unit),
        first=int(found.table.ticks[0]),
        height=found.info.height,
        width=found.info.width,
        rotation=found.info.rotation,
        codec=found.info.codec,
        container=found.container,
        header_frames=found.header_frames,
        gop=int(np.diff(edges).max()),
        pixel=str(found.pixel),
        interlaced=found.interlaced,
    )
    if not decode:
        return finding
    try:
        contents = _contents(path, found, beat)
    except VideoError as error:
        return finding._replace(reason=error.reason)
    frames = finding.grid.frames
    reason = "" if contents.decoded == frames else f"damaged: {contents.decoded} of {frames} frames can be read"
    return finding._replace(contents=contents, reason=reason)


def thumbnail(path: str, beat: Beat, *, side: int = 120) -> bytes:
    """A sound frame from the middle of what can be decoded, as a JPEG with ``side`` rows. Raises VideoError."""
    known = look(path, beat)
    place = len(known.table.ticks) // 2
    convert, kept = VideoReformatter(), None
    with open_video(path) as (container, stream):
        for position, frame in enumerate(sound_frames(container, stream)):
            beat()
            kept = frame
            if position == place:
                break
        if kept is None:
            raise VideoError(path, "no frame of it can be decoded")
        shape = {"width": max(2, round(side * kept.width / kept.height)), "height": side}
        picture = convert.reformat(kept, **shape, format="bgr24", interpolation="AREA", threads=1).to_ndarray()
    upright = np.ascontiguousarray(known.orientation.upright(picture))
    return bytes(cv2.imencode(".jpg", upright, [cv2.IMWRITE_JPEG_QUALITY, 70])[1].tobytes())


def _contents(path: str, found: Look, beat: Beat) -> Contents:
    watch = _Watch(found.info.seconds)
    for places, small in _chunks(path, found, beat):
        watch.see(places, small)
    return watch.told()


def _chunks(path: str, found: Look, beat: Beat) -> Iterator[tuple[list[int], np.ndarray]]:
    """Display positions of decoded frames and the frames themselves, small: uint8 (n,HEIGHT,WIDTH,3)."""
    ticks, convert = found.table.ticks, VideoReformatter()
    places: list[int] = []
    small: list[np.ndarray] = []
    latest = -1
    with open_video(path) as (container, stream):
        for count, frame in enumerate(sound_frames(container, stream)):
            beat()
            place = count
            if found.table.timed:
                place = int(np.searchsorted(ticks, frame.pts)) if frame.pts is not None else len(ticks)
                if place == len(ticks) or ticks[place] != frame.pts:  # hidden by an edit list
                    continue
            size = orientation(path, frame).size(frame.height, frame.width)
            if place >= len(ticks):
                continue
            if place <= latest:
                raise contradicts(path, latest)
            if size != (found.info.height, found.info.width):
                raise changes_size(path, (found.info.height, found.info.width), size)
            latest = place
            picture = convert.reformat(
                frame, width=WIDTH, height=HEIGHT, format="rgb24", interpolation="AREA", threads=1
            )
            places.append(place)
            small.append(picture.to_ndarray())
            if len(small) == CHUNK:
                yield places, np.stack(small)
                places, small = [], []
    if small:
        yield places, np.stack(small)


class _Watch:
    """Keeps count of what the small pictures show, chunk by chunk."""

    def __init__(self, seconds: np.ndarray) -> None:
        self._seconds = seconds
        self._wanted = {int(share * len(seconds)): k for k, share in enumerate(HASH_SHARES)}
        self._hashes: list[int | None] = [None] * len(HASH_SHARES)
        self._decoded = self._black = self._cuts = 0
        self._still = 0.0
        self._since: tuple[float, np.ndarray] | None = None  # when the present stillness began, and what it shows
        self._latest: np.ndarray | None = None

    def see(self, places: list[int], small: np.ndarray) -> None:
        """The next frames."""
        torch.set_num_threads(1)
        self._decoded += len(small)
        self._black += int((small.max(axis=(1, 2, 3)) <= BLACK_LEVEL).sum())
        joined = small if self._latest is None else np.concatenate([self._latest[None], small])
        pixels = torch.from_numpy(joined.transpose(3, 0, 1, 2)[None].copy())  # (1,C,n,h,w)
        differs = np.abs(np.diff(joined.astype(np.int16), axis=0)).mean(axis=(1, 2, 3)) > CUT_LEVELS
        self._cuts += int((shot_numbers(pixels, threshold=CUT)[0].diff().numpy() > 0)[differs].sum())
        self._latest = small[-1]
        for place, picture in zip(places, small):
            self._watch_stillness(place, picture)
            if place in self._wanted:
                self._hashes[self._wanted[place]] = difference_hash(picture)

    def told(self) -> Contents:
        """All of it."""
        black = self._black / max(1, self._decoded)
        return Contents(self._decoded, round(self._still, 3), round(black, 4), self._cuts, tuple(self._hashes))

    def _watch_stillness(self, place: int, picture: np.ndarray) -> None:
        now, values = float(self._seconds[place]), picture.astype(np.int16)
        # Compared with where the stillness began: what creeps is not still.
        if self._since is None or np.abs(values - self._since[1]).max() > STILL_LEVELS:
            self._since = now, values
        self._still = max(self._still, now - self._since[0])


def difference_hash(picture: np.ndarray) -> int | None:
    """64 bits, one for each of 8x8 areas: is the next one to the right brighter? None for a flat picture (h,w,3)."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    if grey.std() < HASH_CONTRAST:
        return None
    areas = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
    bits = np.packbits(areas[:, 1:] > areas[:, :-1])
    return int.from_bytes(bits.tobytes(), "big")
