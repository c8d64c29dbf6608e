"""Whether pretraining went well inside: vital signs of the features, and audits of the question."""

from __future__ import annotations

from html import escape

from ssv.report.blocks import section, small, table
from ssv.report.comparison import Comparison
from ssv.report.runs import Run
from ssv.report.words import NOTHING, share


def vital_signs(comparison: Comparison) -> str:
    """A row a run: what features told without labels at the first look and at the last, and alarms."""
    rows = [
        [
            escape(run.name),
            _way(run, "features/std", "{:.2f}"),
            _way(run, "features/effective_rank", "{:.1f}"),
            _way(run, "features/order_sensitivity", "{:.2f}"),
            _way(run, "features/same_video", "{:.0%}"),
            _way(run, "pretext/affinity_entropy", "{:.2f}"),
            _alarm(run),
        ]
        for run in comparison.runs
        if run.curves.get("features/std")
    ]
    head = ["run", "feature spread", "effective rank", "order sensitivity", "same video", "affinity entropy", "alarm"]
    return section(
        "Vital signs",
        table(head, rows, "plain") if rows else "",
        "Of held-out clips, at the first look \u2192 at the last. Spread: 1 is isotropic, 0 collapsed. Effective rank:"
        " in how many directions features differ. Order sensitivity: how far shuffled frames move a video, in distances"
        " between two videos. Same video: how often the second half is the nearest of all to the first. Affinity entropy: 1 looks anywhere, 0 is sure. These compare across"
        " tasks, where losses do not.",
    )


def _way(run: Run, key: str, form: str) -> str:
    points = [value for _, (_, value) in sorted(run.curves.get(key, {}).items())]
    if not points:
        return NOTHING
    return f"{form.format(points[0])} \u2192 {form.format(points[-1])}"


def _alarm(run: Run) -> str:
    rung = [step for step, (_, value) in sorted(run.curves.get("features/collapsed", {}).items()) if value > 0]
    return f'<span class="bad-text">collapse at step {rung[0]:.0f}</span>' if rung else ""


def audits(comparison: Comparison) -> str:
    """A row for each audit of each run that was audited."""
    rows = [
        [
            escape(run.name),
            escape(row.audit) + small(row.leaves),
            share(row.trained),
            share(row.fresh),
            share(row.chance),
            f'<span class="{"bad-text" if row.alarm else ""}">{escape(row.reading)}</span>',
        ]
        for run in comparison.runs
        for row in run.audits
    ]
    head = ["run", "clips", "trained, %", "fresh, %", "chance, %", "reading"]
    return section(
        "Shortcut audits",
        table(head, rows, "plain") if rows else "",
        "Held-out accuracy of the trained network, and of a fresh one that learned from such clips, where clips lack"
        " what the task asks for (<code>ssv audit</code>).",
    )
