"""A look at a video file: its packets, its first frame, and how many frames can be decoded."""

from __future__ import annotations

import errno
import math
import os
import re
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, NamedTuple

import av
import numpy as np
from av.stream import Disposition

from ssv.data.readers.base import Orientation, VideoError, VideoInfo
from ssv.data.readers.headers import Carried, resets_decoder, size_header
from ssv.data.readers.joins import Joins, restarts
from ssv.data.readers.packets import ONE_FRAME_A_PACKET, Decodable, Packet, Showing, Table, make_table


class Look(NamedTuple):
    """A probe's answer and what a reader needs besides.

    container: FFmpeg's format name. streams: how many have a picture. bits: of a sample.
    unit: seconds in a tick of the table, (numerator, denominator). header_frames: what the container claims, or 0.
    orientation: of the first frame. pixel: width of a stored pixel by its height, 1 where it is square or not said.
    interlaced: whether the first frame is made of two fields.
    """

    info: VideoInfo
    table: Table
    container: str
    streams: int
    bits: int
    unit: tuple[int, int]
    header_frames: int
    orientation: Orientation
    pixel: Fraction
    interlaced: bool


_CROOKED = 0.02  # a degree: what rounding leaves of a quarter turn
_EXPLODE = {"err_detect": "explode"}
_FIELDS_WITHIN = 1 << 22  # bytes


def probe(path: str) -> VideoInfo:
    """What ``path`` holds, from its packets and its first frame alone; milliseconds.

    Raises VideoError when the file is missing, empty, no video, without frames, or cut short.
    """
    info = look(path).info
    return info._replace(seconds=info.seconds.copy())  # the look is remembered


def look(path: str, beat: Callable[[], None] = lambda: None) -> Look:
    """As ``probe``, with more; remembered until the file changes. Calls ``beat`` for each packet, as a sign of life."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise VideoError(path, "no such file" if isinstance(error, FileNotFoundError) else one_line(error)) from None
    if os.path.isdir(path):
        raise VideoError(path, "is a folder, not a video")
    if not status.st_size:
        raise VideoError(path, "the file is empty")
    key = (path, status.st_size, status.st_mtime_ns)
    found = _memory.get(key)
    if found is None:
        found = _look(path, beat)
        _memory.put(key, found)
    return found


def count_decodable(path: str) -> int:
    """Decodes all of ``path``, past any damage, and counts the frames that come out without a complaint.

    Raises VideoError when the file cannot be opened as a video.
    """
    with open_video(path) as (container, stream):
        return sum(1 for _ in sound_frames(container, stream))


def sound_frames(container: Any, stream: Any) -> Iterator[Any]:
    """All frames, one after the other and past any damage, that come out of the decoder without a complaint."""
    packets = decodable_packets(container, stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:  # the container itself is damaged from here on
            return
        if packet is None:
            return
        try:
            decoded = decode(packet)
        except av.FFmpegError:
            continue
        yield from (frame for frame in decoded if not frame.is_corrupt)


@contextmanager
def open_video(path: str) -> Iterator[tuple[Any, Any]]:
    """The PyAV container and picture stream of ``path``; FFmpeg's errors inside become VideoError.

    The decoder reports damage instead of painting over it, and runs without threads of its own: frame
    threads can deadlock with FFmpeg's logging when a loop is left early. Logging is left as it is.
    """
    try:
        # An absolute path: "12:30.mp4" would be taken for the protocol "12".
        opened = av.open(os.path.abspath(path), metadata_errors="replace")
    except av.FFmpegError as error:
        raise VideoError(path, f"not a video that FFmpeg can read: {one_line(error)}") from error
    try:
        with opened as container:
            stream = _best(container)
            if stream is None:
                kinds = sorted({"a cover" if other.type == "video" else other.type for other in container.streams})
                raise VideoError(path, f"holds no video, only {', '.join(kinds or ['nothing'])}")
            if stream.codec_context is None:
                raise VideoError(path, "FFmpeg does not know its codec")
            stream.thread_type = "NONE"
            stream.codec_context.thread_count = 1
            # Field pictures of MPEG-2 end in an error there whatever they are; `decode` listens to the decoder instead.
            if not (stream.codec_context.name == "mpeg2video" and _has_fields(path)):
                stream.codec_context.options = _EXPLODE
            yield container, stream
    except av.FFmpegError as error:
        raise VideoError(path, f"damaged: {one_line(error)}") from error


def _best(container: Any) -> Any:
    """The picture stream to read, or None; the cover of a song is none."""
    films = [stream for stream in container.streams.video if not _is_cover(stream)]
    best = container.streams.best("video")
    return best if best in films else next(iter(films), None)


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & Disposition.attached_pic)


def decode(packet: Any) -> list[Any]:
    """The frames that come out of the decoder for a packet of ``open_video``.

    Raises av.FFmpegError where the decoder complains.
    """
    if packet.stream.codec_context.options == _EXPLODE:
        return list(packet.decode())
    level = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as complaints:
            frames = list(packet.decode())
    finally:
        av.logging.set_level(level)
    if complaints:
        raise av.error.InvalidDataError(errno.EINVAL, complaints[0][2].strip(), None)
    return frames


def _has_fields(path: str) -> bool:
    """Whether the first megabytes of an MPEG-2 file hold a picture that is a field."""
    with open(path, "rb") as file:
        head = file.read(_FIELDS_WITHIN)
    # Picture coding extension: its number, then three bytes later two bits that are 3 for a frame.
    return any(match[1][2] & 3 != 3 for match in re.finditer(rb"\x00\x00\x01\xb5([\x80-\x8f]..)", head, re.DOTALL))


def demuxed(container: Any, stream: Any) -> Iterator[Any]:
    """The packets of a stream from here on, and an empty one at the end, also where other streams begin in mid-file."""
    while True:
        try:
            yield from container.demux(stream)
        except IndexError:  # PyAV knows no stream that was not there at the beginning, and fails on its packets
            continue
        return


def decodable_packets(container: Any, stream: Any) -> Iterator[Any]:
    """The packets to feed to the decoder from here on, and the empty one at the end that flushes it."""
    is_decodable = Decodable(container.format.name)
    for packet in demuxed(container, stream):
        if not packet.size or is_decodable(packet.pts, packet.is_keyframe):
            yield packet


def one_line(error: Exception) -> str:
    """The reason of ``error``, short, without the file's name or content."""
    text = getattr(error, "strerror", None) or str(error)
    lines = str(text).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__


