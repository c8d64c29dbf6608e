"""Where the cells of a study run: as processes beside each other here, or as jobs of a cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ssv.cli.errors import UserError

POLL_SECONDS = 0.2


class Job(ABC):
    """A command that was started."""

    @abstractmethod
    def code(self) -> int | None:
        """The exit code, None while it runs."""

    @abstractmethod
    def stop(self) -> None:
        """Ask it to end, saving what it has; returns at once."""


Launcher = Callable[[Sequence[str], Path], Job]
"""Starts a command that writes its output to a file."""


class Process(Job):
    """A process of this machine, which ends when this one does."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._file = log.open("wb")
        self._process = subprocess.Popen(command, stdout=self._file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    def code(self) -> int | None:
        """See ``Job.code``."""
        code = self._process.poll()
        if code is not None:
            self._file.close()
        return code

    def stop(self) -> None:
        """See ``Job.stop``."""
        self._process.terminate()


class ClusterJob(Job):
    """A job that submitit has handed to a cluster (or to this machine, with ``cluster="local"``)."""

    def __init__(self, job: Any) -> None:
        self._job = job

    def code(self) -> int | None:
        """See ``Job.code``; 1 for whatever the cluster did to it."""
        if not self._job.done():
            return None
        try:
            return int(self._job.result())
        except Exception:  # submitit has many words for a job that is gone
            return 1

    def stop(self) -> None:
        """See ``Job.stop``."""
        self._job.cancel()


def cluster(name: str, folder: Path, settings: dict[str, Any]) -> Launcher:
    """A launcher through submitit.

    Args:
        name: ``slurm``, or ``local`` to try it out.
        folder: where submitit keeps its scripts and logs; every machine has to see it.
        settings: for submitit's executor, such as ``timeout_min``, ``slurm_partition`` and ``gpus_per_node``.

    Raises:
        UserError: when submitit is missing, or refuses the settings.
    """
    try:
        import submitit
    except ImportError:
        raise UserError("launcher.cluster needs submitit: pip install 'ssv[slurm]'") from None
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=name)
        executor.update_parameters(**settings)
    except Exception as error:
        raise UserError(f"launcher: submitit says {' '.join(str(error).split())}") from error

    def start(command: Sequence[str], log: Path) -> Job:
        return ClusterJob(executor.submit(run_command, list(command), str(log)))

    return start


def run_command(command: list[str], log: str) -> int:
    """Run a command on the machine that the cluster chose; returns its exit code."""
    with open(log, "wb") as file:
        return subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL).returncode


def main(arguments: list[str]) -> int:
    """A cell: ``PARENT VERB FILE``. Repeats the job of a recorded configuration; ends when the study does.

    ``PARENT`` is the study's process, 0 where the cell does not depend on it.
    """
    from ssv.cli.job import run_verb
    from ssv.cli.main import report

    parent, verb, file = arguments
    if int(parent):
        threading.Thread(target=_end_with, args=(int(parent),), daemon=True).start()
    try:
        return run_verb(verb, ["--resolved", file])
    except Exception as error:
        return report(error)


def _end_with(parent: int) -> None:
    """A killed study can tell nobody; its cells look for it themselves."""
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)  # a pretraining saves first


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
