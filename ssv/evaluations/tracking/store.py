"""Features of whole sequences on disk, so that other settings of the propagation need no second pass of the network."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

log = logging.getLogger(__name__)


class FeatureStore:
    """Maps of sequences in a folder, float32 as they were computed; without a folder they are computed each time.

    A file appears when its sequence was consumed to the end, by renaming: two evaluations at once, or one that is
    killed, leave no half file under a name that is read. Nothing is ever deleted; the folder can be, at any time.
    """

    def __init__(self, folder: str | None, *identity: object) -> None:
        """``identity``: all that features depend on besides the frames, such as the digest of the weights."""
        self.folder = Path(folder) if folder is not None else None
        self.identity = identity

    def maps(self, paths: Sequence[str], count: int, compute: Callable[[], Iterator[Tensor]]) -> Iterator[Tensor]:
        """``count`` maps (D,h,w) of a sequence, from the folder or from ``compute``."""
        if self.folder is None:
            yield from compute()
            return
        file = self.folder / f"{self._key(paths)}.npy"
        if file.exists():
            stored = np.load(file, mmap_mode="r")
            yield from (torch.from_numpy(np.array(frame)) for frame in stored)
            return
        yield from self._written(file, count, compute())

    def _written(self, file: Path, count: int, source: Iterator[Tensor]) -> Iterator[Tensor]:
        # Written in order, not through a memory map: on a full disk that ends in a bus error.
        partial = file.with_name(f".{file.stem}.{os.getpid()}.npy")
        output: IO[bytes] | None = None
        try:
            for number, features in enumerate(source):
                try:
                    if number == 0:
                        output = _start(partial, (count, *features.shape))
                    if output is not None:
                        output.write(features.cpu().contiguous().numpy().tobytes())
                        output.flush()
                except OSError as error:
                    log.warning("features are not kept in %s: %s", partial.parent, error.strerror)
                    _abandon(output)
                    output = None
                yield features
            if output is not None:
                output.close()
                partial.replace(file)
        finally:
            _abandon(output)
            with contextlib.suppress(OSError):  # there may be no such folder
                partial.unlink()

    def _key(self, paths: Sequence[str]) -> str:
        digest = hashlib.blake2b(repr(self.identity).encode(), digest_size=12)
        for path in paths:
            known = os.stat(path)
            digest.update(f"{os.path.abspath(path)} {known.st_size} {known.st_mtime_ns}".encode())
        return digest.hexdigest()


def _start(path: Path, shape: tuple[int, ...]) -> IO[bytes]:
    """A file that is an array once float32 numbers of that shape follow."""
    path.parent.mkdir(parents=True, exist_ok=True)
    output = path.open("wb")
    np.lib.format.write_array_header_1_0(output, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return output


def _abandon(output: IO[bytes] | None) -> None:
    """Closes what may not be whole; what is still in its buffer is of no use."""
    if output is not None:
        with contextlib.suppress(OSError):
            output.close()