class _Memory:
    """The latest looks, as many as hold ``frames`` frames together."""

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self._held = 0
        self._looks: OrderedDict[tuple[str, int, int], Look] = OrderedDict()

    def get(self, key: tuple[str, int, int]) -> Look | None:
        return self._looks.get(key)

    def put(self, key: tuple[str, int, int], found: Look) -> None:
        self._looks[key] = found
        self._held += len(found.table.ticks)
        while self._held > self.frames:
            _, dropped = self._looks.popitem(last=False)
            self._held -= len(dropped.table.ticks)


_memory = _Memory(frames=2_000_000)  # 32 MB of times: all of UCF101


def _look(path: str, beat: Callable[[], None]) -> Look:
    packets: list[Packet] = []
    frame = None
    with open_video(path) as (container, stream):
        codec: str = stream.codec_context.name
        name: str = container.format.name
        is_decodable, shows, is_clean, sizes = Decodable(name), Showing(codec), _Clean(stream), _Sizes(stream)
        joins = Joins(path, name)
        for packet in demuxed(container, stream):
            beat()
            joins.see(packet, len(packets))
            can_feed = not packet.size or is_decodable(packet.pts, packet.is_keyframe)
            if packet.size:
                is_shown = _brings_frame(packet, shows) and can_feed and not packet.is_discard
                packets.append(Packet(packet.pts, packet.dts, packet.is_keyframe, is_clean(packet), is_shown))
            if can_feed and packet.is_keyframe:
                changed = sizes.after(packet)
                if changed is not None:
                    raise changes_size(path, *changed)
            if can_feed and frame is None:
                frame = next(iter(decode(packet)), None)
        rate = float(stream.average_rate or stream.guessed_rate or 0) or 25.0
        unit = float(stream.time_base)
        base = stream.time_base.numerator, stream.time_base.denominator
        header_frames = int(stream.frames)
        pictures = sum(not _is_cover(other) for other in container.streams.video)
        shape = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or Fraction(1)
    joins.end()
    ticks_per_frame = max(1.0, 1 / (rate * unit))
    if codec in ONE_FRAME_A_PACKET:
        table = make_table(packets, name, ticks_per_frame)
    else:
        table = _decoded_table(path, beat, ticks_per_frame)
    if joins.found:
        if len(joins.found) > restarts(path, packets):
            raise joins.damage(joins.found[0])
        if (count := count_decodable(path)) != len(table.ticks):
            where = f"{count} of {len(table.ticks)} frames come out of the decoder, for it was joined at packet {joins.found[0]}"
            raise VideoError(path, f"cut short or damaged, or of recordings that differ: {where}; re-encode its parts")
    if frame is None or not len(table.ticks):
        raise VideoError(path, "holds no frame that can be decoded")
    seconds = (table.ticks - table.ticks[0]) * unit
    if len(seconds) > 1:
        rate = float((len(seconds) - 1) / seconds[-1])
    shown = orientation(path, frame)
    info = VideoInfo(seconds, *shown.size(frame.height, frame.width), shown.quarters * 90, rate, codec)
    bits = max(part.bits for part in frame.format.components)
    pixel = shape if shape > 0 else Fraction(1)
    return Look(info, table, name, pictures, bits, base, header_frames, shown, pixel, bool(frame.interlaced_frame))


