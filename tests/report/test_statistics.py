"""Statistics of the report against slow, obvious code and numbers worked out by hand."""

import math
import random

import numpy as np
import pytest

from ssv.report.statistics import Difference, bootstrap_groups, paired_difference, summarise, t_quantile


def test_t_interval_of_three_values_by_hand():
    # 1, 2, 6: mean 3, squared deviations 4 + 1 + 9 = 14, sd = sqrt(7), t(2 degrees, 95 %) = 4.302653 (any t table)
    summary = summarise([1.0, 2.0, 6.0])
    half = 4.302653 * math.sqrt(7) / math.sqrt(3)
    assert (summary.n, summary.mean) == (3, 3.0)
    assert summary.sd == pytest.approx(2.6457513)
    assert summary.interval == pytest.approx((3 - half, 3 + half), abs=1e-5)


def test_t_quantiles_of_the_table():
    assert [t_quantile(n) for n in (1, 2, 4, 9, 30)] == pytest.approx(
        [12.7062, 4.3027, 2.7764, 2.2622, 2.0423], abs=1e-4
    )


@pytest.mark.parametrize("values", [[0.4], [0.4, 0.6]])
def test_fewer_than_three_seeds_have_no_spread(values):
    summary = summarise(values)
    assert summary.mean == pytest.approx(sum(values) / len(values))
    assert summary.sd is None and summary.interval is None


def test_no_values_is_an_error():
    with pytest.raises(ValueError, match="no values"):
        summarise([])


def test_paired_difference_uses_common_seeds_only():
    difference = paired_difference({0: 0.30, 1: 0.36, 2: 0.42, 7: 0.99}, {0: 0.10, 1: 0.15, 2: 0.20, 3: 0.0})
    assert difference.seeds == (0, 1, 2)
    # differences .20 .21 .22: mean .21, sd .01
    half = 4.302653 * 0.01 / math.sqrt(3)
    assert difference.mean == pytest.approx(0.21)
    assert difference.interval == pytest.approx((0.21 - half, 0.21 + half), abs=1e-6)
    assert difference.separated and difference.verdict == "better"


def test_pairing_removes_what_the_seeds_share():
    """Seeds differ wildly, the difference does not: paired it is clear, unpaired it would not be."""
    reference = {0: 0.1, 1: 0.5, 2: 0.9}
    difference = paired_difference(
        {seed: value + d for (seed, value), d in zip(reference.items(), (0.04, 0.05, 0.06))}, reference
    )
    assert difference.verdict == "better"
    assert not difference.separated


def test_no_common_seed_is_no_difference():
    assert paired_difference({0: 1.0}, {1: 1.0}) is None


@pytest.mark.parametrize(
    ("interval", "videos", "unfinished", "expected"),
    [
        ((0.1, 0.2), None, False, "better"),
        ((-0.2, -0.1), (-0.3, -0.2), False, "worse"),
        ((-0.1, 0.2), None, False, "no difference shown"),
        ((0.0, 0.2), None, False, "no difference shown"),
        ((0.1, 0.2), (-0.01, 0.3), False, "no difference shown"),
        ((0.1, 0.2), (-0.3, -0.1), False, "no difference shown"),
        (None, (0.1, 0.2), False, None),
        ((0.1, 0.2), None, True, None),
    ],
)
def test_a_conclusion_needs_every_interval_to_exclude_zero(interval, videos, unfinished, expected):
    assert Difference((0, 1, 2), 0.1, interval, True, videos, unfinished).verdict == expected


def test_bootstrap_against_loops():
    generator = np.random.default_rng(3)
    groups = [f"g{i % 9}" for i in range(40)]
    values = generator.normal(0.2, 0.5, 40)
    low, high = bootstrap_groups(values, groups)

    obvious = random.Random(1)
    members = {name: [v for v, g in zip(values, groups) if g == name] for name in set(groups)}
    means = []
    for _ in range(4000):
        drawn = [value for name in obvious.choices(sorted(members), k=len(members)) for value in members[name]]
        means.append(sum(drawn) / len(drawn))
    means.sort()
    assert low == pytest.approx(means[100], abs=0.02)
    assert high == pytest.approx(means[3900], abs=0.02)


def test_bootstrap_draws_groups_not_videos():
    """Copies of a video in its group add no evidence: the interval stays, where drawing videos would shrink it."""
    values = np.array([0.0, 1.0, 0.0, 1.0, 1.0, 0.0])
    names = [f"g{i}" for i in range(6)]
    assert bootstrap_groups(np.repeat(values, 50), np.repeat(names, 50).tolist()) == bootstrap_groups(values, names)


def test_bootstrap_repeats_itself_and_follows_its_seed():
    values, names = np.random.default_rng(0).normal(size=30), [f"g{i}" for i in range(30)]
    assert bootstrap_groups(values, names) == bootstrap_groups(values, names)
    assert bootstrap_groups(values, names) != bootstrap_groups(values, names, seed=1)


def test_bootstrap_of_few_groups_says_nothing():
    assert bootstrap_groups(np.ones(40), ["a", "b", "c", "d"] * 10) is None
