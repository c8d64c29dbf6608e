"""``ssv scan``: looks at every file of a pile of videos and says what there is."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ssv.cli.errors import UserError
from ssv.locks import hold

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ssv.data.scanning.examine import Finding
    from ssv.data.scanning.prediction import Cost
    from ssv.report.pile_words import Pile

FIRST = "root"
PAGE = "scan.html"
KEYS = {"root", "list", "against", "quick", "again", "index", "workers", "limit", "sample"} | {
    "frames",
    "stride",
    "seconds",
}


class Job(NamedTuple):
    """What to look at: paths relative to the root, the part each belongs to, where that is known, and those in two."""

    root: str
    paths: list[str]
    parts: dict[str, str]
    twice: list[str]
    data: str
    others: int
    unreadable: dict[str, str]


def run(config: dict[str, Any]) -> int:
    """Scan, write index and page, say what there is."""
    job = find_job(config)
    folder = result_folder(config, job.root)
    # Each would write its own view of the journal.
    with hold(
        folder / ".scan.lock", f"{folder} is being written by another `ssv scan`; wait for it, or set index=FOLDER"
    ):
        scan(config, job, folder)
    return 0


def scan(config: dict[str, Any], job: Job, folder: Path) -> None:
    """The same, of a pile that nobody else is at."""
    from ssv.data.scanning.journal import NAME as JOURNAL
    from ssv.data.scanning.journal import read_journal
    from ssv.data.scanning.scan import write_findings
    from ssv.report.pile import write_pile
    from ssv.report.pile_words import next_commands, told

    is_prepared = writer(folder) == "ssv prepare"
    if is_prepared:
        config = {**config, "sample": 0}
    pile = look(config, job, folder / JOURNAL)
    if not is_prepared:
        write_findings(folder, read_journal(folder / JOURNAL).values())
    write_pile(pile, folder / PAGE)
    print("\n".join(told(pile)))
    print(f"page: {folder / PAGE}")
    if is_prepared:
        print("index: left as `ssv prepare` wrote it")
    else:
        use = "training looks at the files itself" if config["index"] else "training starts without opening files"
        print(f"index: {folder} ({use})")
    print("\n".join(f"next: {command}" for command in next_commands(pile)))


def find_job(config: dict[str, Any]) -> Job:
    """What the command asks for. Raises UserError where there is nothing of the kind."""
    from ssv.data.scanning.parts import known_parts, read_list
    from ssv.data.scanning.scan import Files, find_files

    if config["root"] is None and config["list"] is None:
        raise UserError("what to scan? `ssv scan FOLDER` or `ssv scan list=videos.txt`")
    root = config["root"] or os.path.dirname(config["list"]) or "."
    if not os.path.isdir(root):
        raise UserError(f"root={root}: {'is a file, not a folder' if os.path.exists(root) else 'no such folder'}")
    if config["against"] is not None and config["list"] is None:
        raise UserError("against= compares with another list; set list= too")
    if config["limit"] <= 0:
        raise UserError(f"limit={config['limit']} leaves a decoder no time; it is in seconds, set it to 60")
    twice: list[str] = []
    if config["list"] is None:
        data, parts = known_parts(root)
        files = find_files(root)
    else:
        listed = read_list(config["list"], root)
        other = [] if config["against"] is None else read_list(config["against"], root)
        one, two = (os.path.basename(config[key] or "") for key in ("list", "against"))
        data, parts = "folder", {**dict.fromkeys(listed, one), **dict.fromkeys(other, two)}
        twice = sorted({*listed} & {*other})
        parts |= dict.fromkeys(twice, f"{one} and {two}")
        files = Files(sorted(parts), 0, {})
    if not files.videos:
        raise UserError(f"no videos below {root} ({files.others} other files); is it the right folder?")
    return Job(root, files.videos, parts, twice, data, files.others, files.unreadable)


def result_folder(config: dict[str, Any], root: str) -> Path:
    """Where results go, made if missing. Raises UserError where nothing can be written."""
    from ssv.data.index import NAME

    folder = Path(root, NAME) if config["index"] is None else Path(config["index"])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise UserError(f"{folder} cannot be written to; set index=FOLDER for results elsewhere")
    return folder


def look(config: dict[str, Any], job: Job, journal_path: Path) -> Pile:
    """Examine what is new, and draw the sums."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    from ssv.cli.prepare import processors
    from ssv.data.sampling import RandomClips
    from ssv.data.scanning.duplicates import across, near_duplicates
    from ssv.data.scanning.examine import examine
    from ssv.data.scanning.scan import scan_files
    from ssv.data.scanning.summary import count_clips, summarise
    from ssv.report.pile_words import Pile

    frames, stride, seconds = config["frames"], config["stride"], config["seconds"]
    sampler = RandomClips(frames=frames, stride=stride, seconds=seconds, short="skip")
    workers = config["workers"] or processors()
    console = Console()
    columns = [*Progress.get_default_columns()[:-1], MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("looking at videos", total=len(job.paths))
        findings = scan_files(
            job.root,
            job.paths,
            partial(examine, decode=not config["quick"]),
            journal_path=journal_path,
            decode=not config["quick"],
            again=config["again"],
            processes=workers,
            limit_seconds=config["limit"],
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
        bar.update(task, description="measuring")
        cost = measure(config, job, findings, workers)
    groups = near_duplicates(findings)
    clip_seconds = None if seconds is None else frames * seconds
    pile = Pile(
        root=job.root,
        data=job.data,
        others=job.others,
        unreadable=job.unreadable,
        summary=summarise(findings),
        groups=groups,
        leaks=[*([path] for path in job.twice), *across(groups, job.parts)],
        parts=job.parts,
        clips=count_clips(findings, sampler, clip_seconds, (frames - 1) * (stride or 1) + 1),
        wish=f"{frames} frames, {f'{stride} source frames apart' if seconds is None else f'{seconds:g} s apart'}",
        cost=cost,
        pictures={},
    )
    return pile._replace(pictures=pictures(pile, workers, config["limit"]))


def measure(config: dict[str, Any], job: Job, findings: Sequence[Finding], workers: int) -> Cost | None:
    """The cost of clips of a few sound videos, spread evenly over the pile."""
    from ssv.data.scanning.prediction import predict

    sound = [finding.path for finding in findings if not finding.reason]
    count = min(config["sample"], len(sound))
    chosen = [os.path.join(job.root, sound[i * len(sound) // count]) for i in range(count)]
    asked = {key: config[key] for key in ("frames", "stride", "seconds")}
    return predict(chosen, **asked, processes=workers, limit=config["limit"]) if chosen else None


def pictures(pile: Pile, workers: int, limit: float) -> dict[str, bytes]:
    """A small JPEG of each file that the page shows, where one can be had."""
    from ssv.data.scanning.examine import thumbnail
    from ssv.data.scanning.workers import in_children
    from ssv.report.pile import worth_seeing

    whole = {os.path.join(pile.root, path): path for path in worth_seeing(pile)}
    answers = in_children(whole, thumbnail, processes=workers, limit_seconds=limit)
    return {whole[path]: answer for path, answer in answers if isinstance(answer, bytes)}


def writer(folder: Path) -> str:
    """Who wrote the index of a folder; "" where there is none that can be used."""
    from ssv.data.index import Index

    try:
        return str(Index.open(folder).meta.get("writer", ""))
    except ValueError:
        return ""
