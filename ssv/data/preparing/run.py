"""A whole folder of videos prepared: several processes, each file whole or not there, interrupted at any moment."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ssv.data.index import NAME, Entry, write_index
from ssv.data.preparing.encode import ENCODERS, encode, film_of, film_of_pictures
from ssv.data.preparing.journal import Done, Journal
from ssv.data.preparing.packets import FILE, PACKET, VERSION
from ssv.data.preparing.pile import Item, walk
from ssv.data.readers.base import VideoError
from ssv.data.scanning.workers import Beat, Work, in_children
from ssv.locks import hold

WORKPLACE = ".ssv_prepare"
LARGEST_COPY = 100_000_000  # bytes of a file that is no video; what is larger is no list but an archive
LONGEST_GOP = 300
Progress = Callable[[int, int], None]


class Summary(NamedTuple):
    """What there is now. ``made``: videos prepared by this call. ``bytes_before`` and ``bytes_after``: of all sound
    videos. ``broken``: reason by relative path. ``left_out``: other files too large to copy. ``outside``: links that
    point outside the data set.
    """

    videos: int
    made: int
    copied: int
    bytes_before: int
    bytes_after: int
    broken: dict[str, str]
    left_out: list[str]
    outside: list[str]
    seconds: float


def prepare(
    root: str,
    out: str,
    *,
    encoder: str = "mjpeg",
    short_side: int = 128,
    gop: int | None = None,
    pictures: bool | None = None,
    rate: int = 24,
    links: bool = False,
    workers: int = 1,
    limit: float = 60,
    progress: Progress = lambda done, total: None,
) -> Summary:
    """Prepares all videos below ``root`` into ``out``, same relative names, with an index; copies other files.

    What ``out`` has already is kept. A broken video (one that kills or hangs its decoder is one, too) becomes an empty
    file that the index calls broken, so that it is missed by name and not from a list; it is tried again every time.

    Args:
        root: a data set.
        out: a folder of its own.
        encoder: "mpeg4" (small) or "mjpeg" (every frame a keyframe).
        short_side: pixels, even; nothing is enlarged.
        gop: frames from one keyframe to the next; None: 8, or 1 with "mjpeg", which has no other.
        pictures: whether folders of numbered pictures become videos; None: where there are no videos.
        rate: their frames per second.
        links: whether links that point outside ``root`` are followed.
        workers: processes.
        limit: seconds without a frame after which a video counts as one that hangs its decoder, and is broken.
        progress: called with the numbers of files done and of all.

    Raises:
        ValueError: settings that cannot be, or other than those ``out`` was prepared with.
        Busy: another process prepares into ``out``.
        OSError: the disk is full. What is done by then is kept.
    """
    started = time.perf_counter()
    gop = (8 if encoder == "mpeg4" else 1) if gop is None else gop
    _check(root, out, encoder, short_side, gop, rate, limit)
    found = walk(root, pictures=pictures, links=links)
    items, outside = [item for item in found if item.kind != "outside"], [i.path for i in found if i.kind == "outside"]
    if all(item.kind == "other" for item in items):
        also = f" ({len(outside)} links point outside it; links=true follows them)" if outside else ""
        raise ValueError(f"no videos below {os.path.abspath(root)}{also}; name the folder that holds them, root=/path")
    settings = {"prepare": VERSION, "encoder": encoder, "short_side": short_side, "gop": gop, "rate": rate}
    workplace = Path(out, WORKPLACE)
    workplace.mkdir(parents=True, exist_ok=True)
    with hold(
        workplace / ".lock", f"{out} is being written by another `ssv prepare`; wait for it, or set another out="
    ):
        journal = Journal(workplace / "journal.jsonl", settings)
        with closing(journal), _empty(workplace / "unfinished") as unfinished:
            todo = [item for item in items if not _is_left_out(item) and not _is_done(out, item, journal)]
            others = [item for item in todo if item.kind == "other"]
            films = {item.path: item for item in todo if item.kind != "other"}
            for count, item in enumerate(others, start=1):
                with _whole(out, item) as new:
                    shutil.copyfile(os.path.join(root, item.source), new)
                progress(count, len(todo))
            work = partial(_work, root, out, films, encoder=encoder, short_side=short_side, gop=gop, rate=rate)
            for count, done in enumerate(_answers(work, films.values(), workers, limit), start=1 + len(others)):
                if done.reason:
                    with _whole(out, films[done.path]) as new:
                        open(new, "wb").close()
                journal.append(done)
                progress(count, len(todo))
            journal.sort()
            _index(out, journal, settings, unfinished / "packets")
            return _summary(items, outside, todo, journal, time.perf_counter() - started)


@contextmanager
def _empty(folder: Path) -> Iterator[Path]:
    """A folder for the block, without what a killed process left in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check(root: str, out: str, encoder: str, short_side: int, gop: int, rate: int, limit: float) -> None:
    if encoder not in ENCODERS:
        raise ValueError(f"encoder must be one of {', '.join(ENCODERS)}, got {encoder!r}")
    if short_side < 16 or short_side % 2:
        raise ValueError(f"short_side must be an even number of pixels, 16 at least, got {short_side}")
    if not 1 <= gop <= LONGEST_GOP or (encoder == "mjpeg" and gop > 1):
        most = 1 if encoder == "mjpeg" else LONGEST_GOP
        raise ValueError(f"gop must be 1 to {most} frames with encoder={encoder}, got {gop}")
    if limit <= 0:
        raise ValueError(f"limit={limit} leaves a decoder no time; it is in seconds, set it to 60")
    if rate < 1:
        raise ValueError(f"rate must be 1 picture a second or more, got {rate}")
    if not os.path.isdir(root):
        raise ValueError(f"root={root} is no folder; name the one that holds the videos")
    inner, outer = os.path.realpath(out), os.path.realpath(root)
    if os.path.commonpath([inner, outer]) in (inner, outer):
        raise ValueError(f"out={out} and root={root} lie in one another; name a folder beside it for out")


