"""How numbers and conclusions are worded, the same in the terminal and in the report."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ssv.report.statistics import BETTER, MIN_SEEDS, NO_DIFFERENCE, WORSE, Difference, Interval, Summary

if TYPE_CHECKING:
    from ssv.report.comparison import Arm, Column, Comparison

MINUS, NOTHING = "\u2212", "\u2013"

# shares of right answers and overlaps, which the field prints as percentages
_SHARE = re.compile(
    r"(?i)^(top\d+|(.*_)?accuracy|(recall|r)_?@?_?\d+|[jf]|j_?(and|&)?_?f(_mean)?|j_mean|f_mean|mean_iou|pck.*|map)$"
)


class Scale:
    """How the values of a column are printed: shares in percent, anything else as it is."""

    def __init__(self, column: Column) -> None:
        values = [row.scores[column.metric] for row in column.all_rows()]
        self.percent = bool(_SHARE.match(column.metric)) and all(0 <= value <= 1 for value in values)
        # scores already given in percent keep one digit too
        self.digits = 1 if self.percent or max(map(abs, values), default=0) >= 10 else 3
        self.unit = "%" if self.percent else ""

    def plain(self, value: float) -> float:
        """The value in printed units."""
        return 100 * value if self.percent else value

    def number(self, value: float) -> str:
        """``33.3``."""
        return f"{self.plain(value):.{self.digits}f}".replace("-", MINUS)

    def signed(self, value: float) -> str:
        """``+21.6``, with a true minus sign."""
        return f"{self.plain(value):+.{self.digits}f}".replace("-", MINUS)

    def mean(self, summary: Summary) -> str:
        """``33.3 ± 2.8``; without spread for fewer than 3 seeds."""
        spread = f" ± {self.number(summary.sd)}" if summary.sd is not None else ""
        return self.number(summary.mean) + spread

    def interval(self, interval: Interval) -> str:
        """``[+15.0, +28.7]``."""
        return f"[{self.signed(interval[0])}, {self.signed(interval[1])}]"

    def difference(self, difference: Difference) -> str:
        """``+21.6 [+15.0, +28.7]``; without interval for fewer than 3 seeds."""
        end = self.interval(difference.interval) if difference.interval else f"({seeds(len(difference.seeds))})"
        return f"{self.signed(difference.mean)} {end}"


def seeds(n: int) -> str:
    """``1 seed``, ``3 seeds``."""
    return f"{n} seed" if n == 1 else f"{n} seeds"


def count(number: float) -> str:
    """``950``, ``29.8 k``, ``1.2 M``."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.{0 if number >= 100 * size else 1}f}{unit}"
    return f"{number:.0f}"


def duration(hours: float) -> str:
    """``42 s``, ``8.5 min``, ``3.2 h``; ``0`` for nothing."""
    if hours <= 0:
        return "0"
    if hours < 1 / 60:
        return f"{3600 * hours:.0f} s"
    return f"{60 * hours:.1f} min" if hours < 1 else f"{hours:.1f} h"


def share(value: float | None) -> str:
    """An accuracy in percent."""
    return NOTHING if value is None else f"{100 * value:.1f}"


def reading(difference: Difference) -> str:
    """``better``, ``worse``, ``no difference shown``, or why nothing is concluded."""
    if len(difference.seeds) < MIN_SEEDS:
        return f"{seeds(len(difference.seeds))}: no conclusion"
    return difference.verdict or "unfinished runs: no conclusion"


def strengths(comparison: Comparison) -> Iterator[tuple[Arm, str, str]]:
    """What each pretext is good for: (row, ``better``, ``worse`` or empty for mixed or open, a sentence)."""
    for arm in comparison.arms:
        if arm.is_reference:
            continue
        against = [
            (column, difference)
            for column in comparison.main_columns
            if (difference := comparison.differences.get((arm, column, "random"))) is not None
        ]
        parts = [
            f"{words}{', '.join(_where(*pair) for pair in pairs)}"
            for verdict, words in _VERDICTS.items()
            if (pairs := [pair for pair in against if pair[1].verdict == verdict])
        ]
        parts += [f"{reading(pair[1])} in {_where(*pair)}" for pair in against if pair[1].verdict is None]
        parts += _beaten(comparison, arm)
        said = [verdict for verdict in (BETTER, WORSE) if any(pair[1].verdict == verdict for pair in against)]
        yield arm, said[0] if len(said) == 1 else "", "; ".join(parts) or "not measured beside random initialisation"


_VERDICTS = {
    BETTER: "beats random initialisation in ",
    WORSE: "does worse than random initialisation in ",
    NO_DIFFERENCE: "no difference to random initialisation shown in ",
}


def _where(column: Column, difference: Difference) -> str:
    """``linear_probe toy [1] (+16.6 points [+11.8, +21.4], 5 seeds)``; over test videos too, where these leave it open."""
    scale = Scale(column)
    numbers = f"{scale.signed(difference.mean)}{' points' if scale.percent else ''}"
    if difference.interval:
        numbers += f" {scale.interval(difference.interval)}, {seeds(len(difference.seeds))}"
        low, high = difference.interval
        if difference.videos and difference.verdict == NO_DIFFERENCE and (low > 0 or high < 0):
            numbers += f"; {scale.interval(difference.videos)} over test videos"
    return f"{column.heading} [{column.note}] ({numbers})"


def _beaten(comparison: Comparison, arm: Arm) -> Iterator[str]:
    """Where the row beats every other pretext that was measured, each by itself."""
    for column in comparison.main_columns:
        others = [
            other for other in comparison.arms if other in column.rows and other is not arm and not other.is_reference
        ]
        duels = [comparison.duels.get((arm, other, column)) for other in others]
        if arm in column.rows and duels and all(duel is not None and duel.verdict == BETTER for duel in duels):
            number = f"each of the {len(others)} other pretexts" if len(others) > 1 else "the one other pretext"
            yield f"beats {number} measured in {column.heading} [{column.note}]"
