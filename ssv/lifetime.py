"""Processes that end with the one that started them, however that one ends."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from pathlib import Path

PARENT = "SSV_PARENT"
"""Environment variable: the process whose end is that of the command it starts."""

PR_SET_PDEATHSIG = 1
POLL_SECONDS = 0.5


def end_with(parent: int) -> None:
    """Kill this process as soon as its parent has ended. The first thing a child does.

    On Linux the kernel does it, also to a process that hangs in a library. Elsewhere a thread polls.

    Args:
        parent: process that started this one.
    """
    if not _kernel_kills(parent):
        threading.Thread(target=_poll, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it had ended before this process asked
        _end()


def end_with_creator() -> None:
    """``end_with``, for a process made by ``multiprocessing``; suits as the initializer of a pool."""
    creator = multiprocessing.parent_process()
    if creator is not None and creator.pid is not None:
        end_with(creator.pid)


def end_with_launcher() -> None:
    """``end_with``, for a command that ``PARENT`` or torchrun has started; a user's own command is left alone."""
    named = os.environ.pop(PARENT, "")  # this process's own children are told of another one
    if named.isdecimal():
        end_with(int(named))
    elif "TORCHELASTIC_RUN_ID" in os.environ:
        end_with(os.getppid())


def _kernel_kills(parent: int) -> bool:
    """Ask the kernel; whether it will.

    The signal comes with the end of the thread that started this process. Only that of the main thread is the end of the
    process, so that children of others are not left to it.
    """
    if sys.platform != "linux":
        return False
    try:
        siblings = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    except OSError:
        return False
    return str(os.getpid()) in siblings and ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0


def _poll(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    _end()


def _end() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
