"""``ssv study``: pretexts, seeds and evaluations as cells; runs those that are missing, and compares."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any

from ssv.cli.cells import Cell, plan, quoted
from ssv.cli.checks import check_whole
from ssv.cli.errors import UserError, one_line
from ssv.cli.estimate import Estimate
from ssv.cli.slots import POLL_SECONDS, Job, Launcher, Process, cluster
from ssv.cli.stored import as_yaml
from ssv.cli.trust import allowing
from ssv.files import write_json, write_text
from ssv.locks import hold

FIRST = "study"
REPORT = "compare.html"
REFRESH_SHARE = 20  # the report so far is written again after twenty times as long as it took
FLAGS = {"--dry-run": "dry_run=true"}
KEYS = {"study", "name", "outputs", "data_root", "threads", "slots", "launcher", "dry_run"}


def identity(config: dict[str, Any], choices: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """What the study is called, and the logger that its cells use."""
    return {"name": config["name"] or str(choices["study"]), "logger": str(choices["logger"])}


def refuse(config: dict[str, Any], choices: dict[str, Any]) -> None:
    """A study has to be named."""
    if not config.get("study"):
        raise UserError("which study? `ssv study toy`, or one of your own with --config-dir (`ssv list study`)")


def run(config: dict[str, Any]) -> int:
    """Plan, say what is to be done, do it, and compare; returns the exit code."""
    from rich.console import Console

    check_whole(config, {"slots": 1, "threads": 1}, optional=("slots", "threads"))
    outputs, console = Path(config["outputs"]), Console(highlight=False)
    folder = outputs / ".study" / config["run"]["name"]
    slots = config["slots"] or max(1, (os.cpu_count() or 1) // (config["threads"] or os.cpu_count() or 1))
    cells = plan(config["run"]["name"], config["study"], common(config))
    missing = [cell for cell in cells if not cell.is_done()]
    estimate = Estimate(outputs)
    show_plan(console, config["run"]["name"], cells, missing, estimate, slots)
    if config["dry_run"]:
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    if missing:
        console.print(f"the report is written again as evaluations finish: {outputs / REPORT}", soft_wrap=True)
    busy = f"this study is running already, in another process (its files: {folder})"
    with hold(folder / ".lock", busy):
        file, report = outputs / f"study-{config['run']['name']}.json", Refreshed(lambda: rewrite(config, cells))
        for left in outputs.glob(f".{escape(file.name)}.*.partial"):  # of a killed one
            left.unlink(missing_ok=True)
        board = Board(console, file, cells, missing, estimate, slots, report)
        code = Queue(missing, launcher(config, folder), slots, folder, board).work()
    if code > 128:
        return code
    return compare(config, cells) or code


def common(config: dict[str, Any]) -> list[str]:
    """The words that every job of the study gets."""
    words = [f"outputs={quoted(config['outputs'])}", f"data_root={quoted(config['data_root'])}"]
    threads = [f"threads={config['threads']}"] if config["threads"] else []
    return [*words, *threads, f"logger={config['run']['logger']}"]


def show_plan(console: Any, name: str, cells: list[Cell], missing: list[Cell], estimate: Estimate, slots: int) -> None:
    """Say what the study is made of, what is missing, and what that will take."""
    from rich import box
    from rich.table import Table

    console.print(f"study {name}: {len(cells)} cells, {len(cells) - len(missing)} done")
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("what", "cells", "missing", "minutes each", "MB each"):
        table.add_column(heading, justify="left" if heading == "what" else "right", no_wrap=True)
    for kind in dict.fromkeys(cell.kind for cell in cells):
        some = [cell for cell in cells if cell.kind == kind]
        left = sum(cell in missing for cell in some)
        seconds, size = estimate.seconds(some[0]), estimate.size(some[0])
        table.add_row(
            " ".join(kind),
            str(len(some)),
            str(left),
            "?" if seconds is None else f"{seconds / 60:.1f}",
            "?" if size is None else f"{size / 1e6:.1f}",
        )
    console.print(table)
    rest = f"{estimate.left(missing, slots)}, {estimate.room(missing)}" if missing else "nothing to do"
    console.print(rest, soft_wrap=True)


class Board:
    """What a user sees while the study runs, and ``study-NAME.json``, which says the same to others."""

    def __init__(
        self,
        console: Any,
        file: Path,
        cells: list[Cell],
        missing: list[Cell],
        estimate: Estimate,
        slots: int,
        report: Callable[[], None],
    ) -> None:
        from rich.progress import Progress

        self.console, self.file, self.cells = console, file, cells
        self.estimate, self.slots, self.report = estimate, slots, report
        self.state = {cell.name: "missing" if cell in missing else "done" for cell in cells}
        self.cause = dict.fromkeys(self.state, "")
        self.bar = Progress(console=console, disable=not console.is_terminal, transient=True)
        self.task = self.bar.add_task("cells", total=len(missing))
        self.started: dict[str, float] = {}
        self.bars: dict[str, Any] = {}
        self.write()

    def begin(self, cell: Cell) -> None:
        """A cell has started."""
        self.state[cell.name], self.started[cell.name] = "running", time.monotonic()
        self.bars[cell.name] = self.bar.add_task(cell.name, total=cell.config.get("steps"))
        self.write()

    def end(self, cell: Cell, state: str, cause: str = "") -> None:
        """A cell has ended, or will never start."""
        self.state[cell.name], self.cause[cell.name] = state, cause
        seconds = time.monotonic() - self.started.get(cell.name, time.monotonic())
        if cell.name in self.bars:
            self.bar.remove_task(self.bars.pop(cell.name))
        if state == "done":
            self.estimate.saw(cell, seconds)
        self.bar.advance(self.task)
        ended = sum(value in ("done", "failed", "skipped") for value in self.state.values())
        missing = [other for other in self.cells if self.state[other.name] in ("missing", "running")]
        rest = f"; {self.estimate.left(missing, self.slots)}" if missing else ""
        why = f": {cause}" if cause else f", {seconds:.0f} s"
        self.console.print(f"[{ended}/{len(self.cells)}] {cell.name} {state}{why}{rest}", markup=False, soft_wrap=True)
        self.write()
        if state == "done" and cell.verb == "evaluate":
            self.report()

    def look(self, running: list[Cell]) -> None:
        """Move the bars of running pretrainings to where their runs say they are."""
        from ssv.cli.run_folder import read_status

        for cell in running:
            if cell.verb == "pretrain" and not self.bar.disable:
                self.bar.update(self.bars[cell.name], completed=read_status(cell.folder).get("step", 0))

    def write(self) -> None:
        """``study-NAME.json``: every cell, its state and the command that repeats it."""
        cells = [
            {
                "cell": cell.name,
                "verb": cell.verb,
                "run": cell.folder.name,
                "state": self.state[cell.name],
                "cause": self.cause[cell.name],
                "command": cell.command,
            }
            for cell in self.cells
        ]
        write_json(self.file, {"cells": cells})


class Refreshed:
    """Does something now and then: at once, and later so that it takes a twentieth of the time at most."""

    def __init__(self, work: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        self.work, self.clock, self.due = work, clock, 0.0

    def __call__(self) -> None:
        """Do it, unless it was done a short while ago."""
        started = self.clock()
        if started >= self.due:
            self.work()
            ended = self.clock()
            self.due = ended + REFRESH_SHARE * (ended - started)


class Queue:
    """Starts cells as slots and what they need allow, and waits for them."""

    def __init__(self, missing: list[Cell], start: Launcher, slots: int, folder: Path, board: Board) -> None:
        self.waiting, self.start, self.slots, self.folder, self.board = list(missing), start, slots, folder, board
        self.running: dict[str, tuple[Cell, Job]] = {}
        self.failed: set[str] = set()

    def work(self) -> int:
        """Until nothing is left; 0, 1 if a cell failed, or 128 and the number of the signal that stopped it."""
        with orders() as received:
            try:
                with self.board.bar:
                    while (self.waiting or self.running) and not received:
                        self.fill()
                        self.collect()
                        time.sleep(POLL_SECONDS)
            finally:
                self.stop(received)
        if received:
            name = signal.Signals(received[0]).name
            print(f"ssv: study stopped by {name}; the same command goes on", file=sys.stderr)
            return 128 + received[0]
        return 1 if self.failed else 0

    def fill(self) -> None:
        """Start what can start, in the order of the plan."""
        unfinished = {cell.name for cell in self.waiting} | self.running.keys()
        for cell in list(self.waiting):
            if cell.needs in self.failed:
                self.waiting.remove(cell)
                self.failed.add(cell.name)
                self.board.end(cell, "skipped", f"{cell.needs} failed")
            elif len(self.running) < self.slots and cell.needs not in unfinished and not cell.is_held():
                self.waiting.remove(cell)
                self.running[cell.name] = (cell, self.begin(cell))
                self.board.begin(cell)
        self.board.look([cell for cell, _ in self.running.values()])

    def collect(self) -> None:
        """Take note of what has ended."""
        for cell, job in list(self.running.values()):
            code = job.code()
            if code is None:
                continue
            del self.running[cell.name]
            if code == 0 and cell.is_done():
                self.board.end(cell, "done")
                continue
            self.failed.add(cell.name)
            twice = "its row is not there; does another line of the study measure the same under the same protocol?"
            self.board.end(cell, "failed", cause(self.log(cell), code) if code else twice)

    def stop(self, received: list[int]) -> None:
        """End what still runs, and wait for it to save, or for one more signal than was ``received`` so far."""
        jobs, before = [job for _, job in self.running.values()], len(received)
        for job in jobs:
            job.stop()
        if jobs:
            what, them = ("1 job", "it") if len(jobs) == 1 else (f"{len(jobs)} jobs", "them")
            print(f"ssv: waiting for {what} to save; Ctrl-C again kills {them}", file=sys.stderr)
        while any(job.code() is None for job in jobs):
            if len(received) > before:
                for job in jobs:
                    job.kill()
                return
            time.sleep(POLL_SECONDS)

    def begin(self, cell: Cell) -> Job:
        """Start a cell; its configuration goes through a file, as Hydra has already composed it."""
        file = self.log(cell).with_suffix(".yaml")
        write_text(file, as_yaml(cell.config))
        return self.start([cell.verb, "--resolved", str(file), *allowing(cell.config)], self.log(cell))

    def log(self, cell: Cell) -> Path:
        """Where its output goes."""
        return self.folder / f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', cell.name)}.log"


def cause(log: Path, code: int) -> str:
    """Why a cell failed: its last line."""
    lines = (
        [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()] if log.exists() else []
    )
    last = lines[-1].removeprefix("ssv: ") if lines else "it said nothing"
    return f"{last} (exit code {code}; {log})"


@contextmanager
def orders() -> Iterator[list[int]]:
    """The signals that arrive within the block, instead of what they would do."""
    received: list[int] = []
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(kind, lambda number, _: received.append(number)) for kind in kinds]
    try:
        yield received
    finally:
        for kind, handler in zip(kinds, before):
            signal.signal(kind, handler)


def launcher(config: dict[str, Any], folder: Path) -> Launcher:
    """Processes here, or submitit's jobs."""
    settings = dict(config["launcher"])
    name = settings.pop("cluster")
    return Process if name is None else cluster(name, folder / "submitit", settings)


def rewrite(config: dict[str, Any], cells: list[Cell]) -> None:
    """The report of what has ended so far; trouble with it costs a line, never the study."""
    from ssv.report.collect import collect
    from ssv.report.html import write_html

    outputs = Path(config["outputs"])
    try:
        write_html(collect(outputs, begun(cells)), outputs / REPORT)
    except (OSError, ValueError) as error:
        print(f"ssv: the report so far is not written ({one_line(error)}); the study continues", file=sys.stderr)


def compare(config: dict[str, Any], cells: list[Cell]) -> int:
    """The comparison of the study's runs."""
    from ssv.cli import compare as verb

    runs = begun(cells)
    if not runs:
        return 0
    return verb.run({"outputs": config["outputs"], "runs": runs, "html": None})


def begun(cells: list[Cell]) -> list[str]:
    """The names of the runs that are there."""
    return sorted({cell.folder.name for cell in cells if (cell.folder / "run.json").exists()})
