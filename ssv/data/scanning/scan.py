"""A pile of files looked at in child processes, a finding each; a second scan looks only at what is new or changed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ssv.data.index import Entry, Index, write_index
from ssv.data.readers.base import VideoError
from ssv.data.readers.probe import one_line
from ssv.data.scanning import journal
from ssv.data.scanning.examine import Finding
from ssv.data.scanning.workers import Work, in_children
from ssv.data.sets.lookup import entries_below, is_folder, is_listed, is_video


class Files(NamedTuple):
    """What lies below a root.

    videos: paths relative to it, with ``/``, sorted: files and folders named like videos. others: how many files are
    not named like one. unreadable: folders that cannot be listed, with the reason.
    """

    videos: list[str]
    others: int
    unreadable: dict[str, str]


def find_files(root: str) -> Files:
    """Everything at any depth that is named like a video; links to folders are followed, each folder once."""
    videos: list[str] = []
    others, unreadable = 0, {}

    def note(error: OSError) -> None:
        unreadable[_relative(str(error.filename), root)] = one_line(error)

    for entry in entries_below(root, on_error=note):
        if is_listed(entry) or (is_video(entry.name) and is_folder(entry)):  # no pipes or sockets
            videos.append(_relative(entry.path, root))
        elif not is_folder(entry):
            others += 1
    return Files(sorted(videos), others, unreadable)


def scan_files(
    root: str,
    paths: Sequence[str],
    work: Work[Finding],
    *,
    journal_path: Path,
    decode: bool = True,
    again: bool = False,
    processes: int = 1,
    limit_seconds: float = 60.0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Finding]:
    """A finding for each of the ``paths`` (relative to ``root``), in their order.

    Args:
        root: folder the paths start from.
        paths: what to look at.
        work: ``examine`` or a stand-in; gets whole paths.
        journal_path: where findings are kept; those in it of files that did not change are not made again.
        decode: findings without contents do not count as made.
        again: nor do those of broken files.
        processes: children at a time.
        limit_seconds: silence after which a child counts as hanging.
        progress: called with files done and files in all.
    """
    known = journal.read_journal(journal_path)
    made: dict[str, Finding] = {}
    left: list[str] = []
    for path in paths:
        former = known.get(path)
        if former is not None and _holds(former, root, decode=decode, again=again):
            made[path] = former
        else:
            left.append(path)
    progress(len(made), len(paths))
    whole = {os.path.join(root, path): path for path in left}
    with journal.Journal(journal_path) as book:
        for path, answer in in_children(whole, work, processes=processes, limit_seconds=limit_seconds):
            finding = _finding(path, answer)._replace(path=whole[path])
            made[finding.path] = finding
            book.add(finding)
            progress(len(made), len(paths))
    everything = {**known, **made}
    there = [found for path, found in everything.items() if path in made or os.path.lexists(os.path.join(root, path))]
    if left or len(there) < len(everything):
        journal.rewrite_journal(journal_path, there)
    return [made[path] for path in paths]


def write_findings(folder: Path, findings: Iterable[Finding]) -> Index:
    """Writes the index of a scan into ``folder`` (``<root>/ssv_index``)."""
    return write_index(folder, _entries(findings), {"writer": "ssv scan"})


def _entries(findings: Iterable[Finding]) -> Iterator[Entry]:
    for finding in findings:
        yield Entry(
            path=finding.path,
            size=finding.size,
            mtime_ns=finding.mtime_ns,
            ticks=finding.grid.ticks() + finding.first,
            unit=finding.grid.unit,
            height=finding.height,
            width=finding.width,
            rotation=finding.rotation,
            codec=finding.codec,
            reason=finding.reason,
        )


def _finding(path: str, answer: Finding | VideoError) -> Finding:
    if isinstance(answer, Finding):
        return answer
    try:
        status = os.stat(path)
    except OSError:
        return Finding(path, 0, 0, answer.reason)
    return Finding(path, status.st_size, status.st_mtime_ns, answer.reason)


def _holds(finding: Finding, root: str, *, decode: bool, again: bool) -> bool:
    """Whether a former finding is still true and as much as is wanted."""
    if (again and finding.reason) or (decode and finding.contents is None and not finding.reason):
        return False
    try:
        status = os.stat(os.path.join(root, finding.path))
    except OSError:
        return False
    return (finding.size, finding.mtime_ns) == (status.st_size, status.st_mtime_ns)


def _relative(path: str, root: str) -> str:
    return os.path.relpath(path, root).replace(os.sep, "/")
