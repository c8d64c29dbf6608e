"""Batches in an order that is a function of (seed, epoch), and a loader that continues exactly where it stopped."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler, default_collate
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from ssv.data.dataset import VideoDataset, generator_for
from ssv.data.pairing import pair_count, pair_up
from ssv.data.readers.base import VideoError
from ssv.data.sets.lookup import named
from ssv.types import Clips

PREFETCH = 2  # batches each worker prepares ahead
TIMEOUT_SECONDS, TIMEOUT_SECONDS_PER_VIDEO = 120.0, 2.0  # a worker reads a whole batch, one video after the other

log = logging.getLogger(__name__)

Key = tuple[int, int]  # (epoch, row)


class EpochBatches(Sampler[list[Key]]):
    """The batches of an epoch, as lists of (epoch, row): this process's share of each global batch.

    Process r of w takes every w-th entry of each global batch, from the r-th on. So the processes together see
    what one process would, and a run may continue on another number of them. With ``shuffle`` the order is a
    permutation drawn from (seed, epoch); without it, order and epoch stay the same for ever (fixed draws).

    With ``labels`` batches hold pairs of videos of one label, each pair in one process. Of a label with an odd number
    of videos one is in two pairs of the epoch, another one each time; a single one would be its own partner.
    """

    def __init__(
        self,
        rows: Sequence[int] | np.ndarray,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = True,
        labels: Sequence[int] | np.ndarray | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """``batch_size`` counts over all ``world`` processes; ``drop_last`` drops the incomplete batch at the end.

        ``labels`` belong to ``rows``, one each.
        """
        self.rows = torch.as_tensor(np.asarray(rows, dtype=np.int64))
        self.labels = None if labels is None else torch.as_tensor(np.asarray(labels, dtype=np.int64))
        if batch_size < 1 or batch_size % world:
            raise ValueError(
                f"data.batch_size={batch_size} counts over all processes and must be a multiple of their number, {world}"
            )
        if self.labels is not None and batch_size // world % 2:
            raise ValueError(
                f"data.batch_size={batch_size} gives each of {world} processes {batch_size // world} videos, which are no "
                f"pairs (data.pairs=true); set it to a multiple of {2 * world}"
            )
        if drop_last and len(self.rows) < batch_size:
            raise ValueError(
                f"data.batch_size={batch_size} is more than the {len(self.rows)} videos there are to train on; lower it"
            )
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.rank = rank
        self.world = world
        self.epoch = 0
        self.start = 0  # the first batch of the next iteration
        self.is_complete = False  # all of this epoch was handed out: the next iteration is the next epoch

    @property
    def sampler(self) -> EpochBatches:
        """Itself: where Lightning looks for ``set_epoch``."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Moves on to another epoch; without ``shuffle`` order and draws stay as they are."""
        self.is_complete = False
        if self.shuffle:
            self.epoch = epoch

    def __len__(self) -> int:
        """Batches of a whole epoch, wherever the next iteration starts (Lightning counts from there itself)."""
        entries, together = self._entries()
        whole, rest = divmod(entries, self.batch_size // together)
        return whole + (not self.drop_last and rest > self.rank)

    def __iter__(self) -> Iterator[list[Key]]:
        # Fixed now: the loader asks for batches while the training loop may already move the epoch on.
        epoch, order = self.epoch, self._order()
        return iter([self._batch(order, epoch, batch) for batch in range(self.start, len(self))])

    def batch(self, number: int) -> list[Key]:
        """One batch of the current epoch."""
        return self._batch(self._order(), self.epoch, number)

    def _entries(self) -> tuple[int, int]:
        """How many entries an epoch has, and the videos of each: single ones, or pairs."""
        if self.labels is None:
            return len(self.rows), 1
        return pair_count(self.labels), 2

    def _order(self) -> torch.Tensor:
        """The rows of each entry of the epoch, (entries, 1) or (entries, 2)."""
        generator = generator_for(self.seed, self.epoch)
        places = torch.randperm(len(self.rows), generator=generator) if self.shuffle else torch.arange(len(self.rows))
        if self.labels is None:
            return self.rows[places, None]
        pairs = pair_up(places, self.labels[places])
        if self.shuffle:  # they come label by label
            pairs = pairs[torch.randperm(len(pairs), generator=generator)]
        return self.rows[pairs]

    def _batch(self, order: torch.Tensor, epoch: int, number: int) -> list[Key]:
        entries = self.batch_size // order.shape[1]
        whole = order[number * entries : (number + 1) * entries]
        return [(epoch, row) for row in whole[self.rank :: self.world].flatten().tolist()]


class _NoBatch(RuntimeError):
    """The reading processes are silent."""


class ResumableLoader(DataLoader[Clips]):
    """Batches of clips from worker processes; ``state_dict`` says how many of this epoch were handed out.

    Prefetched batches do not count: they are made again after a restart, identically. When an epoch was
    handed out completely, iterating again is the next epoch, unless ``set_epoch`` says otherwise.

    A video that fails while it is read is left out of its batch (which is then smaller; another video in its
    place would make the draws depend on history) and told to ``on_broken``, which raises if it is one too many.
    """

    def __init__(
        self,
        dataset: VideoDataset,
        batches: EpochBatches,
        *,
        workers: int = 0,
        on_broken: Callable[[VideoError], None] | None = None,
        timeout_seconds: float | None = None,
    ) -> None:
        """Without ``on_broken`` the first broken video is raised; ``timeout_seconds`` defaults to minutes."""
        if timeout_seconds is None:
            timeout_seconds = TIMEOUT_SECONDS + TIMEOUT_SECONDS_PER_VIDEO * batches.batch_size / batches.world
        forks = workers > 0 and "fork" in multiprocessing.get_all_start_methods()
        super().__init__(
            dataset,
            batch_sampler=batches,
            num_workers=workers,
            collate_fn=_collate,
            pin_memory=torch.cuda.is_available(),
            timeout=timeout_seconds if workers else 0,
            worker_init_fn=_start_worker,
            # Forks start at once; a fresh interpreter would import torch first.
            multiprocessing_context="fork" if forks else None,
            # Its own: by default each iteration would take a number from the global generator.
            generator=torch.Generator(),
            prefetch_factor=PREFETCH if workers else None,
            persistent_workers=workers > 0,
        )
        self.batches = batches
        self._on_broken = on_broken or _raise
        self._fingerprint = dataset.fingerprint()
        self._position = (0, 0)  # epoch, batches of it handed out
        self._restored = False

    def __iter__(self) -> Iterator[Clips]:  # type: ignore[override]
        # A generator, so that all of it waits for the first batch to be asked for: on a restart Lightning
        # iterates before it sets the epoch.
        batches = self.batches
        if batches.is_complete:
            batches.set_epoch(batches.epoch + 1)
            self._restored = False
        is_continued = self._restored and batches.epoch == self._position[0]
        self._restored = False
        epoch, batches.start = batches.epoch, self._position[1] if is_continued else 0
        self._position = (epoch, batches.start)
        try:
            yield from self._hand_out(epoch)
        except Exception:
            self._end_workers()
            raise
        batches.is_complete = batches.epoch == epoch

    def _hand_out(self, epoch: int) -> Iterator[Clips]:
        source = super().__iter__()
        for number in range(self.batches.start, len(self)):
            try:
                clips, broken = self._next(source, number)
            except _NoBatch as silence:
                # A reader may hang by a race of its threads; read again, the batch is the same to the bit.
                log.warning("%s; the reading processes are killed, and new ones try once more", silence)
                self._end_workers()
                self.batches.start = number
                source = super().__iter__()
                clips, broken = self._next(source, number)
            for error in broken:
                self._on_broken(error)
            if clips is None:
                raise VideoError(broken[0].path, f"{broken[0].reason}; and no other video of its batch can be read")
            self._position = (epoch, number + 1)
            yield clips

    def _next(self, source: Iterator[Any], number: int) -> tuple[Clips | None, list[VideoError]]:
        try:
            clips, broken = next(source)
        except RuntimeError as error:
            # DataLoader has no exception types of its own for these two.
            waiting = f"waiting for {named([self.path(key) for key in self.batches.batch(number)])}"
            if "timed out" in str(error):
                raise _NoBatch(
                    f"no batch within {self.timeout:.0f} s, {waiting}: a file that hangs its reader, or a slow disk; "
                    "data.workers=0 shows where it stands, reader=pyav reads differently"
                ) from error
            if "exited unexpectedly" in str(error) or "is killed by signal" in str(error):
                raise RuntimeError(
                    f"a reading process died, {waiting}: out of memory (lower data.workers), or a file that crashes "
                    "its reader (data.workers=0 shows which)"
                ) from error
            raise
        return clips, broken

    def _end_workers(self) -> None:
        # Now, as Lightning does it: the traceback keeps the loader alive, and with it idle processes.
        if isinstance(self._iterator, _MultiProcessingDataLoaderIter):
            workers = self._iterator._workers
            self._iterator._shutdown_workers()
            self._iterator = None
            for worker in workers:
                worker.kill()  # one that hangs in a library has heard nothing so far, and would be waited for at exit
                worker.join()

    def path(self, key: Key) -> str:
        """The file behind an entry of a batch."""
        assert isinstance(self.dataset, VideoDataset)
        return self.dataset.path(key[1])

    def state_dict(self) -> dict[str, Any]:
        """Where the next batch comes from, and what must not change before it is asked for."""
        epoch, batch = self._position
        return {"epoch": epoch, "batch": batch, "world": self.batches.world, **self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues there; another number of processes is fine, other videos, batches or draws are not.

        Raises:
            ValueError: what differs, and what to do.
        """
        for key, now in self._identity().items():
            if state[key] != now:
                raise ValueError(
                    f"cannot continue this run: its {_MEANINGS[key]} was {state[key]} and is now {now}; "
                    "set it back, or start a new run under another name"
                )
        if state["world"] != self.batches.world and self.batches.rank == 0:
            now, was = self.batches.world, state["world"]
            log.warning(
                "goes on with %d processes instead of %d: the last bits of results may differ from here", now, was
            )
        self._position = (state["epoch"], state["batch"])
        self._restored = True
        self.batches.set_epoch(state["epoch"])
        self.batches.is_complete = state["batch"] >= len(self)

    def _identity(self) -> dict[str, Any]:
        batches = self.batches
        return {
            "batch_size": batches.batch_size,
            "size": len(batches.rows),
            "videos": self._fingerprint,
            "seed": batches.seed,
        }


_MEANINGS = {
    "batch_size": "data.batch_size",
    "size": "number of training videos",
    "videos": "list of training videos (a digest of paths, labels and frame counts)",
    "seed": "seed",
}


def _collate(samples: list[Clips | VideoError]) -> tuple[Clips | None, list[VideoError]]:
    """A batch of what could be read, (B,...), and what could not."""
    good = [sample for sample in samples if isinstance(sample, Clips)]
    return default_collate(good) if good else None, [sample for sample in samples if isinstance(sample, VideoError)]


def _start_worker(worker: int) -> None:
    # Workers share the cores already; threads of their own would only take turns.
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    # Ctrl-C reaches every process of the terminal; only the main one should answer, and end the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
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


def _raise(error: VideoError) -> None:
    raise error
