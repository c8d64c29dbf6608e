"""Phase alignment: do frame features tell how far an action has gone?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytorch_lightning as pl
from torch import Tensor

from ssv.backbones.base import Backbone
from ssv.data.sequences.phases import PhasedVideos
from ssv.evaluations.base import Evaluation
from ssv.evaluations.features import progress
from ssv.evaluations.frames import describe_frames, frame_encoder
from ssv.evaluations.metrics.alignment import (
    classify,
    labelled,
    mean_tau,
    nearest_frames,
    pair_taus,
    phases,
    progression_r2,
    progressions,
)
from ssv.evaluations.side_by_side import write_side_by_side
from ssv.types import PhasedVideo, Scores

if TYPE_CHECKING:
    from ssv.data.datamodule import VideoDataModule

SHOWN_PER_SECOND = 12
"""Pairs of frames in ``aligned.mp4``."""


class PhaseAlignment(Evaluation):
    """Kendall's tau of nearest-neighbour alignment, phase classification and phase progression on frozen features.

    Dwibedi et al., Temporal Cycle-Consistency Learning, CVPR 2019, section 4.1. Each action is measured by itself, and
    scores are means over actions. A frame's feature is the mean of its map over space, neither normalised nor
    standardised. Nothing is drawn: the same weights give the same digits whatever the seed.

    Args:
        size: short side of the frames in pixels; None takes them as stored.
        window: frames around each for a backbone that is not time-local.
        stride: every so many frames of both videos are aligned.
        shares: of the training videos whose frames are labelled for the classification, the first ones of the list.

    Artifacts of a run:
        videos: ``path``, ``action``, ``frames``, ``tau`` (mean over the pairs in which the video is the query, 0 where
            all are undefined) and ``phase_accuracy`` (classifier of the largest share) of each test video.
        pairs: ``query`` and ``candidate``, rows of ``videos``, and their ``tau`` (NaN: undefined).
        actions: ``action`` and every score of each.

    ``run`` also writes ``aligned.mp4`` into the trainer's ``default_root_dir``: the first test video of the first action
    beside the frames of the second one that are nearest to its own.
    """

    def __init__(
        self,
        *,
        size: int | None = None,
        window: int = 16,
        stride: int = 1,
        shares: Sequence[float] = (0.1, 0.5, 1.0),
    ) -> None:
        if size is not None and size < 1:
            raise ValueError(f"evaluation.size must be 1 pixel or more, or null, got {size}")
        if window < 1 or stride < 1:
            raise ValueError(f"evaluation.window and evaluation.stride must be 1 or more, got {window} and {stride}")
        if not shares or not all(0 < share <= 1 for share in shares):
            raise ValueError(f"evaluation.shares must be above 0 and at most 1, got {list(shares)}")
        self.size, self.window, self.stride, self.shares = size, window, stride, sorted(shares)

    @property
    def protocol(self) -> str:
        """The protocol as one line."""
        size = "frames as stored" if self.size is None else f"frames with a short side of {self.size}"
        spacing = "all frames" if self.stride == 1 else f"one frame in {self.stride}"
        shares = ", ".join(f"{100 * share:g}" for share in self.shares)
        return (
            f"frozen backbone in eval mode; whole {size}; {describe_frames(self.window)}; mean over space; Kendall's tau-b "
            f"of nearest neighbours, {spacing}, all ordered test pairs, undefined ones left out; SVC of "
            f"scikit-learn on {{{shares}}} % of the training videos; linear regression of progression, R2 over all test "
            "frames; mean over actions"
        )

    def run(self, backbone: Backbone, data: VideoDataModule | PhasedVideos, trainer: pl.Trainer) -> Scores:
        """Measure ``kendalls_tau``, ``undefined_pairs``, ``phase_accuracy_10`` and so on, ``progression_r2``.

        ``undefined_pairs`` is the share of pairs without a tau (all frames have one nearest neighbour): where it is
        large, features hardly move, and the tau of the rest says little. Without any defined pair ``kendalls_tau`` is
        0. ``phase_chance`` is the accuracy of always answering the commonest phase of the training frames.

        Raises:
            ValueError: if the data set is of another kind, an action has fewer than two test videos or no training
                video, or features are not finite.
        """
        if not isinstance(data, PhasedVideos):
            raise ValueError(
                "phase_alignment reads whole videos with key events, which this data set does not have; "
                "take data=toy_phases (after `ssv toy`) or data=phases"
            )
        splits = {name: data.split(name) for name in ("train", "test")}
        actions = _actions(splits["train"], splits["test"])
        encode = frame_encoder(backbone, trainer, window=self.window)
        features = {
            name: [
                self._features(encode, data, video) for video in progress(videos, f"frames of {name} videos", trainer)
            ]
            for name, videos in splits.items()
        }
        sides = {name: [Featured(*row) for row in zip(videos, features[name])] for name, videos in splits.items()}
        measured = {}
        for action in actions:
            ours = {name: [row for row in rows if row.video.action == action] for name, rows in sides.items()}
            measured[action] = _measure(ours["train"], ours["test"], self.stride, self.shares)
        self.artifacts = _artifacts(splits["test"], features["test"], measured)
        self._show([row for row in sides["test"] if row.video.action == actions[0]], data, trainer)
        each = [found.scores for found in measured.values()]
        return {name: float(np.mean([scores[name] for scores in each])) for name in each[0]}

    def _features(
        self, encode: Callable[[Iterable[Tensor]], Iterator[Tensor]], data: PhasedVideos, video: PhasedVideo
    ) -> np.ndarray:
        """One vector for each frame, float32 (n,D)."""
        maps = encode(data.frames(video, short_side=self.size))
        found = np.stack([one.mean((1, 2)).cpu().numpy() for one in maps])
        if not np.isfinite(found).all():
            raise ValueError(
                f"features of {video.path} are not finite; the weights are broken, or the precision too low "
                "(try trainer.precision=32-true)"
            )
        return found

    def _show(self, test: Sequence[Featured], data: PhasedVideos, trainer: pl.Trainer) -> None:
        """Writes ``aligned.mp4``."""
        query, candidate = test[:2]
        thinned = query.features[:: self.stride], candidate.features[:: self.stride]
        nearest = self.stride * nearest_frames(*thinned)
        left = data.frames(query.video, range(0, len(query.features), self.stride))
        right = data.frames(candidate.video, nearest.tolist())
        write_side_by_side(Path(trainer.default_root_dir) / "aligned.mp4", left, right, rate=SHOWN_PER_SECOND)


class Featured(NamedTuple):
    """A video and the features of its frames, float32 (n,D)."""

    video: PhasedVideo
    features: np.ndarray

    @property
    def phases(self) -> np.ndarray:
        """Of each frame, int64 (n,)."""
        return phases(self.video.events, len(self.features))

    @property
    def progressions(self) -> np.ndarray:
        """Of each frame, float64 (n,E)."""
        return progressions(self.video.events, len(self.features))


class Measured(NamedTuple):
    """One action: its scores, taus (M,M) of its test videos, accuracy of the last classifier on each of them (M,)."""

    scores: Scores
    taus: np.ndarray
    accuracy: np.ndarray


def _actions(train: Sequence[PhasedVideo], test: Sequence[PhasedVideo]) -> list[str]:
    """The actions that are tested, in alphabetical order."""
    both = {video.path for video in train} & {video.path for video in test}
    if both:
        raise ValueError(f"{len(both)} videos are in split 'train' and in split 'test', for example {min(both)}")
    actions = sorted({video.action for video in test})
    for action in actions:
        model = next((video for video in train if video.action == action), None)
        count = sum(video.action == action for video in test)
        if count < 2:
            raise ValueError(f"alignment needs two test videos of an action at least, '{action}' has {count}")
        if model is None:
            raise ValueError(f"action '{action}' has test videos and no training video")
        others = {len(video.events) for video in test if video.action == action} - {len(model.events)}
        if others:
            raise ValueError(f"action '{action}' has {len(model.events)} key events in training, {min(others)} in test")
    return actions


def _measure(train: Sequence[Featured], test: Sequence[Featured], stride: int, shares: Sequence[float]) -> Measured:
    """All figures of one action."""
    taus = pair_taus([row.features for row in test], stride=stride)
    pairs = len(test) * (len(test) - 1)
    undefined = (int(np.isnan(taus).sum()) - len(test)) / pairs
    scores = {"kendalls_tau": mean_tau(taus), "undefined_pairs": undefined}
    truth, accuracy = [row.phases for row in test], np.empty(0)
    for share in shares:
        some = train[: labelled(share, len(train))]
        answers = classify([row.features for row in some], [row.phases for row in some], [row.features for row in test])
        right = [answer == true for answer, true in zip(answers, truth)]
        scores[f"phase_accuracy_{100 * share:g}"] = float(np.concatenate(right).mean())
        accuracy = np.array([each.mean() for each in right])
    commonest = np.bincount(np.concatenate([row.phases for row in train])).argmax()
    scores["phase_chance"] = float((np.concatenate(truth) == commonest).mean())
    scores["progression_r2"] = progression_r2(
        [row.features for row in train],
        [row.progressions for row in train],
        [row.features for row in test],
        [row.progressions for row in test],
    )
    return Measured(scores, taus, accuracy)


def _artifacts(
    test: Sequence[PhasedVideo], features: Sequence[np.ndarray], measured: dict[str, Measured]
) -> dict[str, dict[str, np.ndarray]]:
    tau, accuracy = np.empty(len(test)), np.empty(len(test))
    query, candidate, of_pairs = [], [], []
    for action, found in measured.items():
        rows = np.array([row for row, video in enumerate(test) if video.action == action])
        tau[rows], accuracy[rows] = [mean_tau(taus) for taus in found.taus], found.accuracy
        i, j = np.nonzero(~np.eye(len(rows), dtype=bool))
        query.append(rows[i])
        candidate.append(rows[j])
        of_pairs.append(found.taus[i, j])
    names = next(iter(measured.values())).scores
    return {
        "videos": {
            "path": np.array([video.path for video in test], dtype=str),
            "action": np.array([video.action for video in test], dtype=str),
            "frames": np.array([len(video) for video in features], dtype=np.int64),
            "tau": tau,
            "phase_accuracy": accuracy,
        },
        "pairs": {
            "query": np.concatenate(query),
            "candidate": np.concatenate(candidate),
            "tau": np.concatenate(of_pairs),
        },
        "actions": {
            "action": np.array(list(measured), dtype=str),
            **{name: np.array([found.scores[name] for found in measured.values()]) for name in names},
        },
    }
