"""What the packets of a file tell without decoding it: how many frames, when, and where reading may start."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_VOP = re.compile(rb"\x00\x00\x01\xb6")  # MPEG-4: a picture starts
_LARGEST_EMPTY_VOP = 4  # bytes after the start code; a coded picture needs more
# Codecs of which every packet brings a frame, but for those that `Showing` knows. Those of screen recordings repeat a
# picture by a packet that brings none.
ONE_FRAME_A_PACKET = frozenset(
    ("h264", "hevc", "av1", "libdav1d", "vp6", "vp6f", "vp6a", "vp8", "vp9", "mpeg1video", "mpeg2video", "mpeg4")
    + ("msmpeg4", "msmpeg4v1", "msmpeg4v2", "h261", "h263", "h263p", "h263i", "flv", "wmv1", "wmv2", "wmv3", "vc1")
    + ("rv10", "rv20", "rv30", "rv40", "theora", "svq1", "svq3", "cinepak", "mjpeg", "mjpegb", "jpeg2000", "png")
    + ("rawvideo", "v210", "v410", "dvvideo", "dnxhd", "prores", "cfhd", "huffyuv", "ffvhuff", "ffv1", "utvideo")
)


class Packet(NamedTuple):
    """One packet that belongs to one frame.

    pts, dts: ticks of the stream, None where the container keeps none. clean: a keyframe that resets the
    decoder and leans on nothing told before it. shown: a frame comes out for it: no part of another, decodable, not hidden by an edit list.
    """

    pts: int | None
    dts: int | None
    keyframe: bool
    clean: bool
    shown: bool


class Table(NamedTuple):
    """The frames of a file in display order.

    ticks: int64 (n,), presentation times in ticks. timed: a decoded frame is known by its ticks;
        otherwise the container's times cannot be trusted and frames are told apart by counting.
    entries: int64 (k,), ascending display positions at which decoding may start, the first is 0.
    regular: one frame for every packet, none hidden, and decoding may start at every keyframe.
    """

    ticks: np.ndarray
    timed: bool
    entries: np.ndarray
    regular: bool


class Showing:
    """Tells for one packet after the other whether a frame comes out of the decoder for it.

    Only the ``codecs`` named have packets without a frame; for others the bytes are not looked at.
    """

    codecs = ("mpeg4", "vp8")

    def __init__(self, codec: str) -> None:
        self.codec = codec
        self._waiting = False

    def __call__(self, data: bytes) -> bool:
        """True when the packet with the bytes ``data``, the next in the file, brings a frame."""
        if self.codec == "vp8":
            return bool(data[0] & 0x10)  # show_frame; else a reference that is never shown
        if self.codec != "mpeg4":
            return True
        # XviD packs a B-frame behind the frame it needs and later writes an empty one to make up for it;
        # UCF101 is made of these. An empty picture without a packed one before it shows nothing new.
        pictures = [match.end() for match in _VOP.finditer(data)]
        is_empty = len(pictures) == 1 and len(data) - pictures[0] <= _LARGEST_EMPTY_VOP
        if not is_empty:
            self._waiting = self._waiting or len(pictures) > 1
            return True
        is_owed, self._waiting = self._waiting, False
        return is_owed


class Decodable:
    """Tells for one packet after the other whether the decoder has seen what it leans on.

    It has not for what is stored before the first keyframe, nor for what is shown before that keyframe.
    """

    def __init__(self, container: str) -> None:
        self._has_times = container != "avi"
        self._has_begun = False
        self._first: int | None = None

    def __call__(self, pts: int | None, is_keyframe: bool) -> bool:
        """True when the packet shown at ``pts``, the next in the file, can be decoded."""
        # A keyframe shown before the first one begins another recording, written behind the one before.
        begins = not self._has_begun or (self._first is not None and pts is not None and pts < self._first)
        if is_keyframe and begins:
            self._has_begun, self._first = True, pts if self._has_times else None
        return self._has_begun and (self._first is None or pts is None or pts >= self._first)


def make_table(packets: Sequence[Packet], container: str, ticks_per_frame: float) -> Table:
    """Sorts ``packets``, given in the order stored, for display. ``container`` is FFmpeg's format name.

    ``ticks_per_frame`` serves where the container keeps no times. The table is empty when nothing is shown.
    """
    kept = [packet for packet in packets if packet.shown]
    if "mp4" not in container and "matroska" not in container and container != "avi":
        starts = recordings(packets)
        if len(starts) > 1:
            ticks = _joined_ticks([packets[a:b] for a, b in zip(starts, [*starts[1:], len(packets)])], ticks_per_frame)
            return Table(ticks, False, np.zeros(min(1, len(ticks)), dtype=np.int64), False)
    times = [packet.pts for packet in kept]
    # AVI keeps no presentation times: FFmpeg guesses them, and wrongly where B-frames are packed.
    timed = container != "avi" and None not in times and len(set(times)) == len(times)
    if not timed:
        ticks = _decoding_ticks(kept, ticks_per_frame)
        return Table(ticks, False, np.zeros(min(1, len(ticks)), dtype=np.int64), False)
    ticks = np.array(sorted(pts for pts in times if pts is not None), dtype=np.int64)
    seeks = "mp4" in container or "matroska" in container
    if not kept or not seeks or len(ticks) != len(packets):
        return Table(ticks, True, np.zeros(min(1, len(ticks)), dtype=np.int64), False)
    stored = np.array(times, dtype=np.int64)
    before = np.concatenate([[stored[0] - 1], np.maximum.accumulate(stored)[:-1]])
    after = np.minimum.accumulate(stored[::-1])[::-1]
    closed = (before < stored) & (after == stored) & np.array([packet.clean for packet in kept])
    entries = np.union1d([0], np.searchsorted(ticks, stored[closed]))
    return Table(ticks, True, entries, bool(closed[[packet.keyframe for packet in kept]].all()))


def recordings(packets: Sequence[Packet]) -> list[int]:
    """Where recordings begin that were written one after the other: at keyframes where the time of decoding goes back."""
    starts, latest = [0], None
    for number, packet in enumerate(packets):
        if packet.dts is None:
            continue
        if latest is not None and packet.keyframe and packet.dts <= latest:
            starts.append(number)
        latest = packet.dts
    return starts


def _joined_ticks(recordings: Sequence[Sequence[Packet]], ticks_per_frame: float) -> np.ndarray:
    """Times of frames of several recordings, each beginning a frame after the one before it ends."""
    parts: list[np.ndarray] = []
    following = 0
    for packets in recordings:
        kept = [packet for packet in packets if packet.shown]
        times = [packet.pts for packet in kept if packet.pts is not None]
        if len(times) == len(kept) == len(set(times)):
            ticks = np.array(sorted(times), dtype=np.int64)
        else:
            ticks = _decoding_ticks(kept, ticks_per_frame)
        if len(ticks):
            parts.append(ticks - ticks[0] + following)
            following = int(parts[-1][-1]) + round(ticks_per_frame)
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def _decoding_ticks(kept: Sequence[Packet], ticks_per_frame: float) -> np.ndarray:
    """Times of decoding, which differ from those of display by a constant; or else an even rate."""
    dts = np.array([packet.dts for packet in kept if packet.dts is not None], dtype=np.int64)
    if len(dts) == len(kept) and (np.diff(dts) > 0).all():
        return dts
    return np.round(np.arange(len(kept)) * ticks_per_frame).astype(np.int64)
