"""One lock for whatever only one process at a time may work on."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

TRIES = 5  # to take a lock, a hundredth of a second apart
_held: set[IO[str]] = set()


class Busy(RuntimeError):
    """Another process works on it, or might; the text says on what, and what to do."""


@contextmanager
def hold(file: Path, busy: str = "", *, wait: bool = False) -> Iterator[None]:
    """Hold the lock ``file``, made if missing, within the block. It is free at once when this process ends.

    Forks do not inherit it: a reading process that outlives a killed run for a moment, or hangs, does not keep it. A second
    thread of this process is refused like another process.

    Args:
        file: in an existing folder; of no content.
        busy: message of ``Busy``.
        wait: until it is free, instead of refusing.

    Raises:
        Busy: when it is held already, or the file system has no locks.
    """
    _close_in_forks()
    with file.open("a") as lock:
        _held.add(lock)
        try:
            try:
                _take(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise Busy(busy or f"{file} is held by another process") from None
            except OSError as error:
                raise Busy(
                    f"{file.parent} cannot be locked ({error.strerror}), so that two processes might write to it; set "
                    "outputs= (index= of a scan, out= of a preparation) to a folder on a file system with locks"
                ) from None
            yield
        finally:
            _held.discard(lock)


def _take(lock: IO[str], how: int) -> None:
    """Lock an open file, in a few tries: ``is_held`` may have it for a moment. Raises OSError."""
    for _ in range(TRIES - 1):
        try:
            fcntl.flock(lock, how)
            return
        except BlockingIOError:
            time.sleep(0.01)
    fcntl.flock(lock, how)


def is_held(file: Path) -> bool:
    """Whether anybody holds the lock ``file``."""
    try:
        with file.open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


@cache
def _close_in_forks() -> None:
    """A fork shares the open file, and the lock with it, until it closes its own end."""
    os.register_at_fork(after_in_child=_close_all)


def _close_all() -> None:
    for lock in _held:
        lock.close()
    _held.clear()
