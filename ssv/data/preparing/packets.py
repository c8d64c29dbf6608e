"""Where the packets of prepared files lie, and which of them stand alone."""

from __future__ import annotations

import os
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import av
import numpy as np
from xxhash import xxh3_64_intdigest

VERSION = 2
"""Raised whenever the same source and settings give other bytes, or what is noted of them means something else."""

PACKET = np.dtype([("position", "<u4"), ("size", "<u4"), ("checksum", "<u4")])
"""One frame's packet: bytes ``[position, position + size)`` of its file; ``checksum``: of its group from the keyframe to
this packet. Packets lie behind one another, so that a run of them is read and checked at once."""

FILE = np.dtype([("end", "<i8"), ("first", "<u2"), ("header", "<u2"), ("source_size", "<i8")])
"""One prepared file, a row of the index: its packets end at ``end`` of the table of all packets; frames of its first
group; number of its decoder header in the index's ``headers``; bytes of what it was made from."""


def first_group(name: str, gop: int) -> int:
    """Frames of a video's first group, 1 to ``gop``: a draw that follows from its name alone.

    The first picture of a group is coded otherwise than the rest. Were all groups to begin at multiples of ``gop``,
    how clean a frame is would tell its number modulo ``gop`` to whatever is trained on it.
    """
    digest = blake2b(os.fsencode(name), digest_size=8, person=b"ssv group").digest()
    return 1 + int.from_bytes(digest, "little") % gop


def group_start(frame: int, first: int, gop: int) -> int:
    """The keyframe that decoding of ``frame`` begins at."""
    return 0 if frame < first else frame - (frame - first) % gop


def checksum(packets: Iterable[Any], before: int = 0) -> int:
    """Of packets one behind the other, 32 bits; ``before``: that of the packets in front of them.

    XXH3, since a CRC-32 by tables pushes the decoder's own out of the cache: reading would take some 4 % longer.
    """
    for packet in packets:
        before = xxh3_64_intdigest(packet, before) & 0xFFFFFFFF
    return before


def find_packets(path: str, first: int, gop: int) -> tuple[np.ndarray, np.ndarray]:
    """The packets of a prepared file, ``PACKET`` (n,), and their times in ticks, int64 (n,).

    Raises OverflowError for a file of 4 GB or more.
    """
    found: list[tuple[int, int, int]] = []
    ticks, check = [], 0
    with av.open(os.path.abspath(path)) as container:
        for packet in container.demux(video=0):
            if packet.size:
                number = len(found)
                check = checksum([packet], check if group_start(number, first, gop) < number else 0)
                found.append((packet.pos, packet.size, check))
                ticks.append(packet.pts)
    return np.array(found, dtype=PACKET), np.array(ticks, dtype=np.int64)
