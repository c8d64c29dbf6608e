"""Writes the embedded toy world: a small data set of real video files whose classes are ways of moving."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch

from ssv.data.sequences.masks import write_mask
from ssv.data.toy.actions import LAWS
from ssv.data.toy.clips import Action, Clip, Masked, Process
from ssv.data.toy.files import write_jpeg, write_lines, write_table, write_video
from ssv.data.toy.readme import README
from ssv.data.toy.scene import POINTS
from ssv.data.toy.sheet import contact_sheet
from ssv.files import read_json
from ssv.lifetime import end_with_creator
from ssv.scratch import LOCK, scratch

VERSION = 2
"""Raised whenever the same seed gives other pictures."""

DATE = 1_577_836_800  # of all files: 2020-01-01

SizeName = Literal["tiny", "default", "large"]
Control = Literal["none", "frozen_actor"]
World = dict[str, int | str]
Progress = Callable[[int, int], None]
Task = Action | Masked | Process


class Size(NamedTuple):
    """How much of everything a world holds."""

    groups: int  # scenes of one class
    clips: int  # videos of one scene
    masked: int
    processes: tuple[int, int]  # for training, for testing

    @property
    def test_groups(self) -> int:
        """Groups of one class that a fold keeps for testing: 30 %."""
        return round(0.3 * self.groups)


SIZES: dict[str, Size] = {
    "tiny": Size(groups=3, clips=1, masked=3, processes=(4, 2)),
    "default": Size(groups=20, clips=3, masked=36, processes=(60, 30)),
    "large": Size(groups=60, clips=5, masked=108, processes=(180, 90)),
}


class WorldSummary(NamedTuple):
    """What ``write_world`` made or found. ``seconds`` is 0 where the world was there already."""

    folder: Path
    counts: dict[str, int]
    contact_sheet: Path
    seconds: float
    version: int


def write_world(
    root: Path,
    *,
    size: SizeName = "default",
    seed: int = 0,
    workers: int | None = None,
    progress: Progress | None = None,
    control: Control = "none",
) -> WorldSummary:
    """Writes the toy world into the new folder ``root``, or keeps the one that is there.

    The same ``seed`` and ``size`` give the same files whatever the number of ``workers`` (processes; None: as
    many as there are processors). ``progress`` is called with the numbers of clips done and of all clips.
    ``control="frozen_actor"`` writes a world whose actors never move while all else does.

    The folder appears only when it is complete. Raises ValueError where ``root`` holds anything else.
    """
    root, started = Path(root), time.perf_counter()
    wanted: World = {"seed": seed, "size": size, "version": VERSION, "control": control}
    if size not in SIZES:
        raise ValueError(f"unknown size {size!r} of the toy world; choose one of {', '.join(SIZES)}")
    if control not in get_args(Control):
        raise ValueError(f"unknown control {control!r} of the toy world; choose one of {', '.join(get_args(Control))}")
    if (found := _found(root, wanted)) is not None:
        return WorldSummary(root, found, root / "contact_sheet.png", 0.0, VERSION)
    root.parent.mkdir(parents=True, exist_ok=True)
    with scratch(f".{root.name}.unfinished-", root.parent) as folder:
        tasks = list(_tasks(SIZES[size], seed, control))
        _write_lists(folder, SIZES[size], seed)
        for done in _write_all(folder, tasks, workers):
            if progress is not None:
                progress(done, len(tasks))
        contact_sheet(seed, SIZES[size].masked, frozen_actor=control == "frozen_actor").save(
            folder / "contact_sheet.png"
        )
        (folder / "README.md").write_text(README.format(**wanted))
        counts = _counts(SIZES[size])
        (folder / "world.json").write_text(json.dumps({**wanted, "counts": counts}, indent=2) + "\n")
        _hide_dates(folder)
        folder.chmod(0o755)  # temporary folders are for their owner only
        (folder / LOCK).unlink()
        folder.rename(root)
    return WorldSummary(root, counts, root / "contact_sheet.png", time.perf_counter() - started, VERSION)


def _found(root: Path, wanted: World) -> dict[str, int] | None:
    """Counts of the wanted world where ``root`` is one, None where it is free."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return None
    if not (root / "world.json").is_file():
        raise ValueError(f"{root} exists and is no toy world; name another folder or remove it")
    found = read_json(root / "world.json")
    if not found:
        raise ValueError(f"{root / 'world.json'} is damaged; remove the folder {root}, and it is written again")
    counts: dict[str, int] = found.pop("counts", {})
    if found != wanted:
        raise ValueError(
            f"{root} holds a toy world with {_words(found)}, not {_words(wanted)}; name another folder or remove it"
        )
    return counts


