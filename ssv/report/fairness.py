"""What makes rows of one table hard to compare, in one line each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from ssv.report.pairing import reference_of
from ssv.report.words import count

if TYPE_CHECKING:
    from ssv.report.comparison import Arm, Column, Comparison
    from ssv.report.runs import Run


def warnings(comparison: Comparison) -> tuple[str, ...]:
    """Warnings in the order of their weight; empty for a fair and complete comparison."""
    return (
        *_bad_runs(comparison),
        *_missing(comparison),
        *_labelled(comparison.arms),
        *_differing(comparison),
        *_weights(comparison.arms),
        *_protocols(comparison),
        *_cards(comparison),
        *_forms(comparison),
        *(f"{run.name}: {note}" for run in comparison.runs for note in run.notes),
    )


def _bad_runs(comparison: Comparison) -> Iterable[str]:
    for name, reason in comparison.broken:
        yield f"{name}: {reason}"
    for run in comparison.runs:
        if not run.finished:
            scored = "; its scores are in the table, and nothing is concluded from them" if run.rows else ""
            yield f"{run.name} {run.progress}{scored}"


def _missing(comparison: Comparison) -> Iterable[str]:
    pretexts = {arm.pretext for arm in comparison.arms}
    for reference, words in (("random", "random initialisation"), ("supervised", "supervised training")):
        if comparison.arms and reference not in pretexts:
            yield f"no row of {words} to compare with"
    backbones = {arm.backbone for arm in comparison.arms if arm.pretext == "random"}
    for backbone in sorted({arm.backbone for arm in comparison.arms} - backbones if backbones else ()):
        yield f"no row of random initialisation with backbone {backbone}: its rows are compared with nothing"
    for arm in comparison.arms:
        lacking = [seed for seed in comparison.seeds if seed not in arm.seeds]
        if lacking:
            yield f"{arm.label}: no run with seed {_list(lacking)}"
    for column in comparison.main_columns:
        where = f"no score in {column.heading} [{column.note}]"
        absent = [
            arm.label for arm in comparison.arms if arm not in column.rows and not _spare(comparison, arm, column)
        ]
        if absent:
            yield f"{where}: {_list(absent)}"
        for arm in column.rows:
            unscored = [seed for seed in arm.seeds if seed not in column.rows[arm]]
            if unscored:
                yield f"{arm.label}: {where} for seed {_list(unscored)}"


def _spare(comparison: Comparison, arm: Arm, column: Column) -> bool:
    """A random start that nothing in the column lacks: another one there, of the right form, does its work."""
    rest = [other for other in column.rows if other.pretext != "random"]
    return (
        arm.pretext == "random"
        and bool(rest)
        and all((other, column, "random") in comparison.differences for other in rest)
    )


def _labelled(arms: Sequence[Arm]) -> Iterable[str]:
    for arm in arms:
        if not arm.is_reference and any(run.uses_labels for run in arm.runs):
            yield f"{arm.label}: its task is told what videos show, so this is no self-supervised row"


def _differing(comparison: Comparison) -> Iterable[str]:
    """Backbone, data and code over all rows; steps and frames over the rows that trained at all."""
    trained = [arm for arm in comparison.arms if arm.mean("clips_seen") > 0]
    # a single-frame reference reads fewer frames by intention
    watching = [arm for arm in trained if arm.pretext != "single_frame"]
    yield from _spread("backbones", comparison.arms, lambda run: run.backbone)
    yield from _spread("pretraining data", trained, lambda run: run.data)
    yield from _spread("numbers of steps", trained, lambda run: f"{run.steps or run.step:,}")
    yield from _spread("clips seen", [arm for arm in trained if _done(arm)], lambda run: count(run.clips_seen))
    yield from _spread("frames seen", [arm for arm in watching if _done(arm)], lambda run: count(run.frames_seen))
    yield from _spread("commits of the code", comparison.arms, lambda run: run.commit[:12])


def _spread(what: str, arms: Sequence[Arm], value: Callable[[Run], str]) -> Iterable[str]:
    labels: dict[str, list[str]] = {}
    for arm in arms:
        for run in arm.runs:
            if value(run):
                labels.setdefault(value(run), []).append(arm.label)
    if len(labels) > 1:
        parts = [f"{key} ({_list(dict.fromkeys(names), 3)})" for key, names in sorted(labels.items())]
        yield f"different {what}: {_list(parts, 6)}"


def _done(arm: Arm) -> bool:
    return all(run.finished for run in arm.runs)


def _weights(arms: Sequence[Arm]) -> Iterable[str]:
    """Seeds that are one and the same weights, and scores of weights that have changed since."""
    for arm in arms:
        seeds: dict[str, set[int]] = {}
        for run in arm.runs:
            digests = {row.weights for row in run.rows if row.weights_file == arm.weights_file and row.weights}
            for digest in digests:
                seeds.setdefault(digest, set()).add(run.seed)
            if len(digests) > 1:
                yield f"{run.name}: scores come from different weights ({_list(sorted(digests))}); evaluate again"
        for digest, same in sorted(seeds.items()):
            if len(same) > 1:
                yield f"{arm.label}: seeds {_list(sorted(same))} hold the same weights ({digest})"


def _protocols(comparison: Comparison) -> Iterable[str]:
    notes: dict[str, list[int]] = {}
    for column in comparison.main_columns:
        notes.setdefault(column.heading, []).append(column.note)
    for heading, numbers in notes.items():
        if len(numbers) > 1:
            marks = " ".join(f"[{number}]" for number in numbers)
            yield f"{heading} was measured under {len(numbers)} protocols {marks}: compare within one column only"


def _cards(comparison: Comparison) -> Iterable[str]:
    mixed = [f"{column.heading} [{column.note}]" for column in comparison.main_columns if len(column.cards) > 1]
    if mixed:
        yield f"{', '.join(mixed)}: rows with another letter were measured in another way, see there"


def _forms(comparison: Comparison) -> Iterable[str]:
    for arm, column, kind in comparison.differences:
        other = reference_of(column, arm, kind, comparison.arms)
        if kind == "random" and other is not None and column.mark(arm) != column.mark(other):
            yield (
                f"{arm.label}: no random initialisation of its form in {column.heading} [{column.note}], one of form"
                f" {column.mark(other) or 'unknown'} stands in"
            )


def _list(items: Iterable[object], most: int = 99) -> str:
    words = [str(item) for item in items]
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")