def orientation(path: str, frame: Any) -> Orientation:
    """How a decoded frame is set upright, from its display matrix; as it is where the matrix is none (all zeros).

    Raises VideoError for a matrix that is neither a quarter turn nor a mirror nor both.
    """
    if not frame.rotation and not frame.side_data.get("DISPLAYMATRIX"):
        return Orientation()
    stored = frame.side_data.get("DISPLAYMATRIX")
    # x' = a x + c y, y' = b x + d y, in 16.16 fixed point; the other five shift and scale.
    a, b, _, c, d = struct.unpack_from("=5i", bytes(stored)) if stored else (1, 0, 0, 0, 1)
    if a * d == b * c:  # not a picture any more: FFmpeg's own tools show it as stored
        return Orientation()
    if max(abs(b), abs(c)) <= _CROOKED * max(abs(a), abs(d)):
        return Orientation(2 if d < 0 else 0, (a < 0) != (d < 0))
    if max(abs(a), abs(d)) <= _CROOKED * max(abs(b), abs(c)):
        return Orientation(3 if b > 0 else 1, (b > 0) == (c > 0))
    angle = math.degrees(math.atan2(b, a))
    raise VideoError(path, f"its display matrix turns it by {angle:.0f} degrees, no quarter turn; re-encode it upright")


def _brings_frame(packet: Any, shows: Showing) -> bool:
    return shows(bytes(packet) if shows.codec in Showing.codecs else b"")


def _decoded_table(path: str, beat: Callable[[], None], ticks_per_frame: float) -> Table:
    """The table of a codec whose packets need not bring a frame each, by decoding all of it."""
    times: list[int | None] = []
    with open_video(path) as (container, stream):
        for packet in decodable_packets(container, stream):
            beat()
            times += [frame.pts for frame in decode(packet)]
    known = [time for time in times if time is not None]
    timed = len(known) == len(times) and all(a < b for a, b in zip(known, known[1:]))
    ticks = known if timed else [round(place * ticks_per_frame) for place in range(len(times))]
    return Table(np.array(ticks, dtype=np.int64), timed, np.zeros(min(1, len(ticks)), dtype=np.int64), False)


class _Sizes:
    """Notices keyframes that begin a part with frames of another size, by decoding those alone that may."""

    def __init__(self, stream: Any) -> None:
        self._context, self._seen, self._first = stream.codec_context, set[bytes](), (0, 0)

    def after(self, packet: Any) -> tuple[tuple[int, int], tuple[int, int]] | None:
        """The first (height, width) and the present one where they differ. ``packet``: the next keyframe in the file."""
        header = size_header(self._context.name, bytes(packet), self._context.extradata)
        if header in self._seen or not header:
            return None
        if not self._seen:
            self._first = self._context.height, self._context.width
        elif (size := self._size(packet)) and size != self._first:
            return self._first, size
        self._seen.add(header)
        return None

    def _size(self, packet: Any) -> tuple[int, int] | None:
        alone = av.CodecContext.create(self._context.name, "r")
        alone.extradata, alone.thread_count = self._context.extradata, 1
        try:
            frames = [*alone.decode(packet), *alone.decode(None)]
        except av.FFmpegError:  # whoever reads it will be told
            return None
        return (frames[0].height, frames[0].width) if frames else None


def changes_size(path: str, first: tuple[int, int], then: tuple[int, int]) -> VideoError:
    """The one reason given for frames of several sizes, (height, width) each."""
    sizes = f"from {first[1]}x{first[0]} to {then[1]}x{then[0]}"
    return VideoError(path, f"its frames change size {sizes}; re-encode it to one size")


def contradicts(path: str, latest: int) -> VideoError:
    """The one reason given for a frame that comes out of the decoder after frame ``latest``, which is shown after it."""
    return VideoError(path, f"its times contradict the order of its frames after frame {latest}; re-encode it")


class _Clean:
    """Tells for one packet after the other whether decoding may start there."""

    def __init__(self, stream: Any) -> None:
        context = stream.codec_context
        self.codec, self.extradata = context.name, context.extradata
        sampling = av.VideoFormat(context.pix_fmt) if context.pix_fmt else None
        full = sampling is not None and (sampling.chroma_width(16), sampling.chroma_height(16)) == (16, 16)
        self._leans = Carried(self.codec, self.extradata, full_chroma=full)

    def __call__(self, packet: Any) -> bool:
        data = bytes(packet)
        leans = self._leans(data)
        return bool(packet.is_keyframe) and not leans and resets_decoder(self.codec, data, self.extradata)