def _hide_dates(folder: Path) -> None:
    """Gives all files one date: the order in which they were written tells their class."""
    for path in folder.rglob("*"):
        os.utime(path, (DATE, DATE))


def _words(world: World) -> str:
    return " ".join(f"{key}={value}" for key, value in world.items())


def _counts(size: Size) -> dict[str, int]:
    return {
        "classes": len(LAWS),
        "videos": len(LAWS) * size.groups * size.clips,
        "masked_clips": size.masked,
        "process_videos": sum(size.processes),
    }


def _tasks(size: Size, seed: int, control: Control) -> Iterator[Task]:
    yield from (action._replace(frozen_actor=control == "frozen_actor") for action in _actions(size, seed))
    yield from (Masked(seed, number) for number in range(size.masked))
    yield from (Process(seed, number) for number in range(sum(size.processes)))


def _actions(size: Size, seed: int) -> Iterator[Action]:
    for name in LAWS:
        for group in range(1, size.groups + 1):
            for clip in range(1, size.clips + 1):
                yield Action(seed, name, group, clip)


def _write_all(folder: Path, tasks: list[Task], workers: int | None) -> Iterator[int]:
    """Yields how many tasks are done, after each."""
    count = min(workers if workers is not None else _processors(), len(tasks))
    if count <= 1:
        threads = torch.get_num_threads()
        try:
            torch.set_num_threads(1)
            for done, task in enumerate(tasks, 1):
                _write(folder, task)
                yield done
        finally:
            torch.set_num_threads(threads)
    else:
        # Spawned, not forked: a fork of a process whose torch has started threads may hang.
        with ProcessPoolExecutor(count, get_context("spawn"), _start) as pool:
            results = pool.map(_write, [folder] * len(tasks), tasks, chunksize=4)
            yield from (done for done, _ in enumerate(results, 1))


def _start() -> None:
    end_with_creator()
    torch.set_num_threads(1)


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _write(folder: Path, task: Task) -> None:
    clip = task.draw()
    if isinstance(task, Masked):
        _write_masked(folder / "DAVIS", _masked_name(task.number), clip)
    else:
        path = folder / ("UCF-101/" + task.path() if isinstance(task, Action) else "phases/" + task.path())
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, clip.frames.numpy(), task.kind())


def _write_masked(folder: Path, name: str, clip: Clip) -> None:
    for number, (frame, ids) in enumerate(zip(clip.frames.numpy(), clip.ids.numpy())):
        write_jpeg(folder / f"JPEGImages/480p/{name}/{number:05d}.jpg", frame)
        write_mask(folder / f"Annotations/480p/{name}/{number:05d}.png", ids)
    rows = (
        (number, point, f"{x:.2f}", f"{y:.2f}")
        for number, points in enumerate(clip.points.tolist())
        for point, (x, y) in zip(POINTS, points)
    )
    write_table(folder / f"KeyPoints/480p/{name}.csv", ("frame", "point", "x", "y"), rows)


def _masked_name(number: int) -> str:
    return f"toy{number:03d}"


def _write_lists(folder: Path, size: Size, seed: int) -> None:
    lists = folder / "ucfTrainTestlist"
    labels = {name: label for label, name in enumerate(LAWS, 1)}
    write_lines(lists / "classInd.txt", (f"{label} {name}" for name, label in labels.items()))
    for fold in range(3):
        test = range(1 + fold * size.test_groups, 1 + (fold + 1) * size.test_groups)
        actions = list(_actions(size, seed))
        write_lines(
            lists / f"trainlist{fold + 1:02d}.txt",
            (f"{action.path()} {labels[action.name]}" for action in actions if action.group not in test),
        )
        write_lines(
            lists / f"testlist{fold + 1:02d}.txt", (action.path() for action in actions if action.group in test)
        )
    names = [_masked_name(number) for number in range(size.masked)]
    sets = folder / "DAVIS/ImageSets/2017/val.txt"
    sets.parent.mkdir(parents=True)
    sets.write_text("".join(f"{name}\n" for name in names))
    rows = (
        (process.path(), "train" if number < size.processes[0] else "test", frame, f"{phase:.5f}")
        for number in range(sum(size.processes))
        for process in [Process(seed, number)]
        for frame, phase in enumerate(process.phase().tolist())
    )
    write_table(folder / "phases/phases.csv", ("video", "split", "frame", "phase"), rows)
