"""Whole videos with key events, read frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import cv2
import numpy as np
import torch
from torch import Tensor

from ssv.data.crops import Crop
from ssv.data.dataset import VideoDataset
from ssv.data.probing import Times
from ssv.data.readers.base import Reader
from ssv.data.sampling import Sampler
from ssv.data.sequences.pictures import PicturesReader, frame_times
from ssv.types import Clips, PhasedVideo, Video

CHUNK = 64
"""Frames in memory at a time; fewer make videos with rare keyframes slow to read."""


class PhasedVideos:
    """A data set for phase alignment; clips are cut from it only to measure batch norms of a random network."""

    def __init__(
        self,
        root: str,
        videos: Callable[[str, str], list[PhasedVideo]],
        sampler: Sampler,
        crop: Crop,
        batch_size: int,
        *,
        reader: Reader,
        seed: int = 0,
    ) -> None:
        """A data set and how to read it.

        Args:
            root: folder of the data set.
            videos: ``(root, split) -> list[PhasedVideo]``, for the splits "train" and "test".
            sampler: which frames make a clip, for ``calibration``.
            crop: which pixels, likewise.
            batch_size: videos in a batch of ``calibration``.
            reader: reads the frames of files; folders of pictures are read here.
            seed: as all data sets have one; reading whole videos draws nothing.
        """
        self.root, self.batch_size, self.seed = root, batch_size, seed
        self.sampler, self.crop = sampler, crop
        self.reader = PicturesReader(reader)
        self._videos = videos
        self._listed: dict[str, list[PhasedVideo]] = {}
        self._times: dict[str, np.ndarray] = {}

    def split(self, name: str) -> list[PhasedVideo]:
        """The videos of "train" or "test", checked.

        Raises:
            ValueError: a video of one frame, events out of order or outside the video, or not as many in each video
                of an action.
            VideoError: a broken video.
        """
        if name not in self._listed:
            videos = self._videos(self.root, name)
            self._times |= frame_times([video.path for video in videos])
            for video in videos:
                _check(video, len(self._times[video.path]))
            _check_actions(videos)
            self._listed[name] = videos
        return self._listed[name]

    def length(self, video: PhasedVideo) -> int:
        """Number of frames of a video that ``split`` has returned."""
        return len(self._times[video.path])

    def frames(
        self, video: PhasedVideo, indices: Iterable[int] | None = None, *, short_side: int | None = None
    ) -> Iterator[Tensor]:
        """Frames uint8 (C,H,W) one after the other, all of them or those at ``indices``, in the order asked.

        ``short_side`` in pixels resizes the whole frame, its shape kept; None leaves it as stored. Few frames are in
        memory at a time.
        """
        wanted = list(range(self.length(video)) if indices is None else indices)
        for first in range(0, len(wanted), CHUNK):
            for frame in self.reader.read(video.path, wanted[first : first + CHUNK]):
                yield torch.from_numpy(_resized(frame, short_side).transpose(2, 0, 1).copy())

    def calibration(self, seed: int) -> Iterator[Clips]:
        """Clips of the training videos in order, ``batch_size`` videos at a time, each video once; drawn from ``seed``."""
        videos = self.split("train")
        times = Times(self._times[video.path] for video in videos)
        listed = [Video(video.path) for video in videos]
        dataset = VideoDataset(listed, self.sampler, self.crop, self.reader, seed, times=times)
        for first in range(0, len(videos), self.batch_size):
            rows = range(first, min(first + self.batch_size, len(videos)))
            yield Clips(*map(torch.stack, zip(*(dataset[0, row] for row in rows))))


def _resized(frame: np.ndarray, short_side: int | None) -> np.ndarray:
    """The frame (H,W,C) with its short side of so many pixels, its shape kept to a pixel."""
    height, width, _ = frame.shape
    if short_side is None or min(height, width) == short_side:
        return frame
    scale = short_side / min(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    # As for crops: area averaging keeps fine texture from turning into false patterns, and means nothing when growing.
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR))


def _check(video: PhasedVideo, frames: int) -> None:
    if frames < 2:
        raise ValueError(f"{video.path}: an action needs two frames at least, this video has {frames}; leave it out")
    inner = [0, *video.events, frames]
    if not video.events or any(later <= earlier for earlier, later in zip(inner, inner[1:])):
        raise ValueError(
            f"{video.path}: key events must be ascending frames from 1 to {frames - 1} (so that no phase is empty), "
            f"got {list(video.events)}; correct the list of phases"
        )


def _check_actions(videos: list[PhasedVideo]) -> None:
    first: dict[str, PhasedVideo] = {}
    for video in videos:
        model = first.setdefault(video.action, video)
        if len(model.events) != len(video.events):
            raise ValueError(
                f"{video.path} has {len(video.events)} key events and {model.path} {len(model.events)}, both of action "
                f"'{video.action}'; give all videos of an action the same events"
            )
