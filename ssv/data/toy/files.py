"""How videos, masks and lists lie on disk: encoders and the layouts of UCF101 and DAVIS."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from PIL import Image

from ssv.data.toy.draws import Draw

SECONDS = 2.88
"""Length of an action video at any frame rate."""


class Kind(NamedTuple):
    """What kind of file a video becomes. Drawn for every video alike, whatever it shows."""

    rate: int  # frames per second
    height: int
    width: int
    codec: str  # FFmpeg's name of the encoder
    b_frames: int
    keyframes_every: int

    @property
    def suffix(self) -> str:
        """Extension of the file name, with its dot."""
        return ".mp4" if self.codec == "libx264" else ".avi"


def file_kind(draw: Draw) -> Kind:
    """Mostly MPEG-4 in AVI at 25 frames per second, and some of what else is found in piles of videos.

    Key frames are rare, as XviD and x264 have it: their pulse would tell how fast a video is played.
    """
    rate = draw.pick((24, 25, 25, 30))
    height, width = (66, 82) if draw.chance(0.1) else (64, 80)
    codec = "libx264" if draw.chance(0.3) else "mpeg4"
    b_frames = 2 if codec == "libx264" and draw.chance(0.4) else 0
    return Kind(rate, height, width, codec, b_frames, keyframes_every=draw.pick((30, 60, 250, 250)))


def write_video(path: Path, frames: np.ndarray, kind: Kind) -> None:
    """Encodes ``frames`` uint8 (T,H,W,3); the same frames give the same bytes."""
    if kind.codec == "libx264":
        # The lookahead runs in a thread of its own and now and then decides otherwise: without it, the bytes repeat.
        fixed = "b-adapt=0:scenecut=0:mbtree=0:rc-lookahead=0:weightb=0:weightp=0"
        options = {"qp": "18", "preset": "veryfast", "x264-params": fixed}
    else:
        options = {"qmin": "2", "qmax": "2"}  # finer or coarser, what is lost tells more of the playback speed
    with av.open(str(path), "w", container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(kind.codec, rate=Fraction(kind.rate), options=options)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        stream.codec_context.gop_size = kind.keyframes_every
        stream.codec_context.max_b_frames = kind.b_frames
        stream.codec_context.thread_count = 1
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Writes ``lines`` with the CRLF endings of the original UCF101 lists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(f"{line}\r\n" for line in lines).encode())


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Writes a csv file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_jpeg(path: Path, frame: np.ndarray) -> None:
    """Writes a frame uint8 (H,W,3)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(frame).save(path, quality=92)
