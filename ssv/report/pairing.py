"""One arm against a reference row: by seed, and by test video where predictions were stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ssv.report.statistics import Difference, Interval, bootstrap_groups, paired_difference

if TYPE_CHECKING:
    from ssv.report.comparison import Arm, Column
    from ssv.report.predictions import Predictions

SCORE_TOLERANCE = 1e-3
"""Predictions belong to a score only if their share of right answers is that score."""


def compare(column: Column, arm: Arm, reference: str, arms: Sequence[Arm]) -> Difference | None:
    """Paired difference of ``arm`` minus its reference row of pretext ``reference``; None without common seeds."""
    other = reference_of(column, arm, reference, arms)
    return None if other is None or arm not in column.rows else between(column, arm, other)


def reference_of(column: Column, arm: Arm, reference: str, arms: Sequence[Arm]) -> Arm | None:
    """The row of pretext ``reference`` that ``arm`` is compared with.

    It has the same backbone; where there are several, one of the very same network is preferred, then one measured in the
    same form (card), then one with the same data and tag. None where there is no such row, or where ``arm`` is a row of that pretext itself.
    """
    rows = [
        other
        for other in arms
        if other.pretext == reference and other.backbone == arm.backbone and other in column.rows
    ]
    if arm.pretext == reference or not rows:
        return None
    form = column.mark(arm)
    return max(
        rows,
        key=lambda row: (
            row.network == arm.network != "",
            column.mark(row) == form,
            row.data == arm.data,
            row.tag == arm.tag,
            row.weights_file == arm.weights_file,
        ),
    )


def between(column: Column, arm: Arm, other: Arm) -> Difference | None:
    """Paired difference of ``arm`` minus ``other``, both rows of the column; None where no seed is common."""
    difference = paired_difference(column.values(arm), column.values(other))
    if difference is None:
        return None
    used = [run for run in (*arm.runs, *other.runs) if run.seed in difference.seeds]
    return difference._replace(
        videos=_over_videos(column, arm, other, difference.seeds),
        unfinished=any(not run.finished for run in used),
    )


def stored(column: Column, arm: Arm, seed: int) -> Predictions | None:
    """Predictions of one run; None where they are not stored, or are not those of its score."""
    row = column.rows[arm][seed][-1]
    found = row.predictions
    if found is None or not len(found.path):
        return None
    return found if abs(found.right.mean() - row.scores[column.metric]) <= SCORE_TOLERANCE else None


def _over_videos(column: Column, arm: Arm, other: Arm, seeds: Sequence[int]) -> Interval | None:
    """Bootstrap over groups of the per-video difference averaged over seeds; None without all predictions."""
    pairs = [(stored(column, arm, seed), stored(column, other, seed)) for seed in seeds]
    first = pairs[0][0]
    if first is None:
        return None
    total = np.zeros(len(first.path))
    for ours, theirs in pairs:
        if ours is None or theirs is None:
            return None
        if not all(np.array_equal(first.path, each.path) for each in (ours, theirs)):
            return None
        total += (ours.right.astype(float) - theirs.right.astype(float)) / len(seeds)
    return bootstrap_groups(total, first.scenes)
