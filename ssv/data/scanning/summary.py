"""What the findings of a pile amount to, as plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ssv.data.grids import Grid
from ssv.data.sampling import Sampler
from ssv.data.scanning.examine import Finding

STILL_SECONDS = 3.0  # a longer time without any change is worth a remark
STILL_SHARE, BLACK_SHARE = 0.5, 0.1


class Clips(NamedTuple):
    """What a sampler finds in the sound videos.

    videos: that give a clip. disjoint: clips without a common moment, all videos together. too_short: reasons by path.
    """

    videos: int
    disjoint: int
    refused: dict[str, str]


class Summary(NamedTuple):
    """Counts of a pile; all but ``broken`` of its sound videos alone.

    videos: all there are. hours, bytes, frames: of the sound ones. broken: path and reason. miscounted: path to (frames
    in the header, frames there are). varying: paths without an even rate. rates, durations, sizes, codecs, containers:
    a name and how many videos have it, most first, durations in order. gop: most frames between places at which
    decoding may start, the middle one over the videos. still, black: path to seconds and share. cuts: how many videos
    have any. oblong: path to the shape of pixels that are not square. interlaced: paths. decoded: how many videos were.
    """

    videos: int
    hours: float
    bytes: int
    frames: int
    broken: dict[str, str]
    miscounted: dict[str, tuple[int, int]]
    varying: list[str]
    rates: dict[str, int]
    durations: dict[str, int]
    sizes: dict[str, int]
    codecs: dict[str, int]
    gop: int
    still: dict[str, float]
    black: dict[str, float]
    cuts: int
    oblong: dict[str, str]
    interlaced: list[str]
    decoded: int


def summarise(findings: Sequence[Finding]) -> Summary:
    """The counts of a pile."""
    sound = [finding for finding in findings if not finding.reason]
    seen = [(finding, finding.contents) for finding in sound if finding.contents is not None]
    gops = sorted(finding.gop for finding in sound)
    return Summary(
        videos=len(findings),
        hours=sum(finding.seconds for finding in sound) / 3600,
        bytes=sum(finding.size for finding in sound),
        frames=sum(finding.grid.frames for finding in sound),
        broken={finding.path: finding.reason for finding in findings if finding.reason},
        miscounted={
            finding.path: (finding.header_frames, finding.grid.frames)
            for finding in sound
            if finding.header_frames not in (0, finding.grid.frames)
        },
        varying=[finding.path for finding in sound if not finding.is_constant],
        rates=_most_first(rate_name(finding) for finding in sound),
        durations=_durations([finding.seconds for finding in sound]),
        sizes=_most_first(f"{finding.width}x{finding.height}" for finding in sound),
        codecs=_most_first(f"{finding.codec} in {finding.container.split(',')[0]}" for finding in sound),
        gop=gops[len(gops) // 2] if gops else 0,
        still={
            finding.path: contents.still_seconds
            for finding, contents in seen
            if contents.still_seconds >= max(STILL_SECONDS, STILL_SHARE * finding.seconds)
        },
        black={finding.path: contents.black for finding, contents in seen if contents.black >= BLACK_SHARE},
        cuts=sum(contents.cuts > 0 for _, contents in seen),
        oblong={finding.path: finding.pixel for finding in sound if finding.pixel != "1"},
        interlaced=[finding.path for finding in sound if finding.interlaced],
        decoded=len(seen),
    )


def count_clips(findings: Sequence[Finding], sampler: Sampler, clip_seconds: float | None, clip_frames: int) -> Clips:
    """How many clips the sound videos give.

    ``clip_seconds`` is how long one lasts, None where frames are counted: then it takes ``clip_frames`` of the source.
    """
    videos = disjoint = 0
    refused = {}
    known: dict[Grid, str | None] = {}  # many videos have the times of another one
    for finding in findings:
        if finding.reason:
            continue
        if finding.grid not in known:
            known[finding.grid] = sampler.fits(finding.grid.seconds())
        problem = known[finding.grid]
        if problem is not None:
            refused[finding.path] = problem
            continue
        videos += 1
        whole = finding.grid.frames / clip_frames if clip_seconds is None else finding.seconds / clip_seconds
        disjoint += max(1, int(whole + 1e-6))
    return Clips(videos, disjoint, refused)


def rate_name(finding: Finding) -> str:
    """Frames per second as people say them: "25", "29.97", "about 14.7" where the rate is not even."""
    text = f"{finding.rate:.2f}".rstrip("0").rstrip(".")
    return text if finding.is_constant else f"varying, about {finding.rate:.0f}"


BOUNDS = (1, 2, 5, 10, 20, 60, 300, 1800)  # seconds


def _durations(seconds: Sequence[float]) -> dict[str, int]:
    names = [f"under {BOUNDS[0]} s"]
    names += [f"{low} to {high} s" for low, high in zip(BOUNDS, BOUNDS[1:])]
    names += [f"{BOUNDS[-1]} s and more"]
    counted = Counter(sum(one >= bound for bound in BOUNDS) for one in seconds)
    return {names[place]: counted[place] for place in sorted(counted)}


def _most_first(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())
