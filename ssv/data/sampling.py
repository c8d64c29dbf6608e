"""Which frames make a clip: arithmetic on presentation times, testable without any video.

A sampler maps the presentation times of a video, float64 (n,) in seconds and display order, to display
indices, int64 (V,T). Two frames of a clip lie ``stride`` source frames or ``seconds`` apart; exactly one of
the two is given. Unless asked to, a clip never shows one source frame twice: a video too short for that, or
too slow for ``seconds``, does not fit, and ``short`` says what then:

- ``"error"``: ValueError, one line
- ``"skip"``:  the same error here; the data module leaves the video out at start, counted and named
- ``"hold"``:  the last frame is shown until the clip is full
- ``"loop"``:  the video starts again

With ``"hold"`` and ``"loop"`` a frame is also shown again where the video is slower than ``seconds``.
"""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
import torch
from torch import Generator, Tensor

Short = Literal["error", "skip", "hold", "loop"]

RATE_TOLERANCE = 0.01  # 29.97 counts as 30 and 23.976 as 24; 24 for 25 (4 %) does not
STAMP_SECONDS = 5e-4  # Matroska rounds time stamps to whole milliseconds
TIE_SECONDS = 1e-6  # a time halfway between two frames belongs to the later one, whatever the last bit says


class Sampler(Protocol):
    """What the data module asks of a sampler; one from outside the package will do as well."""

    short: Short

    def fits(self, seconds: np.ndarray) -> str | None:
        """Why a video with these presentation times gives no clip free of repeats, or None."""

    def __call__(self, seconds: np.ndarray, generator: Generator | None) -> Tensor:
        """Display indices, int64 (V,T)."""


class RandomClips:
    """Clips that start anywhere, each independently and uniformly.

    With ``stride`` every admissible first frame is equally likely: 10 frames, ``frames=4, stride=2`` span 7
    frames, so the clip starts at frame 0, 1, 2 or 3 with a quarter each; from 3 it is ``[3, 5, 7, 9]``.

    With ``seconds`` every admissible start time is equally likely, and each clip frame is the source frame
    nearest in time (a frame owns the time from half a frame before it to half a frame after it). So a clip of
    16 frames at ``seconds=0.08`` lasts 1.2 s in files of 24, 25 and 30 frames per second alike. Starts from
    which a frame would be shown twice (a gap in a file of varying rate) are not admissible.
    """

    def __init__(
        self,
        *,
        views: int = 1,
        frames: int = 16,
        stride: int | None = 1,
        seconds: float | None = None,
        short: Short = "error",
    ) -> None:
        """``stride`` in source frames or ``seconds`` between two clip frames; the other one is None."""
        self.views, self.frames = views, frames
        self.stride, self.seconds = stride, seconds
        self.short = short
        self._spacing = _spacing(views, frames, stride, seconds, short)

    def fits(self, seconds: np.ndarray) -> str | None:
        """Why a video with these presentation times gives no clip free of repeats, or None."""
        return self._spacing.problem(seconds)

    def __call__(self, seconds: np.ndarray, generator: Generator | None) -> Tensor:
        """Display indices, int64 (V,T); the only draws are V numbers from ``generator``."""
        if generator is None:
            raise ValueError("RandomClips draws from a torch.Generator and got None; give one, or take UniformClips")
        fits = _require(self.fits(seconds), self.short)
        starts = self._spacing.random_starts(seconds, self.views, generator, fits=fits)
        return torch.from_numpy(self._spacing.indices(seconds, starts, loop=self.short == "loop"))


class UniformClips:
    """Clips spread evenly: the first starts with the video, the last ends with it; one view is the middle.

    10 frames, ``frames=4, stride=2`` span 7 frames, so the last possible start is 3:
    ``views=1`` starts at 1 (``[1, 3, 5, 7]``), ``views=2`` at 0 and 3, ``views=3`` at 0, 1, 3 (rounded down).
    With ``seconds`` start times are spread the same way, and one that would show a frame twice moves to the
    nearest that does not.
    """

    def __init__(
        self,
        *,
        views: int = 1,
        frames: int = 16,
        stride: int | None = 1,
        seconds: float | None = None,
        short: Short = "error",
    ) -> None:
        """As for ``RandomClips``."""
        self.views, self.frames = views, frames
        self.stride, self.seconds = stride, seconds
        self.short = short
        self._spacing = _spacing(views, frames, stride, seconds, short)

    def fits(self, seconds: np.ndarray) -> str | None:
        """Why a video with these presentation times gives no clip free of repeats, or None."""
        return self._spacing.problem(seconds)

    def __call__(self, seconds: np.ndarray, generator: Generator | None = None) -> Tensor:
        """Display indices, int64 (V,T), always the same; ``generator`` is not used."""
        fits = _require(self.fits(seconds), self.short)
        starts = self._spacing.even_starts(seconds, self.views, fits=fits)
        return torch.from_numpy(self._spacing.indices(seconds, starts, loop=self.short == "loop"))


