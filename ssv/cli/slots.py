"""Where the cells of a study run: as processes beside each other here, or as jobs of a cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ssv.cli.errors import UserError
from ssv.lifetime import PARENT, end_with

POLL_SECONDS = 0.2
PRELOADED = [
    "ssv.cli.cell_server",
    "ssv.cli.pretrain",
    "ssv.training.pretrain_module",
    "ssv.data.datamodule",
    "ssv.evaluations.features",
]


class Job(ABC):
    """A cell that was started."""

    @abstractmethod
    def code(self) -> int | None:
        """The exit code, None while it runs."""

    @abstractmethod
    def stop(self) -> None:
        """Ask it to end, saving what it has; returns at once."""

    @abstractmethod
    def kill(self) -> None:
        """End it, whatever it does; returns at once."""


Launcher = Callable[[list[str], Path], Job]
"""Starts ``ssv`` with these words, its output going to a file."""


class Process(Job):
    """A process of this machine, which ends when this one does.

    A fork of a server that has loaded torch and Lightning once: seconds less for every cell than a new interpreter.
    """

    def __init__(self, words: list[str], log: Path) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        self._process = context.Process(target=_work, args=(words, str(log)))
        self._process.start()

    def code(self) -> int | None:
        """See ``Job.code``; minus its number for a signal."""
        return self._process.exitcode

    def stop(self) -> None:
        """See ``Job.stop``."""
        self._process.terminate()

    def kill(self) -> None:
        """See ``Job.kill``."""
        self._process.kill()


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

    def kill(self) -> None:
        """See ``Job.kill``; the cluster kills what does not end by itself."""
        self.stop()


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

    def start(words: list[str], log: Path) -> Job:
        return ClusterJob(executor.submit(run_command, words, str(log)))

    return start


def run_command(words: list[str], log: str) -> int:
    """Run a cell on the machine that the cluster chose; returns its exit code."""
    command = [sys.executable, "-m", "ssv", *words]
    with open(log, "wb") as output:
        return subprocess.run(
            command,
            env={**os.environ, PARENT: str(os.getpid())},
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        ).returncode


def _work(words: list[str], log: str) -> None:
    """A cell: repeats the job of a recorded configuration, and ends when the study does."""
    _end_with_the_study()
    from ssv.cli.main import main

    with open(log, "wb") as output:
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
    code = main(words)
    sys.stdout.flush()
    sys.exit(code)


def _end_with_the_study() -> None:
    """End with the server of the cells, which ends with the study; and by itself should that server not."""
    end_with(os.getppid())
    study = multiprocessing.parent_process()
    assert study is not None
    threading.Thread(target=_end_after, args=(study,), daemon=True).start()


def _end_after(study: Any) -> None:
    study.join()
    os.kill(os.getpid(), signal.SIGKILL)
