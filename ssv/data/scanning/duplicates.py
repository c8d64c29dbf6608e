"""Videos that show the same: equal hashes of frames at the same places of videos that last as long."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from ssv.data.scanning.examine import Finding

BITS = 64
BANDS = 4  # a hash is cut into so many parts; two videos are compared when one of their parts is equal
MOST_BITS = 6  # of 64 that may differ, on average over the frames compared
LEAST_FRAMES = 3  # hashed frames that are not flat in both
MOST_ALIKE = (
    100  # videos that share a part; more share it by chance (a title, a fixed background), the first are compared
)
SAME_SECONDS, SAME_SHARE = 0.15, 0.02  # how much two durations may differ


def near_duplicates(findings: Sequence[Finding]) -> list[list[str]]:
    """Groups of paths, each with two or more that look the same, sorted; recoded or resized copies among them.

    A part cut out of another video lasts shorter and is none. Needs findings with contents; passes over others.
    """
    known = [finding for finding in findings if finding.contents is not None]
    parent = list(range(len(known)))

    def top(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    for one, other in _candidates(known):
        if top(one) != top(other) and are_alike(known[one], known[other]):
            parent[top(other)] = top(one)
    groups = defaultdict(list)
    for i, finding in enumerate(known):
        groups[top(i)].append(finding.path)
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)


def across(groups: Sequence[Sequence[str]], parts: Mapping[str, str]) -> list[list[str]]:
    """The groups with members in two or more parts; ``parts`` tells the part of a path ("train", "test")."""
    return [list(group) for group in groups if len({parts[path] for path in group if path in parts}) > 1]


def are_alike(one: Finding, other: Finding) -> bool:
    """Whether two videos last as long and their frames at the same places have nearly the same hashes."""
    allowed = max(SAME_SECONDS, SAME_SHARE * max(one.seconds, other.seconds))
    if one.contents is None or other.contents is None or abs(one.seconds - other.seconds) > allowed:
        return False
    pairs = zip(one.contents.hashes, other.contents.hashes)
    bits = [(a ^ b).bit_count() for a, b in pairs if a is not None and b is not None]
    return len(bits) >= LEAST_FRAMES and sum(bits) <= MOST_BITS * len(bits)


def _candidates(findings: Sequence[Finding]) -> Iterator[tuple[int, int]]:
    """Pairs of places that share a part of a hash."""
    width = BITS // BANDS
    sharing: dict[tuple[int, int, int], list[int]] = defaultdict(list)
    for i, finding in enumerate(findings):
        for k, value in enumerate(finding.contents.hashes if finding.contents else ()):
            for band in range(BANDS if value is not None else 0):
                sharing[k, band, (value or 0) >> band * width & (1 << width) - 1].append(i)
    for places in sharing.values():
        yield from combinations(places[:MOST_ALIKE], 2)
        yield from ((places[0], other) for other in places[MOST_ALIKE:])
