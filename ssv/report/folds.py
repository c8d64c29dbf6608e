"""The three official splits of UCF101, HMDB51 and JHMDB as one figure: their mean."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ssv.report.runs import Row

FOLDS = (1, 2, 3)
_FOLD = re.compile(r"\bfold (\d+)\b")


def with_means(rows: Sequence[Row]) -> Iterator[Row]:
    """The rows of one run, and a row of means wherever all three folds were measured in the same way.

    It has no predictions, because no video of the folds is in all three, and only scores that all three have.
    """
    yield from rows
    measured: dict[tuple[object, ...], dict[int, Row]] = {}
    for row in rows:
        if found := _FOLD.search(row.protocol):
            protocol = _FOLD.sub(f"mean of folds {FOLDS[0]} to {FOLDS[-1]}", row.protocol)
            key = (row.evaluation, row.data, protocol, row.seed, row.weights, row.weights_file, row.card)
            measured.setdefault(key, {})[int(found[1])] = row
    for same, folds in measured.items():
        if all(number in folds for number in FOLDS):
            three = [folds[number] for number in FOLDS]
            names = [name for name in three[0].scores if all(name in row.scores for row in three)]
            scores = {name: sum(row.scores[name] for row in three) / len(three) for name in names}
            seconds = sum(row.seconds for row in three)
            yield replace(three[0], protocol=str(same[2]), scores=scores, per_video=None, seconds=seconds)
