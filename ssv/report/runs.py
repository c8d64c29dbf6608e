"""Reading one run folder as it lies on disk: unfinished, truncated or odd, but never trusted and never fatal."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ssv.report.files import inside, is_number, lines_of, mapping, number, read_text
from ssv.report.predictions import Predictions, read_predictions
from ssv.text import clean

SILENT_SECONDS = 3600.0
"""A run that says it is running but wrote nothing for this long was probably killed."""

CURVES = (
    "pretext/accuracy",
    "pretext/chance",
    "pretext/affinity_entropy",
    "held_out/accuracy",
    "online/top1",
    "online/chance",
    "features/std",
    "features/effective_rank",
    "features/order_sensitivity",
    "features/same_video",
    "features/collapsed",
)

Curve = dict[float, tuple[float, float]]
"""Step -> (clips seen, value); a step repeated after a resume keeps its last value."""


@dataclass(frozen=True, eq=False)
class Row:
    """One line of ``scores.jsonl``; ``per_video`` is an existing file inside the run folder, or None.

    ``card`` is what the score depends on besides the protocol, by name: the form of the backbone, its pixels.
    ``seconds`` and ``peak_gb`` are what measuring took, 0 where the row does not say.
    """

    evaluation: str
    data: str
    protocol: str
    seed: int
    weights: str
    weights_file: str
    scores: dict[str, float]
    per_video: Path | None
    seconds: float
    commit: str
    card: tuple[tuple[str, str], ...] = ()
    peak_gb: float = 0.0

    @cached_property
    def predictions(self) -> Predictions | None:
        """What each test video was taken for, read when first asked for; None where it is not stored."""
        return read_predictions(self.per_video) if self.per_video is not None else None


@dataclass(frozen=True, eq=False)
class Audited:
    """One row of ``audit.json``: accuracies of the trained and of a fresh network (None: not asked) beside chance."""

    audit: str
    leaves: str
    trained: float | None
    fresh: float | None
    chance: float | None
    reading: str
    alarm: bool


@dataclass(frozen=True, eq=False)
class Run:
    """One run folder. ``notes`` holds what was odd about it, in words; ``uses_labels``: its pretext was told labels.

    ``network`` is a digest of the backbone's arguments, empty where the folder does not say.
    """

    folder: Path
    name: str
    pretext: str
    backbone: str
    data: str
    tag: str
    seed: int
    commit: str
    created: str
    command: str
    state: str
    step: int
    steps: int
    clips_seen: float
    frames_seen: float
    hours: float
    message: str
    curves: dict[str, Curve]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    audits: tuple[Audited, ...] = ()
    uses_labels: bool = False
    network: str = ""

    @property
    def finished(self) -> bool:
        """Whether the weights are final: pretraining finished, or there was none (``evaluated``)."""
        return self.state in ("finished", "evaluated")

    @property
    def progress(self) -> str:
        """State, step and message in one line."""
        step = f" at step {self.step} of {self.steps}" if self.steps and not self.finished else ""
        return f"{self.state}{step}" + (f": {self.message}" if self.message else "")

    def last(self, key: str, share: float = 0.0) -> float | None:
        """Mean of a curve over the last ``share`` of its points, at least the last one; None without points."""
        points = sorted(self.curves.get(key, {}).items())
        tail = [value for _, (_, value) in points[-max(1, round(share * len(points))) :]]
        return sum(tail) / len(tail) if tail else None


def read_run(folder: Path, *, now: float | None = None) -> Run:
    """Read a run folder, also while it is being written.

    Args:
        folder: holds ``run.json``; every other file may be missing or damaged.
        now: Unix time against which the last sign of life is judged; the clock's where None.

    Raises:
        ValueError: ``run.json`` is not the description of a run; the message says why.
        OSError: it cannot be read.
    """
    identity = mapping(read_text(folder / "run.json"), "run.json")
    missing = [key for key in ("pretext", "backbone", "data", "seed") if key not in identity]
    if missing:
        raise ValueError(f"run.json lacks {', '.join(missing)}")
    if isinstance(identity["seed"], bool) or not isinstance(identity["seed"], int) or abs(identity["seed"]) >= 2**63:
        raise ValueError(f"run.json: seed is {clean(identity['seed'])!r}, not a whole number")
    notes: list[str] = []
    curves = _curves(folder / "metrics.jsonl", notes)
    rows = _rows(folder, identity["seed"], notes)
    audits = _audits(folder / "audit.json", notes)
    status = _status(folder / "status.json", bool(rows) and not curves, notes)
    if status.get("state") == "running":
        _mark_silent(folder, time.time() if now is None else now, notes)
    return Run(
        folder=folder,
        name=clean(identity.get("name", folder.name)),
        **{key: clean(identity.get(key, "")) for key in ("pretext", "backbone", "data", "tag")},
        seed=identity["seed"],
        **{key: clean(identity.get(key, "")) for key in ("commit", "created", "command")},
        state=clean(status.get("state", "unknown")),
        step=int(number(status.get("step"))),
        steps=int(number(status.get("steps"))),
        clips_seen=number(status.get("clips_seen")),
        frames_seen=number(status.get("frames_seen")),
        hours=number(status.get("hours")),
        message=clean(status.get("message") or ""),
        curves=curves,
        rows=rows,
        notes=tuple(notes),
        audits=audits,
        uses_labels=identity.get("uses_labels") is True,
        network=clean(identity.get("network", "")),
    )


def _status(path: Path, evaluated: bool, notes: list[str]) -> dict[str, Any]:
    """The status; weights that were only evaluated (random, public) have none and are ``evaluated``."""
    try:
        return mapping(read_text(path), path.name)
    except FileNotFoundError:
        if not evaluated:
            notes.append("status.json is missing")
        return {"state": "evaluated"} if evaluated else {}
    except (OSError, ValueError) as error:
        notes.append(clean(error))
        return {}


def _curves(path: Path, notes: list[str]) -> dict[str, Curve]:
    curves: dict[str, Curve] = {}
    for line in lines_of(path, notes):
        step, clips = number(line.get("step")), number(line.get("clips_seen"))
        for key in CURVES:
            if is_number(line.get(key)):
                curves.setdefault(key, {})[step] = (clips, float(line[key]))
    return curves


def _rows(folder: Path, run_seed: int, notes: list[str]) -> tuple[Row, ...]:
    """The last row for every (weights file, evaluation, data, protocol, seed)."""
    rows: dict[tuple[object, ...], Row] = {}
    for line in lines_of(folder / "scores.jsonl", notes):
        scores = line.get("scores")
        if not isinstance(scores, dict) or not {"evaluation", "data", "protocol"} <= line.keys():
            notes.append("scores.jsonl: a row without evaluation, data, protocol or scores was left out")
            continue
        bad = [clean(key) for key, value in scores.items() if not is_number(value)]
        if bad:
            notes.append(f"{clean(line['evaluation'])}: {', '.join(bad)} is no finite number and was left out")
        seed = line.get("seed", run_seed)
        row = Row(
            evaluation=clean(line["evaluation"]),
            data=clean(line["data"]),
            protocol=clean(line["protocol"]),
            seed=seed if isinstance(seed, int) else run_seed,
            weights=clean(line.get("weights", "")),
            weights_file=Path(clean(line.get("weights_file") or "backbone.pt")).name,
            scores={clean(key): float(value) for key, value in scores.items() if is_number(value)},
            per_video=inside(folder, line.get("per_video")),
            seconds=number(line.get("seconds")),
            commit=clean(line.get("commit", "")),
            card=_card(line.get("card")),
            peak_gb=number(line.get("peak_gb")),
        )
        key = (row.weights_file, row.evaluation, row.data, row.protocol, row.seed)
        rows.pop(key, None)  # a row evaluated again takes its place at the end
        rows[key] = row
    return tuple(rows.values())


def _audits(path: Path, notes: list[str]) -> tuple[Audited, ...]:
    """The rows of ``audit.json``, none where there is none."""
    try:
        rows = mapping(read_text(path), path.name).get("rows")
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        notes.append(clean(error))
        return ()
    found = []
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and row.get("audit"):
            found.append(
                Audited(
                    audit=clean(row["audit"]),
                    leaves=clean(row.get("leaves", "")),
                    trained=_part(row.get("trained"), "accuracy"),
                    fresh=_part(row.get("fresh"), "accuracy"),
                    chance=_part(row.get("trained"), "chance"),
                    reading=clean(row.get("reading", "")),
                    alarm=row.get("alarm") is True,
                )
            )
    return tuple(found)


def _part(value: object, key: str) -> float | None:
    """A number in a mapping, None for anything else."""
    return float(value[key]) if isinstance(value, dict) and is_number(value.get(key)) else None


def _card(value: object) -> tuple[tuple[str, str], ...]:
    """Names and values; empty for rows from before there were cards."""
    return tuple((clean(key), clean(text)) for key, text in value.items()) if isinstance(value, dict) else ()


def _mark_silent(folder: Path, now: float, notes: list[str]) -> None:
    files = [path for path in (folder / "status.json", folder / "metrics.jsonl") if path.is_file()]
    silent = now - max((path.stat().st_mtime for path in files), default=now)
    if silent > SILENT_SECONDS:
        notes.append(f"says running, but wrote nothing for {silent / 3600:.1f} h: killed?")
