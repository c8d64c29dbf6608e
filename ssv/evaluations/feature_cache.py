"""Features on disk, so that a second look at the same weights on the same videos costs seconds."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from xxhash import xxh3_64

from ssv import __version__
from ssv.backbones.base import Backbone
from ssv.locks import Busy, hold, is_held
from ssv.processes import is_so_anywhere, rank_and_world
from ssv.training.weights import weights_digest

log = logging.getLogger(__name__)

DEFAULT_GB = 20.0
OURS = re.compile(r"\.?[0-9a-f]{24,32}(\.\w+)?\.(npy|npz|partial)")
"""What this and earlier versions wrote; no other file of the folder is counted or removed."""
ABANDONED = 3600  # seconds without a write, after which a partial file has no writer any more, where there are no locks
BLOCK = 2**24  # bytes read at a time


class FeatureCache:
    """Arrays of float32 in a folder, each known by all that it depends on.

    A file appears whole, by renaming, and ends with a checksum: two evaluations at once, or one that is killed, leave
    nothing that is read by mistake. One that cannot be read is computed again; a disk that is full costs one line and
    no result. Beyond the limit, the files that were used longest ago are removed; one that is being read is read to its
    end, as an open file outlives its name. The folder can be removed at any time.
    """

    def __init__(self, folder: str | None = None, gigabytes: float = DEFAULT_GB) -> None:
        """A cache.

        Args:
            folder: made when there is something to keep; None keeps nothing.
            gigabytes: 1e9 bytes, over all files of features in the folder.

        Raises:
            ValueError: if ``gigabytes`` is below 0 or no number.
        """
        if not gigabytes >= 0:
            raise ValueError(f"evaluation.cache_gb must be 0 or more, got {gigabytes}")
        self.folder, self.gigabytes = folder, gigabytes

    def array(self, identity: Sequence[object], paths: Sequence[str], compute: Callable[[], np.ndarray]) -> np.ndarray:
        """What ``compute`` gives, from the folder if it was kept before.

        Args:
            identity: all that the result depends on besides the videos, distinguished by ``repr``; see
                ``features_of``.
            paths: the M videos, in order; if one is no file, nothing is kept.
            compute: float32 (M,...); called in all processes or in none.
        """
        file = self._file(identity, paths)
        stored = _open(file, len(paths)) if file else None
        found = None if stored is None else np.array(stored)
        if is_so_anywhere(found is None) or found is None:
            found = compute()
            if file and rank_and_world()[0] == 0:
                for _ in self._written(file, len(found), map(torch.from_numpy, found)):
                    pass
        return found

    def maps(
        self,
        identity: Sequence[object],
        paths: Sequence[str],
        count: int,
        compute: Callable[[], Iterator[Tensor]],
    ) -> Iterator[Tensor]:
        """``count`` float32 maps (D,h,w) of one sequence, one at a time; arguments as those of ``array``."""
        file = self._file(identity, paths)
        stored = _open(file, count) if file else None
        if stored is not None:
            yield from (torch.from_numpy(np.array(one)) for one in stored)
        elif file is None:
            yield from compute()
        else:
            yield from self._written(file, count, compute())

    def _file(self, identity: Sequence[object], paths: Sequence[str]) -> Path | None:
        """Where the array is or will be; None if nothing is kept."""
        if self.folder is None:
            return None
        digest = hashlib.sha256(repr(tuple(identity)).encode())
        try:
            for path in paths:
                known = os.stat(path)
                named = f"\0{os.path.abspath(path)}\0{known.st_size}\0{known.st_mtime_ns}"
                digest.update(named.encode(errors="surrogateescape"))
        except OSError:
            return None
        return Path(self.folder) / f"{digest.hexdigest()[:32]}.npy"

    def _written(self, file: Path, count: int, source: Iterator[Tensor]) -> Iterator[Tensor]:
        """Passes on the rows of ``source``, and keeps them in ``file`` once all ``count`` were taken.

        Written in order, not through a memory map: on a full disk that ends in a bus error.
        """
        partial = file.with_name(f".{file.stem}.{uuid.uuid4().hex}.partial")
        output: IO[bytes] | None = None
        checksum, held = xxh3_64(), contextlib.ExitStack()  # the lock says that its writer lives
        try:
            for number, features in enumerate(source):
                try:
                    if number == 0:
                        output = self._begin(partial, (count, *features.shape))
                        if output is not None:
                            with contextlib.suppress(Busy):  # a file system without locks
                                held.enter_context(hold(partial, wait=True))
                    if output is not None:
                        bits = features.cpu().contiguous().numpy().tobytes()
                        checksum.update(bits)
                        output.write(bits)
                        output.flush()
                except OSError as error:
                    log.warning("features are not kept in %s: %s", file.parent, error.strerror)
                    _close(output)
                    output = None
                yield features
            if output is not None:
                self._finish(output, checksum.digest(), partial, file)
        finally:
            _close(output)
            held.close()
            with contextlib.suppress(OSError):  # there may be no such folder
                partial.unlink()

    def _begin(self, partial: Path, shape: tuple[int, ...]) -> IO[bytes] | None:
        """A file that is an array once float32 numbers of that shape follow, or None if they would not fit."""
        size = 4 * int(np.prod(shape))
        if size > self.gigabytes * 1e9:
            log.warning(
                "features are not kept in %s: they take %.2f GB, evaluation.cache_gb allows %g",
                partial.parent, size / 1e9, self.gigabytes,
            )  # fmt: skip
            return None
        partial.parent.mkdir(parents=True, exist_ok=True)
        make_room(partial.parent, self.gigabytes * 1e9 - size)
        output = partial.open("wb")
        np.lib.format.write_array_header_1_0(output, {"descr": "<f4", "fortran_order": False, "shape": shape})
        return output

    def _finish(self, output: IO[bytes], checksum: bytes, partial: Path, file: Path) -> None:
        try:
            output.write(checksum)
            output.close()
            partial.replace(file)
        except OSError as error:
            log.warning("features are not kept in %s: %s", file.parent, error.strerror)
        make_room(file.parent, self.gigabytes * 1e9)  # others may have written meanwhile


def features_of(backbone: Backbone, trainer: pl.Trainer, reader: object) -> tuple[object, ...]:
    """What all features depend on besides the videos and how they are cut: the beginning of every identity."""
    kind, read = type(backbone), type(reader)
    return (
        __version__,
        torch.__version__,
        weights_digest(backbone),
        f"{kind.__module__}.{kind.__qualname__}",
        sorted(backbone.kwargs.items()),
        f"{read.__module__}.{read.__qualname__}",
        trainer.strategy.root_device.type,
        str(trainer.precision),
    )


def kept(folder: Path) -> list[tuple[float, int, Path]]:
    """Last use (seconds since 1970), size in bytes and path of every file of features in ``folder``."""
    found = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if OURS.fullmatch(entry.name):
                with contextlib.suppress(OSError):  # removed meanwhile
                    known = entry.stat(follow_symlinks=False)
                    found.append((known.st_mtime, known.st_size, Path(entry.path)))
    return found


def make_room(folder: Path, limit: float) -> None:
    """Remove what was used longest ago, until ``limit`` bytes hold the rest; partial files of killed writers first."""
    found, oldest = kept(folder), time.time() - ABANDONED
    partial = [one for one in found if one[2].name.startswith(".")]
    whole = sorted(one for one in found if one not in partial)
    total = sum(size for _, size, _ in found)
    for used, size, path in [*partial, *whole]:
        is_left = path.name.startswith(".")
        if (is_left and (used < oldest or not is_held(path))) or (not is_left and total > limit):
            with contextlib.suppress(OSError):
                path.unlink()
            total -= size


def _open(file: Path, count: int) -> np.ndarray | None:
    """The array of a file, mapped into memory, if it is whole and has ``count`` rows."""
    try:
        with file.open("rb") as content:
            shape, _, dtype = np.lib.format.read_array_header_1_0(content) if _magic(content) else ((), False, None)
            start, checksum, left = content.tell(), xxh3_64(), 4 * int(np.prod(shape))
            while left and (block := content.read(min(left, BLOCK))):
                checksum.update(block)
                left -= len(block)
            if dtype != np.dtype("<f4") or left or content.read() != checksum.digest():
                raise ValueError("it is not whole")
            if shape[0] != count:
                raise ValueError(f"it has {shape[0]} rows, needed are {count}")
            stored: np.ndarray = np.memmap(content, "<f4", "r", start, shape)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        log.warning("computed again: %s cannot be read (%s)", file, error)
        return None
    with contextlib.suppress(OSError):  # removed meanwhile, or somebody else's
        os.utime(file)  # used now
    return stored


def _magic(content: IO[bytes]) -> bool:
    return np.lib.format.read_magic(content) == (1, 0)


def _close(output: IO[bytes] | None) -> None:
    """Close what may not be whole; what is still in its buffer is of no use."""
    if output is not None:
        with contextlib.suppress(OSError):
            output.close()
