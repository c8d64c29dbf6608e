"""How numbers and conclusions are worded, the same in the terminal and in the report."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ssv.report.statistics import BETTER, MIN_SEEDS, WORSE, Difference, Interval, Summary

if TYPE_CHECKING:
    from ssv.report.collect import Arm, Column, Comparison

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


def verdict(difference: Difference) -> str:
    """The conclusion against random initialisation in words; says why where none is drawn."""
    words = reading(difference)
    return f"{words} than random initialisation" if words in (BETTER, WORSE) else words


def conclusions(comparison: Comparison) -> Iterable[tuple[Column, Arm, str]]:
    """One sentence for every pretext (no reference row) and main column: against random initialisation."""
    for column in comparison.main_columns:
        scale = Scale(column)
        for arm in comparison.arms:
            difference = comparison.differences.get((arm, column, "random"))
            if arm.is_reference or difference is None:
                continue
            points = " points" if scale.percent else ""
            numbers = f"{scale.signed(difference.mean)}{points}"
            if difference.interval:
                numbers += f", 95 % interval {scale.interval(difference.interval)}, {seeds(len(difference.seeds))}"
            yield column, arm, f"{verdict(difference)} ({numbers})"
