"""The comparison as a table for the terminal, readable at 120 columns and in a pipe."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.segment import Segments
from rich.table import Table
from rich.text import Text

from ssv.report.comparison import Arm, Column, Comparison
from ssv.report.matrix import chance_line
from ssv.report.statistics import BETTER, MIN_SEEDS, WORSE
from ssv.report.words import NOTHING, Scale, count, duration, seeds, share, strengths

PIPE_WIDTH = 120
"""Width of a pipe, which has none."""

_STYLES = {BETTER: "green", WORSE: "red"}


def print_table(comparison: Comparison, console: Console) -> None:
    """Print one row per arm, then conclusions, protocols and warnings.

    Evaluations that do not fit beside each other follow in a further table; numbers are never cut.
    """
    if not comparison.runs and not comparison.broken:
        _print(console, f"no runs in {comparison.outputs}; `ssv pretrain` makes one")
        return
    width = console.width if console.is_terminal else max(console.width, PIPE_WIDTH)
    for columns, first in _pages(comparison, console, width):
        table = _table(comparison, columns, first)
        # wider than the window the lines wrap there; rich would cut them, and half a number is a wrong number
        options = console.options.update(width=max(width, _width(table, console)))
        console.print(Segments(console.render(table, options)), crop=False, end="")
    _print_below(comparison, console)


def _pages(comparison: Comparison, console: Console, width: int) -> list[tuple[list[Column], bool]]:
    """As many evaluations beside each other as fit; the first page may have none, any other has at least one."""
    pages: list[tuple[list[Column], bool]] = [([], True)]
    for column in comparison.main_columns:
        columns, first = pages[-1]
        if (columns or first) and _width(_table(comparison, [*columns, column], first), console) > width:
            pages.append(([column], False))
        else:
            columns.append(column)
    return pages


def _width(table: Table, console: Console) -> int:
    return table.__rich_measure__(console, console.options.update(width=10_000)).maximum


def _table(comparison: Comparison, columns: Sequence[Column], first: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
    varying = comparison.varying(("backbone", "data"))
    names = ["pretext", *varying, "seeds"] + (["pretext accuracy\ntrained / held out"] if first else [])
    for name in names:
        table.add_column(name, no_wrap=True)
    scales = [Scale(column) for column in columns]
    for column, scale in zip(columns, scales, strict=True):
        unit = f", {scale.unit}" if scale.unit else ""
        table.add_column(Text(f"{column.heading} [{column.note}]\n{column.metric}{unit}"), no_wrap=True)
    for name in ["clips seen\nframes seen", "time"] if first else []:
        table.add_column(name, no_wrap=True, justify="right")
    for arm in comparison.arms:
        cells: list[Text] = [_pretext(arm, comparison), *(Text(getattr(arm, key)) for key in varying), _seeds(arm)]
        cells += [_accuracy(arm)] if first else []
        cells += [_score(comparison, arm, column, scale) for column, scale in zip(columns, scales, strict=True)]
        if first:
            cells += [Text(f"{count(arm.mean('clips_seen'))}\n{count(arm.mean('frames_seen'))}")]
            cells += [Text(duration(arm.mean("hours")))]
        table.add_row(*cells)
    if any(column.chance is not None for column in columns):
        blank = [
            Text("chance, or labels held" if any(c.floor == "copy_first" for c in columns) else "chance", style="dim"),
            *[Text("")] * (len(names) - 1),
        ]
        levels = [
            Text(NOTHING if column.chance is None else scale.number(column.chance), style="dim")
            for column, scale in zip(columns, scales, strict=True)
        ]
        table.add_row(*blank, *levels)
    return table


def _pretext(arm: Arm, comparison: Comparison) -> Text:
    """The pretext, and below it the tag and weights file where other arms of the same pretext exist."""
    same = [other for other in comparison.arms if other.pretext == arm.pretext]
    extras = [
        value
        for value, key in ((arm.tag, "tag"), (arm.weights_file, "weights_file"))
        if len({getattr(other, key) for other in same}) > 1
    ]
    return Text(arm.title, style="" if arm.is_reference else "bold").append(
        "\n" + ", ".join(extras) if extras else "", style="not bold dim"
    )


def _seeds(arm: Arm) -> Text:
    """Number of seeds, and below it how many of them have not finished."""
    unfinished = sum(not run.finished for run in arm.runs)
    return Text(str(len(arm.seeds))).append(f"\n{unfinished} unfinished" if unfinished else "", style="yellow")


def _accuracy(arm: Arm) -> Text:
    trained, held_out, chance = (arm.accuracy(key) for key in _ACCURACIES)
    if trained is None and held_out is None:
        return Text(NOTHING, style="dim")
    text = Text(f"{share(trained)} / {share(held_out)} %")
    return text.append(f"\nchance {share(chance)} %" if chance is not None else "", style="dim")


_ACCURACIES = ("pretext/accuracy", "held_out/accuracy", "pretext/chance")


def _score(comparison: Comparison, arm: Arm, column: Column, scale: Scale) -> Text:
    """Mean and spread, and below it the paired difference to random initialisation."""
    summary = column.summary(arm)
    if summary is None:
        return Text(NOTHING, style="dim")
    text = Text(scale.mean(summary), style="" if arm.is_reference else "bold")
    text.append(f" {mark}" if (mark := column.mark(arm)) else "", style="not bold yellow")
    difference = comparison.differences.get((arm, column, "random"))
    if difference is not None:
        style = "not bold " + _STYLES.get(difference.verdict or "", "dim")
        return text.append("\n" + scale.difference(difference), style=style)
    few = summary.n < MIN_SEEDS
    return text.append("\n" + seeds(summary.n) if few else "", style="not bold dim")


def _print_below(comparison: Comparison, console: Console) -> None:
    backbones, data = ({getattr(arm, key) for arm in comparison.arms} - {""} for key in ("backbone", "data"))
    if len(backbones) == 1 and len(data) == 1:
        _print(console, f"backbone {backbones.pop()}, pretraining data {data.pop()}", "dim")
    if comparison.differences:
        _print(
            console,
            "mean ± standard deviation over seeds; below it the paired difference to random initialisation"
            " with its 95 % interval over seeds",
            "dim",
        )
    for column in comparison.main_columns:
        _print(console, f"[{column.note}] {column.heading}: {column.protocol}", "dim")
        for note in column.card_notes:
            _print(console, f"    {note}", "dim")
    sentences = list(strengths(comparison))
    if sentences:
        _print(console, "")
    for arm, _, sentence in sentences:
        _print(console, f"{arm.label}: {sentence}")
    if chances := chance_line(comparison):
        _print(console, chances, "dim")
    _print_cells(comparison, console)
    if comparison.warnings:
        _print(console, "")
    for warning in comparison.warnings:
        _print(console, f"! {warning}", "yellow")
    if comparison.foreign:
        folders = "folder" if comparison.foreign == 1 else "folders"
        _print(console, f"{comparison.foreign} {folders} in {comparison.outputs} without run.json ignored", "dim")


def _print_cells(comparison: Comparison, console: Console) -> None:
    """The jobs of studies that failed, or never began because another had, a row each with its cause."""
    ended = [cell for cell in comparison.cells if cell.ended_badly]
    if ended:
        _print(console, "")
    for cell in ended:
        _print(console, f"study {cell.study}: {cell.name} {cell.state}: {cell.cause or 'no cause given'}", "red")


def _print(console: Console, text: str, style: str = "") -> None:
    """One line of plain text; text from files is never read as markup."""
    console.print(Text(text, style=style), soft_wrap=True)
