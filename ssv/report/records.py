"""What lies behind the figures: what they cost, the runs and their commands, the jobs of studies, protocols."""

from __future__ import annotations

from html import escape

from ssv.report.blocks import Keyed, section, small, table
from ssv.report.comparison import Arm, Column, Comparison
from ssv.report.runs import Row, Run
from ssv.report.words import NOTHING, count, duration

SECONDS_PER_HOUR = 3600


def costs(comparison: Comparison) -> str:
    """A row an arm: what pretraining saw and took, what each evaluation took."""
    if not comparison.arms:
        return ""
    columns = [column for column in comparison.main_columns if any(row.seconds for row in column.all_rows())]
    head = ["row", "clips seen", "frames seen", "pretraining"]
    head += [f"{escape(column.heading)} <sup>{column.note}</sup>{small('time, peak memory')}" for column in columns]
    rows = [
        [
            escape(arm.label),
            *(Keyed(count(arm.mean(key)), arm.mean(key)) for key in ("clips_seen", "frames_seen")),
            Keyed(duration(arm.mean("hours")), arm.mean("hours")),
            *(_cost(arm, column) for column in columns),
        ]
        for arm in comparison.arms
    ]
    return section(
        "What it cost",
        table(head, rows, "plain sorts"),
        "Means over seeds; memory is the most that any process of the evaluation held, disks and graphics memory apart."
        " Wall-clock times compare only on equal machines that did nothing else; features that an earlier evaluation"
        " had stored make the next one cheap.",
    )


def _cost(arm: Arm, column: Column) -> str | Keyed:
    rows: list[Row] = [row for some in column.rows.get(arm, {}).values() for row in some if row.seconds]
    if not rows:
        return NOTHING
    seconds = sum(row.seconds for row in rows) / len(rows)
    peak = max(row.peak_gb for row in rows)
    return Keyed(duration(seconds / SECONDS_PER_HOUR) + small(f"{peak:.1f} GB" if peak else ""), seconds)


def runs(comparison: Comparison) -> str:
    """A row a run, with the commands that made and measured it; what could not be read stands below."""
    rows = [_run(comparison, run) for run in comparison.runs]
    rows += [[escape(name), "unreadable", "", "", "", "", escape(reason)] for name, reason in comparison.broken]
    head = ["run", "state", "seed", "clips seen", "time", "commit", "messages and commands"]
    return section("Runs", table(head, rows, "plain sorts runs") if rows else "")


def _run(comparison: Comparison, run: Run) -> list[str | Keyed]:
    step = f"step {run.step} of {run.steps}" if run.steps else ""
    lines = [escape(remark) for remark in (run.message, *run.notes) if remark]
    lines += [f"<code>{escape(command)}</code>" for command in commands(comparison, run)]
    return [
        escape(run.name),
        f'<span class="{"" if run.finished else "bad-text"}">{escape(run.state)}</span>' + small(step),
        Keyed(str(run.seed), float(run.seed)),
        Keyed(count(run.clips_seen), run.clips_seen),
        Keyed(duration(run.hours), run.hours),
        f"<code>{escape(run.commit[:12])}</code>",
        "<br>".join(lines),
    ]


def commands(comparison: Comparison, run: Run) -> list[str]:
    """How the run was made, as it says itself, and how studies measured it."""
    measured = [cell.command for cell in comparison.cells if cell.run == run.folder.name and cell.verb == "evaluate"]
    return list(dict.fromkeys(command for command in (run.command, *measured) if command))


def jobs(comparison: Comparison) -> str:
    """The jobs of studies that failed, or never began because another had; a line says how many are not done yet."""
    rows = [
        [escape(cell.name), escape(cell.study), escape(cell.state), escape(cell.cause) + _command(cell.command)]
        for cell in comparison.cells
        if cell.ended_badly
    ]
    waiting = sum(not cell.ended_badly and cell.state != "done" for cell in comparison.cells)
    more = f"<p>{waiting} of {len(comparison.cells)} jobs were not done when the study was last at work.</p>"
    body = (table(["job", "study", "state", "cause and command"], rows, "plain sorts runs") if rows else "") + (
        more if waiting else ""
    )
    return section("Jobs of studies that are missing", body)


def _command(command: str) -> str:
    return f"<br><code>{escape(command)}</code>" if command else ""


def protocols(comparison: Comparison) -> str:
    """The protocol of each column in full, and the forms in which its rows were measured."""
    items = "".join(
        f"<li value={column.note}><b>{escape(column.heading)}</b>: {escape(column.protocol)}"
        f"{''.join(small(note) for note in column.card_notes)}</li>"
        for column in comparison.main_columns
    )
    return section("Protocols", f"<ol>{items}</ol>" if items else "")
