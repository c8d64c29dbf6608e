"""Reads what ``ssv prepare`` wrote: its index knows every packet, so that no file is searched and little is decoded."""

from __future__ import annotations

import os
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from ssv.data.crops import Box
from ssv.data.index import Index, find_index
from ssv.data.planes import Planes
from ssv.data.preparing.packets import group_start
from ssv.data.readers.base import Reader, VideoError
from ssv.data.readers.pyav import check_indices

OPEN_FILES = 64
DECODERS = 32
NEAR = 65536  # bytes between two groups that are read with them: cheaper than another call
_PADDING = 64  # bytes that FFmpeg's bit readers may touch behind a packet


class _File(NamedTuple):
    """What the index says of a prepared file: its packets begin at ``start`` of the table of all."""

    row: int
    start: int
    frames: int
    first: int
    header: int


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
        self._buffer = memoryview(bytearray(1 << 18))

    def __reduce__(self) -> tuple[Any, ...]:
        return PreparedReader, (self.root,)

    def __del__(self) -> None:
        for descriptor in getattr(self, "_descriptors", {}).values():
            os.close(descriptor)

    def size(self, path: str) -> tuple[int, int]:
        """Height and width of the frames of ``path``; the file is not opened. Raises VideoError as ``read``."""
        return self._index.size(self._file(path).row)

    def read(self, path: str, indices: Sequence[int]) -> np.ndarray:
        """See ``Reader.read``."""
        file = self._file(path)
        places = _places(path, indices, file.frames)
        frames = np.empty((len(indices), *self._index.size(file.row), 3), dtype=np.uint8)
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
        y = np.empty((len(indices), 2 * height, 2 * width), dtype=np.uint8)
        uv = np.empty((len(indices), 2, height, width), dtype=np.uint8)
        for place, frame in self._decode(path, file, sorted(places)):
            luma, cb, cr = frame.planes
            for at in places[place]:
                y[at] = _part(luma, 2 * top, 2 * left, 2 * height, 2 * width)
                uv[at, 0] = _part(cb, top, left, height, width)
                uv[at, 1] = _part(cr, top, left, height, width)
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
        self._latest = path, _File(row, start, end - start, first, header)
        return self._latest[1]

    def _decode(self, path: str, file: _File, places: list[int]) -> Iterator[tuple[int, Any]]:
        """The frames at ascending ``places``; only groups that hold one are decoded, up to the last asked for."""
        wanted = set(places)
        decoder = self._decoder(file.header)
        for key, sizes, data in self._runs(path, file, places):
            decoder.flush_buffers()
            end = 0
            for place, size in enumerate(sizes, start=key):
                start, end = end, end + size
                frames = decoder.decode(av.Packet(data[start:end]))
                if len(frames) != 1:
                    raise VideoError(path, f"{len(frames)} frames come out of the decoder for frame {place}")
                if place in wanted:
                    yield place, frames[0]

    def _runs(self, path: str, file: _File, places: list[int]) -> Iterator[tuple[int, list[int], memoryview]]:
        """For each group with a wanted frame: its keyframe, the sizes of all packets up to the last wanted, their bytes."""
        lasts: dict[int, int] = {}
        for place in places:
            lasts[group_start(place, file.first, self._gop)] = place
        # As plain numbers at once: one field of one row of an array costs more than a table of them.
        tables: list[list[tuple[int, int, int]]] = [
            self._packets[file.start + key : file.start + last + 1].tolist() for key, last in lasts.items()
        ]
        spans = [(table[0][0], table[-1][0] + table[-1][1]) for table in tables]
        data, begin, end = memoryview(b""), 0, 0
        for number, (key, table, (first, last)) in enumerate(zip(lasts, tables, spans)):
            if last > end:
                begin, end = first, last
                for near, far in spans[number + 1 :]:
                    if near - end > NEAR:
                        break
                    end = far
                data = self._bytes(path, begin, end - begin)
            if zlib.crc32(data[first - begin : last - begin]) != table[-1][2]:
                raise VideoError(path, f"is damaged in frames {key} to {lasts[key]}; remove it and prepare it again")
            yield key, [size for _, size, _ in table], data[first - begin :]

    def _bytes(self, path: str, begin: int, length: int) -> memoryview:
        """Bytes of the file, with some zeros behind them; they are gone with the next call."""
        if length + _PADDING > len(self._buffer):
            self._buffer = memoryview(bytearray(2 * length + _PADDING))  # kept: new memory costs more than the reading
        data = self._buffer[: length + _PADDING]
        data[length:] = bytes(_PADDING)
        if os.preadv(self._descriptor(path), [data[:length]], begin) != length:
            raise VideoError(path, "is shorter than when it was prepared; remove it and prepare again")
        return data

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
    for at, index in enumerate(check_indices(path, indices, frames).tolist()):
        places.setdefault(index, []).append(at)
    return places


def _part(plane: Any, top: int, left: int, height: int, width: int) -> np.ndarray:
    """A rectangle of a plane, uint8 (height,width), not a copy."""
    line = plane.line_size
    return np.ndarray((height, width), np.uint8, plane, top * line + left, (line, 1))
