"""Means, intervals and paired comparisons over few seeds. Nothing here knows what a run is.

Two sources of chance stand apart: the seeds (:func:`paired_difference`, Student's t over few values) and the
test videos (:func:`bootstrap_groups`, which holds the seeds fixed). A conclusion needs both to exclude 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MIN_SEEDS = 3
"""With fewer seeds nothing is concluded, and no spread is shown."""

MIN_GROUPS = 5
"""With fewer groups of test videos, resampling them says nothing."""

DRAWS = 2000
"""Bootstrap draws."""

BETTER, WORSE, NO_DIFFERENCE = "better", "worse", "no difference shown"

Interval = tuple[float, float]


class Summary(NamedTuple):
    """Values of one arm over its seeds; ``sd`` (n - 1) and the 95 % ``interval`` of the mean from 3 seeds on."""

    n: int
    mean: float
    sd: float | None
    interval: Interval | None


class Difference(NamedTuple):
    """One arm minus a reference over their common seeds.

    ``interval`` is the 95 % t interval over seeds, None with fewer than 3. ``videos`` is the 95 % bootstrap
    interval over groups of test videos with the seeds held fixed, None where no per-video predictions exist.
    ``separated`` tells whether every seed of the arm lies on the same side of every seed of the reference.
    ``unfinished`` tells whether a run behind the numbers had not finished; no conclusion is drawn then.
    """

    seeds: tuple[int, ...]
    mean: float
    interval: Interval | None
    separated: bool
    videos: Interval | None = None
    unfinished: bool = False

    @property
    def verdict(self) -> str | None:
        """``better``, ``worse``, ``no difference shown``, or None where nothing may be concluded."""
        if self.interval is None or self.unfinished:
            return None
        intervals = [self.interval] + ([self.videos] if self.videos else [])
        if all(low > 0 for low, _ in intervals):
            return BETTER
        if all(high < 0 for _, high in intervals):
            return WORSE
        return NO_DIFFERENCE

    def reversed(self) -> Difference:
        """The reference minus the arm."""
        turned = [None if edges is None else (-edges[1], -edges[0]) for edges in (self.interval, self.videos)]
        return self._replace(mean=-self.mean, interval=turned[0], videos=turned[1])


def summarise(values: Sequence[float]) -> Summary:
    """Mean, standard deviation and t interval of at least one value; ValueError for none."""
    if not values:
        raise ValueError("no values to summarise")
    n, mean = len(values), math.fsum(values) / len(values)
    if n < MIN_SEEDS:
        return Summary(n, mean, None, None)
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = t_quantile(n - 1) * sd / math.sqrt(n)
    return Summary(n, mean, sd, (mean - half, mean + half))


def paired_difference(values: Mapping[int, float], reference: Mapping[int, float]) -> Difference | None:
    """Compare two arms seed by seed; both map seed to score. None where they share no seed."""
    seeds = tuple(sorted(values.keys() & reference.keys()))
    if not seeds:
        return None
    summary = summarise([values[seed] - reference[seed] for seed in seeds])
    ours, theirs = [values[seed] for seed in seeds], [reference[seed] for seed in seeds]
    separated = min(ours) > max(theirs) or max(ours) < min(theirs)
    return Difference(seeds, summary.mean, summary.interval, separated)


def bootstrap_groups(
    differences: NDArray[np.float64], groups: Sequence[str], *, draws: int = DRAWS, seed: int = 0
) -> Interval | None:
    """95 % percentile interval of the mean over videos when whole groups are drawn with replacement.

    Args:
        differences: (M,) per-video difference of two arms, already averaged over seeds.
        groups: M names; videos of one group (one scene) stand or fall together.
        draws: number of resamples.
        seed: of the generator, so that equal input gives equal intervals.

    Returns:
        The interval, or None for fewer than ``MIN_GROUPS`` groups.
    """
    _, member = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    sizes = np.bincount(member).astype(np.float64)
    if len(sizes) < MIN_GROUPS:
        return None
    sums = np.bincount(member, weights=differences)
    drawn = np.random.default_rng(seed).integers(len(sizes), size=(draws, len(sizes)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def t_quantile(degrees: int, level: float = 0.975) -> float:
    """Quantile of Student's t distribution."""
    from scipy.special import stdtrit  # not scipy.stats, whose import alone takes longer than the report

    return float(stdtrit(degrees, level))
