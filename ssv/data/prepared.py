"""Reads what ``ssv prepare`` wrote: its index knows every packet, so that no file is searched and little is decoded."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from ssv.data.crops import Box
from ssv.data.index import Index, find_index
from ssv.data.planes import Planes
from ssv.data.preparing.packets import VERSION, checksum, group_start
from ssv.data.readers.base import Reader, VideoError
from ssv.data.readers.pyav import check_indices

OPEN_FILES = 64
DECODERS = 32
NEAR = 65536  # bytes between two groups that are read with them: cheaper than another call
_PIECES = 1024  # that one call may read into (IOV_MAX of Linux and macOS)
_BYTES = np.dtype(np.uint8)


class _File(NamedTuple):
    """What the index says of a prepared file: its packets begin at ``start`` of the table of all."""

    start: int
    frames: int
    first: int
    header: int
    size: tuple[int, int]


class _Group(NamedTuple):
    """Packets from the keyframe ``key`` to the last wanted frame; they begin at byte ``begin`` of the file."""

    key: int
    begin: int
    packets: list[av.Packet]
    check: int


class PreparedReader(Reader):
    """Reads the prepared data set ``root``; frames are found by their numbers alone.

    Bytes whose checksum is not the index's raise VideoError. Forked and pickled readers work on; one reader
    serves one thread. It keeps file descriptors and decoders, but no frames.
    """

    def __init__(self, root: str) -> None:
        """Raises ValueError where ``root`` is no prepared data set."""
        index = find_index(root)
        if index is None or index.meta.get("writer") != "ssv prepare":
            raise ValueError(
                f"reader=prepared needs a data set written by `ssv prepare`, {root} is none; prepare it, or set "
                "reader=pyav"
            )
        if index.meta.get("prepare") != VERSION:
            raise ValueError(f"{root} was prepared by another version of ssv; prepare it again into another folder")
        self.root = root
        self._index: Index = index
        self._prefix = os.path.join(root, "")
        self._files, self._packets = index.array("files"), index.array("packets")
        self._headers = [bytes.fromhex(header) for header in index.meta["headers"]]
        self._encoder: str = index.meta["encoder"]
        self._gop: int = index.meta["gop"]
        self._full_range: bool = index.meta["full_range"]
        self._latest: tuple[str, _File] | None = None
        self._descriptors: OrderedDict[str, int] = OrderedDict()
        self._decoders: OrderedDict[int, Any] = OrderedDict()
        self._convert = VideoReformatter()
        self._unwanted = memoryview(bytearray(NEAR))

    def __reduce__(self) -> tuple[Any, ...]:
        return PreparedReader, (self.root,)

    def __del__(self) -> None:
        for descriptor in getattr(self, "_descriptors", {}).values():
            os.close(descriptor)

    def size(self, path: str) -> tuple[int, int]:
        """Height and width of the frames of ``path``; the file is not opened. Raises VideoError as ``read``."""
        return self._file(path).size

    def read(self, path: str, indices: Sequence[int]) -> np.ndarray:
        """See ``Reader.read``."""
        file = self._file(path)
        places = _places(path, indices, file.frames)
        frames = np.empty((len(indices), *file.size, 3), dtype=np.uint8)
        for place, frame in self._decode(path, file, sorted(places)):
            rgb = self._convert.reformat(frame, format="rgb24", threads=1)
            frames[places[place]] = rgb.to_ndarray()
        return frames

    def read_planes(self, path: str, indices: Sequence[int], box: Box) -> Planes:
        """The part of the frames that covers ``box``, as decoded, in the order asked; ``box`` lies inside the frame.

        Raises VideoError when the file is damaged or an index lies outside it.
        """
        file = self._file(path)
        places = _places(path, indices, file.frames)
        top, left = box.top // 2, box.left // 2
        height, width = (box.top + box.height + 1) // 2 - top, (box.left + box.width + 1) // 2 - left
        fine, coarse = (2 * height, 2 * width), (height, width)
        y = np.empty((len(indices), *fine), dtype=np.uint8)
        uv = np.empty((len(indices), 2, *coarse), dtype=np.uint8)
        for place, frame in self._decode(path, file, sorted(places)):
            luma, cb, cr = frame.planes
            line, half = luma.line_size, cb.line_size
            # Views, spelled out: a call for each would be felt, so little does the rest cost.
            bright = np.ndarray(fine, _BYTES, luma, 2 * (top * line + left), (line, 1))
            blue = np.ndarray(coarse, _BYTES, cb, top * half + left, (half, 1))
            red = np.ndarray(coarse, _BYTES, cr, top * half + left, (half, 1))
            for at in places[place]:
                y[at], uv[at, 0], uv[at, 1] = bright, blue, red
            del frame, luma, cb, cr, bright, blue, red  # the decoder goes on in memory that the cache still holds
        inner = Box(box.top - 2 * top, box.left - 2 * left, box.height, box.width)
        return Planes(y, uv, inner, self._full_range)

    def _file(self, path: str) -> _File:
        if self._latest is not None and self._latest[0] == path:  # its size was asked for before
            return self._latest[1]
        relative = path[len(self._prefix) :] if path.startswith(self._prefix) else os.path.relpath(path, self.root)
        row = self._index.row(relative)
        if row is None:
            raise VideoError(path, f"is not in the index of {self.root}; run `ssv prepare` again")
        if reason := self._index.reason(row):
            raise VideoError(path, reason)
        start = int(self._files[row - 1]["end"]) if row else 0
        end, first, header, _ = self._files[row].item()
        self._latest = path, _File(start, end - start, first, header, self._index.size(row))
        return self._latest[1]

    def _decode(self, path: str, file: _File, places: list[int]) -> Iterator[tuple[int, Any]]:
        """The frames at ascending ``places``; only groups that hold one are decoded, up to the last asked for."""
        wanted = set(places)
        decoder = self._decoder(file.header)
        for key, packets in self._groups(path, file, places):
            decoder.flush_buffers()
            for place, packet in enumerate(packets, start=key):
                frames = decoder.decode(packet)
                if len(frames) != 1:
                    raise VideoError(path, f"{len(frames)} frames come out of the decoder for frame {place}")
                if place in wanted:
                    yield place, frames.pop()

    def _groups(self, path: str, file: _File, places: list[int]) -> Iterator[tuple[int, list[av.Packet]]]:
        """For each group with a wanted frame: its keyframe, and all packets up to that of the last wanted frame."""
        lasts = {group_start(place, file.first, self._gop): place for place in places}
        groups: list[_Group] = []
        pieces: list[Any] = []
        end = 0
        for key, last in lasts.items():
            # As plain numbers at once: one field of one row of an array costs more than a table of them.
            table: list[tuple[int, int, int]] = self._packets[file.start + key : file.start + last + 1].tolist()
            # FFmpeg's own memory: it wants zeros behind a packet, without which it decodes wrong pixels unnoticed.
            packets = [av.Packet(size) for _, size, _ in table]
            gap = table[0][0] - end
            if groups and (gap > NEAR or len(pieces) + 1 + len(packets) > _PIECES):
                yield from self._read(path, groups, pieces, end)
                groups, pieces = [], []
            if groups and gap:
                pieces.append(self._unwanted[:gap])
            pieces += packets
            groups.append(_Group(key, table[0][0], packets, table[-1][2]))
            end = table[-1][0] + table[-1][1]
        if groups:
            yield from self._read(path, groups, pieces, end)

    def _read(
        self, path: str, groups: list[_Group], pieces: list[Any], end: int
    ) -> Iterator[tuple[int, list[av.Packet]]]:
        """Fills ``pieces``, which end at byte ``end``, the groups' packets among them; hands out the sound groups."""
        begin = groups[0].begin
        if os.preadv(self._descriptor(path), pieces, begin) != end - begin:
            raise VideoError(path, "is shorter than when it was prepared; remove it and prepare again")
        for key, _, packets, check in groups:
            if checksum(packets) != check:
                last = key + len(packets) - 1
                raise VideoError(path, f"is damaged in frames {key} to {last}; remove it and prepare it again")
            yield key, packets

    def _descriptor(self, path: str) -> int:
        descriptor = self._descriptors.pop(path, None)
        if descriptor is None:
            try:
                descriptor = os.open(path, os.O_RDONLY)
            except OSError as error:
                raise VideoError(path, error.strerror or str(error)) from error
        self._descriptors[path] = descriptor
        if len(self._descriptors) > OPEN_FILES:
            os.close(self._descriptors.popitem(last=False)[1])
        return descriptor

    def _decoder(self, header: int) -> Any:
        decoder = self._decoders.pop(header, None)
        if decoder is None:
            decoder = av.CodecContext.create(self._encoder, "r")
            decoder.thread_count = 1
            if self._headers[header]:
                decoder.extradata = self._headers[header]
        self._decoders[header] = decoder
        if len(self._decoders) > DECODERS:
            self._decoders.popitem(last=False)
        return decoder


def _places(path: str, indices: Sequence[int], frames: int) -> dict[int, list[int]]:
    """Where in the result each frame goes, by its number. Raises VideoError for one outside the video."""
    places: dict[int, list[int]] = {}
    for at, index in enumerate(indices):
        places.setdefault(index, []).append(at)
    if places and not 0 <= min(places) <= max(places) < frames:
        check_indices(path, indices, frames)  # says which
    return places
