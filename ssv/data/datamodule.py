"""The data module: which videos are trained on, which are held out, and the loaders over them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from ssv.data.batches import EpochBatches
from ssv.data.crops import Crop
from ssv.data.dataset import VideoDataset
from ssv.data.grids import Grid
from ssv.data.index import find_index
from ssv.data.loading import ResumableLoader
from ssv.data.pairing import partnerless
from ssv.data.prepared import PreparedReader
from ssv.data.probing import Times, indexed_grids, probe_grids
from ssv.data.readers.auto import AutoReader
from ssv.data.readers.base import Reader, VideoError
from ssv.data.sampling import ADVICE, Sampler
from ssv.data.sets.lookup import named
from ssv.processes import rank_and_world
from ssv.types import Clips, Video

log = logging.getLogger(__name__)

HOLD_OUT_SEED = 0  # not the run's: every run holds out the same videos
VALIDATION_SEED = 0  # likewise for the clips cut from them


class VideoDataModule(pl.LightningDataModule):
    """Loaders of ``Clips`` over one data set; knows nothing about tasks.

    Every file is probed before the first batch, but for those that the index of `ssv scan` knows. A broken one stops the
    start, unless ``max_broken`` allows as many; then they are left out, counted and named. A file that breaks only while
    it is decoded counts towards the same number (each process counts its own) and is left out of its batches, never
    replaced.
    """

    def __init__(
        self,
        root: str,
        videos: Callable[[str, str], list[Video]],
        sampler: Sampler,
        crop: Crop,
        eval_sampler: Sampler,
        eval_crop: Crop,
        batch_size: int,
        workers: int,
        held_out: float,
        max_broken: int,
        pairs: bool = False,
        *,
        reader: Reader,
        seed: int,
    ) -> None:
        """A data set and how to read it.

        Args:
            root: folder of the data set.
            videos: ``(root, split) -> list[Video]``, for the splits "train" and "test".
            sampler: which frames make a clip, in training and on held-out videos.
            crop: which pixels, likewise.
            eval_sampler: how clips of this data set are cut when a backbone is measured, by evaluations and probes.
            eval_crop: which pixels, likewise.
            batch_size: videos in a batch, over all processes together.
            workers: reading processes for each training process and loader; 0 reads in the training process.
            held_out: share of the training groups kept back for validation; at least one group if above 0.
            max_broken: broken videos to put up with.
            pairs: batches, in training and of held-out videos, hold pairs of videos of one label; the only video of its
                label is left out, counted and named.
            reader: reads the frames; instead of ``AutoReader`` a data set that `ssv prepare` wrote has a faster one.
            seed: of the training order and draws; held-out videos and their clips do not depend on it.
        """
        super().__init__()
        if not 0 <= held_out < 1:
            raise ValueError(f"data.held_out is a share of the training groups, 0 <= share < 1, got {held_out}")
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("workers", workers, 0),
            ("max_broken", max_broken, 0),
        ):
            if value < least:
                raise ValueError(f"data.{name} must be at least {least}, got {value}")
        self.root = root
        self.batch_size = batch_size
        self.workers = workers
        self.held_out = held_out
        self.max_broken = max_broken
        self.pairs = pairs
        self.reader = chosen_reader(reader, root)
        self.seed = seed
        self.sampler = sampler
        self.crop = crop
        self.eval_sampler = eval_sampler
        self.eval_crop = eval_crop
        self.broken: dict[str, str] = {}  # path: reason
        self.lost = 0  # samples left out of their batches because of that, in this process
        self.left_out: dict[str, str] = {}  # path: reason: too short with short="skip", or without a partner
        self._videos = videos
        self._listed: dict[str, list[Video]] = {}
        self._times: dict[str, Grid] = {}  # of every path that could be probed
        self._unreadable: set[str] = set()  # the others

    def setup(self, stage: str | None = None) -> None:
        """Probes the training videos and finds out which of them fit; what is wrong with them is raised here."""
        if stage in (None, "fit", "validate"):
            for name in ("fit", "held_out"):
                self._rows(name)

    def split(self, name: str) -> list[Video]:
        """The readable videos of "train" (the official list), "fit" (train without held-out groups), "held_out", "test".

        Raises VideoError when more than ``max_broken`` of them are broken.
        """
        if name not in ("train", "fit", "held_out", "test"):
            raise ValueError(f"data has the splits train, fit, held_out and test, got {name!r}")
        videos = self._list("test" if name == "test" else "train")
        if name in ("fit", "held_out"):
            kept_back = self._held_out_groups(videos)
            videos = [video for video in videos if (_group(video) in kept_back) == (name == "held_out")]
        self._probe(videos)
        return [video for video in videos if video.path in self._times]

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled batches of "fit", the same for each (seed, epoch); continues exactly after an interruption."""
        videos, rows = self.split("fit"), self._rows("fit")
        rank, world = rank_and_world()
        labels = _labels(videos, rows) if self.pairs else None
        batches = EpochBatches(rows, self.batch_size, seed=self.seed, labels=labels, rank=rank, world=world)
        return self._loader(self._dataset(videos, self.sampler, self.crop, self.seed), batches)

    def val_dataloader(self) -> ResumableLoader | list[Any]:
        """The held-out videos, cut the same way each time; an empty list when none are held out."""
        videos, rows = self.split("held_out"), self._rows("held_out")
        if not len(rows):
            return []
        rank, world = rank_and_world()
        batches = EpochBatches(
            rows,
            self.batch_size,
            shuffle=False,
            drop_last=False,
            labels=_labels(videos, rows) if self.pairs else None,
            rank=rank,
            world=world,
        )
        return self._loader(self._dataset(videos, self.sampler, self.crop, VALIDATION_SEED), batches)

    def loader(
        self,
        videos: Sequence[Video],
        sampler: Sampler,
        crop: Crop,
        *,
        batch_size: int,
        shuffle: bool = False,
        pairs: bool = False,
        seed: int = 0,
        dealt: bool = False,
    ) -> DataLoader[Clips]:
        """Every video once, the incomplete batch included, in this process alone; for evaluations.

        With ``pairs`` two of a label beside each other, and as few as possible twice.

        With ``dealt`` this process's share: the batches of one process are dealt out whole, none twice and none left out,
        so that what is computed of a batch is the same on any number of processes. A process may get none. Not with
        ``shuffle`` or ``pairs``.

        With ``shuffle`` order and draws follow (seed, epoch), and iterating again is the next epoch; without it
        both are the same each time. ``clips.video`` is the row in ``videos``, also where some are left out.
        """
        self._probe(videos)
        videos = list(videos)
        readable = np.array([row for row, video in enumerate(videos) if video.path in self._times], dtype=np.int64)
        rows = readable[self._fitting([videos[row] for row in readable], sampler, {})]
        rows = self._with_partner(videos, rows, {}) if pairs else rows
        labels = _labels(videos, rows) if pairs else None
        if dealt:
            rank, world = rank_and_world()
            rows = rows[np.arange(len(rows)) // max(batch_size, 1) % world == rank]
        batches = EpochBatches(rows, batch_size, seed=seed, shuffle=shuffle, drop_last=False, labels=labels)
        return self._loader(self._dataset(videos, sampler, crop, seed), batches)

    def calibration(self, seed: int) -> DataLoader[Clips]:
        """Training clips in an order of the seed, to measure the statistics of batch norms on."""
        videos = self.split("fit")
        return self.loader(videos, self.sampler, self.crop, batch_size=self.batch_size, shuffle=True, seed=seed)

    def summary(self) -> dict[str, Any]:
        """What a run trains on, as plain values: counts, hours, and the names of all that is left out."""
        self.setup()
        fit, held_out = self.split("fit"), self.split("held_out")
        return {
            "root": self.root,
            "fit": len(fit) - sum(video.path in self.left_out for video in fit),
            "held_out": len(held_out) - sum(video.path in self.left_out for video in held_out),
            "held_out_groups": sorted({_group(video) for video in held_out}),
            "fit_hours": self._hours([video for video in fit if video.path not in self.left_out]),
            "left_out": dict(self.left_out),
            "broken": dict(self.broken),
            "lost": self.lost,
        }

    def state_dict(self) -> dict[str, Any]:
        """The videos found broken so far, and what was lost, so that counts go on over interruptions."""
        return {"broken": dict(self.broken), "lost": self.lost}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up the count."""
        self.broken.update(state_dict["broken"])
        self.lost = state_dict.get("lost", 0)  # checkpoints of before do not say

    def _list(self, name: str) -> list[Video]:
        if name not in self._listed:
            self._listed[name] = self._videos(self.root, name)
        return self._listed[name]

    def _held_out_groups(self, videos: Sequence[Video]) -> set[str]:
        """Whole groups, drawn before anything is known of the files: a broken one changes nothing."""
        groups = sorted({_group(video) for video in videos})
        if not self.held_out:
            return set()
        if len(groups) < 2:
            raise ValueError(
                f"cannot hold out a share of {len(groups)} group of videos and train on the rest; set data.held_out=0"
            )
        count = min(max(1, round(self.held_out * len(groups))), len(groups) - 1)
        drawn = torch.randperm(len(groups), generator=torch.Generator().manual_seed(HOLD_OUT_SEED))
        return {groups[i] for i in drawn[:count].tolist()}

    def _probe(self, videos: Sequence[Video]) -> None:
        """Finds the times of videos not seen before; remembers the broken ones, or raises if there are too many."""
        known = self._times.keys() | self._unreadable
        paths = list(dict.fromkeys(video.path for video in videos if video.path not in known))
        if not paths:
            return
        index = find_index(self.root)
        found = {} if index is None else indexed_grids(paths, self.root, index)
        unknown = [path for path in paths if path not in found]
        if index is not None and unknown:
            log.info("%d of %d videos are new or changed since `ssv scan`: looking at them", len(unknown), len(paths))
        found |= probe_grids(unknown, processes=self.workers, announce=rank_and_world()[0] == 0)
        errors = [answer for answer in found.values() if isinstance(answer, VideoError)]
        self._unreadable.update(error.path for error in errors)
        self.broken.update({error.path: error.reason for error in errors})
        if len(self.broken) > self.max_broken:
            raise self._too_many(errors[-1])
        self._times.update({path: times for path, times in found.items() if not isinstance(times, VideoError)})
        if errors:
            log.warning(
                "left out %d of %d videos that are broken: %s", len(errors), len(paths), named(list(self.broken))
            )

    def _count_broken(self, error: VideoError) -> None:
        """A video turned out to be broken while it was decoded."""
        self.lost += 1
        if error.path in self.broken:
            return
        self.broken[error.path] = error.reason
        if len(self.broken) > self.max_broken:
            raise self._too_many(error) from error
        log.warning("left out of its batch, as data.max_broken=%d allows: %s", self.max_broken, error)

    def _too_many(self, error: VideoError) -> VideoError:
        count = len(self.broken)
        more = f" ({count} broken videos: {named(list(self.broken))})" if count > 1 else ""
        return VideoError(
            error.path, f"{error.reason}{more}; repair or remove, or set data.max_broken={count} to go on without"
        )

    def _fitting(self, videos: Sequence[Video], sampler: Sampler, left_out: dict[str, str]) -> np.ndarray:
        """Rows of the videos the sampler can cut clips from, int64; ValueError if it must and cannot."""
        problems: dict[Grid, str | None] = {}  # most videos have the times of another one
        unfit = {}
        for row, video in enumerate(videos):
            grid = self._times[video.path]
            if grid not in problems:
                problems[grid] = sampler.fits(grid.seconds())
            if problems[grid] is not None:
                unfit[row] = str(problems[grid])
        every = np.arange(len(videos))
        if not unfit or sampler.short in ("hold", "loop"):
            return every
        told = [f"{videos[row].path} {problem}" for row, problem in unfit.items()]
        if sampler.short == "error" or len(unfit) == len(videos):
            count = f"{len(unfit)} of {len(videos)} videos give no clip"
            raise ValueError(f"{count}: {named(told)}; {ADVICE}")
        new = [videos[row].path for row in unfit if videos[row].path not in left_out]
        left_out.update({videos[row].path: problem for row, problem in unfit.items()})
        if new:
            log.warning("left out %d of %d videos that give no clip: %s", len(unfit), len(videos), named(told))
        return np.delete(every, list(unfit))

    def _rows(self, name: str) -> np.ndarray:
        """Rows of "fit" or "held_out" that training clips are cut from, int64."""
        videos = self.split(name)
        rows = self._fitting(videos, self.sampler, self.left_out)
        if self.pairs and len(rows):
            rows = self._with_partner(videos, rows, self.left_out)
            if name == "fit" and not len(rows):
                raise ValueError("data.pairs=true: no two training videos have the same label; set data.pairs=false")
        return rows

    def _with_partner(self, videos: Sequence[Video], rows: np.ndarray, left_out: dict[str, str]) -> np.ndarray:
        """The rows whose label is also another one's."""
        single = partnerless(_labels(videos, rows))
        told = [videos[row].path for row in rows[single]]
        if set(told) - left_out.keys():
            log.warning("left out %d of %d videos, the only ones of their label: %s", len(told), len(rows), named(told))
        left_out.update(dict.fromkeys(told, "is the only video of its label (data.pairs=true)"))
        return np.asarray(rows[~single])

    def _dataset(self, videos: Sequence[Video], sampler: Sampler, crop: Crop, seed: int) -> VideoDataset:
        nothing = Grid(0, 0, (1, 1))
        times = Times(self._times.get(video.path, nothing) for video in videos)
        return VideoDataset(videos, sampler, crop, self.reader, seed, times=times)

    def _loader(self, dataset: VideoDataset, batches: EpochBatches) -> ResumableLoader:
        device = torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device
        return ResumableLoader(dataset, batches, workers=self.workers, on_broken=self._count_broken, device=device)

    def _hours(self, videos: Sequence[Video]) -> float:
        return sum(float(self._times[video.path].seconds()[-1]) for video in videos) / 3600


def chosen_reader(reader: Reader, root: str) -> Reader:
    """The reader for a data set, where ``reader`` leaves the choice."""
    index = find_index(root) if isinstance(reader, AutoReader) else None
    return reader if index is None or index.meta.get("writer") != "ssv prepare" else PreparedReader(root)


def _labels(videos: Sequence[Video], rows: np.ndarray) -> np.ndarray:
    return np.array([videos[row].label for row in rows], dtype=np.int64)


def _group(video: Video) -> str:
    return video.group or video.path
