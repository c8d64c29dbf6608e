"""What the first bytes of a packet tell: whether decoding may start there, and whether the size of frames may change."""

from __future__ import annotations

import re
from collections.abc import Iterator

# Codecs whose keyframes, once checked here, need nothing from before them.
_SEEKABLE = ("h264", "hevc", "mpeg4", "mjpeg", "vp8", "vp9", "av1")
_MPEG4_HEADER = re.compile(rb"\x00\x00\x01[\x20-\x2f\xb2].*?(?=\x00\x00\x01|\Z)", re.DOTALL)  # layer, user data
# Builds from which on FFmpeg's decoder makes up for nothing any more (h264_cabac.c and h264_direct.c).
_X264 = re.compile(rb"x264 - core (\d{1,4})")
_X264_444_MENDED, _X264_DIRECT_MENDED = 151, 34
_MPEG4_LAYER = re.compile(rb"\x00\x00\x01[\x20-\x2f].*?(?=\x00\x00\x01|\Z)", re.DOTALL)
_MPEG2_SEQUENCE = re.compile(rb"\x00\x00\x01\xb3...", re.DOTALL)
_JPEG_FRAME = re.compile(rb"\xff[\xc0-\xc2].{3}(....)", re.DOTALL)


class Carried:
    """Tells for one packet after the other whether a decoder that starts there lacks what earlier packets told.

    Parameter sets of H.264 and H.265, versions of encoders whose faults FFmpeg makes up for (x264, MPEG-4's user data)
    and tables of MJPEG may be in the stream once, and no keyframe need repeat them: whoever starts later decodes
    garbage without an error. Sets that were replaced count too: decoding from the first frame is always right.
    """

    def __init__(self, codec: str, extradata: bytes | None, *, full_chroma: bool) -> None:
        """``extradata``: what every decoder is given. ``full_chroma``: as many samples of colour as of brightness."""
        self.codec, self.extradata, self.full_chroma = codec, extradata or b"", full_chroma
        self._told: set[bytes] = set()

    def __call__(self, data: bytes) -> bool:
        """Whether the packet with the bytes ``data``, the next in the file, leans on what was told before it."""
        units = set(self._headers(data))
        self._told |= units
        return any(unit not in self.extradata for unit in self._told - units)

    def _headers(self, data: bytes) -> Iterator[bytes]:
        if self.codec == "h264":
            for unit in _units(data, self.extradata, 4):
                kind = unit[0] & 0x1F
                if kind in (7, 8) or (kind == 6 and self._is_old_x264(unit)):
                    yield unit
        elif self.codec == "hevc":
            yield from (unit for unit in _units(data, self.extradata, 21) if 32 <= unit[0] >> 1 & 0x3F <= 34)
        elif self.codec == "mpeg4":
            yield from (match[0] for match in _MPEG4_HEADER.finditer(data))
        elif self.codec == "mjpeg":
            yield from (marker for marker in (b"\xff\xdb", b"\xff\xc4") if marker in data)

    def _is_old_x264(self, unit: bytes) -> bool:
        build = _X264.search(unit)
        return build is not None and int(build[1]) < (_X264_444_MENDED if self.full_chroma else _X264_DIRECT_MENDED)


def resets_decoder(codec: str, data: bytes, extradata: bytes | None) -> bool:
    """Whether the keyframe packet ``data`` starts afresh; H.264 and H.265 also flag some that do not."""
    if codec == "h264":
        return any(unit[0] & 0x1F == 5 for unit in _units(data, extradata, 4))
    if codec == "hevc":
        return any(16 <= unit[0] >> 1 & 0x3F <= 21 for unit in _units(data, extradata, 21))
    return codec in _SEEKABLE


def _units(data: bytes, extradata: bytes | None, length_at: int) -> list[bytes]:
    """The NAL units of a packet: with lengths before them (mp4, mkv) or between start codes."""
    if not extradata or extradata[0] != 1 or len(extradata) <= length_at:
        return [unit for unit in data.split(b"\x00\x00\x01")[1:] if unit]
    width, position, units = (extradata[length_at] & 3) + 1, 0, []
    while position + width < len(data):
        length = int.from_bytes(data[position : position + width], "big")
        units.append(data[position + width : position + width + length] or b"\x00")
        position += width + length
    return units


def size_header(codec: str, data: bytes, extradata: bytes | None) -> bytes:
    """The part of a keyframe packet that holds the size of frames: where it stays the same, so does the size.

    Empty for codecs whose frames take their size from the container, and where a packet says nothing of it.
    """
    if codec in ("h264", "hevc"):
        at, kinds = (4, 0x1F) if codec == "h264" else (21, 0x7E)
        sets = (unit for unit in _units(data, extradata, at) if unit[0] & kinds in ((7,) if at == 4 else (33 << 1,)))
        return b"".join(sets)
    if codec == "vp8":
        return data[6:10]
    if codec == "vp9":
        return data[4:9]
    if codec == "av1":  # the sequence header follows the temporal delimiter, or comes first
        start = 2 if data[:2] == b"\x12\x00" else 0
        is_sequence = len(data) > start + 1 and data[start] >> 3 & 15 == 1
        return data[start : start + 2 + data[start + 1]] if is_sequence else b""
    pattern = {
        "mpeg4": _MPEG4_LAYER,
        "mpeg1video": _MPEG2_SEQUENCE,
        "mpeg2video": _MPEG2_SEQUENCE,
        "mjpeg": _JPEG_FRAME,
    }
    found = pattern[codec].search(data) if codec in pattern else None
    return found[0] if found else b""
