"""Batches of clips from reading processes, by a loader that continues exactly where it stopped."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from ssv.data.batches import EpochBatches, Key
from ssv.data.dataset import VideoDataset
from ssv.data.passage import Parcel, Passage
from ssv.data.planes import PlaneBatch, PlaneClips, collate, to_clips
from ssv.data.readers.base import VideoError
from ssv.data.reading_process import start_worker
from ssv.data.sets.lookup import named
from ssv.types import Clips

PREFETCH = 2  # batches each worker prepares ahead
TIMEOUT_SECONDS, TIMEOUT_SECONDS_PER_VIDEO = 120.0, 2.0  # a worker reads a whole batch, one video after the other

log = logging.getLogger(__name__)


class ReadingStopped(RuntimeError):
    """The reading processes are silent, or gone."""


class _NoBatch(ReadingStopped):
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
        device: torch.device | str = "cpu",
    ) -> None:
        """Without ``on_broken`` the first broken video is raised; ``timeout_seconds`` defaults to minutes.

        Where clips travel as planes they are made into clips on ``device``; for a CPU already where they are read.
        """
        if timeout_seconds is None:
            timeout_seconds = TIMEOUT_SECONDS + TIMEOUT_SECONDS_PER_VIDEO * batches.batch_size / batches.world
        if workers:
            # The threads of a library's pool do not live on in a fork, which would wait for them for ever.
            cv2.setNumThreads(1)
        forks = workers > 0 and "fork" in multiprocessing.get_all_start_methods()
        # One more than each process may have under way: it goes on while its batch is being received.
        passage = Passage(workers, PREFETCH + 1)
        super().__init__(
            dataset,
            batch_sampler=batches,
            num_workers=workers,
            # A GPU makes clips of planes itself. A CPU would do it between two steps: there the reading processes do.
            collate_fn=_Collate(passage, clips=torch.device(device).type == "cpu"),
            pin_memory=torch.cuda.is_available(),
            timeout=timeout_seconds if workers else 0,
            worker_init_fn=start_worker,
            # Forks start at once; a fresh interpreter would import torch first.
            multiprocessing_context="fork" if forks else None,
            # Its own: by default each iteration would take a number from the global generator.
            generator=torch.Generator(),
            prefetch_factor=PREFETCH if workers else None,
            persistent_workers=workers > 0,
        )
        self.batches = batches
        self.passage = passage
        self.device = torch.device(device)
        self._on_broken = on_broken or _raise
        self._fingerprint, self._files = dataset.fingerprint(), ""
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
            self.end_workers()
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
                self.end_workers()
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
            sent, broken = next(source)
        except RuntimeError as error:
            # DataLoader has no exception types of its own for these two.
            waiting = f"waiting for {named([self.path(key) for key in self.batches.batch(number)])}"
            if "timed out" in str(error):
                raise _NoBatch(
                    f"no batch within {self.timeout:.0f} s, {waiting}: a file that hangs its reader, or a slow disk; "
                    "data.workers=0 shows where it stands, reader=pyav reads differently"
                ) from error
            if "exited unexpectedly" in str(error) or "is killed by signal" in str(error):
                raise ReadingStopped(
                    f"a reading process died, {waiting}: out of memory (lower data.workers), or a file that crashes "
                    "its reader (data.workers=0 shows which)"
                ) from error
            raise
        batch = None if sent is None else self.passage.receive(sent)
        if isinstance(batch, PlaneBatch):
            batch = to_clips(batch._replace(data=batch.data.to(self.device, non_blocking=True)))
        return batch, broken

    def end_workers(self) -> None:
        """Ends the reading processes; iterating again starts new ones."""
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
            if state.get(key, now) != now:  # earlier versions did not keep all
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
        assert isinstance(self.dataset, VideoDataset)
        self._files = self._files or self.dataset.files_fingerprint()
        return {
            "batch_size": batches.batch_size,
            "size": len(batches.rows),
            "videos": self._fingerprint,
            "files": self._files,
            "seed": batches.seed,
        }


_MEANINGS = {
    "batch_size": "data.batch_size",
    "size": "number of training videos",
    "videos": "list of training videos (a digest of paths, labels and frame counts)",
    "files": "training videos (a digest of the files' sizes and times of change; copy with `cp -p` or `rsync -a`)",
    "seed": "seed",
}


class _Collate:
    """A batch of what could be read, (B,...), and what could not."""

    def __init__(self, passage: Passage, *, clips: bool) -> None:
        """``clips``: planes are made into clips at once."""
        self.passage = passage
        self.clips = clips

    def __call__(
        self, samples: list[Clips | PlaneClips | VideoError]
    ) -> tuple[Clips | PlaneBatch | Parcel | None, list[VideoError]]:
        broken = [sample for sample in samples if isinstance(sample, VideoError)]
        read = [sample for sample in samples if not isinstance(sample, VideoError)]
        if not read:
            return None, broken
        batch = collate(read)
        if self.clips and isinstance(batch, PlaneBatch):
            batch = to_clips(batch)
        return self.passage.send(batch), broken


def _raise(error: VideoError) -> None:
    raise error
