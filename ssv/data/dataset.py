"""Videos to clips, one sample at a time; what is drawn for a sample depends on its identity alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import torch
from torch import Generator, Tensor
from torch.utils.data import Dataset

from ssv.data.crops import Crop, Cut
from ssv.data.planes import PlaneClips, Planes, ReadsPlanes, around, collate_planes, to_clips, within
from ssv.data.probing import Times, probe_times
from ssv.data.readers.base import Reader, VideoError
from ssv.data.sampling import Sampler
from ssv.types import Clips, Video


def generator_for(*identity: int) -> Generator:
    """A generator for one thing, told apart by numbers such as (seed, epoch, sample).

    A hash, because ``seed + epoch + sample`` would give neighbours the same draws.
    """
    digest = blake2b("/".join(map(str, identity)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))


class VideoDataset(Dataset[Clips]):
    """Clips of videos; indexed by ``(epoch, row)``, and the draws follow (seed, epoch, row) and nothing else.

    A row alone is that of epoch 0, so that it is a map-style data set for a plain ``DataLoader`` too.

    So a sample is the same in any worker, on any number of processes and after any restart. The reader opens
    and closes the file inside the call. Pickled or forked it carries arrays only, never one object a video.
    """

    def __init__(
        self,
        videos: Sequence[Video],
        sampler: Sampler,
        crop: Crop,
        reader: Reader,
        seed: int = 0,
        *,
        times: Times | None = None,
    ) -> None:
        """``times`` of the videos in the same order; without it every file is probed now (VideoError if broken)."""
        self.sampler = sampler
        self.crop = crop
        self.reader = reader
        self.seed = seed
        self.times = Times(_sound(videos)) if times is None else times
        if len(self.times) != len(videos):
            raise ValueError(f"got times of {len(self.times)} videos for {len(videos)} videos")
        names = [os.fsencode(video.path) for video in videos]
        self._names = np.frombuffer(b"".join(names), dtype=np.uint8)
        self._ends = np.cumsum([len(name) for name in names], dtype=np.int64)
        self._labels = np.array([video.label for video in videos], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._labels)

    def path(self, row: int) -> str:
        """The file of a row."""
        return os.fsdecode(self._names[self._ends[row - 1] if row else 0 : self._ends[row]].tobytes())

    def __getitem__(self, key: int | tuple[int, int]) -> Clips:
        """The clips of ``(epoch, row)`` or ``row``: pixels uint8 (V,C,T,H,W), seconds (V,T), label (), video () = row.

        Raises VideoError when the file cannot be read as asked, ValueError when it gives no clip, IndexError when there
        is no such row.
        """
        sample = self._sample(key if isinstance(key, tuple) else (0, range(len(self))[key]))
        if isinstance(sample, Clips):
            return sample
        return Clips(*(field[0] for field in to_clips(collate_planes([sample]))))

    def __getitems__(self, keys: Sequence[int | tuple[int, int]]) -> list[Clips | PlaneClips | VideoError]:
        """The samples of a batch, with a VideoError in the place of one that cannot be read; rows alone as ``[row]``.

        As they travel best: uncut planes where the reader has them; ``to_clips`` makes the same clips of them.

        As values, because DataLoader rebuilds an exception from its message alone, which loses path and reason.
        """
        return [self._try(key) if isinstance(key, tuple) else self[key] for key in keys]

    def _try(self, key: tuple[int, int]) -> Clips | PlaneClips | VideoError:
        try:
            return self._sample(key)
        except VideoError as error:
            return error

    def _sample(self, key: tuple[int, int]) -> Clips | PlaneClips:
        epoch, row = key
        generator = generator_for(self.seed, epoch, row)
        times = self.times[row]
        indices = self.sampler(times, generator)  # (V,T)
        seconds = torch.from_numpy(times[indices.numpy()]).float()
        label, video = _scalar(int(self._labels[row])), _scalar(row)
        if isinstance(self.reader, ReadsPlanes):
            planes, cuts = self._read_planes(self.reader, self.path(row), indices, generator)
            seconds = seconds.repeat_interleave(len(cuts[0]), dim=0)
            return PlaneClips(planes, cuts, self.crop.size, seconds, label, video)
        # One reading for all views: they often share the keyframe to decode from.
        frames = self.reader.read(self.path(row), indices.flatten().tolist())
        views = frames.reshape(*indices.shape, *frames.shape[1:])
        # A crop may cut several squares out of a clip: views are then clips times squares.
        pixels = torch.stack([self.crop(view, generator) for view in views]).flatten(0, -5)
        return Clips(pixels, seconds.repeat_interleave(len(pixels) // len(views), dim=0), label, video)

    def _read_planes(
        self, reader: ReadsPlanes, path: str, indices: Tensor, generator: Generator
    ) -> tuple[list[Planes], list[list[Cut]]]:
        """The planes of each clip, as far as it is cut, and the cuts in them."""
        height, width = reader.size(path)
        parts, inner = [], []
        for clip in indices.tolist():
            cuts = self.crop.cuts(height, width, generator)
            whole = around(cuts)
            parts.append(reader.read_planes(path, clip, whole))
            inner.append(within(cuts, whole, parts[-1].box))
        return parts, inner

    def fingerprint(self) -> str:
        """Tells lists of videos apart: their order, relative paths, labels and frame counts."""
        paths = [os.path.abspath(self.path(row)) for row in range(len(self))]
        # Relative, so that a data set may move to another disk between two halves of a run.
        root = os.path.commonpath(paths) if paths else ""
        digest = blake2b(digest_size=8)
        digest.update("\0".join(os.path.relpath(path, root) for path in paths).encode(errors="surrogateescape"))
        digest.update(self._labels.tobytes() + self.times.ends.tobytes())
        return digest.hexdigest()

    def files_fingerprint(self) -> str:
        """A digest of the files' sizes and modification times: it changes if videos are replaced under the same names."""
        digest = blake2b(digest_size=8)
        for row in range(len(self)):
            try:
                known = os.stat(self.path(row))
                # Whole seconds: what copying to another file system keeps of a time.
                digest.update(f"{known.st_size} {int(known.st_mtime)}\0".encode())
            except OSError:  # reported when it is read
                digest.update(b"\0")
        return digest.hexdigest()


def _sound(videos: Sequence[Video]) -> list[np.ndarray]:
    times = []
    for answer in probe_times([video.path for video in videos]).values():
        if isinstance(answer, VideoError):
            raise answer
        times.append(answer)
    return times


def _scalar(value: int) -> Tensor:
    return torch.tensor(value, dtype=torch.int64)
