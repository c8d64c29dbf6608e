"""Features on disk, so that a second look at the same weights on the same clips costs seconds."""

from __future__ import annotations

import hashlib
import logging
import os
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from ssv.processes import is_so_anywhere, rank_and_world

log = logging.getLogger(__name__)


def cached(
    folder: str | None, identity: Sequence[object], paths: Sequence[str], compute: Callable[[], np.ndarray]
) -> np.ndarray:
    """What ``compute`` gives, from ``folder`` where it was put before.

    A file appears whole, by renaming, under a name made of all it depends on: two evaluations at once, or one that is
    killed, leave nothing that is read by mistake. One that cannot be read is made anew; a disk that is full costs one
    line and no result. Nothing is ever deleted; the folder can be, at any time.

    Args:
        folder: where features are kept; None computes each time.
        identity: all that the result depends on besides the videos, told apart by ``repr``.
        paths: the videos, in order; one that is no file is not known by size and time, and nothing is kept.
        compute: float32 (M,...), M the number of paths; called in all processes or in none.
    """
    if folder is None:
        return compute()
    key = _key(identity, paths)
    file = Path(folder) / f"{key}.npz"
    features = _read(file, len(paths)) if key else None
    if is_so_anywhere(features is None) or features is None:
        features = compute()
        if key and rank_and_world()[0] == 0:
            _write(file, features)
    return features


def _key(identity: Sequence[object], paths: Sequence[str]) -> str | None:
    digest = hashlib.sha256(repr(tuple(identity)).encode())
    try:
        for path in paths:
            known = os.stat(path)
            named = f"\0{os.path.abspath(path)}\0{known.st_size}\0{known.st_mtime_ns}"
            digest.update(named.encode(errors="surrogateescape"))
    except OSError:
        return None
    return digest.hexdigest()[:32]


def _read(file: Path, count: int) -> np.ndarray | None:
    try:
        # Opened here, as numpy forgets to close what it cannot read; bits that changed are noticed by a checksum.
        with open(file, "rb") as content, np.load(content) as stored:
            features: np.ndarray = stored["features"]
    except FileNotFoundError:
        return None
    except MemoryError:
        raise
    except Exception as error:  # half a file fails in any way
        log.warning("computed again: %s cannot be read (%s)", file, error)
        return None
    return features if len(features) == count else None


def _write(file: Path, features: np.ndarray) -> None:
    partial = file.with_name(f".{file.stem}.{uuid.uuid4().hex}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as out:
            np.savez(out, features=features)
        os.replace(partial, file)
    except OSError as error:
        size = features.nbytes / 1e6
        log.warning("features are not kept: %s needs %.0f MB (%s)", file.parent, size, error.strerror)
    finally:
        with suppress(OSError):
            partial.unlink()
