"""Small encoded videos whose frames carry their own number in pixels, for the frame identity tests.

A frame as shown has three strips: eight blocks with the bits of the number, a moving texture (so that
the encoder predicts motion), and the bits inverted. Blocks survive lossy coding; a frame that is rotated
wrongly or mixed from two frames contradicts itself and cannot be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS = 8
TICKS = 12800  # of the written time base, per second


def numbered_frame(number: int, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    """The frame that shows ``number`` (modulo 256): uint8 (h,w,3) RGB; ``size`` is (w, h)."""
    width, height = size
    bits = np.array([(number >> bit) & 1 for bit in range(BITS)], dtype=np.uint8)
    column = np.arange(width) * BITS // width
    frame = np.empty((height, width), dtype=np.uint8)
    third = height // 3
    frame[:third] = 40 + 160 * bits[column]
    y, x = np.mgrid[third : height - third, 0:width]
    frame[third : height - third] = 128 + 80 * np.sin((x + 2 * number) / 5) * np.cos((y - number) / 3)
    frame[height - third :] = 200 - 160 * bits[column]
    return np.repeat(frame[:, :, None], 3, axis=2)


def read_number(frame: np.ndarray) -> int:
    """The number a frame shows, from uint8 (h,w,3) RGB; ValueError where it contradicts itself."""
    height, width = frame.shape[:2]
    centres = ((np.arange(BITS) + 0.5) * width / BITS).astype(int)
    half_block = max(1, width // BITS // 4)
    third = height // 3

    def strip(top: int) -> np.ndarray:
        rows = frame[top + third // 4 : top + third - third // 4].astype(np.float64).mean(axis=(0, 2))
        return np.array([rows[c - half_block : c + half_block].mean() for c in centres])

    above, below = strip(0), strip(height - third)
    if np.abs(above - below).min() < 80 or ((above > 120) == (below > 120)).any():
        raise ValueError("the frame shows no number: wrongly rotated, damaged, or not one of ours")
    return int(sum(1 << bit for bit in range(BITS) if above[bit] > 120))


def write_numbered(
    path: str | Path,
    *,
    frames: int = 60,
    rate: int = 25,
    size: tuple[int, int] = (64, 48),
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    pix_fmt: str = "yuv420p",
    times: Sequence[float] | None = None,
    first: int = 0,
    faststart: bool = False,
) -> Path:
    """Writes a video of ``frames`` frames showing ``first``, ``first + 1``, ... (modulo 256).

    ``size`` is (w, h). ``times``: presentation times in seconds, for a variable rate. ``options`` go to
    the encoder. The container follows from the name's ending. ``faststart`` puts an mp4's index in front.
    """
    container_options = {"movflags": "faststart"} if faststart else {}
    with av.open(str(path), "w", options=container_options) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        # One encoder thread: the same bytes on every machine.
        stream.codec_context.thread_count = 1
        if times is not None:
            stream.codec_context.time_base = Fraction(1, TICKS)
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(numbered_frame(first + i, size), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = round(times[i] * TICKS), Fraction(1, TICKS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return Path(path)


def x264(*, keyint: int, bframes: int, more: str = "open-gop=0") -> dict[str, str]:
    """Encoder options for GOPs of exactly ``keyint`` frames."""
    fixed = f"keyint={keyint}:min-keyint={keyint}:scenecut=0:bframes={bframes}:b-adapt=0"
    return {"x264-params": f"{fixed}:{more}"}
