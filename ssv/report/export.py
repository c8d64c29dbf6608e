"""The comparison for other programs: a text in Markdown, and every single value as CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from ssv.files import write_text
from ssv.report.comparison import Arm, Column, Comparison
from ssv.report.matrix import chance_line
from ssv.report.runs import Row, Run
from ssv.report.words import NOTHING, Scale, reading, strengths

HEAD = (
    "kind",
    "row",
    "pretext",
    "backbone",
    "pretraining_data",
    "tag",
    "weights_file",
    "run",
    "pretraining_seed",
    "evaluation",
    "data",
    "protocol",
    "card",
    "evaluation_seed",
    "metric",
    "value",
)
"""Columns of the CSV; ``kind`` is score or cost, costs of pretraining leave the evaluation empty."""

_MARKUP = re.compile(r"([\\`*<>|\[\]])")


def write_markdown(comparison: Comparison, path: Path, *, now: datetime | None = None) -> None:
    """Write :func:`markdown`; it appears whole or not at all."""
    write_text(path, markdown(comparison, now or datetime.now()))


def write_csv(comparison: Comparison, path: Path) -> None:
    """Write one line for every (row, evaluation, data, protocol, metric, seed), and for every cost.

    Values are as stored, not in percent. Text that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEAD)
    for line in _lines(comparison):
        writer.writerow([_harmless(value) if isinstance(value, str) else value for value in line])
    write_text(path, out.getvalue())


def _lines(comparison: Comparison) -> Iterator[tuple[str | float, ...]]:
    for arm in comparison.arms:
        for run in arm.runs:
            for quantity in ("clips_seen", "frames_seen", "hours"):
                yield ("cost", *_of(arm, run), *[""] * 5, quantity, getattr(run, quantity))
            for row in _rows(comparison, arm, run):
                card = ", ".join(f"{name} {value}" for name, value in row.card)
                where = (*_of(arm, run), row.evaluation, row.data, row.protocol, card, row.seed)
                yield from (("score", *where, metric, value) for metric, value in row.scores.items())
                spent = {"seconds": row.seconds, "peak_gb": row.peak_gb}
                yield from (("cost", *where, name, value) for name, value in spent.items() if value)


def _of(arm: Arm, run: Run) -> tuple[str | float, ...]:
    return arm.label, arm.pretext, arm.backbone, run.data, run.tag, arm.weights_file, run.name, run.seed


def _rows(comparison: Comparison, arm: Arm, run: Run) -> list[Row]:
    """The score rows of one run in the table, each once."""
    columns = [column.rows.get(arm, {}).get(run.seed, []) for column in comparison.columns]
    return list(dict.fromkeys(row for rows in columns for row in rows))


def _harmless(text: str) -> str:
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


def markdown(comparison: Comparison, now: datetime) -> str:
    """A table for each evaluation, best first, conclusions, warnings and protocols; text from files is escaped."""
    data = ", ".join(sorted({arm.data for arm in comparison.arms} - {""})) or "nothing"
    seeds = ", ".join(map(str, comparison.seeds))
    parts = [
        f"# Pretexts compared on {_text(data)}",
        f"{now:%d %B %Y, %H:%M}; {len(comparison.runs)} runs; seeds {seeds}",
    ]
    sentences = [f"- **{_text(arm.label)}**: {_text(sentence)}." for arm, _, sentence in strengths(comparison)]
    if sentences:
        chances = chance_line(comparison)
        parts += ["## What each task is good for", "\n".join(sentences), *([chances] if chances else [])]
    notes = list(comparison.warnings) + [
        f"study {cell.study}: {cell.name} {cell.state}: {cell.cause}" for cell in comparison.cells if cell.ended_badly
    ]
    if notes:
        parts += ["## Before you compare", "\n".join(f"- {_text(note)}" for note in notes)]
    for column in comparison.main_columns:
        parts += [f"## {_text(column.heading)} \\[{column.note}\\]", _table(comparison, column), _protocol(column)]
    return "\n\n".join(parts) + "\n"


def _table(comparison: Comparison, column: Column) -> str:
    scale = Scale(column)
    unit = f", {scale.unit}" if scale.unit else ""
    head = ["row", "seeds", f"{_text(column.metric)}{unit}", "minus random initialisation, 95 % over seeds"]
    lines = [[*head, "95 % over videos", "reading"], ["---", "--:", "--:", "--:", "--:", "---"]]
    ranked = sorted(column.rows, key=lambda arm: -sum(values := column.values(arm).values()) / len(values))
    for arm in ranked:
        summary, difference = column.summary(arm), comparison.differences.get((arm, column, "random"))
        assert summary is not None  # the arm has rows in this column
        mark = f" ({column.mark(arm)})" if column.mark(arm) else ""
        line = [_text(arm.label + mark), str(summary.n), scale.mean(summary)]
        if difference is None:
            lines.append([*line, NOTHING, NOTHING, NOTHING])
        else:
            videos = scale.interval(difference.videos) if difference.videos else NOTHING
            lines.append([*line, scale.difference(difference), videos, reading(difference)])
    if column.chance is not None:
        level = {"copy_first": "labels held"}.get(column.floor, column.floor)
        lines.append([level, "", scale.number(column.chance), "", "", ""])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _protocol(column: Column) -> str:
    notes = "".join(f"\n- {_text(note)}" for note in column.card_notes)
    return f"Mean ± standard deviation over seeds. Protocol: {_text(column.protocol)}" + (f"\n{notes}" if notes else "")


def _text(text: str) -> str:
    """Text in which Markdown and HTML find nothing to do."""
    return _MARKUP.sub(r"\\\1", text.replace("&", "&amp;"))
