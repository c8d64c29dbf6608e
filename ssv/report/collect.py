"""From run folders to a comparison; no bad run stops the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePath

from ssv.report.comparison import FLOORS, REFERENCES, Arm, Column, Comparison, pretext_words
from ssv.report.folds import with_means
from ssv.report.pairing import compare
from ssv.report.runs import Row, Run, read_run
from ssv.report.studies import read_cells
from ssv.text import clean

EVALUATIONS = ("linear_probe", "knn", "retrieval", "fine_tune", "label_propagation", "phase_alignment")
"""Order of the columns; other evaluations follow by name."""


def collect(outputs: Path, names: Sequence[str] = (), *, now: float | None = None) -> Comparison:
    """Read the run folders under ``outputs`` and what studies wrote beside them; no bad one stops the others.

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
    chosen = _select(outputs, candidates, names)
    for folder in chosen:
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
    cells = read_cells(outputs, {folder.name for folder in chosen}, {folder.name for folder in candidates}, broken)
    foreign = len(folders) - len(candidates)
    return Comparison(outputs, tuple(runs), tuple(arms), tuple(columns), differences, tuple(broken), foreign, cells)


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
        # A random start was trained on nothing: its data are what its batch norms were measured on, those of each
        # evaluation, and starts that differ in nothing else are one row.
        groups.setdefault((*_identity(run)[:2], "" if run.pretext == "random" else run.data, run.tag), []).append(run)
    groups = _named_by_form(groups)
    keys = [
        (*identity, weights_file)
        for identity, members in groups.items()
        # runs without scores (still running, failed) belong to every arm of their name
        for weights_file in sorted({row.weights_file for run in members for row in run.rows}) or ["backbone.pt"]
    ]
    return [Arm(*key, _label(key, keys, groups[key[:4]]), tuple(groups[key[:4]])) for key in keys]


def _named_by_form(groups: dict[tuple[str, str, str, str], list[Run]]) -> dict[tuple[str, str, str, str], list[Run]]:
    """Tags of random starts are digests; the forms they stand for say more, with the digest where two are of one form."""
    forms = {key: _form(runs) for key, runs in groups.items() if key[0] == "random"}
    if len(forms) < 2 or not all(forms.values()):
        return groups
    alike = Counter((key[1], form) for key, form in forms.items())
    tags = {key: form if alike[key[1], form] == 1 else f"{form}, {key[3]}" for key, form in forms.items()}
    return {(*key[:3], tags[key]) if key in tags else key: runs for key, runs in groups.items()}


def _form(runs: Sequence[Run]) -> str:
    """Form of the backbone and its pixels in few words, empty where the cards of its scores do not agree."""
    cards = [dict(row.card) for run in runs for row in run.rows]
    forms = {", ".join(card.get(name, "").split(",")[0] for name in ("backbone", "pixels")) for card in cards}
    return forms.pop() if len(forms) == 1 and all(card.keys() >= {"backbone", "pixels"} for card in cards) else ""


def _label(key: tuple[str, ...], keys: Sequence[tuple[str, ...]], runs: Sequence[Run]) -> str:
    """The pretext in words, and what sets the arm apart from others of the same pretext."""
    same = [other for other in keys if other[0] == key[0]]
    apart = [key[i] for i in range(1, len(key)) if len({other[i] for other in same}) > 1]
    return pretext_words(key[0], runs) + (f" ({', '.join(apart)})" if apart else "")


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
