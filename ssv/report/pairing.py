"""One arm against a reference row: by seed, and by test video where predictions were stored."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ssv.report.statistics import Difference, Interval, bootstrap_groups, paired_difference

if TYPE_CHECKING:
    from ssv.report.collect import Arm, Column

SCORE_TOLERANCE = 1e-3
"""Predictions belong to a score only if their share of right answers is that score."""


def compare(column: Column, arm: Arm, reference: str, arms: Sequence[Arm]) -> Difference | None:
    """Paired difference of ``arm`` minus the row of pretext ``reference``.

    The reference has the same backbone; where there are several, one measured in the same form (card) is preferred,
    then one with the same data and tag. None where there is no such row, where no seed is common, or where ``arm`` is a row of that pretext itself.
    """
    rows = [
        other
        for other in arms
        if other.pretext == reference and other.backbone == arm.backbone and other in column.rows
    ]
    if arm.pretext == reference or not rows or arm not in column.rows:
        return None
    form = column.mark(arm)
    other = max(
        rows,
        key=lambda row: (
            column.mark(row) == form,
            row.data == arm.data,
            row.tag == arm.tag,
            row.weights_file == arm.weights_file,
        ),
    )
    difference = paired_difference(column.values(arm), column.values(other))
    if difference is None:
        return None
    used = [run for run in (*arm.runs, *other.runs) if run.seed in difference.seeds]
    return difference._replace(
        videos=_over_videos(column, arm, other, difference.seeds),
        unfinished=any(not run.finished for run in used),
    )


def _over_videos(column: Column, arm: Arm, other: Arm, seeds: Sequence[int]) -> Interval | None:
    """Bootstrap over groups of the per-video difference averaged over seeds; None without all predictions."""
    total: dict[str, float] = {}
    groups: dict[str, str] = {}
    for seed in seeds:
        ours, theirs = _right(column, arm, seed), _right(column, other, seed)
        if ours is None or theirs is None or ours.keys() != theirs.keys() or (total and total.keys() != ours.keys()):
            return None
        for path, (right, group) in ours.items():
            total[path] = total.get(path, 0.0) + (right - theirs[path][0]) / len(seeds)
            groups[path] = group
    paths = sorted(total)
    return bootstrap_groups(np.array([total[path] for path in paths]), [groups[path] for path in paths])


def _right(column: Column, arm: Arm, seed: int) -> dict[str, tuple[float, str]] | None:
    """Path -> (1 if predicted right, group) of one run; None where it is not stored or is not this score."""
    row = column.rows[arm][seed][-1]
    if row.per_video is None or not row.per_video.is_file():
        return None
    videos = _read(row.per_video)
    if not videos or abs(sum(right for right, _ in videos.values()) / len(videos) - row.scores[column.metric]) > (
        SCORE_TOLERANCE
    ):
        return None
    return videos


def _read(path: Path) -> dict[str, tuple[float, str]] | None:
    try:
        # opened here: numpy leaves its own handle open when the archive is damaged
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            if not {"path", "label", "prediction", "group"} <= set(file.files):
                return None
            right = (file["prediction"] == file["label"]).astype(float).tolist()
            # g07 of one class is another scene than g07 of the next: what hangs together is (label, group).
            together = [f"{label}/{group}" for label, group in zip(file["label"], file["group"], strict=True)]
            rows = zip(file["path"].tolist(), right, together, strict=True)
            return {str(name): (value, scene) for name, value, scene in rows}
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile):
        return None  # damaged or half written: the interval over videos is left out, the scores stand
