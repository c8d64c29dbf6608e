"""The comparison as one self-contained HTML file: nothing is loaded from anywhere, and one script sorts tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from html import escape
from pathlib import Path

from ssv.files import write_text
from ssv.report.blocks import Keyed, section, small, table
from ssv.report.charts import pretext_panels, probe_curves, score_chart
from ssv.report.classes import heat_maps
from ssv.report.comparison import REFERENCES, Arm, Column, Comparison
from ssv.report.health import audits, vital_signs
from ssv.report.matrix import chance_line, matrices
from ssv.report.media import Sample, gallery, samples
from ssv.report.page import HOW_TO_READ, STYLE
from ssv.report.records import costs, jobs, protocols, runs
from ssv.report.sorting import SCRIPT, allowance
from ssv.report.statistics import BETTER, MIN_SEEDS, WORSE
from ssv.report.words import NOTHING, Scale, count, duration, reading, seeds, share, strengths


def write_html(comparison: Comparison, path: Path, *, now: datetime | None = None) -> None:
    """Write the report; it appears whole or not at all.

    Args:
        comparison: what to show; every string in it counts as untrusted and is escaped.
        path: the file; its folder is made if missing.
        now: the date printed in the report, the clock's where None. Equal input gives an equal file.
    """
    write_text(path, render(comparison, now or datetime.now(), samples(comparison, path)))


def render(comparison: Comparison, now: datetime, pictures: Sequence[Sample] = ()) -> str:
    """The report as text, with ``pictures`` to look at."""
    data = ", ".join(sorted({arm.data for arm in comparison.arms} - {""})) or "nothing"
    title = f"Pretexts compared on {data}"
    sections = (
        _summary(comparison),
        _warnings(comparison),
        _scores(comparison),
        _charts(comparison),
        matrices(comparison),
        heat_maps(comparison),
        gallery(pictures),
        _curves(comparison),
        vital_signs(comparison),
        audits(comparison),
        _differences(comparison),
        _all_metrics(comparison),
        costs(comparison),
        jobs(comparison),
        runs(comparison),
        protocols(comparison),
        HOW_TO_READ,
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(bool(pictures))}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body><main>\n"
        f"<header><h1>{escape(title)}</h1>{_facts(comparison, now)}</header>\n"
        + "\n".join(section for section in sections if section)
        + f"\n</main><script>{SCRIPT}</script></body></html>\n"
    )


def _policy(pictures: bool) -> str:
    """The page needs nothing from anywhere, and the browser is told to refuse it should a string slip through."""
    images = "img-src data:; " if pictures else ""
    return (
        f"default-src 'none'; script-src {allowance()}; style-src 'unsafe-inline'; {images}base-uri 'none';"
        " form-action 'none'"
    )


def _facts(comparison: Comparison, now: datetime) -> str:
    backbones = sorted({arm.backbone for arm in comparison.arms})
    facts = [
        f"{now:%d %B %Y, %H:%M}",
        f"{len(comparison.arms)} rows from {len(comparison.runs)} runs",
        f"seeds {', '.join(map(str, comparison.seeds))}" if comparison.runs else "",
        f"backbone {', '.join(backbones)}" if backbones else "",
    ]
    return f'<p class="facts">{" · ".join(escape(fact) for fact in facts if fact)}</p>'


def _summary(comparison: Comparison) -> str:
    items = "".join(
        f'<li class="{_CLASSES.get(verdict, "open")}"><b>{escape(arm.label)}</b>: {escape(sentence)}.</li>'
        for arm, verdict, sentence in strengths(comparison)
    )
    if not items:
        why = "there is no pretext" if comparison.runs else "there are no runs"
        return f'<section class="summary"><p>Nothing can be concluded yet: {why}.</p></section>'
    chances = chance_line(comparison)
    return (
        f'<section class="summary"><h2>What each task is good for</h2><ul>{items}</ul>'
        + (f"<p class=intro>{escape(chances)}</p>" if chances else "")
        + "</section>"
    )


_CLASSES = {BETTER: "good", WORSE: "bad"}


def _warnings(comparison: Comparison) -> str:
    notes = list(comparison.warnings)
    if comparison.foreign:
        notes.append(f"{comparison.foreign} folder(s) without run.json ignored")
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<section class="warnings"><h2>Before you compare</h2><ul>{items}</ul></section>' if notes else ""


def _scores(comparison: Comparison) -> str:
    if not comparison.arms:
        return ""
    varying = comparison.varying(("backbone", "data", "tag"))
    head = ["pretext", *varying, "seeds", "pretext accuracy" + small("training / held out, %")]
    head += [_heading(column) for column in comparison.main_columns]
    head += ["clips seen" + small("frames seen"), "time"]
    rows = [
        [
            _name(comparison, arm, varying),
            *(escape(str(getattr(arm, key))) for key in varying),
            _seeds(arm),
            _accuracy(arm),
            *(_score(comparison, arm, column) for column in comparison.main_columns),
            Keyed(count(arm.mean("clips_seen")) + small(count(arm.mean("frames_seen"))), arm.mean("clips_seen")),
            Keyed(duration(arm.mean("hours")), arm.mean("hours")),
        ]
        for arm in comparison.arms
    ]
    levels = [
        NOTHING if column.chance is None else Scale(column).number(column.chance) for column in comparison.main_columns
    ]
    foot = ["chance", *[""] * len(varying), "", "", *levels, "", ""]
    return section(
        "Scores",
        table(head, rows, "scores sorts", foot),
        "<span class=hint>A click on a heading sorts. </span>Mean ± standard deviation over seeds; below it the paired difference to random initialisation with its"
        " 95 % interval over seeds.",
    )


def _name(comparison: Comparison, arm: Arm, varying: Sequence[str]) -> str:
    """The pretext, and below it the weights file where the columns beside it do not tell two rows apart."""
    twins = [
        other
        for other in comparison.arms
        if other.title == arm.title and all(getattr(other, key) == getattr(arm, key) for key in varying)
    ]
    return escape(arm.title) + small(arm.weights_file if len(twins) > 1 else "")


def _heading(column: Column) -> str:
    unit = Scale(column).unit
    return f"{escape(column.heading)} <sup>{column.note}</sup>" + small(f"{column.metric}{', ' + unit if unit else ''}")


def _seeds(arm: Arm) -> Keyed:
    unfinished = sum(not run.finished for run in arm.runs)
    words = f"{len(arm.seeds)}" + small(f"{unfinished} unfinished" if unfinished else "", "bad-text")
    return Keyed(words, float(len(arm.seeds)))


def _accuracy(arm: Arm) -> str | Keyed:
    trained, held_out = arm.accuracy("pretext/accuracy"), arm.accuracy("held_out/accuracy")
    if trained is None and held_out is None:
        return NOTHING
    chance = arm.accuracy("pretext/chance")
    words = f"{share(trained)} / {share(held_out)}" + small("" if chance is None else f"chance {share(chance)}")
    return Keyed(words, held_out if held_out is not None else trained)


def _score(comparison: Comparison, arm: Arm, column: Column) -> str | Keyed:
    summary, scale = column.summary(arm), Scale(column)
    if summary is None:
        return NOTHING
    mark = f"<sup>{escape(column.mark(arm))}</sup>" if column.mark(arm) else ""
    difference = comparison.differences.get((arm, column, "random"))
    if difference is None:
        few = small(seeds(summary.n) if summary.n < MIN_SEEDS else "")
        return Keyed(escape(scale.mean(summary)) + mark + few, summary.mean)
    css = {BETTER: "good-text", WORSE: "bad-text"}.get(difference.verdict or "", "")
    words = f"<b>{escape(scale.mean(summary))}</b>" + mark + small(scale.difference(difference), css)
    return Keyed(words, summary.mean)


def _charts(comparison: Comparison) -> str:
    figures = "".join(
        f"<figure><figcaption>{escape(column.heading)} <sup>{column.note}</sup></figcaption>"
        f"<div class=wide>{score_chart(comparison, column)}</div></figure>"
        for column in comparison.main_columns
    )
    return section(
        "Every seed",
        figures,
        "Left: bars are means, dots are seeds, black lines one standard deviation. Right: the paired difference; the"
        " thick line is its 95 % interval over seeds, the thin one over groups of test videos, seeds held fixed.",
    )


def _curves(comparison: Comparison) -> str:
    probes = "".join(
        f"<figure><figcaption>online probe, pretraining on {escape(data)}: top1, %</figcaption>"
        f"<div class=wide>{drawing}</div></figure>"
        for data, drawing in probe_curves(comparison)
    )
    panels = "".join(
        f"<figure><figcaption>{escape(label)}</figcaption>{drawing}</figure>"
        for label, drawing in pretext_panels(comparison)
    )
    tasks = (
        "<h3>Pretext accuracy, %</h3><p class=intro>Each task has its own chance level and difficulty: read each panel"
        f" on its own, not one against another.</p><div class=panels>{panels}</div>"
        if panels
        else ""
    )
    return section("Learning curves", probes + tasks, "Thin lines are seeds, thick lines their mean.")


def _differences(comparison: Comparison) -> str:
    rows: list[list[str | Keyed]] = []
    for (arm, column, reference), difference in comparison.differences.items():
        scale, words = Scale(column), REFERENCES[reference]
        css = {BETTER: "good-text", WORSE: "bad-text"}.get(difference.verdict or "", "")
        rows.append(
            [
                escape(arm.label),
                f"{escape(words)}",
                f"{escape(column.heading)} <sup>{column.note}</sup>",
                Keyed(scale.signed(difference.mean), difference.mean),
                scale.interval(difference.interval) if difference.interval else NOTHING,
                scale.interval(difference.videos) if difference.videos else NOTHING,
                (("yes" if difference.separated else "no") if difference.interval else NOTHING),
                f'<span class="{css}">{escape(reading(difference))}</span>',
            ]
        )
    head = ["row", "minus", "evaluation", "difference", "95 % over seeds", "95 % over videos", "seeds apart", "reading"]
    return section(
        "Paired differences",
        table(head, rows, "plain sorts") if rows else "",
        "Over the seeds that both rows have. “Seeds apart”: every seed of the one lies beyond every seed of the other.",
    )


def _all_metrics(comparison: Comparison) -> str:
    if len(comparison.columns) == len(comparison.main_columns):
        return ""
    rows = [
        [
            f"{escape(column.heading)} <sup>{column.note}</sup>",
            escape(column.metric),
            *(
                NOTHING if (summary := column.summary(arm)) is None else escape(Scale(column).mean(summary))
                for arm in comparison.arms
            ),
        ]
        for column in comparison.columns
    ]
    head = ["evaluation", "metric", *(escape(arm.label) for arm in comparison.arms)]
    return section("All metrics", table(head, rows, "plain sorts metrics"))
