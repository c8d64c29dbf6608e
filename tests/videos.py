"""One small video for each kind of file a reader must get right, made where they are needed.

Each function writes into a folder and returns the path; unless it says otherwise, display index i shows
the number i (``tests.numbered``).
"""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.numbered import numbered_frame, read_number, write_numbered, x264

__all__ = ["numbered_frame", "read_number", "write_numbered"]  # the kinds below are public as well


def constant_rate(folder: Path, frames: int = 60) -> Path:
    """H.264 in mp4, closed GOPs of 12, no B-frames."""
    return write_numbered(folder / "constant rate.mp4", frames=frames, options={"g": "12", "bf": "0"})


def one_gop(folder: Path, frames: int = 60) -> Path:
    """H.264 in Matroska, a single keyframe."""
    return write_numbered(folder / "one_gop.mkv", frames=frames, options={"g": "999", "sc_threshold": "0"})


def b_frames(folder: Path, frames: int = 60) -> Path:
    """H.264 in mp4, closed GOPs of 12 with three B-frames in a row."""
    return write_numbered(folder / "b_frames.mp4", frames=frames, options=x264(keyint=12, bframes=3))


def open_gop(folder: Path, frames: int = 60) -> Path:
    """H.264 in mp4 with open GOPs: frames stored after a keyframe are shown before it."""
    return write_numbered(folder / "open_gop.mp4", frames=frames, options=x264(keyint=12, bframes=3, more="open-gop=1"))


def intra_refresh(folder: Path, frames: int = 60) -> Path:
    """H.264 in mp4 without a second whole picture: columns are refreshed in turn, and packets where a turn
    begins are flagged as keyframes."""
    return write_numbered(
        folder / "intra_refresh.mp4", frames=frames, options=x264(keyint=12, bframes=0, more="intra-refresh=1")
    )


def variable_times(frames: int = 60) -> np.ndarray:
    """Increasing times in seconds with gaps between 10 and 130 ms."""
    return np.concatenate([[0.0], np.cumsum(0.01 * (1 + np.arange(frames - 1) * 7 % 13))])


def variable_rate(folder: Path, frames: int = 60) -> Path:
    """H.264 in mp4 at ``variable_times``."""
    return write_numbered(
        folder / "variable_rate.mp4",
        frames=frames,
        times=variable_times(frames).tolist(),
        options=x264(keyint=12, bframes=2),
    )


def avi(folder: Path, frames: int = 60) -> Path:
    """MPEG-4 in AVI with B-frames and two keyframes, as UCF101 is."""
    return write_numbered(
        folder / "ucf.avi",
        frames=frames,
        codec="mpeg4",
        options={"g": "40", "bf": "2", "qscale": "3", "flags": "+qscale"},
    )


def mpeg4(folder: Path, frames: int = 60) -> Path:
    """MPEG-4 in mp4 with open GOPs of 12, two B-frames in a row."""
    return write_numbered(folder / "mpeg4.mp4", frames=frames, codec="mpeg4", options={"g": "12", "bf": "2"})


def packed_avi(folder: Path, frames: int = 61, empty: int = 2) -> Path:
    """MPEG-4 in AVI as XviD writes it, and so all of UCF101: each B-frame stands in one packet with the frame
    it needs, and an empty picture follows. ``empty`` more of them at the end bring no frame."""
    plain = write_numbered(
        folder / "unpacked.avi",
        frames=frames,
        codec="mpeg4",
        options={"g": "40", "bf": "1", "b_strategy": "0", "qscale": "3", "flags": "+qscale"},
    )
    empty_picture, picture = b"\x00\x00\x01\xb6\x50\x40", b"\x00\x00\x01\xb6"
    packets: list[bytes] = []
    path = folder / "packed.avi"
    with av.open(str(plain)) as source, av.open(str(path), "w") as container:
        stored = [packet for packet in source.demux(video=0) if packet.size]
        for packet in stored:
            data = bytes(packet)
            if not packets:
                data = data.replace(picture, b"\x00\x00\x01\xb2DivX503b1393p" + picture, 1)
            is_bidirectional = data[data.index(picture) + 4] >> 6 == 2
            packets[-1:] = [packets[-1] + data, empty_picture] if is_bidirectional else [*packets[-1:], data]
        stream = container.add_stream_from_template(source.streams.video[0])
        keyframes = {packet.dts for packet in stored if packet.is_keyframe}
        for dts, data in enumerate([*packets, *[empty_picture] * empty]):
            packet = av.Packet(data)
            packet.dts = packet.pts = dts
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 25), stream, dts in keyframes
            container.mux(packet)
    return path


def hidden_reference(folder: Path, frames: int = 60, hidden: int = 20) -> Path:
    """VP8 in WebM; the frame with the number ``hidden`` serves as a reference and is never shown."""
    plain = write_numbered(
        folder / "shown.webm", frames=frames, codec="libvpx", options={"g": "30", "lag-in-frames": "0"}
    )
    path = folder / "hidden.webm"
    with av.open(str(plain)) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if not packet.size:
                break
            data = bytearray(bytes(packet))
            if number == hidden:
                data[0] &= ~0x10  # show_frame
            copy = av.Packet(bytes(data))
            copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
            copy.stream, copy.is_keyframe = stream, packet.is_keyframe
            container.mux(copy)
    return path


