"""What is compared: arms (what was pretrained how), columns (what was measured how), differences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ssv.report.runs import Row, Run
from ssv.report.statistics import Difference, Summary, summarise
from ssv.report.studies import Cell

REFERENCES = {"random": "random initialisation", "single_frame": "single frame, supervised", "supervised": "supervised"}
"""Pretext names of the reference rows, in the order of the table, with the words a reader sees."""

FLOORS = ("chance", "copy_first")
"""Scores that are no result of the weights: the level to be compared with."""


@dataclass(frozen=True, eq=False)
class Arm:
    """What is compared: runs that differ in nothing but their seed, measured with one weights file.

    Of random starts, also those whose batch norms were measured on other data: their ``data`` is empty, and ``tag``
    says their form where there are several.
    """

    pretext: str
    backbone: str
    data: str
    tag: str
    weights_file: str
    label: str
    runs: tuple[Run, ...]

    @property
    def is_reference(self) -> bool:
        """Whether this is one of the rows that others are compared with."""
        return self.pretext in REFERENCES

    @property
    def title(self) -> str:
        """The pretext in words."""
        return pretext_words(self.pretext, self.runs)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Those of its runs."""
        return tuple(sorted({run.seed for run in self.runs}))

    @property
    def network(self) -> str:
        """A digest of the backbone's arguments; empty where runs do not say, or do not agree."""
        found = {run.network for run in self.runs}
        return found.pop() if len(found) == 1 else ""

    def mean(self, quantity: str) -> float:
        """Mean over runs of ``clips_seen``, ``frames_seen`` or ``hours``."""
        return float(sum(getattr(run, quantity) for run in self.runs) / len(self.runs))

    def accuracy(self, key: str) -> float | None:
        """Mean over runs of a pretext metric; ``pretext/`` keys over the last tenth of the run, as they jump."""
        share = 0.1 if key.startswith("pretext/") else 0.0
        values = [value for run in self.runs if (value := run.last(key, share)) is not None]
        return sum(values) / len(values) if values else None


@dataclass(frozen=True, eq=False)
class Column:
    """One metric of one evaluation under one protocol, ``note`` being the number of its footnote.

    ``main`` marks the first metric of the evaluation that is not ``chance``. ``rows`` holds for each arm and
    pretraining seed the score rows behind it (more than one if the evaluation ran under several seeds).
    """

    evaluation: str
    data: str
    protocol: str
    metric: str
    note: int
    main: bool
    rows: dict[Arm, dict[int, list[Row]]]

    @property
    def heading(self) -> str:
        """Evaluation and data; the metric and the footnote are printed beside it."""
        return f"{self.evaluation} {self.data}"

    @property
    def chance(self) -> float | None:
        """What is reached without looking, as the evaluation reported it: chance, or the first labels held."""
        floor = self.floor
        values = {row.scores[floor] for row in self.all_rows() if floor in row.scores}
        return sum(values) / len(values) if values and self.main else None

    @property
    def floor(self) -> str:
        """Name of the score that needs no weights, empty where there is none."""
        return next((name for name in FLOORS if any(name in row.scores for row in self.all_rows())), "")

    @property
    def cards(self) -> tuple[tuple[tuple[str, str], ...], ...]:
        """The different cards of its rows, in the order of the arms; a row without one says nothing."""
        return tuple(dict.fromkeys(row.card for row in self.all_rows() if row.card))

    def mark(self, arm: Arm) -> str:
        """Letters of the arm's cards, ``a`` the first; empty where all rows have the same one."""
        cards = self.cards
        rows = [row for some in self.rows.get(arm, {}).values() for row in some]
        letters = sorted({_letter(cards.index(row.card)) for row in rows if row.card})
        return "".join(letters) if len(cards) > 1 else ""

    @property
    def card_notes(self) -> tuple[str, ...]:
        """The cards in words: one line if all rows have the same, else what differs, a line for each letter."""
        cards = self.cards
        if len(cards) < 2:
            return tuple(_words(card) for card in cards)
        differing = [
            pair for pair in dict.fromkeys(pair for card in cards for pair in card) if not all(pair in c for c in cards)
        ]
        return tuple(
            f"{_letter(i)}: {_words(tuple(pair for pair in card if pair in differing))}" for i, card in enumerate(cards)
        )

    def all_rows(self) -> Iterable[Row]:
        """The rows of all arms."""
        return (row for seeds in self.rows.values() for rows in seeds.values() for row in rows)

    def values(self, arm: Arm) -> dict[int, float]:
        """Pretraining seed -> score; evaluation seeds of one pretraining seed are averaged first."""
        return {
            seed: sum(row.scores[self.metric] for row in rows) / len(rows)
            for seed, rows in sorted(self.rows.get(arm, {}).items())
        }

    def summary(self, arm: Arm) -> Summary | None:
        """Mean and spread over seeds, None where the arm was not measured."""
        values = list(self.values(arm).values())
        return summarise(values) if values else None


@dataclass(frozen=True, eq=False)
class Comparison:
    """All that a table or a report shows. Arms: references first, then by the first main column, best first.

    ``differences`` maps (arm, main column, pretext name of the reference) to the paired difference.
    ``broken`` names run folders and studies that could not be read; ``foreign`` counts folders that are no runs;
    ``cells`` are the jobs of the studies that made the runs.
    """

    outputs: Path
    runs: tuple[Run, ...]
    arms: tuple[Arm, ...]
    columns: tuple[Column, ...]
    differences: dict[tuple[Arm, Column, str], Difference]
    broken: tuple[tuple[str, str], ...]
    foreign: int
    cells: tuple[Cell, ...] = ()

    @property
    def main_columns(self) -> tuple[Column, ...]:
        """One column per evaluation, data and protocol."""
        return tuple(column for column in self.columns if column.main)

    @property
    def seeds(self) -> tuple[int, ...]:
        """All pretraining seeds."""
        return tuple(sorted({run.seed for run in self.runs}))

    def varying(self, names: Iterable[str]) -> list[str]:
        """Those of ``backbone``, ``data``, ``tag`` in which its arms differ; a random start has no data."""
        return [name for name in names if len({getattr(arm, name) for arm in self.arms} - {""}) > 1]

    @cached_property
    def duels(self) -> dict[tuple[Arm, Arm, Column], Difference]:
        """(row, other row, main column) -> paired difference of two pretexts, both ways; see ``matrix.duels``."""
        from ssv.report.matrix import duels

        return duels(self)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know before comparing rows."""
        from ssv.report.fairness import warnings

        return warnings(self)


def _letter(number: int) -> str:
    return chr(ord("a") + number) if number < 26 else f"({number + 1})"


def _words(card: tuple[tuple[str, str], ...]) -> str:
    return ", ".join(f"{name} {value}" for name, value in card)


def pretext_words(name: str, runs: Sequence[Run]) -> str:
    """A pretext in words; that it was told what videos show, unless the words of a reference row say so."""
    told = name not in REFERENCES and any(run.uses_labels for run in runs)
    return REFERENCES.get(name, name) + (", with labels" if told else "")
