"""Work on files in child processes that may hang or die: each file has an answer, whatever it does to its process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from ssv.data.readers.base import VideoError
from ssv.data.readers.probe import one_line
from ssv.lifetime import end_with_creator

Answer = TypeVar("Answer")
Beat = Callable[[], None]
Work = Callable[[str, Beat], Answer]

BEAT_SECONDS = 0.5  # no more often do children say that they are alive
END_SECONDS = 5.0


def in_children(
    paths: Iterable[str], work: Work[Answer], *, processes: int, limit_seconds: float
) -> Generator[tuple[str, Answer | VideoError], None, None]:
    """``work(path, beat)`` of every path, in the order they are done.

    A child that is silent for ``limit_seconds`` (it neither answers nor calls ``beat``) is killed, one that dies is
    replaced; the answer is a VideoError then, as it is where ``work`` raises.
    """
    waiting = iter(paths)
    children: list[_Child] = []
    try:
        while True:
            while len(children) < processes and (path := next(waiting, None)) is not None:
                child = _Child(work, [other.connection for other in children])
                children.append(child)
                child.give(path)
            if not children:
                return
            now = time.monotonic()
            patience = max(0.0, min(child.heard for child in children) + limit_seconds - now)
            ready = set(wait([child.connection for child in children], timeout=patience))
            for child in list(children):
                if child.connection in ready:
                    answer = child.hear()
                elif time.monotonic() - child.heard > limit_seconds:
                    answer = VideoError(child.path, f"hangs its decoder: no frame within {limit_seconds:g} s")
                    child.end()
                else:
                    continue
                if answer is None:
                    continue
                yield child.path, answer
                if not child.is_alive:
                    children.remove(child)
                elif (path := next(waiting, None)) is not None:
                    child.give(path)
                else:
                    child.end()
                    children.remove(child)
    finally:
        for child in children:
            child.end()


class _Child:
    """A process that takes one path after the other."""

    def __init__(self, work: Work[Any], others: Sequence[Connection[Any, Any]]) -> None:
        # Forks start at once; a fresh interpreter would import everything first.
        method = "fork" if "fork" in multiprocessing.get_all_start_methods() else None
        context: Any = multiprocessing.get_context(method)
        self.connection, theirs = context.Pipe()
        # A fork inherits the ends of all pipes; open there, they would hide that this process has gone.
        inherited = [*others, self.connection] if context.get_start_method() == "fork" else []
        self.process = context.Process(target=_serve, args=(work, theirs, inherited), daemon=True)
        self.process.start()
        theirs.close()
        self.path = ""
        self.heard = time.monotonic()
        self.is_alive = True

    def give(self, path: str) -> None:
        """The next path."""
        self.path, self.heard = path, time.monotonic()
        try:
            self.connection.send(path)
        except OSError:  # it has just died: hear() will say so
            return

    def hear(self) -> Any:
        """The answer, or None where it only said that it is alive."""
        self.heard = time.monotonic()
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self.process.join(END_SECONDS)  # its exit code, before it is killed
            code = self.process.exitcode or 0
            self.end()
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            return VideoError(self.path, f"kills the process that decodes it ({how})")

    def end(self) -> None:
        """Now: whatever it does, nobody waits for it."""
        self.is_alive = False
        self.connection.close()
        self.process.kill()
        self.process.join(END_SECONDS)  # not for ever: a disk that hangs holds even a killed process
        with suppress(ValueError):  # that one is left as it is
            self.process.close()


def _serve(work: Work[Any], connection: Connection[Any, Any], inherited: Sequence[Connection[Any, Any]]) -> None:
    end_with_creator()
    for other in inherited:
        other.close()
    # Ctrl-C reaches every process of the terminal; only the main one should answer, and end the children.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what libraries say about damage is not for the terminal
    said = 0.0

    def beat() -> None:
        nonlocal said
        if time.monotonic() - said > BEAT_SECONDS:
            connection.send(None)
            said = time.monotonic()

    while True:
        try:
            path = connection.recv()
        except EOFError:
            return
        try:
            connection.send(work(path, beat))
        except VideoError as error:
            connection.send(error)
        except Exception as error:
            connection.send(VideoError(path, f"cannot be examined: {type(error).__name__}: {one_line(error)}"))
