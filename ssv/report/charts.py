"""The drawings of the report: scores with all their seeds, paired differences, learning curves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ssv.report.comparison import Arm, Column, Comparison
from ssv.report.runs import Run
from ssv.report.statistics import BETTER, WORSE, Difference
from ssv.report.svg import Drawing, Point, axis, spread_labels, ticks
from ssv.report.words import Scale, count, reading

COLOURS = 8
"""Number of colours the page defines (``.c0`` ... ``.c7``)."""

MOST_POINTS = 120
"""Points of a curve; longer curves are averaged in bins."""

ROW, TOP, LABELS, BARS, VALUE, FOREST, READING = 36, 46, 200, 280, 110, 220, 260

Line = list[Point]


def styles(comparison: Comparison) -> dict[Arm, str]:
    """CSS class of each arm: references grey, the others a colour each (dashed where the colours run out)."""
    found: dict[Arm, str] = {}
    number = 0
    for arm in comparison.arms:
        if arm.is_reference:
            found[arm] = f"ref-{arm.pretext.replace('_', '-')}"
        else:
            found[arm] = f"c{number % COLOURS}" + (" dashed" if number >= COLOURS else "")
            number += 1
    return found


def score_chart(comparison: Comparison, column: Column) -> str:
    """Bars of the means with every seed as a dot, and beside them the paired differences to random initialisation."""
    arms = [arm for arm in comparison.arms if arm in column.rows]
    differences = {
        arm: difference for arm in arms if (difference := comparison.differences.get((arm, column, "random")))
    }
    height = TOP + ROW * len(arms) + 34
    width = LABELS + BARS + VALUE + ((FOREST + READING) if differences else 0)
    drawing = Drawing(width, height, f"{column.heading}: {column.metric} of each arm")
    css = styles(comparison)
    _bars(drawing, column, arms, css)
    if differences:
        _forest(drawing, column, arms, differences, left=LABELS + BARS + VALUE)
    return str(drawing)


def _bars(drawing: Drawing, column: Column, arms: Sequence[Arm], css: dict[Arm, str]) -> None:
    scale = Scale(column)
    values = [scale.plain(value) for arm in arms for value in column.values(arm).values()]
    chance = None if column.chance is None else scale.plain(column.chance)
    high = max([*values, chance or 0.0, 0.0]) * 1.04
    low = min([*values, 0.0]) * 1.04
    x = axis(low, high, LABELS, LABELS + BARS)
    bottom = TOP + ROW * len(arms)
    _grid(drawing, x, ticks(low, high), bottom)
    drawing.text((LABELS, 14), f"{column.metric}{', ' + scale.unit if scale.unit else ''}", "head")
    if chance is not None:
        drawing.line((x(chance), TOP - 12), (x(chance), bottom), "chance")
        drawing.text((x(chance), TOP - 16), f"chance {scale.number(column.chance or 0.0)}", "small", "middle")
    for index, arm in enumerate(arms):
        middle = TOP + ROW * (index + 0.5)
        summary = column.summary(arm)
        assert summary is not None  # the arm has rows in this column
        mean = scale.plain(summary.mean)
        drawing.text((LABELS - 10, middle + 4), _short(arm.label), "" if arm.is_reference else "strong", "end")
        left, right = sorted((x(0.0), x(mean)))
        drawing.box(left, middle - 10, right - left, 20, f"bar {css[arm]}", f"{arm.label}: {scale.mean(summary)}")
        if summary.sd is not None:
            sd = scale.plain(summary.sd)
            drawing.line((x(mean - sd), middle), (x(mean + sd), middle), "spread")
        ends = [x(mean)]
        for place, (seed, value) in enumerate(column.values(arm).items()):
            at = (x(scale.plain(value)), middle + (place % 3 - 1) * 5)
            drawing.dot(at, 3.2, f"seed {css[arm]}", f"{arm.label}, seed {seed}: {scale.number(value)}")
            ends.append(at[0])
        drawing.text((max(ends) + 9, middle + 4), scale.mean(summary), "value")


def _forest(
    drawing: Drawing, column: Column, arms: Sequence[Arm], differences: dict[Arm, Difference], left: float
) -> None:
    scale = Scale(column)
    edges = [
        scale.plain(value)
        for difference in differences.values()
        for value in (difference.mean, *(difference.interval or ()), *(difference.videos or ()))
    ]
    low, high = min([*edges, 0.0]), max([*edges, 0.0])
    margin = 0.04 * ((high - low) or 1.0)
    x = axis(low - margin, high + margin, left, left + FOREST)
    bottom = TOP + ROW * len(arms)
    _grid(drawing, x, ticks(low - margin, high + margin, 5), bottom)
    drawing.line((x(0.0), TOP - 12), (x(0.0), bottom), "zero")
    points = ", points" if scale.percent else ""
    drawing.text((left, 14), f"difference to random initialisation{points}", "head")
    for index, arm in enumerate(arms):
        difference = differences.get(arm)
        if difference is None:
            continue
        middle = TOP + ROW * (index + 0.5)
        colour = {BETTER: "good", WORSE: "bad"}.get(difference.verdict or "", "open")
        at = x(scale.plain(difference.mean))
        if difference.interval:
            low_x, high_x = (x(scale.plain(value)) for value in difference.interval)
            drawing.line((low_x, middle - 4), (high_x, middle - 4), f"interval {colour}")
        if difference.videos:
            low_x, high_x = (x(scale.plain(value)) for value in difference.videos)
            drawing.line((low_x, middle + 4), (high_x, middle + 4), f"interval thin {colour}")
        drawing.dot((at, middle - 4), 4.5, f"fill {colour}", f"{arm.label}: {scale.difference(difference)}")
        words = f"{scale.signed(difference.mean)}, {reading(difference)}"
        drawing.text((left + FOREST + 14, middle + 4), words, f"value {colour}-text")


def _grid(drawing: Drawing, x: Callable[[float], float], values: Iterable[float], bottom: float) -> None:
    for value in values:
        drawing.line((x(value), TOP - 6), (x(value), bottom), "grid")
        drawing.text((x(value), bottom + 17), f"{value:g}".replace("-", "\u2212"), "small", "middle")


def probe_curves(comparison: Comparison) -> list[tuple[str, str]]:
    """(pretraining data, drawing) of the online probe against clips seen; data sets never share a panel."""
    css = styles(comparison)
    found: list[tuple[str, str]] = []
    for data in sorted({arm.data for arm in comparison.arms}):
        arms = [arm for arm in _one_per_run(comparison.arms) if arm.data == data]
        lines = {arm: [line for run in arm.runs if (line := _line(run, "online/top1"))] for arm in arms}
        lines = {arm: some for arm, some in lines.items() if some}
        if not lines:
            continue
        chances = [c for arm in lines for run in arm.runs if (c := run.last("online/chance")) is not None]
        drawing = Drawing(1040, 330, f"online probe on {data} against clips seen")
        _curves(drawing, {arm.label: (some, css[arm]) for arm, some in lines.items()}, chances[:1], labels=210)
        found.append((data, str(drawing)))
    return found


def pretext_panels(comparison: Comparison) -> list[tuple[str, str]]:
    """(arm, drawing) of each pretext's own accuracy, training against held-out; one panel each, as tasks differ."""
    found: list[tuple[str, str]] = []
    for arm in _one_per_run(comparison.arms):
        lines = {
            words: ([line for run in arm.runs if (line := _line(run, key))], css)
            for words, key, css in (("training", "pretext/accuracy", "c1"), ("held out", "held_out/accuracy", "c0"))
        }
        lines = {words: value for words, value in lines.items() if value[0]}
        if lines:
            drawing = Drawing(310, 200, f"pretext accuracy of {arm.label}")
            chance = arm.accuracy("pretext/chance")
            _curves(drawing, lines, [] if chance is None else [chance], labels=62, high=1.0)
            found.append((arm.label, str(drawing)))
    return found