class WholeVideo:
    """Frames of the whole video, in order, drawn anew for each view: every choice of them is equally likely.

    10 frames, ``frames=4`` gives for example ``[0, 3, 4, 8]``; with ``stride=2`` two of them lie 2 source frames or
    more apart. Two videos never show the same moments but by chance, so that the number of a frame tells nothing
    ("offset uniform" of google-research's tcc). Faster videos are shown as if they were slower: for tasks about the
    order of an action, not about speed.
    """

    def __init__(
        self,
        *,
        views: int = 1,
        frames: int = 20,
        stride: int | None = 1,
        seconds: float | None = None,
        short: Short = "error",
    ) -> None:
        """``stride`` is the least distance in source frames; ``seconds`` is None, there for all samplers to look alike."""
        if seconds is not None or stride is None:
            raise ValueError(
                f"WholeVideo counts frames, got data.sampler.seconds={seconds} and stride={stride}; set "
                "data.sampler.seconds=null data.sampler.stride=1"
            )
        self.views, self.frames, self.stride = views, frames, stride
        self.short = short
        self._spacing = _spacing(views, frames, stride, None, short)

    def fits(self, seconds: np.ndarray) -> str | None:
        """Why a video with these presentation times gives no clip free of repeats, or None."""
        return self._spacing.problem(seconds)

    def __call__(self, seconds: np.ndarray, generator: Generator | None) -> Tensor:
        """Display indices, int64 (V,T), ascending; the only draws are V orders of frames from ``generator``."""
        if generator is None:
            raise ValueError("WholeVideo draws from a torch.Generator and got None; give one, or take UniformClips")
        if not _require(self.fits(seconds), self.short):
            starts = np.zeros(self.views)
            return torch.from_numpy(self._spacing.indices(seconds, starts, loop=self.short == "loop")).long()
        # The frames between that must stay free are taken out, and put back where they belong.
        apart = torch.arange(self.frames) * (self.stride - 1)
        free = len(seconds) - int(apart[-1])
        drawn = [torch.randperm(free, generator=generator)[: self.frames].sort().values for _ in range(self.views)]
        return torch.stack(drawn) + apart


