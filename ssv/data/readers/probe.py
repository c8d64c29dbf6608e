"""A look at a video file: its packets, its first frame, and how many frames can be decoded."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import av

from ssv.data.readers.base import VideoError, VideoInfo
from ssv.data.readers.packets import Decodable, Packet, Showing, Table, make_table, resets_decoder


class Look(NamedTuple):
    """A probe's answer and what a reader needs besides.

    container: FFmpeg's format name. streams: how many have a picture. bits: of a sample.
    unit: seconds in a tick of the table, (numerator, denominator). header_frames: what the container claims, or 0.
    """

    info: VideoInfo
    table: Table
    container: str
    streams: int
    bits: int
    unit: tuple[int, int]
    header_frames: int


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
            decoded = packet.decode()
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
            stream = container.streams.best("video")
            if stream is None:
                kinds = sorted({other.type for other in container.streams}) or ["nothing"]
                raise VideoError(path, f"holds no picture, only {', '.join(kinds)}")
            if stream.codec_context is None:
                raise VideoError(path, "FFmpeg does not know its codec")
            stream.thread_type = "NONE"
            stream.codec_context.thread_count = 1
            stream.codec_context.options = {"err_detect": "explode"}
            yield container, stream
    except av.FFmpegError as error:
        raise VideoError(path, f"damaged: {one_line(error)}") from error


def decodable_packets(container: Any, stream: Any) -> Iterator[Any]:
    """The packets to feed to the decoder from here on, and the empty one at the end that flushes it."""
    is_decodable = Decodable(container.format.name)
    for packet in container.demux(stream):
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
        is_decodable, shows = Decodable(name), Showing(codec)
        for packet in container.demux(stream):
            beat()
            if packet.is_corrupt:
                raise VideoError(path, f"cut short or damaged: packet {len(packets)} is incomplete")
            can_feed = not packet.size or is_decodable(packet.pts, packet.is_keyframe)
            if packet.size:
                is_shown = _brings_frame(packet, shows) and can_feed and not packet.is_discard
                packets.append(Packet(packet.pts, packet.dts, packet.is_keyframe, _is_clean(packet, stream), is_shown))
            if can_feed and frame is None:
                frame = next(iter(packet.decode()), None)
        rate = float(stream.average_rate or stream.guessed_rate or 0) or 25.0
        unit = float(stream.time_base)
        base = stream.time_base.numerator, stream.time_base.denominator
        header_frames = int(stream.frames)
        pictures = len(container.streams.video)
    table = make_table(packets, name, max(1.0, 1 / (rate * unit)))
    if frame is None or not len(table.ticks):
        raise VideoError(path, "holds no frame that can be decoded")
    seconds = (table.ticks - table.ticks[0]) * unit
    if len(seconds) > 1:
        rate = float((len(seconds) - 1) / seconds[-1])
    rotation = turns(frame) * 90
    height, width = (frame.height, frame.width) if rotation % 180 == 0 else (frame.width, frame.height)
    info = VideoInfo(seconds, height, width, rotation, rate, codec)
    bits = max(part.bits for part in frame.format.components)
    return Look(info, table, name, pictures, bits, base, header_frames)


def turns(frame: Any) -> int:
    """Quarter turns counter-clockwise, 0 to 3, that set a decoded frame upright."""
    quarters: int = round(frame.rotation / 90) % 4
    return quarters


def _brings_frame(packet: Any, shows: Showing) -> bool:
    return shows(bytes(packet) if shows.codec in Showing.codecs else b"")


def _is_clean(packet: Any, stream: Any) -> bool:
    if not packet.is_keyframe:
        return False
    return resets_decoder(stream.codec_context.name, bytes(packet), stream.codec_context.extradata)
