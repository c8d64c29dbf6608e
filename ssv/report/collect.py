"""From run folders to a comparison: arms (what was pretrained how), columns (what was measured how), differences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePath

from ssv.report.folds import with_means
from ssv.report.pairing import compare
from ssv.report.runs import Row, Run, clean, read_run
from ssv.report.statistics import Difference, Summary, summarise

REFERENCES = {"random": "random initialisation", "single_frame": "single frame, supervised", "supervised": "supervised"}
"""Pretext names of the reference rows, in the order of the table, with the words a reader sees."""

EVALUATIONS = ("linear_probe", "knn", "retrieval", "fine_tune", "label_propagation", "phase_alignment")
"""Order of the columns; other evaluations follow by name."""


FLOORS = ("chance", "copy_first")
"""Scores that are no result of the weights: the level to be compared with."""


@dataclass(frozen=True, eq=False)
class Arm:
    """What is compared: runs that differ in nothing but their seed, measured with one weights file."""

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
        return _pretext(self.pretext, self.runs)

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
    ``broken`` names run folders that could not be read; ``foreign`` counts folders that are no runs.
    """

    outputs: Path
    runs: tuple[Run, ...]
    arms: tuple[Arm, ...]
    columns: tuple[Column, ...]
    differences: dict[tuple[Arm, Column, str], Difference]
    broken: tuple[tuple[str, str], ...]
    foreign: int

    @property
    def main_columns(self) -> tuple[Column, ...]:
        """One column per evaluation, data and protocol."""
        return tuple(column for column in self.columns if column.main)

    @property
    def seeds(self) -> tuple[int, ...]:
        """All pretraining seeds."""
        return tuple(sorted({run.seed for run in self.runs}))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know before comparing rows."""
        from ssv.report.fairness import warnings

        return warnings(self)


def collect(outputs: Path, names: Sequence[str] = (), *, now: float | None = None) -> Comparison:
    """Read the run folders under ``outputs``; no other file is touched, and no bad run stops the others.

    Args:
        outputs: folder that holds one folder per run.
        names: run names or globs (``*speed*``; a path counts with its last part); all runs if empty.
        now: Unix time, to notice runs that fell silent; the clock's where None.

    Raises:
        FileNotFoundError: ``outputs`` is no folder.
        ValueError: a name or glob matches no run.
    """
    if not outputs.is_dir():
        raise FileNotFoundError(f"no folder {outputs}; give the folder that holds the runs")
    folders = sorted(path for path in outputs.iterdir() if path.is_dir() and not path.name.startswith("."))
    candidates = [folder for folder in folders if (folder / "run.json").is_file()]
    runs: list[Run] = []
    broken: list[tuple[str, str]] = []
    for folder in _select(outputs, candidates, names):
        try:
            runs.append(read_run(folder, now=now))
        except (OSError, ValueError) as error:
            broken.append((clean(folder.name), clean(error)))
    runs = _newest(runs, broken)
    arms = _arms(runs)
    columns = _columns(arms)
    rank = list(REFERENCES)
    if columns:
        arms.sort(key=lambda arm: -summary.mean if (summary := columns[0].summary(arm)) else float("inf"))
    arms.sort(key=lambda arm: rank.index(arm.pretext) if arm.is_reference else len(rank))
    differences = {
        (arm, column, kind): difference
        for column in columns
        if column.main
        for kind in REFERENCES
        for arm in arms
        # among references the later row minus the earlier one, not both ways
        if not (arm.is_reference and rank.index(arm.pretext) <= rank.index(kind))
        and (difference := compare(column, arm, kind, arms)) is not None
    }
    foreign = len(folders) - len(candidates)
    return Comparison(outputs, tuple(runs), tuple(arms), tuple(columns), differences, tuple(broken), foreign)


def _select(outputs: Path, folders: list[Path], names: Sequence[str]) -> list[Path]:
    if not names:
        return folders
    chosen: set[Path] = set()
    for name in names:
        pattern = PurePath(name).name
        matching = {folder for folder in folders if fnmatchcase(folder.name, pattern)}
        if not matching and pattern != "*":
            known = ", ".join(folder.name for folder in folders[:5]) + (", ..." if len(folders) > 5 else "")
            raise ValueError(f"no run in {outputs} matches {name!r}; there are {len(folders)} runs: {known or 'none'}")
        chosen |= matching
    return sorted(chosen)


def _newest(runs: list[Run], broken: list[tuple[str, str]]) -> list[Run]:
    """One run per identity and seed: of copies the newest stays, the others are named."""
    kept: dict[tuple[object, ...], Run] = {}
    for run in sorted(runs, key=lambda run: (run.created, run.folder.name)):
        older = kept.get(key := (*_identity(run), run.seed))
        if older is not None:
            broken.append((clean(older.folder.name), f"left out, {run.folder.name} is a newer run of the same name"))
        kept[key] = run
    return sorted(kept.values(), key=lambda run: (*_identity(run), run.seed))


def _identity(run: Run) -> tuple[str, str, str, str]:
    return run.pretext, run.backbone, run.data, run.tag


def _arms(runs: Sequence[Run]) -> list[Arm]:
    groups: dict[tuple[str, str, str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault(_identity(run), []).append(run)
    keys = [
        (*identity, weights_file)
        for identity, members in groups.items()
        # runs without scores (still running, failed) belong to every arm of their name
        for weights_file in sorted({row.weights_file for run in members for row in run.rows}) or ["backbone.pt"]
    ]
    return [Arm(*key, _label(key, keys, groups[key[:4]]), tuple(groups[key[:4]])) for key in keys]


def _label(key: tuple[str, ...], keys: Sequence[tuple[str, ...]], runs: Sequence[Run]) -> str:
    """The pretext in words, and what sets the arm apart from others of the same pretext."""
    same = [other for other in keys if other[0] == key[0]]
    apart = [key[i] for i in range(1, len(key)) if len({other[i] for other in same}) > 1]
    return _pretext(key[0], runs) + (f" ({', '.join(apart)})" if apart else "")


def _pretext(name: str, runs: Sequence[Run]) -> str:
    """A pretext in words; that it was told what videos show, unless the words of a reference row say so."""
    told = name not in REFERENCES and any(run.uses_labels for run in runs)
    return REFERENCES.get(name, name) + (", with labels" if told else "")


def _columns(arms: Sequence[Arm]) -> list[Column]:
    measured: dict[tuple[str, str, str], dict[Arm, dict[int, list[Row]]]] = {}
    for arm in arms:
        for run in arm.runs:
            for row in with_means(run.rows):
                if row.weights_file == arm.weights_file and row.scores:
                    rows = measured.setdefault((row.evaluation, row.data, row.protocol), {})
                    rows.setdefault(arm, {}).setdefault(run.seed, []).append(row)
    columns: list[Column] = []
    for note, key in enumerate(sorted(measured, key=_column_order), start=1):
        rows = measured[key]
        metrics = dict.fromkeys(
            name for seeds in rows.values() for some in seeds.values() for row in some for name in row.scores
        )
        for index, metric in enumerate([name for name in metrics if name not in FLOORS]):
            columns.append(Column(*key, metric, note, index == 0, _with_metric(rows, metric)))
    return columns


def _with_metric(rows: dict[Arm, dict[int, list[Row]]], metric: str) -> dict[Arm, dict[int, list[Row]]]:
    """The rows that hold the metric, without the arms and seeds left empty."""
    result: dict[Arm, dict[int, list[Row]]] = {}
    for arm, seeds in rows.items():
        kept = {seed: some for seed, all_ in seeds.items() if (some := [row for row in all_ if metric in row.scores])}
        if kept:
            result[arm] = kept
    return result


def _column_order(key: tuple[str, str, str]) -> tuple[object, ...]:
    known = EVALUATIONS.index(key[0]) if key[0] in EVALUATIONS else len(EVALUATIONS)
    return known, *key


def _letter(number: int) -> str:
    return chr(ord("a") + number) if number < 26 else f"({number + 1})"


def _words(card: tuple[tuple[str, str], ...]) -> str:
    return ", ".join(f"{name} {value}" for name, value in card)
