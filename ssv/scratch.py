"""Folders for unfinished things, which nobody finds again: not even after a kill."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ssv.locks import hold, is_held

LOCK = ".lock"


@contextmanager
def scratch(prefix: str, top: Path | None = None) -> Iterator[Path]:
    """A new folder, removed after the block; removes what killed processes of this user left under the same prefix.

    It holds a file, ``LOCK``, that says whether the one who made it is still there.

    Args:
        prefix: start of its name.
        top: where to make it, by default where temporary files go.
    """
    top = top or Path(tempfile.gettempdir())
    for left in top.glob(f"{prefix}*"):
        if (left / LOCK).exists() and not is_held(left / LOCK) and left.lstat().st_uid == os.getuid():
            shutil.rmtree(left, ignore_errors=True)
    # Held before it has its name: from then on it is either held or left.
    unnamed = Path(tempfile.mkdtemp(prefix=".ssv-", dir=top))
    folder = unnamed.with_name(f"{prefix}{unnamed.name.removeprefix('.ssv-')}")
    with hold(unnamed / LOCK):
        unnamed.rename(folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
