"""What a scan of a pile of videos found, in words: for the terminal, and for the page."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from ssv.text import printable

if TYPE_CHECKING:
    from ssv.data.scanning.prediction import Cost
    from ssv.data.scanning.summary import Clips, Summary

NAMED = 10  # files named in the terminal
KINDS = 5  # rates, sizes and codecs named
WORTH_PREPARING = 3  # times cheaper


class Pile(NamedTuple):
    """All that a scan found.

    root: the folder as given. data: the set it is laid out as, "folder" where none. others, unreadable: files that are
    not named like videos, and folders that cannot be listed with the reason. groups: paths that look the same. leaks:
    the groups across two parts. parts: the part of each path that has one. wish: the clips counted, in words. cost: of
    reading them, None where not measured. pictures: JPEG files by path, for the page.
    """

    root: str
    data: str
    others: int
    unreadable: dict[str, str]
    summary: Summary
    groups: list[list[str]]
    leaks: list[list[str]]
    parts: dict[str, str]
    clips: Clips
    wish: str
    cost: Cost | None
    pictures: dict[str, bytes]


def told(pile: Pile) -> list[str]:
    """The summary for a terminal, line by line."""
    lines = [f"{printable(pile.root)}: {amounts(pile)}"]
    lines += [f"  {name:10} {value}" for name, value in facts(pile)]
    if pile.summary.broken:
        lines.append(f"broken: {number(len(pile.summary.broken), 'video')}")
        lines += [f"  {printable(path)}: {reason}" for path, reason in list(pile.summary.broken.items())[:NAMED]]
        lines += more(len(pile.summary.broken) - NAMED, "in the index and in scan.html")
    for name, reason in list(pile.unreadable.items())[:NAMED]:
        lines.append(f"folder that cannot be listed: {printable(name)}: {reason}")
    lines += [f"note: {remark}" for remark in remarks(pile)]
    return lines


def amounts(pile: Pile) -> str:
    """``1 012 videos, 3.2 hours, 1.40 GB``."""
    found = pile.summary
    others = f", {number(pile.others, 'other file')}" if pile.others else ""
    return f"{number(found.videos, 'video')}, {hours(found.hours)}, {number_of_bytes(found.bytes)}{others}"


def facts(pile: Pile) -> list[tuple[str, str]]:
    """Names and values of what there is."""
    found = pile.summary
    sound = found.videos - len(found.broken)
    lines = [
        ("sound", f"{digits(sound)}, broken {digits(len(found.broken))}"),
        ("rates", kinds(found.rates)),
        ("lengths", ", ".join(f"{name} ({digits(count)})" for name, count in found.durations.items())),
        ("sizes", kinds(found.sizes)),
        ("codecs", kinds(found.codecs)),
        ("keyframes", f"decoding may start every {number(found.gop, 'frame')} in the middle video"),
        ("clips", clips(pile)),
    ]
    if pile.cost is not None:
        lines.append(("prediction", prediction(pile.cost)))
    return [line for line in lines if line[1]] if sound else lines[:1]


def remarks(pile: Pile) -> list[str]:
    """What deserves a look, a sentence each."""
    found = pile.summary
    sentences = []
    if len(found.rates) > 1:
        sentences.append(
            "rates differ: count clips in seconds (data.sampler.seconds=0.08 stride=null), or speed tells the file"
        )
    if found.miscounted:
        path, (header, frames) = next(iter(found.miscounted.items()))
        sentences.append(
            f"{number(len(found.miscounted), 'header')} with a wrong number of frames, {printable(path)} says {header} "
            f"and has {frames}; here frames are counted"
        )
    if found.still:
        sentences.append(f"{number(len(found.still), 'video')} without any change for long: {named(found.still)}")
    if found.black:
        sentences.append(f"{number(len(found.black), 'video')} black for a tenth or more: {named(found.black)}")
    if found.cuts:
        sentences.append(f"{number(found.cuts, 'video')} with hard cuts")
    if found.oblong:
        path, shape = next(iter(found.oblong.items()))
        sentences.append(
            f"{number(len(found.oblong), 'video')} with pixels that are not square, read as stored: those of "
            f"{printable(path)} are {shape} times as wide as high; re-encode if shapes matter"
        )
    if found.interlaced:
        sentences.append(
            f"{number(len(found.interlaced), 'interlaced video')}, read as stored, each frame showing two moments: "
            f"{named(found.interlaced)}"
        )
    if pile.groups:
        extra = sum(map(len, pile.groups)) - len(pile.groups)
        sentences.append(
            f"{number(extra, 'video')} look like another one, in {number(len(pile.groups), 'group')}: "
            f"{named(pile.groups[0])}"
        )
    if pile.leaks:
        sentences.append(
            f"{number(len(pile.leaks), 'group')} of videos that look the same on both sides of the split: "
            f"{named(pile.leaks[0])}"
        )
    if not found.decoded and found.videos > len(found.broken):
        sentences.append("quick=true: nothing was decoded, so damage inside, stillness and duplicates went unseen")
    return sentences


def clips(pile: Pile) -> str:
    """How many clips there are."""
    found, sound = pile.clips, pile.summary.videos - len(pile.summary.broken)
    some = f"{digits(found.videos)} of {digits(sound)} sound videos give one of {pile.wish}"
    return f"{some}; {digits(found.disjoint)} without overlap"


def prediction(cost: Cost) -> str:
    """What reading costs."""
    gain = cost.clip / cost.prepared_clip if cost.prepared_clip else 0.0
    return (
        f"{1 / cost.clip:.0f} clips a second on a core as they are, {1 / cost.prepared_clip:.0f} after `ssv prepare` "
        f"({gain:.0f} times), decoding alone, from {number(cost.files, 'file')}"
    )


def next_commands(pile: Pile) -> list[str]:
    """What to type now, the best first."""
    found, root = pile.summary, quoted(pile.root)
    if pile.clips.videos == 0:
        return [f"ssv scan {root} frames=8 seconds=0.04"]
    allowed = f"max_broken={len(found.broken)}" if found.broken else ""
    commands = [f"ssv pretrain data={pile.data} data.root={root}" + (f" data.{allowed}" if allowed else "")]
    if pile.cost is not None and pile.cost.clip > WORTH_PREPARING * pile.cost.prepared_clip:
        commands.insert(0, f"ssv prepare {root} out=FAST_FOLDER {allowed}".rstrip())
    return commands


def kinds(counted: Mapping[str, int]) -> str:
    """``25 (700), 30 (12) and 3 more kinds``."""
    shown = ", ".join(f"{name} ({digits(count)})" for name, count in list(counted.items())[:KINDS])
    left = len(counted) - KINDS
    return f"{shown} and {number(left, 'more kind')}" if left > 0 else shown


def named(paths: Iterable[str]) -> str:
    """The first few, and how many more."""
    every = [printable(path) for path in paths]
    return ", ".join(every[:3]) + (f" and {digits(len(every) - 3)} more" if len(every) > 3 else "")


def more(count: int, where: str) -> list[str]:
    """A line about those not named, if there are any."""
    return [f"  and {digits(count)} more, {where}"] if count > 0 else []


def number(count: int, what: str) -> str:
    """``1 video``, ``1 012 videos``."""
    return f"{digits(count)} {what}{'' if count == 1 else 's'}"


def digits(count: int) -> str:
    """``1 012``."""
    return f"{count:,}".replace(",", " ")


def hours(value: float) -> str:
    """A duration to read."""
    if value >= 1:
        return f"{value:,.1f} hours".replace(",", " ")
    return f"{value * 60:.1f} minutes" if value * 60 >= 1 else f"{value * 3600:.1f} seconds"


def number_of_bytes(size: int) -> str:
    """Bytes to read."""
    return f"{size / 1e6:.1f} MB" if size < 1e9 else f"{size / 1e9:.2f} GB"


def quoted(path: str) -> str:
    """A path as a shell takes it."""
    return shlex.quote(printable(path))
