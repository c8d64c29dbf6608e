"""What a process that reads clips does first, and which signals it heeds."""

from __future__ import annotations

import os
import signal
import threading

import cv2
import torch

from ssv.lifetime import end_with_creator


def start_worker(worker: int) -> None:
    """Called in each reading process before it reads."""
    end_with_creator()
    # Workers share the cores already; threads of their own would only take turns.
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    # Ctrl-C reaches every process of the terminal; only the main one should answer, and end the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # SLURM's word that time is running out: likewise
    if hasattr(signal, "sigwaitinfo"):
        # Before the thread starts, which inherits it: from now on SIGTERM only wakes who waits for it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_the_parent_says_so, args=(os.getppid(),), daemon=True).start()
    else:  # macOS: at least not the inherited handler, which saves a checkpoint
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end_when_the_parent_says_so(parent: int) -> None:
    """Heeds SIGTERM from the training process alone.

    A cluster sends it to every process of a job. A worker that died of it would turn the checkpoint which the
    training process is about to write into an error about a dead worker; it ends right after that one.
    """
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(128 + signal.SIGTERM)
