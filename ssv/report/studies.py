"""The cells of studies: what was to be run, with which command, and what became of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ssv.report.files import mapping, read_text
from ssv.text import clean


@dataclass(frozen=True)
class Cell:
    """One job of a study: ``verb`` is pretrain or evaluate, ``run`` its folder, ``command`` what repeats it."""

    study: str
    name: str
    verb: str
    run: str
    state: str
    cause: str
    command: str

    @property
    def ended_badly(self) -> bool:
        """Whether it failed, or was not begun because another one had."""
        return self.state in ("failed", "skipped")


def read_cells(
    outputs: Path, chosen: Collection[str], folders: Collection[str], broken: list[tuple[str, str]]
) -> tuple[Cell, ...]:
    """The cells in ``outputs/study-*.json`` of the chosen runs, and those of their studies that made no folder.

    Args:
        outputs: where the studies wrote.
        chosen: folder names of the runs that are compared.
        folders: folder names of all runs.
        broken: gets (file, reason) for each file that cannot be read.
    """
    cells: list[Cell] = []
    for file in sorted(outputs.glob("study-*.json")):
        try:
            listed = mapping(read_text(file), file.name).get("cells")
        except (OSError, ValueError) as error:
            broken.append((clean(file.name), clean(error)))
            continue
        if not isinstance(listed, list):
            broken.append((clean(file.name), "holds no list of cells"))
            continue
        study = clean(file.stem.removeprefix("study-"))
        # a cell that is none is left out: all that is lost is a command
        found = [_cell(study, value) for value in listed if isinstance(value, dict) and value.get("cell")]
        if set(folders) <= set(chosen) or any(cell.run in chosen for cell in found):
            cells += [cell for cell in found if cell.run in chosen or cell.run not in folders]
    return tuple(cells)


def _cell(study: str, value: dict[str, object]) -> Cell:
    keys = ("cell", "verb", "run", "state", "cause", "command")
    return Cell(study, *(clean(value.get(key) or "") for key in keys))
