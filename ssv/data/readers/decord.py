"""Decord, on the files whose frames it finds."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch  # noqa: F401  # decord loaded before CUDA's torch crashes the process

from ssv.data.readers.base import Orientation, Reader, VideoError
from ssv.data.readers.probe import Look, look
from ssv.data.readers.pyav import check_indices

_SHORT_GOP = 16  # frames between keyframes
_WIDEST_SPAN = 8  # frames decoded for one asked
_ANY_REPEATED_FRAME = 1e-6  # the share of frames decord may silently replace; 0 would switch the check off


def why_not_decord(known: Look) -> str | None:
    """Why decord's frames cannot be relied on for a file, or None.

    Its seeking is silently wrong on open GOPs, edit lists, transport streams and AVI, its colours with more
    than 8 bits; all measured with decord 0.6.0. It mirrors nothing, turns some sizes only, and may pick another of
    several streams than we do.
    """
    if known.info.codec != "h264":
        return f"is {known.info.codec}, not H.264"
    if "mp4" not in known.container and "matroska" not in known.container:
        return f"is {known.container}, neither mp4 nor Matroska"
    if known.bits != 8:
        return f"has {known.bits} bits a sample, not 8"
    if known.streams != 1:
        return f"has {known.streams} video streams"
    if known.orientation != Orientation():
        return "is shown turned or mirrored"
    if not known.table.regular:
        return "has open GOPs, an edit list or irregular times"
    return None


class DecordReader(Reader):
    """Reads with decord, one thread; refuses files where decord is known to return other frames.

    The decord reader lives for one call: kept open, it decodes on in the background and fills the memory.
    Two limits of decord remain. It paints over damage inside a picture of H.264, where ``PyAVReader`` raises:
    look for damage first (``ssv scan``). And a call may hang on a damaged file, holding the interpreter's lock, so
    nothing in this process can end it: the process that waits for the loading worker must time out and kill it.
    """

    def __init__(self) -> None:
        if not has_decord():
            raise ValueError(
                "reader=decord needs the package decord, which is not installed (it has no wheel for ARM);"
                " set reader=pyav"
            )

    def read(self, path: str, indices: Sequence[int]) -> np.ndarray:
        """See ``Reader.read``."""
        known = look(path)
        reason = why_not_decord(known)
        if reason is not None:
            raise VideoError(path, f"{reason}; decord is not reliable there; set reader=auto or reader=pyav")
        places = check_indices(path, indices, len(known.info.seconds))
        wanted = np.unique(places)
        if not len(wanted):
            return np.empty((0, known.info.height, known.info.width, 3), dtype=np.uint8)
        if _is_range_cheaper(wanted, known.table.entries, len(known.info.seconds)):
            wanted = np.arange(wanted[0], wanted[-1] + 1)
        frames: np.ndarray = _get_batch(path, known, wanted)[np.searchsorted(wanted, places)]
        return frames


def has_decord() -> bool:
    """Whether decord is installed, without loading it."""
    return find_spec("decord") is not None


def _is_range_cheaper(wanted: np.ndarray, entries: np.ndarray, frames: int) -> bool:
    """Decord seeks anew for every index once keyframes lie between them: decoding it all is then cheaper."""
    span = wanted[-1] + 1 - wanted[0]
    return bool(frames <= _SHORT_GOP * len(entries) and len(wanted) < span <= _WIDEST_SPAN * len(wanted))


def _get_batch(path: str, known: Look, wanted: np.ndarray) -> np.ndarray:
    """Frames at the ascending positions ``wanted``, uint8 (n,H,W,3)."""
    import decord  # here: `auto` must work where it is missing

    decord.logging.set_level(decord.logging.QUIET)  # its own copy of FFmpeg, not PyAV's
    try:
        reader = decord.VideoReader(os.path.abspath(path), num_threads=1, fault_tol=_ANY_REPEATED_FRAME)
        if len(reader) != len(known.info.seconds):
            raise VideoError(path, f"decord counts {len(reader)} frames, its packets {len(known.info.seconds)}")
        batch: Any = reader.get_batch(wanted.tolist())
    except VideoError:
        raise
    except (decord.DECORDError, decord.DECORDLimitReachedError, RuntimeError) as error:
        raise VideoError(path, f"decord cannot read it: {_reason(error)}") from error
    # Another library may have switched decord's arrays to torch for the whole process.
    frames: np.ndarray = batch.asnumpy() if hasattr(batch, "asnumpy") else np.asarray(batch)
    if frames.shape[1:3] != (known.info.height, known.info.width):
        height, width = frames.shape[1:3]
        raise VideoError(path, f"decord reads {width}x{height}, the file is {known.info.width}x{known.info.height}")
    return frames


def _reason(error: Exception) -> str:
    """Decord's message in short, without its time stamps, source lines and the file's name and content."""
    if type(error).__name__ == "DECORDLimitReachedError":
        return "frames are damaged"
    line = (str(error).splitlines() or [""])[0]
    return "it cannot be opened" if line.startswith("Error reading") else re.sub(r"^.*\.cc:\d+: ", "", line)[:100]
