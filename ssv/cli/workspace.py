"""A W&B workspace made of what was measured: scores beside their references, curves over clips seen, costs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssv.cli.dashboard import AXES, wandb_mode
from ssv.cli.errors import UserError

if TYPE_CHECKING:
    from ssv.report.comparison import Comparison

GROUPS = ("run.pretext", "run.backbone", "run.data")
CURVES = {
    "Knowing early: what a probe and held-out videos say": ("online/", "held_out/"),
    "Vital signs of the features": ("features/",),
    "The pretexts' own questions": ("pretext/",),
    "Speed": ("time/",),
}
"""Sections of curves, and how the metrics in them begin."""


def save_workspace(comparison: Comparison, where: str) -> str:
    """Save a new view of a W&B project, and give its address.

    Args:
        comparison: its columns become bars, what its runs logged becomes curves.
        where: ``PROJECT`` or ``ENTITY/PROJECT``.

    Raises:
        UserError: without the package, or without a key.
        ConnectionError: if the server does not take it.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # as for runs: no telemetry
    try:
        from wandb_workspaces import workspaces
        from wandb_workspaces.expr import Config
    except ImportError:
        raise UserError("a W&B workspace needs one more package: pip install 'ssv[workspace]'") from None
    if wandb_mode("auto") != "online":
        raise UserError("a W&B workspace lives on a server, and no key was found; `wandb login`, or set WANDB_API_KEY")
    import wandb

    entity, _, project = where.rpartition("/")
    try:
        view: Any = workspaces.Workspace(
            entity=entity or wandb.Api().default_entity or "",
            project=project,
            name=f"ssv: {', '.join(dict.fromkeys(arm.pretext for arm in comparison.arms))}"[:120],
            sections=[
                workspaces.Section(name=name, panels=panels, is_open=True) for name, panels in sections(comparison)
            ],
            runset_settings=workspaces.RunsetSettings(groupby=[Config(group) for group in GROUPS]),
        )
        view.save()
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise ConnectionError(f"W&B does not take the workspace: {text[:200]}") from error
    return str(view.url)


def sections(comparison: Comparison) -> Iterator[tuple[str, list[Any]]]:
    """The headings of the workspace with their panels; keys are those that ssv logs, as `ssv.cli.dashboard` does."""
    from wandb_workspaces.reports.v2.interface import BarPlot, Config, LinePlot

    means: dict[str, Any] = {"groupby": Config(GROUPS[0]), "groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}
    scores = [
        BarPlot(title=column.heading, metrics=[f"{column.evaluation}/{column.data}/{column.metric}"], **means)
        for column in comparison.main_columns
    ]
    yield "Scores, mean and deviation over seeds", scores
    logged = sorted(set(_logged(run.folder for run in comparison.runs)))
    for heading, beginnings in CURVES.items():
        lines = [LinePlot(title=key, x=AXES[0], y=[key], **means) for key in logged if key.startswith(beginnings)]
        if lines:
            yield heading, lines
    yield "What pretraining saw and took", [BarPlot(title=axis, metrics=[axis], **means) for axis in AXES]


def _logged(folders: Iterable[Path]) -> Iterator[str]:
    """The keys of all rows of metrics."""
    for folder in folders:
        file = folder / "metrics.jsonl"
        for line in file.read_text().splitlines() if file.exists() else ():
            yield from json.loads(line)