def open_start(folder: Path, frames: int = 60) -> Path:
    """H.264 in Matroska, cut from open GOPs: the first frames lean on what was cut away. Shows 12, 13, ...

    The keyframe cut at shows the number 12; three frames stored after it come before it and are lost.
    """
    path = folder / "open_start.mkv"
    with av.open(str(open_gop(folder, frames + 12))) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        keyframes = 0
        for packet in source.demux(video=0):
            keyframes += packet.is_keyframe
            if packet.size and keyframes > 1:
                packet.stream = stream
                container.mux(packet)
    return path


def edit_list(folder: Path, frames: int = 60, hidden: int = 5) -> Path:
    """H.264 in mp4 whose edit list hides the first ``hidden`` frames; they carry the numbers 251 to 255."""
    path = write_numbered(
        folder / "edit_list.mp4", frames=frames + hidden, first=-hidden, options=x264(keyint=12, bframes=0)
    )
    data = bytearray(path.read_bytes())
    start = data.index(b"elst") + 4
    version, count, duration, media_time = struct.unpack_from(">IIIi", data, start)
    assert version == 0 and count == 1
    movie_scale = struct.unpack_from(">I", data, data.index(b"mvhd") + 16)[0]
    media_scale = struct.unpack_from(">I", data, data.index(b"mdhd") + 16)[0]
    struct.pack_into(
        ">Ii",
        data,
        start + 8,
        duration - hidden * movie_scale // 25,
        media_time + hidden * media_scale // 25,
    )
    path.write_bytes(data)
    return path


def rotated(folder: Path, frames: int = 30, clockwise: int = 90) -> Path:
    """H.264 in mp4, stored lying down; its display matrix asks for a turn of ``clockwise`` degrees."""
    stored = {90: (48, 64), 180: (64, 48), 270: (48, 64)}[clockwise]
    path = folder / f"rotated_{clockwise}.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "12"})
        stream.width, stream.height = stored
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for i in range(frames):
            lying = np.ascontiguousarray(np.rot90(numbered_frame(i), k=clockwise // 90))  # counter-clockwise
            container.mux(stream.encode(av.VideoFrame.from_ndarray(lying, format="rgb24")))
        container.mux(stream.encode(None))
    data = bytearray(path.read_bytes())
    a, b, x, y = {
        90: (0, 1, stored[1], 0),
        180: (-1, 0, stored[0], stored[1]),
        270: (0, -1, 0, stored[0]),
    }[clockwise]
    one, thirtieth = 1 << 16, 1 << 30  # 16.16 and 2.30 fixed point
    matrix = (a * one, b * one, 0, -b * one, a * one, 0, x * one, y * one, thirtieth)
    struct.pack_into(">9i", data, data.index(b"tkhd") + 4 + 40, *matrix)
    path.write_bytes(data)
    return path


def ten_bit(folder: Path, frames: int = 60) -> Path:
    """H.264 with 10 bits a sample, in mp4."""
    return write_numbered(
        folder / "ten_bit.mp4", frames=frames, pix_fmt="yuv420p10le", options=x264(keyint=12, bframes=2)
    )


def hevc(folder: Path, frames: int = 60) -> Path:
    """H.265 in mp4, open GOPs (x265's default)."""
    return write_numbered(
        folder / "hevc.mp4", frames=frames, codec="libx265", options={"x265-params": "keyint=12:log-level=none:pools=1"}
    )


def transport_stream(folder: Path, frames: int = 60) -> Path:
    """H.264 in an MPEG transport stream."""
    return write_numbered(folder / "stream.ts", frames=frames, options=x264(keyint=12, bframes=2))


def truncated(folder: Path, frames: int = 60, keep: float = 0.5) -> Path:
    """An mp4 with its index in front, cut after the share ``keep`` of its bytes."""
    path = write_numbered(folder / "truncated.mp4", frames=frames, options=x264(keyint=12, bframes=0), faststart=True)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    return path


def damaged_avi(folder: Path, frames: int = 60) -> Path:
    """MPEG-4 in AVI with a fortieth of its bytes overwritten in the middle."""
    path = write_numbered(
        folder / "damaged.avi",
        frames=frames,
        codec="mpeg4",
        options={"g": "12", "bf": "2", "qscale": "3", "flags": "+qscale"},
    )
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + len(data) // 40] = b"\x55" * (len(data) // 40)
    path.write_bytes(data)
    return path


def damaged_mp4(folder: Path, frames: int = 60) -> Path:
    """H.264 in mp4 with eight bytes changed inside the picture 24, a keyframe. Decoders paint over it."""
    path = write_numbered(folder / "damaged.mp4", frames=frames, options=x264(keyint=12, bframes=2))
    with av.open(str(path)) as container:
        picture = [packet.pos for packet in container.demux(video=0) if packet.is_keyframe][2]
    data = bytearray(path.read_bytes())
    data[picture + 200 : picture + 208] = b"\x55" * 8
    path.write_bytes(data)
    return path


def audio_only(folder: Path) -> Path:
    """An mp4 without a picture."""
    path = folder / "audio_only.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), dtype=np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


WHOLE = (
    constant_rate,
    one_gop,
    b_frames,
    open_gop,
    intra_refresh,
    variable_rate,
    avi,
    mpeg4,
    packed_avi,
    edit_list,
    rotated,
    ten_bit,
    hevc,
    transport_stream,
)
"""Every kind of file whose frames must all come out right."""

BROKEN = (truncated, damaged_avi, damaged_mp4)
"""Every kind of file where a frame is right or a VideoError is raised."""
