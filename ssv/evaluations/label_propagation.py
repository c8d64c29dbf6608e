"""Label propagation: what the features of a frame find again in the next ones (DAVIS, JHMDB, VIP, or one's own)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from ssv.backbones.base import Backbone
from ssv.backbones.rebuild import rebuilt
from ssv.data.readers.base import VideoError
from ssv.data.sequences.sequences import LabelledSequence, Sequences
from ssv.evaluations.base import Evaluation
from ssv.evaluations.feature_cache import DEFAULT_GB, FeatureCache, features_of
from ssv.evaluations.features import progress
from ssv.evaluations.films import Film
from ssv.evaluations.frames import describe_frames, frame_encoder
from ssv.evaluations.tracking.presets import PRESETS, Rules
from ssv.evaluations.tracking.tasks import Task, task_of
from ssv.ops.label_maps import minmax
from ssv.ops.propagation import propagate
from ssv.types import Scores


class LabelPropagation(Evaluation):
    """Carries the labels of the first frame through each video by the similarity of frozen features.

    Jabri, Owens, Efros, "Space-Time Correspondence as a Contrastive Random Walk" (NeurIPS 2020), section 4, and the
    variants of other papers, named by ``preset``. A value that is None is the preset's (see
    ``ssv.evaluations.tracking.presets.Rules`` for their meaning); any other stands in its place.

    Args:
        preset: ``crw``, ``timecycle``, ``vfs`` or ``dino``.
        context: previous frames.
        radius: cells; ``.inf`` for anywhere.
        topk: key cells that vote.
        temperature: of the softmax.
        size: short side in pixels, or [rows, columns].
        stage: last stage of the backbone that runs; 0 takes the backbone as it is, its stride too.
        stride: pixels per cell.
        window: frames around each frame that a backbone sees which is not time-local.
        cache: folder where features are kept for the next settings; None keeps none.
        cache_gb: what that folder may hold, in 1e9 bytes; beyond it the least recently used is removed.
        save: write masks (palette PNG) or points and a film to look at, below the trainer's ``default_root_dir``.

    Artifacts of a run:
        per_sequence: ``name``, ``frames``, ``seconds``, and each score of each sequence.
    """

    def __init__(
        self,
        *,
        preset: str = "crw",
        context: int | None = None,
        radius: float | None = None,
        topk: int | None = None,
        temperature: float | None = None,
        size: int | list[int] | None = None,
        stage: int | None = None,
        stride: int | None = None,
        window: int = 16,
        cache: str | None = None,
        cache_gb: float = DEFAULT_GB,
        save: bool = True,
    ) -> None:
        if preset not in PRESETS:
            raise ValueError(f"evaluation.preset must be one of {', '.join(PRESETS)}, got {preset!r}")
        changes: dict[str, Any] = {
            "context": context,
            "radius": radius,
            "topk": topk,
            "temperature": temperature,
            "size": size,
            "stage": stage,
            "stride": stride,
        }
        self.preset = preset
        self.rules = PRESETS[preset]._replace(**{name: value for name, value in changes.items() if value is not None})
        self.window, self.cache, self.save = window, FeatureCache(cache, cache_gb), save
        _check(self.rules)

    @property
    def protocol(self) -> str:
        """The protocol as one line."""
        rules = self.rules
        where = "anywhere" if math.isinf(rules.radius) else f"within {rules.radius:g} cells ({rules.shape})"
        if not math.isinf(rules.radius):
            where += " in the first frame too" if rules.radius_on_first else ", anywhere in the first frame"
        features = "the whole backbone" if not rules.stage else f"stage {rules.stage} at stride {rules.stride}"
        size = {int: "short side {}", list: "{} (rows, columns)"}.get(type(rules.size), "frames as they are")
        return (
            f"label propagation, {self.preset}: {features}, {describe_frames(self.window)}; {size.format(rules.size)}"
            f"{f', multiples of {rules.multiple}' if rules.multiple > 1 else ''}; first frame and {rules.context} before"
            f"{' (filled up with the first)' if rules.pad else ''}; {where}; top {rules.topk} "
            f"{'of each frame' if rules.per_frame else 'of all together'}; temperature {rules.temperature:.4g}; first "
            f"labels {rules.label_resize}, soft labels carried, {'min-max, ' if rules.minmax else ''}bilinear, argmax"
        )

    def run(self, backbone: Backbone, data: Any, trainer: pl.Trainer) -> Scores:
        """Measure: DAVIS ``jf_mean`` and its parts, VIP ``mean_iou``, JHMDB ``pck_0.1``...; ``copy_first`` beside them.

        ``frames`` alone is returned for sequences that have labels in the first frame only.

        Raises:
            ValueError: if the data set has no sequences, or a stage or stride is asked for that the backbone has not.
            VideoError: if a frame or label cannot be read, or does not fit.
        """
        if not isinstance(data, Sequences):
            raise ValueError(
                "label propagation needs sequences whose first frame is labelled; choose data=davis2017, davis2016, "
                "jhmdb, vip, toy_davis or sequence"
            )
        sequences = data.sequences()
        task = task_of(sequences)
        network = _at_stage(backbone, self.rules)
        encode = frame_encoder(network, trainer, window=self.window)
        identity = (
            *features_of(network, trainer, data.reader),
            "frames",
            None if network.time_local else self.window,
            self.rules.size,
            self.rules.multiple,
        )
        keep = partial(self.cache.maps, identity)
        tracker = _Tracker(self.rules, task, data, encode, keep, Path(trainer.default_root_dir) if self.save else None)
        counts = [data.count(sequence) for sequence in sequences]
        rows: list[_Row] = []
        steps = chain.from_iterable(tracker.track(sequence, rows) for sequence in sequences)
        for _ in progress(steps, "tracking", trainer, sum(counts)):
            pass
        names = sorted({name for row in rows for name in row.scores})
        self.artifacts = {
            "per_sequence": {
                "name": np.array([row.name for row in rows], dtype=str),
                "frames": np.array([row.frames for row in rows]),
                "seconds": np.array([row.seconds for row in rows]),
                **{name: np.array([row.scores.get(name, np.nan) for row in rows]) for name in names},
            }
        }
        return task.scores() or {"frames": float(sum(counts))}


def _at_stage(backbone: Backbone, rules: Rules) -> Backbone:
    """The backbone up to the stage of the rules, at their stride."""
    if not rules.stage:
        return backbone
    try:
        return rebuilt(backbone, {"last_stage": rules.stage, "spatial_stride": rules.stride})
    except ValueError as error:
        raise ValueError(
            f"evaluation.stage={rules.stage} and evaluation.stride={rules.stride} do not go with this backbone: {error}; "
            "evaluation.stage=0 takes it as it is"
        ) from error


class _Row(NamedTuple):
    name: str
    frames: int
    seconds: float
    scores: Scores


class _Tracker:
    """One sequence after the other; each yields its frames as they are done."""

    def __init__(
        self,
        rules: Rules,
        task: Task,
        data: Sequences,
        encode: Any,
        keep: Callable[[Sequence[str], int, Callable[[], Iterator[Tensor]]], Iterator[Tensor]],
        out: Path | None,
    ) -> None:
        self.rules, self.task, self.data, self.encode, self.keep, self.out = rules, task, data, encode, keep, out

    def track(self, sequence: LabelledSequence, rows: list[_Row]) -> Iterator[None]:
        """Adds its row at the end."""
        started, count = time.perf_counter(), self.data.count(sequence)
        if count < 2:
            raise VideoError(sequence.frames[0], f"{count} frame: there is none to carry its labels to")
        first = next(self.data.frames(sequence))
        self.task.start(sequence, count, (first.shape[1], first.shape[2]))
        film = Film(self.out / "films" / f"{_file(sequence.name)}.mp4", self.data.rate(sequence)) if self.out else None
        try:
            for number, (soft, frame) in enumerate(zip(self._propagated(sequence, count), self.data.frames(sequence))):
                prediction = self.task.decode(minmax(soft) if self.rules.minmax else soft)
                self.task.add(prediction)
                if self.out is not None and film is not None:
                    name = f"{number:05d}" if len(sequence.frames) == 1 else Path(sequence.frames[number]).stem
                    self.task.save(self.out / "labels" / sequence.name / f"{name}{self.task.suffix}", prediction)
                    film.add(self.task.paint(frame.permute(1, 2, 0).numpy(), prediction))
                yield
        finally:
            if film is not None:
                film.close()
        rows.append(_Row(sequence.name, count, time.perf_counter() - started, self.task.end()))

    def _propagated(self, sequence: LabelledSequence, count: int) -> Iterator[Tensor]:
        rules = self.rules
        maps = self.keep(
            sequence.frames, count, lambda: self.encode(self._resized(frame) for frame in self.data.frames(sequence))
        )
        head = next(maps)
        first = self.task.on_grid((head.shape[1], head.shape[2]), rules.label_resize).to(head.device)
        return propagate(
            chain([head], maps),
            first,
            context=rules.context,
            long_term=(0,) if rules.first else (),
            pad=rules.pad,
            radius=rules.radius,
            shape=rules.shape,
            radius_on_long_term=rules.radius_on_first,
            topk=rules.topk,
            per_frame=rules.per_frame,
            temperature=rules.temperature,
        )

    def _resized(self, frame: Tensor) -> Tensor:
        """uint8 (3,H,W) at the size of the rules, bilinear as the field's loaders have it."""
        _, height, width = frame.shape
        rows, columns = _size(self.rules, height, width)
        if (rows, columns) == (height, width):
            return frame
        pixels = np.ascontiguousarray(frame.permute(1, 2, 0).numpy())
        return torch.from_numpy(cv2.resize(pixels, (columns, rows), interpolation=cv2.INTER_LINEAR)).permute(2, 0, 1)


def _size(rules: Rules, height: int, width: int) -> tuple[int, int]:
    """Rows and columns the network sees."""
    if isinstance(rules.size, list):
        height, width = rules.size
    elif rules.size is not None:
        scale = rules.size / min(height, width)
        height, width = round(height * scale), round(width * scale)
    # At least one multiple: a small picture is not rounded away.
    return tuple(max(value // rules.multiple, 1) * rules.multiple for value in (height, width))  # type: ignore[return-value]


def _check(rules: Rules) -> None:
    for name in ("context", "topk"):
        if getattr(rules, name) < 1:
            raise ValueError(f"evaluation.{name} must be 1 or more, got {getattr(rules, name)}")
    for name in ("radius", "temperature"):
        if not getattr(rules, name) > 0:
            raise ValueError(f"evaluation.{name} must be above 0, got {getattr(rules, name)}")
    size = rules.size if isinstance(rules.size, list) else [rules.size or 1] * 2
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"evaluation.size must be the short side or [rows, columns] in pixels, got {rules.size}")


def _file(name: str) -> str:
    return name.replace("/", "_")
