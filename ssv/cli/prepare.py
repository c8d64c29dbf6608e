"""``ssv prepare``: re-encodes a folder of videos for fast reading."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from ssv.text import lines, printable

if TYPE_CHECKING:
    from ssv.data.preparing.run import Summary

FIRST = "root"
KEYS = {"root", "out", "encoder", "short_side", "gop", "pictures", "rate", "max_broken", "workers", "limit", "links"}
NAMED = 20  # broken videos that are listed; the index has all


def run(config: dict[str, Any]) -> int:
    """Prepare, say what there is now, list what is broken."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    from ssv.data.preparing.run import prepare

    console = Console()
    columns = [*Progress.get_default_columns()[:-1], MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("preparing", total=None)
        summary = prepare(
            config["root"],
            config["out"],
            encoder=config["encoder"],
            short_side=config["short_side"],
            gop=config["gop"],
            pictures=config["pictures"],
            rate=config["rate"],
            workers=config["workers"] or processors(),
            limit=config["limit"],
            links=config["links"],
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    print(lines("\n".join(said(summary, config["root"], config["out"]))))
    return complain(summary.broken, config["max_broken"])


def said(summary: Summary, root: str, out: str) -> list[str]:
    """What there is now, line by line."""
    from ssv.data.preparing.gain import reading_times
    from ssv.data.sets.lookup import named

    ratio = summary.bytes_after / max(1, summary.bytes_before)
    told = [
        f"{out}: {summary.videos} videos ({summary.made} made now), {summary.copied} other files copied, "
        f"{summary.seconds:.0f} s; {megabytes(summary.bytes_before)} before, {megabytes(summary.bytes_after)} now "
        f"({ratio:.2f} of it)"
    ]
    if summary.left_out:
        told.append(f"not copied, too large for lists: {', '.join(summary.left_out)}")
    if summary.outside:
        told.append(
            f"skipped {len(summary.outside)} links that point outside {root} ({named(summary.outside)}); "
            "links=true follows them"
        )
    times = reading_times(root, out)
    if times is not None:
        before, after = times
        told.append(
            f"a clip of 16 frames, every fourth: {1000 * before:.1f} ms from the source, {1000 * after:.1f} ms now: "
            f"{1000 * (before - after):.1f} ms saved a clip, {before / after:.0f} times cheaper"
        )
    return told


def complain(broken: dict[str, str], max_broken: int) -> int:
    """List the broken videos; the exit code."""
    for path in sorted(broken)[:NAMED]:
        print(printable(f"broken: {path}: {broken[path]}"), file=sys.stderr)
    if len(broken) > NAMED:
        print(f"broken: {len(broken) - NAMED} more, see reasons.jsonl in the index", file=sys.stderr)
    if broken:
        print(f"{len(broken)} broken videos, max_broken={max_broken} allowed", file=sys.stderr)
    return int(len(broken) > max_broken)


def megabytes(size: int) -> str:
    """Bytes to read."""
    return f"{size / 1e6:.1f} MB" if size < 1e9 else f"{size / 1e9:.2f} GB"


def processors() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