def _curves(
    drawing: Drawing,
    lines: dict[str, tuple[list[Line], str]],
    chance: Sequence[float],
    *,
    labels: float,
    high: float | None = None,
) -> None:
    """Thin lines for seeds, a thick one for their mean, named at its end; shares are drawn in percent."""
    points = [point for some, _ in lines.values() for line in some for point in line]
    top = high or min(1.0, 1.08 * max([value for _, value in points] + list(chance)))
    right, bottom = drawing.width - labels, drawing.height - 34
    x = axis(0.0, max([at for at, _ in points] + [1.0]), 38, right)
    y = axis(0.0, top, bottom, 14)
    for value in ticks(0.0, 100 * top, 5):
        drawing.line((38, y(value / 100)), (right, y(value / 100)), "grid")
        drawing.text((32, y(value / 100) + 4), f"{value:g}", "small", "end")
    for value in ticks(0.0, max(at for at, _ in points), 3 if drawing.width < 500 else 6):
        drawing.text((x(value), bottom + 16), count(value), "small", "middle")
    drawing.text(((38 + right) / 2, bottom + 31), "clips seen", "small", "middle")
    for level in chance:
        drawing.line((38, y(level)), (right, y(level)), "chance")
    ends: list[tuple[float, str, str]] = [(y(level), "chance", "small") for level in chance]
    for words, (some, css) in lines.items():
        for line in some:
            drawing.path([(x(at), y(value)) for at, value in line], f"curve thin {css}")
        mean = _mean_line(some) or max(some, key=len)
        drawing.path([(x(at), y(value)) for at, value in mean], f"curve {css}")
        drawing.dot((x(mean[-1][0]), y(mean[-1][1])), 3.2, f"end {css}", f"{words}: {100 * mean[-1][1]:.1f} %")
        ends.append((y(mean[-1][1]), _short(words), f"name {css}"))
    for (_, words, css), height in zip(ends, spread_labels([end[0] for end in ends], 15, 14, bottom), strict=True):
        drawing.text((right + 9, height + 4), words, css)


def _one_per_run(arms: Sequence[Arm]) -> list[Arm]:
    """Arms that differ only in the weights file share their runs, hence their curves."""
    return list({arm.runs: arm for arm in reversed(arms)}.values())[::-1]


def _line(run: Run, key: str) -> Line:
    """(clips seen, value) by step, averaged in bins so that long runs stay small."""
    points = [point for _, point in sorted(run.curves.get(key, {}).items())]
    size = -(-len(points) // MOST_POINTS) or 1
    bins = [points[start : start + size] for start in range(0, len(points), size)]
    return [(sum(at for at, _ in some) / len(some), sum(value for _, value in some) / len(some)) for some in bins]


def _mean_line(lines: Sequence[Line]) -> Line:
    """Mean over seeds where all of them were measured."""
    tables = [dict(line) for line in lines]
    common = set(tables[0]).intersection(*tables[1:])
    return [(at, sum(table[at] for table in tables) / len(tables)) for at in sorted(common)]


def _short(label: str, most: int = 26) -> str:
    """Both ends of a label: what sets two rows apart often stands last."""
    return label if len(label) <= most else f"{label[: most - 12]}\u2026{label[-11:]}"
