"""What is tracked: objects, parts or points. How it gets onto the feature map, off it again, and is scored.

The three have one interface, ``Task``: ``start`` a sequence, ``on_grid`` once, then ``decode`` and ``add`` for each
frame, ``end``; ``scores`` when all sequences are through. No frame is kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from ssv.data.readers.base import VideoError
from ssv.data.sequences.masks import MaskReader, mask_palette, write_mask
from ssv.data.sequences.sequences import LabelledSequence
from ssv.evaluations.metrics.davis import DavisScores, ObjectScores, count_objects, davis_scores
from ssv.evaluations.metrics.parts import PartScores
from ssv.evaluations.metrics.pose import PckScores
from ssv.ops.label_maps import heatmaps, joint_positions, upsample
from ssv.types import ObjectSequence, PartSequence, PointSequence, Scores

Size = tuple[int, int]


class Task(Protocol):
    """See the module; a prediction is uint8 (H,W) ids, or float32 (K,2) x and y in pixels, (-1,-1) where lost."""

    suffix: str

    def start(self, sequence: LabelledSequence, count: int, size: Size) -> None:
        """Begin a sequence of ``count`` frames of ``size`` pixels."""

    def on_grid(self, grid: Size, how: str) -> Tensor:
        """Labels of the first frame, float32 (L,h,w)."""

    def decode(self, soft: Tensor) -> np.ndarray:
        """The prediction of a propagated label map (L,h,w)."""

    def add(self, prediction: np.ndarray) -> None:
        """Score the next frame."""

    def end(self) -> Scores:
        """Close the sequence; its own scores, empty where there is nothing to compare with."""

    def scores(self) -> Scores:
        """Over all sequences."""

    def save(self, path: Path, prediction: np.ndarray) -> None:
        """Write one prediction."""

    def paint(self, frame: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        """The prediction over its frame, uint8 (H,W,3)."""


def task_of(sequences: list[LabelledSequence]) -> Task:
    """For the kind that all of the sequences are.

    Raises:
        ValueError: if they are of several kinds, or only some of them can be scored.
    """
    first_only = [s.name for s in sequences if len(s.points if isinstance(s, PointSequence) else s.masks) == 1]
    if first_only and len(first_only) < len(sequences):
        raise ValueError(
            f"{len(first_only)} of {len(sequences)} sequences have labels in their first frame only (first: "
            f"{first_only[0]}) and would be missing from the scores; complete their labels, or take them off the list"
        )
    if all(isinstance(sequence, ObjectSequence) for sequence in sequences):
        return ObjectTask()
    if all(isinstance(sequence, PartSequence) for sequence in sequences):
        return PartTask()
    if all(isinstance(sequence, PointSequence) for sequence in sequences):
        return PointTask()
    raise ValueError("a data set for label propagation has sequences of one kind: of objects, of parts or of points")


class _Masks:
    """The label maps of one sequence."""

    def __init__(self, paths: tuple[str, ...], count: int, size: Size, reader: MaskReader) -> None:
        if len(paths) not in (1, count):
            raise VideoError(paths[0], f"{len(paths)} masks for {count} frames; needed is one for each, or one")
        self._reader, self._paths, self._size = reader, paths, size
        self.first = self.read(0)
        self.is_scored = len(paths) == count > 1

    def read(self, number: int) -> np.ndarray:
        """Label map uint8 (H,W)."""
        mask = self._reader.read(self._paths[number])
        if mask.shape != self._size:
            (height, width), (rows, columns) = self._size, mask.shape
            raise VideoError(
                self._paths[number],
                f"this mask has {columns}x{rows} pixels, its frame {width}x{height}; masks have the size of the frames",
            )
        return mask


def _one_hot_on_grid(mask: np.ndarray, labels: int, grid: Size, how: str) -> Tensor:
    """float32 (L,h,w). Bilinear without smoothing, as cv2.resize does it: each cell looks at the pixels around its middle."""
    interpolation = cv2.INTER_LINEAR if how == "bilinear" else cv2.INTER_NEAREST_EXACT
    maps = [
        cv2.resize((mask == label).astype(np.float32), grid[::-1], interpolation=interpolation)
        for label in range(labels)
    ]
    return torch.from_numpy(np.stack(maps))


def _argmax(soft: Tensor, size: Size) -> np.ndarray:
    return upsample(soft, size).argmax(0).to(torch.uint8).cpu().numpy()


def _paint_ids(frame: np.ndarray, ids: np.ndarray) -> np.ndarray:
    colours = mask_palette()[ids]
    mixed = np.where((ids > 0)[..., None], (frame.astype(np.uint16) + colours) // 2, frame).astype(np.uint8)
    edge = cv2.morphologyEx(ids, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    mixed[edge & (ids > 0)] = 255
    return mixed


class ObjectTask:
    """Objects of DAVIS: J and F."""

    suffix = ".png"

    def __init__(self) -> None:
        self._found: list[ObjectScores] = []
        self._copied: list[ObjectScores] = []

    def start(self, sequence: LabelledSequence, count: int, size: Size) -> None:
        """See ``Task``."""
        assert isinstance(sequence, ObjectSequence)
        reader = MaskReader(merged=sequence.merged, renumber=sequence.renumber)
        self._masks = _Masks(sequence.masks, count, size, reader)
        self._size, self._number = size, 0
        objects = count_objects(self._masks.first)
        if not objects:
            raise VideoError(sequence.masks[0], "the first mask shows no object, and only what it shows is tracked")
        if self._masks.is_scored and count < 3:
            raise VideoError(
                sequence.frames[0], f"{count} frames: the first and the last are not scored, needed are three or more"
            )
        self._labels = 1 + objects
        self._scores, self._copy = DavisScores(objects), DavisScores(objects)
        # Void belongs to nobody: as a label of its own it would win pixels that nobody scores.
        self._first = np.where(self._masks.first > objects, 0, self._masks.first).astype(np.uint8)

    def on_grid(self, grid: Size, how: str) -> Tensor:
        """See ``Task``."""
        return _one_hot_on_grid(self._first, self._labels, grid, how)

    def decode(self, soft: Tensor) -> np.ndarray:
        """See ``Task``; the first mask is given as it is."""
        return self._first if self._number == 0 else _argmax(soft, self._size)

    def add(self, prediction: np.ndarray) -> None:
        """See ``Task``."""
        if self._masks.is_scored:
            truth = self._masks.read(self._number)
            self._scores.add(prediction, truth)
            self._copy.add(self._first, truth)
        self._number += 1

    def end(self) -> Scores:
        """See ``Task``."""
        if not self._masks.is_scored:
            return {}
        self._found.append(self._scores.result())
        self._copied.append(self._copy.result())
        return davis_scores(self._found[-1:])

    def scores(self) -> Scores:
        """``jf_mean`` and its parts; ``copy_first``: the ``jf_mean`` of the first mask held over all frames."""
        if not self._found:
            return {}
        return {**davis_scores(self._found), "copy_first": davis_scores(self._copied)["jf_mean"]}

    def save(self, path: Path, prediction: np.ndarray) -> None:
        """See ``Task``; a palette PNG, as the official script reads it."""
        write_mask(path, prediction)

    def paint(self, frame: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        """See ``Task``."""
        return _paint_ids(frame, prediction)


class PartTask:
    """Parts of VIP: mean intersection over union of the classes over all pixels of the data set."""

    suffix = ".png"

    def __init__(self) -> None:
        self._all: PartScores | None = None
        self._copies: PartScores | None = None

    def start(self, sequence: LabelledSequence, count: int, size: Size) -> None:
        """See ``Task``."""
        assert isinstance(sequence, PartSequence)
        self._classes = sequence.classes
        self._masks = _Masks(sequence.masks, count, size, MaskReader(classes=sequence.classes))
        self._size, self._number = size, 0
        self._all = self._all or PartScores(sequence.classes)
        self._copies = self._copies or PartScores(sequence.classes)
        self._own = PartScores(sequence.classes)
        self._first = np.where(self._masks.first < sequence.classes, self._masks.first, 0).astype(np.uint8)

    def on_grid(self, grid: Size, how: str) -> Tensor:
        """See ``Task``."""
        return _one_hot_on_grid(self._first, self._classes, grid, how)

    def decode(self, soft: Tensor) -> np.ndarray:
        """See ``Task``."""
        return self._first if self._number == 0 else _argmax(soft, self._size)

    def add(self, prediction: np.ndarray) -> None:
        """See ``Task``; the first frame, which is given, counts as in the field's script."""
        if self._masks.is_scored:
            assert self._all is not None and self._copies is not None
            truth = self._masks.read(self._number)
            for scores, what in ((self._all, prediction), (self._own, prediction), (self._copies, self._first)):
                scores.add(what, truth)
        self._number += 1

    def end(self) -> Scores:
        """See ``Task``."""
        return self._own.result() if self._masks.is_scored else {}

    def scores(self) -> Scores:
        """``mean_iou`` and others; ``copy_first`` is that of the first mask held over all frames."""
        if self._all is None or self._copies is None or not self._all.confusion.sum():
            return {}
        return {**self._all.result(), "copy_first": self._copies.result()["mean_iou"]}

    def save(self, path: Path, prediction: np.ndarray) -> None:
        """See ``Task``."""
        write_mask(path, prediction)

    def paint(self, frame: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        """See ``Task``."""
        return _paint_ids(frame, prediction)


class PointTask:
    """Joints of JHMDB, or any points: PCK."""

    suffix = ".csv"

    def __init__(self) -> None:
        self._all: PckScores | None = None
        self._copies: PckScores | None = None

    def start(self, sequence: LabelledSequence, count: int, size: Size) -> None:
        """See ``Task``."""
        assert isinstance(sequence, PointSequence)
        points = sequence.points
        if len(points) not in (1, count):
            raise VideoError(
                sequence.frames[0], f"{count} frames, but points for {len(points)}; needed: all, or the first"
            )
        (height, width), known = size, points[0][np.isfinite(points[0]).all(1)]
        if not len(known):
            raise VideoError(sequence.frames[0], "no point is marked in the first frame")
        if (known < 0).any() or (known >= (width, height)).any():
            outside = known[((known < 0) | (known >= (width, height))).any(1)][0]
            # JHMDB marks some joints outside the picture; a pile of one's own has mistaken x for y.
            if self._all is None and len(points) == 1:
                raise VideoError(
                    sequence.frames[0],
                    f"a point at x={outside[0]:g}, y={outside[1]:g} lies outside {width}x{height} pixels",
                )
        self._points, self._size, self._is_scored = points, size, len(points) == count > 1
        self._predictions: list[np.ndarray] = []
        if self._is_scored and self._all is None:
            self._all, self._copies = PckScores(points.shape[1]), PckScores(points.shape[1])

    def on_grid(self, grid: Size, how: str) -> Tensor:
        """See ``Task``; a Gaussian of half a cell for each point, and the background."""
        self._grid = grid
        scale = np.array([grid[1] / self._size[1], grid[0] / self._size[0]], dtype=np.float32)
        return heatmaps(torch.from_numpy(self._points[0] * scale), grid)

    def decode(self, soft: Tensor) -> np.ndarray:
        """See ``Task``; the mean of a point's three best cells."""
        if not self._predictions:
            return np.where(np.isfinite(self._points[0]), self._points[0], -1).astype(np.float32)
        cells = joint_positions(soft).cpu().numpy()
        scale = np.array([self._size[1] / self._grid[1], self._size[0] / self._grid[0]])
        return np.where(cells < 0, -1, cells * scale).astype(np.float32)

    def add(self, prediction: np.ndarray) -> None:
        """See ``Task``."""
        self._predictions.append(prediction)

    def end(self) -> Scores:
        """See ``Task``."""
        if not self._is_scored:
            return {}
        assert self._all is not None and self._copies is not None
        found = np.stack(self._predictions)
        own = PckScores(self._points.shape[1])
        for scores, what in ((self._all, found), (own, found), (self._copies, np.repeat(found[:1], len(found), 0))):
            scores.add(what, self._points)
        return own.result()

    def scores(self) -> Scores:
        """``pck_0.1`` and so on; ``copy_first`` is the ``pck_0.1`` of points that stay where they were."""
        if self._all is None or self._copies is None:
            return {}
        return {**self._all.result(), "copy_first": self._copies.result()["pck_0.1"]}

    def save(self, path: Path, prediction: np.ndarray) -> None:
        """See ``Task``; one line ``x,y`` for each point."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x,y\n" + "".join(f"{x:.2f},{y:.2f}\n" for x, y in prediction))

    def paint(self, frame: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        """See ``Task``."""
        painted, radius = np.ascontiguousarray(frame), max(2, min(self._size) // 60)
        for number, (x, y) in enumerate(prediction):
            if x >= 0:
                colour = tuple(int(value) for value in mask_palette()[1 + number % 20])
                cv2.circle(painted, (round(float(x)), round(float(y))), radius, colour, -1, cv2.LINE_AA)
                cv2.circle(painted, (round(float(x)), round(float(y))), radius, (255, 255, 255), 1, cv2.LINE_AA)
        return painted
