"""Decord where it reads right, PyAV everywhere else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ssv.data.readers.base import Reader
from ssv.data.readers.decord import DecordReader, has_decord, why_not_decord
from ssv.data.readers.probe import look
from ssv.data.readers.pyav import PyAVReader


class AutoReader(Reader):
    """Looks at the packets of each file, then picks; the frames are those asked for either way.

    On x86 both give the same bits; elsewhere their versions of FFmpeg may differ by a grey level. Damage inside
    an H.264 picture goes unnoticed where decord reads (see ``DecordReader``); ``reader=pyav`` raises.
    """

    def __init__(self) -> None:
        self._pyav = PyAVReader()
        self._decord = DecordReader() if has_decord() else None

    def read(self, path: str, indices: Sequence[int]) -> np.ndarray:
        """See ``Reader.read``."""
        if self._decord is None or why_not_decord(look(path)) is not None:
            return self._pyav.read(path, indices)
        return self._decord.read(path, indices)
