"""Which classes each row recognises, from what the evaluations stored of each test video."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import PurePath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssv.report.blocks import Keyed, section, table
from ssv.report.comparison import Arm, Column, Comparison
from ssv.report.pairing import reference_of, stored
from ssv.report.words import MINUS

MOST = 60
"""Classes of one table; of more, those in which rows differ most from random initialisation are shown."""

FULL = 0.5
"""Difference to random initialisation with the strongest colour."""


class Classes(NamedTuple):
    """Accuracy by class of one column.

    ``label`` int (K,), ``name`` of each, ``videos`` int (K,) the test videos of each; for every row its accuracy (K,),
    mean over seeds, and its paired difference (K,) to random initialisation, where both were stored.
    """

    label: NDArray[np.int64]
    name: list[str]
    videos: NDArray[np.int64]
    accuracy: dict[Arm, NDArray[np.float64]]
    difference: dict[Arm, NDArray[np.float64]]


def by_class(comparison: Comparison, column: Column) -> Classes | None:
    """Accuracies by class; None where no predictions are stored, or those of the rows are of different videos."""
    right: dict[Arm, dict[int, NDArray[np.float64]]] = {}
    first = None
    for arm in (arm for arm in comparison.arms if arm in column.rows):
        for seed in sorted(column.rows[arm]):
            found = stored(column, arm, seed)
            if found is None:
                continue
            first = first or found
            if not np.array_equal(first.path, found.path) or not np.array_equal(first.label, found.label):
                return None
            _, member = np.unique(found.label, return_inverse=True)
            right.setdefault(arm, {})[seed] = np.bincount(member, weights=found.right) / np.bincount(member)
    if first is None:
        return None
    label, videos = np.unique(first.label, return_counts=True)
    difference: dict[Arm, NDArray[np.float64]] = {}
    for arm, seeds in right.items():
        other = reference_of(column, arm, "random", comparison.arms)
        common = sorted(seeds.keys() & right[other].keys()) if other in right else []
        if other is not None and common:
            difference[arm] = np.mean([seeds[seed] - right[other][seed] for seed in common], axis=0)
    accuracy = {arm: np.mean(list(seeds.values()), axis=0) for arm, seeds in right.items()}
    return Classes(label, names(first.path.tolist(), first.label.tolist()), videos, accuracy, difference)


def names(paths: Sequence[str], labels: Sequence[int]) -> list[str]:
    """A name for each label, ascending: the folder of its videos, where every class has one of its own."""
    folders: dict[int, set[str]] = {}
    for path, label in zip(paths, labels, strict=True):
        folders.setdefault(label, set()).add(PurePath(path).parent.name)
    found = [next(iter(some)) if len(some) == 1 else "" for _, some in sorted(folders.items())]
    unique = all(found) and len(set(found)) == len(found)
    return found if unique else [f"class {label}" for label in sorted(folders)]


def heat_maps(comparison: Comparison) -> str:
    """A table of classes by rows for each evaluation that stored its predictions."""
    figures = "".join(
        f"<figure><figcaption>{escape(column.heading)} <sup>{column.note}</sup>: accuracy by class, %</figcaption>"
        f"{_heat_map(classes)}</figure>"
        for column in comparison.main_columns
        if (classes := by_class(comparison, column)) is not None
    )
    return section(
        "Which classes",
        figures,
        "Mean over seeds; the colour and the small number are the paired difference to random initialisation in points."
        " A class has few test videos: these are leads, and nothing is concluded from them. Classes are named after the"
        " folders of their videos.",
    )


def _heat_map(classes: Classes) -> str:
    shown = list(range(len(classes.label)))
    more = ""
    if len(shown) > MOST:
        spread = np.max([np.abs(values) for values in (*classes.difference.values(), np.zeros(len(shown)))], axis=0)
        shown = sorted(np.argsort(-spread, kind="stable")[:MOST].tolist())
        more = f"<p class=intro>The {MOST} of {len(classes.label)} classes in which rows differ most.</p>"
    head = ["class", "videos", *(escape(arm.label) for arm in classes.accuracy)]
    rows: list[list[str | Keyed]] = [
        [
            escape(classes.name[place]),
            Keyed(f"{classes.videos[place]}", float(classes.videos[place])),
            *(_heat(values[place], classes.difference.get(arm), place) for arm, values in classes.accuracy.items()),
        ]
        for place in shown
    ]
    return table(head, rows, "plain sorts heat") + more


def _heat(accuracy: float, difference: NDArray[np.float64] | None, place: int) -> Keyed:
    words, key = f"{100 * accuracy:.0f}", float(accuracy)
    if difference is None:
        return Keyed(f"<span>{words}</span>", key)
    points = round(100 * float(difference[place]))
    strength = min(100, round(abs(points) / FULL))
    sign = f"{points:+d}".replace("-", MINUS) if points else "0"
    return Keyed(
        f'<span class="{"up" if points > 0 else "down"}" style="--heat:{strength // 2}%">{words} <small>{sign}</small></span>',
        key,
    )