class _ByStride:
    """Frames counted: a clip spans ``(frames - 1) * stride + 1`` source frames; starts are frame numbers."""

    def __init__(self, frames: int, stride: int) -> None:
        self.offsets = np.arange(frames) * stride
        self.span = int(self.offsets[-1]) + 1
        self.wish = f"data.sampler.frames={frames} with stride={stride}"

    def problem(self, times: np.ndarray) -> str | None:
        if len(times) >= self.span:
            return None
        return f"has {len(times)} frames where {self.wish} needs {self.span}"

    def random_starts(self, times: np.ndarray, views: int, generator: Generator, *, fits: bool) -> np.ndarray:
        starts: np.ndarray = torch.randint(self._starts(times), (views,), generator=generator).numpy()
        return starts

    def even_starts(self, times: np.ndarray, views: int, *, fits: bool) -> np.ndarray:
        last = self._starts(times) - 1
        return np.array([last // 2]) if views == 1 else np.arange(views) * last // (views - 1)

    def indices(self, times: np.ndarray, starts: np.ndarray, *, loop: bool) -> np.ndarray:
        wanted = starts[:, None] + self.offsets
        return wanted % len(times) if loop else np.minimum(wanted, len(times) - 1)

    def _starts(self, times: np.ndarray) -> int:
        return max(len(times) - self.span + 1, 1)


class _BySeconds:
    """Time measured: a clip shows the frames nearest to ``frames`` times ``seconds`` apart; starts are times.

    Frame i owns the half-open time from the middle between i-1 and i to the middle between i and i+1. A frame
    that owns no more than ``seconds`` can never be shown twice; only the others restrict the start.
    """

    def __init__(self, frames: int, seconds: float) -> None:
        self.seconds = seconds
        self.offsets = np.arange(frames) * seconds
        self.wish = f"data.sampler.frames={frames} with seconds={seconds:g}"

    def problem(self, times: np.ndarray) -> str | None:
        frames, span = len(self.offsets), float(self.offsets[-1])
        if len(times) < frames:
            return f"has {len(times)} frames where {self.wish} needs {frames}"
        lasts = float(times[-1] - times[0])
        if lasts < span - _half_frame(times):
            return f"lasts {lasts:.3g} s where {self.wish} needs {span:.3g} s"
        if frames == 1:
            return None
        # The typical time that as many frames take in this file: long pauses and rounded stamps do not count.
        typical = float(np.median(times[frames - 1 :] - times[: len(times) - frames + 1]))
        if typical > span * (1 + RATE_TOLERANCE) + STAMP_SECONDS:
            rate, need = (frames - 1) / typical, 1 / self.seconds
            return f"shows {rate:.4g} frames per second where {self.wish} needs {need:.4g}"
        if not len(self._admissible(times)):
            return f"pauses too often: no {span:.3g} s without a frame shown twice, which {self.wish} needs"
        return None

    def random_starts(self, times: np.ndarray, views: int, generator: Generator, *, fits: bool) -> np.ndarray:
        intervals = self._admissible(times) if fits else np.array([[0.0, max(self._last(times), 0.0)]])
        ends = np.cumsum(intervals[:, 1] - intervals[:, 0])
        drawn = torch.rand(views, generator=generator, dtype=torch.float64).numpy() * ends[-1]
        which = np.minimum(np.searchsorted(ends, drawn, side="right"), len(ends) - 1)
        starts: np.ndarray = intervals[which, 1] - (ends[which] - drawn)
        return starts

    def even_starts(self, times: np.ndarray, views: int, *, fits: bool) -> np.ndarray:
        last = max(self._last(times), 0.0)
        starts = np.array([last / 2]) if views == 1 else np.linspace(0.0, last, views)
        if not fits:
            return starts
        intervals = self._admissible(times)
        moved = np.clip(starts[:, None], intervals[:, 0], intervals[:, 1])
        nearest = np.abs(moved - starts[:, None]).argmin(axis=1)
        even: np.ndarray = moved[np.arange(views), nearest]
        return even

    def indices(self, times: np.ndarray, starts: np.ndarray, *, loop: bool) -> np.ndarray:
        wanted = starts[:, None] + self.offsets
        half = _half_frame(times)
        if loop and half > 0:
            period = times[-1] - times[0] + 2 * half  # the last frame is on show as long as the others
            wanted = wanted - period * np.floor((wanted + half + TIE_SECONDS) / period)
        nearest: np.ndarray = np.searchsorted(_middles(times), wanted, side="right")
        return nearest

    def _last(self, times: np.ndarray) -> float:
        """The start time from which a clip ends with the last frame; below 0 where the video is too short."""
        return float(times[-1] - times[0] - self.offsets[-1])

    def _admissible(self, times: np.ndarray) -> np.ndarray:
        """Start times from which no frame is shown twice, as disjoint intervals, float64 (m,2)."""
        # The end frames own half a frame beyond their stamps; without it they would be drawn half as often.
        half = _half_frame(times)
        first, last = -half, self._last(times) + half
        middles = _middles(times)
        owned_from, owned_to = np.r_[-np.inf, middles], np.r_[middles, np.inf]
        wide = owned_to - owned_from > self.seconds + 1e-9
        # Frame [a, b) is shown as clip frames k and k+1 when a <= start + k * seconds < b - seconds.
        shifts = self.offsets[:-1]
        refused_from = (owned_from[wide, None] - shifts).ravel() - TIE_SECONDS
        refused_to = (owned_to[wide, None] - shifts).ravel() - self.seconds + TIE_SECONDS
        order = np.argsort(refused_from)
        refused_from, refused_to = refused_from[order], np.maximum.accumulate(refused_to[order])
        gaps = np.stack([np.r_[first, np.maximum(refused_to, first)], np.r_[np.minimum(refused_from, last), last]], 1)
        return gaps[gaps[:, 1] >= gaps[:, 0]]


def _spacing(views: int, frames: int, stride: int | None, seconds: float | None, short: str) -> _ByStride | _BySeconds:
    """The checked constructor values of both samplers."""
    for key, value in (("views", views), ("frames", frames)):
        if value < 1:
            raise ValueError(f"data.sampler.{key} must be at least 1, got {value}")
    if short not in ("error", "skip", "hold", "loop"):
        raise ValueError(f"data.sampler.short must be error, skip, hold or loop, got {short!r}")
    if stride is not None and seconds is None:
        if stride < 1:
            raise ValueError(f"data.sampler.stride must be at least 1 source frame, got {stride}")
        return _ByStride(frames, stride)
    if seconds is not None and stride is None:
        if not seconds > 0:
            raise ValueError(f"data.sampler.seconds must be above 0, got {seconds}")
        return _BySeconds(frames, seconds)
    raise ValueError(
        f"needs exactly one of data.sampler.stride and data.sampler.seconds, got stride={stride} and "
        f"seconds={seconds}; set the other one to null"
    )


def _require(problem: str | None, short: Short) -> bool:
    """Whether the video fits; ValueError where it does not and ``short`` allows no repeats."""
    if problem is not None and short in ("error", "skip"):
        raise ValueError(f"the video {problem}; {ADVICE}")
    return problem is None


ADVICE = (
    "ask for less (data.sampler.frames, stride or seconds), or set data.sampler.short "
    "to skip (leave such videos out), hold or loop"
)


def _middles(times: np.ndarray) -> np.ndarray:
    """Where one frame's time ends and the next one's begins, float64 (n-1,), from the first frame on."""
    middles: np.ndarray = (times[1:] + times[:-1]) / 2 - times[0] - TIE_SECONDS
    return middles


def _half_frame(times: np.ndarray) -> float:
    """Half the typical time between two frames, in seconds; 0 for a single frame."""
    return float(np.median(np.diff(times))) / 2 if len(times) > 1 else 0.0
