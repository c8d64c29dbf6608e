"""Which processes of a command live, told by a mark in their environment."""

import os
import time
import uuid
from pathlib import Path

import pytest

needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc")


class Mark:
    """``environment`` marks a command and all processes that it starts."""

    def __init__(self):
        self.word = f"SSV_TEST_MARK={uuid.uuid4().hex}"

    @property
    def environment(self):
        """To start a command with."""
        return dict([self.word.split("=")])

    def living(self):
        """Numbers of the processes that live; zombies do not."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self.word.encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except OSError:  # gone, or not ours
                continue
        return found

    def left_after(self, seconds):
        """Those that still live after some seconds; returns as soon as none does."""
        deadline = time.monotonic() + seconds
        while (left := self.living()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left


def wait_until(is_so, process, seconds=120):
    """Block until it is so; an error when the process ends before."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "it never came that far"
        time.sleep(0.02)
