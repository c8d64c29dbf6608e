"""Features of whole sequences on disk, so that other settings of the propagation need no second pass of the network."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

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
        partial = file.with_name(f".{file.stem}.{os.getpid()}.npy")
        stored: np.ndarray | None = None
        try:
            for number, features in enumerate(source):
                if number == 0:
                    stored = self._open(partial, (count, *features.shape))
                if stored is not None:
                    stored[number] = features.cpu().numpy()
                yield features
            if isinstance(stored, np.memmap):
                stored.flush()
                partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)

    def _open(self, partial: Path, shape: tuple[int, ...]) -> np.ndarray | None:
        try:
            partial.parent.mkdir(parents=True, exist_ok=True)
            size = 4 * int(np.prod(shape))
            with partial.open("wb") as file:
                # A memory map over a full disk ends in a bus error; claimed beforehand, in one line.
                os.posix_fallocate(file.fileno(), 0, size + 4096)
            return np.lib.format.open_memmap(partial, "w+", np.float32, shape)
        except OSError as error:
            log.warning("features are not kept: %s needs %.1f GB (%s)", partial.parent, size / 1e9, error.strerror)
            partial.unlink(missing_ok=True)
            return None

    def _key(self, paths: Sequence[str]) -> str:
        digest = hashlib.blake2b(repr(self.identity).encode(), digest_size=12)
        for path in paths:
            known = os.stat(path)
            digest.update(f"{os.path.abspath(path)} {known.st_size} {known.st_mtime_ns}".encode())
        return digest.hexdigest()