def _is_left_out(item: Item) -> bool:
    return item.kind == "other" and item.size > LARGEST_COPY


def _is_done(out: str, item: Item, journal: Journal) -> bool:
    try:
        status = os.stat(os.path.join(out, item.path))
    except FileNotFoundError:
        return False
    if item.kind == "other":
        return (status.st_size, status.st_mtime_ns) == (item.size, item.mtime_ns)
    done = journal.get(item.path)
    return (
        done is not None
        and not done.reason
        and (done.source_size, done.mtime_ns, done.size, done.mtime_ns)
        == (
            item.size,
            item.mtime_ns,
            status.st_size,
            status.st_mtime_ns,
        )
    )


def _answers(work: Work[Done | OSError], items: Iterable[Item], workers: int, limit: float) -> Iterator[Done]:
    """What ``work`` says of each video, in any order. OSError as soon as one of them cannot be written."""
    waiting = {item.path: item for item in items}
    answers = in_children(list(waiting), work, processes=workers, limit_seconds=limit)
    with closing(answers):
        for path, answer in answers:
            if isinstance(answer, OSError):
                raise answer
            item = waiting[path]
            yield Done(path, item.size, item.mtime_ns, answer.reason) if isinstance(answer, VideoError) else answer


def _work(
    root: str, out: str, items: Mapping[str, Item], path: str, beat: Beat, *, rate: int, **settings: Any
) -> Done | OSError:
    """Makes one file. VideoError where the source is broken; an OSError is returned, since that is not its fault."""
    item = items[path]
    source = os.path.join(root, item.source)
    try:
        film = film_of(source) if item.kind == "video" else film_of_pictures(source, item.pictures, rate)
        film = film._replace(frames=_beating(film.frames, beat))
        with _whole(out, item) as new:
            made = encode(film, new, name=path, **settings)
            size = os.path.getsize(new)
    except VideoError as error:
        reason = error.reason if error.path == source else f"{os.path.basename(error.path)}: {error.reason}"
        raise VideoError(path, reason) from error
    except OSError as error:
        return error
    return Done(path, item.size, item.mtime_ns, size=size, ticks=film.ticks, unit=film.unit, **made._asdict())


def _beating(frames: Iterable[Any], beat: Beat) -> Iterator[Any]:
    for frame in frames:
        beat()
        yield frame


@contextmanager
def _whole(out: str, item: Item) -> Iterator[str]:
    """A path to write; what is there becomes ``item`` of ``out``, or nothing does. OSError names the latter's path."""
    target = os.path.join(out, item.path)
    new = os.path.join(out, WORKPLACE, "unfinished", str(os.getpid()))
    try:
        yield new
        # The source's date: told apart from a changed one, and the same however often this runs.
        os.utime(new, ns=(item.mtime_ns, item.mtime_ns))
        _sync(new)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.replace(new, target)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), target) from error
    finally:
        with suppress(FileNotFoundError):
            os.unlink(new)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _index(out: str, journal: Journal, settings: Mapping[str, Any], table: Path) -> None:
    """Writes the index of all that is done. ``table``: a file for the packets, which may not fit into memory."""
    headers: dict[str, int] = {}
    files = np.empty(len(journal), dtype=FILE)
    end = 0
    with open(table, "wb") as packets:
        for row, done in enumerate(journal.all()):
            packets.write(done.packets.tobytes())
            end += len(done.packets)
            files[row] = end, done.first, headers.setdefault(done.header.hex(), len(headers)), done.source_size
    meta = {"writer": "ssv prepare", **settings, "matrix": "bt601", "full_range": settings["encoder"] == "mjpeg"}
    arrays = {"files": files, "packets": np.memmap(table, PACKET, "r") if end else np.empty(0, PACKET)}
    codec = str(settings["encoder"])
    entries = (
        Entry(
            done.path, done.size, done.mtime_ns, done.ticks, done.unit, done.height, done.width, 0, codec, done.reason
        )
        for done in journal.all()
    )
    write_index(Path(out, NAME), entries, {**meta, "headers": list(headers)}, arrays=arrays)


def _summary(items: list[Item], outside: list[str], todo: list[Item], journal: Journal, seconds: float) -> Summary:
    films = [done for done in journal.all() if not done.reason]
    broken = {done.path: done.reason for done in journal.all() if done.reason}
    return Summary(
        videos=len(films),
        made=sum(item.kind != "other" and item.path not in broken for item in todo),
        copied=sum(item.kind == "other" for item in todo),
        bytes_before=sum(done.source_size for done in films),
        bytes_after=sum(done.size for done in films),
        broken=broken,
        left_out=[item.path for item in items if _is_left_out(item)],
        outside=outside,
        seconds=seconds,
    )
