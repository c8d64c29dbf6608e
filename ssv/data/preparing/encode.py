"""One video becomes one prepared file: every frame decoded in sequence, turned upright, made small, encoded anew."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from ssv.data.preparing.packets import checksum, find_packets, first_group, group_start
from ssv.data.readers.base import Orientation, VideoError
from ssv.data.readers.probe import look, orientation
from ssv.data.readers.pyav import every_frame
from ssv.data.sequences.pictures import read_picture

ENCODERS = ("mpeg4", "mjpeg")
QUANTIZER = 3  # of 1 (finest) to 31
_CLOCK = Fraction(1, 25)  # of the encoder: MPEG-4 takes no fine one, so that true times are set in its packets


class Film(NamedTuple):
    """Frames to encode, and when they are shown.

    frames: decoded, in display order, one for each tick. ticks: int64 (n,), ascending.
    unit: seconds in a tick, (numerator, denominator). height, width: as shown.
    """

    frames: Iterable[Any]
    ticks: np.ndarray
    unit: tuple[int, int]
    height: int
    width: int


class Encoded(NamedTuple):
    """A prepared file: ``PACKET`` (n,), frames of its first group, decoder header, height and width."""

    packets: np.ndarray
    first: int
    header: bytes
    height: int
    width: int


def film_of(path: str) -> Film:
    """A video file. Its frames raise VideoError where one is damaged or missing, before another is handed out."""
    known = look(path)
    return Film(every_frame(path), known.table.ticks, known.unit, known.info.height, known.info.width)


def film_of_pictures(folder: str, names: Sequence[str], rate: int) -> Film:
    """Pictures of a folder, in the order of ``names``, ``rate`` a second. VideoError where one cannot be read."""
    paths = [os.path.join(folder, name) for name in names]
    height, width, _ = read_picture(paths[0]).shape
    return Film(_pictures(paths, (height, width)), np.arange(len(paths)), (1, rate), height, width)


def _pictures(paths: Sequence[str], size: tuple[int, int]) -> Iterator[Any]:
    for path in paths:
        pixels = read_picture(path)
        if pixels.shape[:2] != size:
            raise VideoError(path, f"has {pixels.shape[1]}x{pixels.shape[0]} pixels, the first {size[1]}x{size[0]}")
        yield av.VideoFrame.from_ndarray(pixels, format="rgb24")


def encode(film: Film, target: str, *, name: str, encoder: str, short_side: int, gop: int) -> Encoded:
    """Writes the mp4 file ``target``; the same film, name and settings give the same bytes.

    Args:
        film: what to encode.
        target: path of the new file; whoever calls removes it when this raises.
        name: the groups' phase follows from it, see ``first_group``.
        encoder: "mpeg4" or "mjpeg".
        short_side: of the result in pixels, even; a smaller film stays as it is, but for an odd row or column.
        gop: frames from one keyframe to the next; 1 for "mjpeg", where all are.

    Raises:
        VideoError: the film is damaged.
        OSError: the file cannot be written, or does not read back as written.
    """
    height, width = small_size(film.height, film.width, short_side)
    first, checks, check = first_group(name, gop), [], 0
    ticks = (film.ticks - film.ticks[0]) * film.unit[0]  # the muxer's clock has whole parts of a second
    lengths = np.diff(ticks, append=2 * ticks[-1] - ticks[-2] if len(ticks) > 1 else ticks[-1] + 1)
    options = _container(film.unit[1])
    with open(target, "wb") as file, av.open(file, "w", format="mp4", container_options=options) as container:
        stream = _stream(container, encoder, height, width, gop)
        stream.time_base = Fraction(1, film.unit[1])
        for number, packet in enumerate(_packets(stream, film, height, width, first, gop)):
            packet.time_base = stream.time_base
            packet.pts = packet.dts = int(ticks[number])
            packet.duration = int(lengths[number])
            check = checksum([packet], check if group_start(number, first, gop) < number else 0)
            checks.append(check)
            container.mux(packet)
        header = bytes(stream.codec_context.extradata or b"")
    packets, written = find_packets(target, first, gop)
    gaps = np.diff(packets["position"]) - packets["size"][:-1]
    if not np.array_equal(written, ticks) or packets["checksum"].tolist() != checks or gaps.any():
        raise OSError(f"{target} does not read back as it was written; is the disk sound?")
    return Encoded(packets, first, header, height, width)


def small_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Height and width after preparation: even, the shape kept to a pixel or two, nothing enlarged."""
    short = min(height, width)
    side = min(short, short_side)
    return max(2, height * side // short // 2 * 2), max(2, width * side // short // 2 * 2)


def _container(ticks_per_second: int) -> dict[str, str]:
    # Without an edit list: some readers show what it hides, and there is nothing to hide.
    return {"fflags": "+bitexact", "use_editlist": "0", "video_track_timescale": str(ticks_per_second)}


def _stream(container: Any, encoder: str, height: int, width: int, gop: int) -> Any:
    # As bounds: "global_quality" is for frames that bear it, which PyAV's do not; they got the least quantizer, 2.
    options = {"flags": "+qscale+bitexact", "qmin": str(QUANTIZER), "qmax": str(QUANTIZER)}
    stream = container.add_stream(encoder, rate=1 / _CLOCK, options=options)
    context = stream.codec_context
    context.height, context.width = height, width
    context.pix_fmt = "yuv420p" if encoder == "mpeg4" else "yuvj420p"
    context.color_range = ColorRange.MPEG if encoder == "mpeg4" else ColorRange.JPEG
    context.time_base = _CLOCK
    context.gop_size, context.max_b_frames, context.thread_count = gop, 0, 1
    return stream


def _packets(stream: Any, film: Film, height: int, width: int, first: int, gop: int) -> Iterator[Any]:
    """The encoder's packets, in display order, one a frame."""
    shrink = _Shrink(stream.codec_context, height, width)
    for number, frame in enumerate(film.frames):
        small = shrink(frame)
        small.pts, small.time_base = number, _CLOCK
        # Said for every frame: the decoder's own type would be taken as a wish.
        small.pict_type = PictureType.I if group_start(number, first, gop) == number else PictureType.NONE
        yield from stream.encode(small)
    yield from stream.encode(None)


class _Shrink:
    """Decoded frames to what the encoder takes: upright, ``height`` x ``width``, BT.601."""

    def __init__(self, context: Any, height: int, width: int) -> None:
        self.height, self.width = height, width
        self.full_range = context.color_range == ColorRange.JPEG
        self._scale, self._stretch = VideoReformatter(), VideoReformatter()

    def __call__(self, frame: Any) -> Any:
        shown = orientation("", frame)  # whoever handed out the frame has looked at it with its path
        height, width = shown.size(self.height, self.width)
        small = self._scale.reformat(
            frame,
            width,
            height,
            "yuv420p",
            dst_colorspace=Colorspace.ITU601,
            dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.AREA,
            threads=1,
        )
        small = _upright(small, shown) if shown != Orientation() else small
        if not self.full_range:
            return small
        # In a second step: in one, swscale 9 mistakes the range where the matrix changes as well.
        return self._stretch.reformat(small, format="yuvj420p", dst_color_range=ColorRange.JPEG, threads=1)


def _upright(frame: Any, shown: Orientation) -> Any:
    """The frame as shown; height and width are even."""
    planes = [
        shown.upright(np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width])
        for plane in frame.planes
    ]
    height, width = planes[0].shape
    upright = av.VideoFrame(width, height, "yuv420p")
    for plane, pixels in zip(upright.planes, planes):
        padded = np.zeros((plane.height, plane.line_size), dtype=np.uint8)
        padded[:, : plane.width] = pixels
        plane.update(padded.tobytes())
    return upright
