"""Every pretext against every other one: who beats whom, in which evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import combinations
from typing import TYPE_CHECKING

from ssv.report.blocks import section, small, table
from ssv.report.pairing import between
from ssv.report.statistics import BETTER, MIN_SEEDS, WORSE, Difference
from ssv.report.words import NOTHING, Scale

if TYPE_CHECKING:
    from ssv.report.comparison import Arm, Column, Comparison

SIGNS = {BETTER: "\u25b2", WORSE: "\u25bc"}
"""Before a difference; a circle for any other."""

OPEN = "\u25cb"


def duels(comparison: Comparison) -> dict[tuple[Arm, Arm, Column], Difference]:
    """(row, other row, main column) -> the row minus the other, both ways.

    Of rows that are no references, have the same backbone and pretraining data, and share three seeds at least.
    """
    found: dict[tuple[Arm, Arm, Column], Difference] = {}
    for column in comparison.main_columns:
        for arm, other in combinations(rivals(comparison, column), 2):
            if (arm.backbone, arm.data) != (other.backbone, other.data):
                continue
            difference = between(column, arm, other)
            if difference is not None and len(difference.seeds) >= MIN_SEEDS:
                found[arm, other, column] = difference
                found[other, arm, column] = difference.reversed()
    return found


def rivals(comparison: Comparison, column: Column) -> list[Arm]:
    """The rows of a column that are no references."""
    return [arm for arm in comparison.arms if arm in column.rows and not arm.is_reference]


def chance_line(comparison: Comparison) -> str:
    """How many comparisons are made, and how many of them chance alone would decide; empty for none."""
    pairs = len(comparison.duels) // 2
    starts = sum(
        kind == "random" and not arm.is_reference and difference.interval is not None
        for (arm, _, kind), difference in comparison.differences.items()
    )
    if not pairs + starts:
        return ""
    parts = [f"{pairs} of two pretexts"] * bool(pairs) + [f"{starts} with random initialisation"] * bool(starts)
    few = (pairs + starts) / 20
    expected = f"about {few:.0f}" if few >= 1.5 else "about one" if few >= 0.75 else "less than one"
    return (
        f"Comparisons: {' and '.join(parts)}. Were there no difference anywhere, about one interval in twenty, here"
        f" {expected}, would still exclude 0 by chance."
    )


def matrices(comparison: Comparison) -> str:
    """A matrix for each evaluation in which two pretexts share three seeds."""
    figures = "".join(
        f"<figure><figcaption>{escape(column.heading)} <sup>{column.note}</sup>: {escape(column.metric)}, row minus"
        f" column</figcaption>{_matrix(comparison, column, arms)}</figure>"
        for column in comparison.main_columns
        if len(arms := _compared(comparison, column)) > 1
    )
    return section(
        "Does the row beat the column?",
        figures,
        f"Mean difference over common seeds with its 95 % interval: {SIGNS[BETTER]} better, {SIGNS[WORSE]} worse,"
        f" {OPEN} open, as this interval or the one over test videos holds 0. {escape(chance_line(comparison))} Rows of different letters were measured in different forms"
        " (see the protocols).",
    )


def _compared(comparison: Comparison, column: Column) -> list[Arm]:
    """Those with a duel in the column."""
    return [
        arm
        for arm in rivals(comparison, column)
        if any(arm is ours and column is where for ours, _, where in comparison.duels)
    ]


def _matrix(comparison: Comparison, column: Column, arms: Sequence[Arm]) -> str:
    names = [
        f"{escape(arm.label)}{f' <sup>{escape(mark)}</sup>' if (mark := column.mark(arm)) else ''}" for arm in arms
    ]
    rows = [
        [name, *(_cell(comparison.duels.get((arm, other, column)), Scale(column)) for other in arms)]
        for name, arm in zip(names, arms, strict=True)
    ]
    return table(["", *names], rows, "plain matrix")


def _cell(difference: Difference | None, scale: Scale) -> str:
    if difference is None or difference.interval is None:
        return NOTHING
    css = {BETTER: "good-text", WORSE: "bad-text"}.get(difference.verdict or "", "")
    sign = SIGNS.get(difference.verdict or "", OPEN)
    remark = " unfinished" if difference.unfinished else ""
    return f'<span class="{css}">{sign} {scale.signed(difference.mean)}</span>' + small(
        scale.interval(difference.interval) + remark
    )
