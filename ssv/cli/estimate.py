"""How long the rest of a study takes and how much disk, judged by what has been done: nothing is guessed."""

from __future__ import annotations

from pathlib import Path

from ssv.cli.cells import Cell
from ssv.cli.run_folder import read_status
from ssv.files import read_json, read_json_lines


class Estimate:
    """From finished runs in ``outputs`` and from the cells seen while the study runs; unknown kinds stay unknown."""

    def __init__(self, outputs: Path) -> None:
        self._seconds: dict[tuple[str, ...], list[float]] = {}  # of a step, or of an evaluation
        self._bytes: dict[tuple[str, ...], list[int]] = {}
        for file in sorted(outputs.glob("*/run.json")):
            self._read(file.parent)

    def seconds(self, cell: Cell) -> float | None:
        """What a cell of this kind takes, None if none is known."""
        known = self._seconds.get(cell.kind)
        return sum(known) / len(known) * cell.config.get("steps", 1) if known else None

    def size(self, cell: Cell) -> float | None:
        """Bytes of a run folder of this kind; an evaluation adds next to nothing."""
        known = self._bytes.get(cell.kind)
        return sum(known) / len(known) if known else None

    def saw(self, cell: Cell, seconds: float) -> None:
        """A cell has taken so long, from start to end."""
        self._seconds.setdefault(cell.kind, []).append(seconds / cell.config.get("steps", 1))

    def left(self, cells: list[Cell], slots: int) -> str:
        """The time that cells take in so many slots, in words."""
        known = [seconds for cell in cells if (seconds := self.seconds(cell)) is not None]
        unknown = len(cells) - len(known)
        if not known:
            return f"{counted(len(cells))} left; how long is known once one of each kind is done"
        minutes = max(sum(known) / slots, max(known)) / 60
        rest = f", and {counted(unknown)} of a kind not done yet" if unknown else ""
        return f"about {minutes:.0f} min left in {slots} slot{'s' * (slots > 1)}{rest}"

    def room(self, cells: list[Cell]) -> str:
        """The disk that cells will take, in words."""
        sizes = [self.size(cell) for cell in cells if cell.verb == "pretrain"]
        known = [size for size in sizes if size is not None]
        if len(known) < len(sizes):
            return "disk not known yet" if not known else f"more than {sum(known) / 1e6:.0f} MB of disk"
        return f"{sum(known) / 1e6:.0f} MB of disk"

    def _read(self, folder: Path) -> None:
        status, run = read_status(folder), read_json(folder / "run.json")
        rows, _ = read_json_lines(folder / "scores.jsonl")
        if not run:
            return
        kind = ("pretrain", *(str(run.get(key)) for key in ("pretext", "backbone", "data")))
        if status.get("state") == "finished" and status.get("step") and status.get("hours"):
            self._seconds.setdefault(kind, []).append(status["hours"] * 3600 / status["step"])
            files = [path for path in folder.rglob("*") if path.is_file()]
            self._bytes.setdefault(kind, []).append(sum(path.stat().st_size for path in files))
        for row in rows:
            if not row.keys() >= {"evaluation", "data", "seconds"}:
                continue
            self._seconds.setdefault(("evaluate", row["evaluation"], row["data"]), []).append(row["seconds"])


def counted(cells: int) -> str:
    """So many cells, in words."""
    return f"{cells} cell{'s' * (cells != 1)}"
