"""Video files for eyes."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np

CODECS = {"libx264": {"crf": "18", "preset": "veryfast"}, "mpeg4": {"qmin": "2", "qmax": "4"}}
"""The first that this FFmpeg has is taken."""


class Film:
    """Encodes frames one by one; ``close`` it, or use it in a ``with``."""

    def __init__(self, path: Path, rate: float) -> None:
        """``rate``: frames per second."""
        path.parent.mkdir(parents=True, exist_ok=True)
        codec = next(name for name in CODECS if name in av.codecs_available)
        self._container = av.open(str(path), "w")
        stream = self._container.add_stream(codec, rate=Fraction(rate).limit_denominator(1000), options=CODECS[codec])
        assert isinstance(stream, av.VideoStream)
        self._stream, self._size = stream, (0, 0)
        stream.pix_fmt = "yuv420p"

    def add(self, frame: np.ndarray) -> None:
        """The next frame, uint8 (H,W,3); an odd last row or column is left out, as the format asks."""
        height, width = frame.shape[0] // 2 * 2, frame.shape[1] // 2 * 2
        if self._size == (0, 0):
            self._size = self._stream.height, self._stream.width = height, width
        pixels = np.ascontiguousarray(frame[:height, :width])
        self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))

    def close(self) -> None:
        """Finish the file."""
        if self._size != (0, 0):
            self._container.mux(self._stream.encode(None))
        self._container.close()

    def __enter__(self) -> Film:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
