"""Transport streams made of recordings written one after the other, and how to tell them from damaged ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ssv.data.readers.base import VideoError
from ssv.data.readers.packets import Packet, recordings

_TS_PACKET = 188  # bytes
_JOIN = 3  # packets from one that a join cut to the keyframe that begins the next recording


def restarts(path: str, packets: Sequence[Packet]) -> int:
    """How often a transport stream begins anew: time goes back, or the numbers of its tables do."""
    cells = np.fromfile(path, dtype=np.uint8)
    cells = cells[: len(cells) // _TS_PACKET * _TS_PACKET].reshape(-1, _TS_PACKET)
    times = len(recordings(packets)) - 1
    for table in (0x00, 0x11):  # programs, services
        mine = cells[(cells[:, 0] == 0x47) & (cells[:, 1] & 0x1F == 0) & (cells[:, 2] == table)]
        counts = (mine[:, 3] & 15).astype(np.int64)
        times = max(times, int(((counts[1:] == 0) & (counts[:-1] != 15)).sum()))
    return times


class Joins:
    """Tells places where recordings were joined from damage: FFmpeg calls the last packet before one incomplete.

    Transport streams may be joined by writing one file after the other: a keyframe follows at once, and time or the
    numbers of tables begin anew. A hole in the stream does neither, or the second not.
    """

    def __init__(self, path: str, container: str) -> None:
        self.path, self.may_join = path, container == "mpegts"
        self.found: list[int] = []
        self._open: int | None = None

    def see(self, packet: Any, number: int) -> None:
        """The next packet of the file. Raises VideoError for damage."""
        if self._open is not None and packet.size and packet.is_keyframe:
            self.found.append(self._open)
            self._open = None
        if self._open is not None and number - self._open >= _JOIN:
            raise self.damage(self._open)
        if packet.is_corrupt:
            if not self.may_join:
                raise self.damage(number)
            self._open = number if self._open is None else self._open

    def end(self) -> None:
        """No packet is left. Raises VideoError where the last one is incomplete."""
        if self._open is not None:
            raise self.damage(self._open)

    def damage(self, number: int) -> VideoError:
        """The reason for an incomplete packet."""
        return VideoError(self.path, f"cut short or damaged: packet {number} is incomplete")
