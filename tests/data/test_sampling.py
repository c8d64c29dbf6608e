"""Index arithmetic against literal lists; no video is involved."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import torch

from ssv.data.sampling import RandomClips, UniformClips, WholeVideo


def at(rate, frames, digits=12):
    return np.round(np.arange(frames) / rate, digits)


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def random_clips(views=1, **kwargs):
    return RandomClips(views=views, **kwargs)


@pytest.mark.parametrize(
    ("views", "expected"),
    [
        (1, [[1, 3, 5, 7]]),
        (2, [[0, 2, 4, 6], [3, 5, 7, 9]]),
        (3, [[0, 2, 4, 6], [1, 3, 5, 7], [3, 5, 7, 9]]),
        (4, [[0, 2, 4, 6], [1, 3, 5, 7], [2, 4, 6, 8], [3, 5, 7, 9]]),
    ],
)
def test_uniform_clips_by_stride(views, expected):
    assert UniformClips(views=views, frames=4, stride=2)(at(25, 10)).tolist() == expected


@pytest.mark.parametrize(
    ("rate", "frames", "views", "expected"),
    [
        (25, 11, 1, [[2, 4, 6, 8]]),
        (25, 11, 3, [[0, 2, 4, 6], [2, 4, 6, 8], [4, 6, 8, 10]]),
        (50, 14, 2, [[0, 4, 8, 12], [1, 5, 9, 13]]),
        (30, 9, 2, [[0, 2, 5, 7], [1, 3, 6, 8]]),
    ],
)
def test_uniform_clips_by_seconds(rate, frames, views, expected):
    sampler = UniformClips(views=views, frames=4, stride=None, seconds=0.08)
    assert sampler(at(rate, frames)).tolist() == expected


@pytest.mark.parametrize(
    ("short", "expected"),
    [("hold", [0, 2, 4, 4, 4, 4, 4, 4]), ("loop", [0, 2, 4, 1, 3, 0, 2, 4])],
)
@pytest.mark.parametrize("kind", [{"stride": 2}, {"stride": None, "seconds": 0.08}])
@pytest.mark.parametrize("sampler", [RandomClips, UniformClips])
def test_what_a_short_video_gives(sampler, kind, short, expected):
    clips = sampler(frames=8, short=short, **kind)
    assert clips.fits(at(25, 5)) is not None
    assert clips(at(25, 5), draws()).tolist() == [expected]


@pytest.mark.parametrize("short", ["hold", "loop"])
def test_a_video_that_is_long_but_slow_shows_frames_again(short):
    clips = UniformClips(frames=5, stride=None, seconds=0.02, short=short)
    assert clips(at(25, 5)).tolist() == [[1, 2, 2, 3, 3]]


@pytest.mark.parametrize("kind", [{"stride": 3}, {"stride": None, "seconds": 3 / 25}])
def test_every_start_is_equally_likely(kind):
    # 4 frames, 3 apart, span 10 of 17 frames: 8 starts.
    clips = random_clips(views=8000, frames=4, **kind)(at(25, 17), draws())
    assert (clips == clips[:, :1] + torch.tensor([0, 3, 6, 9])).all()
    counts = torch.bincount(clips[:, 0], minlength=8)
    assert len(counts) == 8
    chi_squared = ((counts - 1000.0) ** 2 / 1000).sum()
    assert chi_squared < 24.3  # 7 degrees of freedom: 1 in 1000


def test_views_are_drawn_independently_and_repeatably():
    sampler = random_clips(views=2, frames=2, stride=1)
    many = torch.stack([sampler(at(25, 5), draws(seed))[:, 0] for seed in range(400)])
    pairs = torch.bincount(many[:, 0] * 4 + many[:, 1], minlength=16)
    assert (pairs > 5).all()
    assert torch.equal(sampler(at(25, 50), draws(3)), sampler(at(25, 50), draws(3)))


def test_files_of_different_rates_give_equal_durations():
    sampler = random_clips(views=200, frames=16, stride=None, seconds=0.08)
    for rate in (24, 25, 30, 29.97, 60):
        times = at(rate, 200)
        clips = sampler(times, draws())
        shown = times[clips.numpy()]
        ideal = shown[:, :1] + np.arange(16) * 0.08
        assert np.abs(shown - ideal).max() <= 1 / rate + 1e-6  # each end is off by at most half a frame
        assert np.mean(shown[:, -1] - shown[:, 0]) == pytest.approx(1.2, abs=0.005)


@pytest.mark.parametrize("digits", [12, 3])  # 3: Matroska's milliseconds
@pytest.mark.parametrize(
    ("rate", "seconds", "fits"),
    [
        (24, 1 / 24, True),
        (23.976, 1 / 24, True),
        (29.97, 1 / 30, True),
        (60, 1 / 60, True),
        (25, 1 / 24, True),
        (24, 1 / 25, False),
        (25, 1 / 30, False),
        (30, 1 / 60, False),
    ],
)
@pytest.mark.parametrize("frames", [2, 16])
def test_a_rate_too_low_does_not_fit(rate, seconds, fits, digits, frames):
    sampler = random_clips(views=500, frames=frames, stride=None, seconds=seconds)
    times = at(rate, 100, digits)
    problem = sampler.fits(times)
    assert (problem is None) == fits
    if fits:
        assert (sampler(times, draws()).diff(dim=1) > 0).all()
    else:
        assert "frames per second" in problem


@pytest.mark.parametrize("digits", [12, 3])
def test_the_shortest_video_that_fits(digits):
    sampler = UniformClips(frames=16, stride=None, seconds=1 / 24)
    assert sampler(at(24, 16, digits)).tolist() == [list(range(16))]
    assert "has 15 frames" in sampler.fits(at(24, 15, digits))
    assert UniformClips(frames=4, stride=3).fits(at(24, 10)) is None
    assert "needs 10" in UniformClips(frames=4, stride=3).fits(at(24, 9))
    assert "lasts 0.333 s" in UniformClips(frames=4, stride=None, seconds=0.125).fits(at(24, 9))


def paused(seed):
    """Irregular times with pauses, as a telephone films."""
    random = np.random.default_rng(seed)
    gaps = random.uniform(0.015, 0.045, size=120)
    gaps[random.integers(0, 120, size=4)] = random.uniform(0.1, 0.6, size=4)
    return np.concatenate([[0.0], np.cumsum(gaps)])


@pytest.mark.parametrize("kind", [RandomClips, UniformClips])
def test_no_frame_is_shown_twice_at_a_varying_rate(kind):
    sampler = kind(views=300, frames=8, stride=None, seconds=0.04)
    for seed in range(20):
        times = paused(seed)
        if sampler.fits(times) is None:
            clips = sampler(times, draws(seed))
            assert (clips.diff(dim=1) > 0).all()
            assert clips.min() >= 0 and clips.max() < len(times)
    assert sum(sampler.fits(paused(seed)) is None for seed in range(20)) > 15


def test_admissible_starts_at_a_varying_rate_match_a_slow_search():
    times = paused(1)
    clips = random_clips(views=20000, frames=8, stride=None, seconds=0.04)(times, draws())
    starts = np.linspace(-0.01, times[-1] - 0.28 + 0.01, 20000)
    nearest = np.abs((starts[:, None] + np.arange(8) * 0.04)[..., None] - times).argmin(axis=2)
    admissible = nearest[(np.diff(nearest, axis=1) > 0).all(axis=1)]
    drawn_share = np.bincount(clips[:, 0], minlength=len(times)) / len(clips)
    share = np.bincount(admissible[:, 0], minlength=len(times)) / len(admissible)
    assert np.abs(drawn_share - share).max() < 0.006
    assert not drawn_share[share == 0].any()


@pytest.mark.parametrize("short", ["error", "skip"])
def test_a_video_that_does_not_fit_is_refused(short):
    with pytest.raises(ValueError, match=r"has 20 frames where data.sampler.frames=16 with stride=2 needs 31.*short"):
        random_clips(frames=16, stride=2, short=short)(at(25, 20), draws())
    with pytest.raises(ValueError, match="Generator"):
        random_clips()(at(25, 20), None)


def test_a_single_frame():
    assert UniformClips(views=3, frames=1)(at(25, 5)).tolist() == [[0], [2], [4]]
    assert UniformClips(views=3, frames=1, stride=None, seconds=1.0)(at(25, 5)).tolist() == [[0], [2], [4]]
    assert UniformClips(frames=3, stride=None, seconds=1.0, short="loop")(at(25, 1)).tolist() == [[0, 0, 0]]
    assert UniformClips(frames=1).fits(at(25, 0)) is not None


@pytest.mark.parametrize(
    "wrong",
    [
        {"seconds": 0.1},
        {"stride": None},
        {"stride": 0},
        {"stride": None, "seconds": 0.0},
        {"frames": 0},
        {"views": 0},
        {"short": "freeze"},
    ],
)
@pytest.mark.parametrize("kind", [RandomClips, UniformClips])
def test_wrong_values_name_their_key(kind, wrong):
    with pytest.raises(ValueError, match="data.sampler"):
        kind(**wrong)


@pytest.mark.parametrize(("frames", "stride"), [(1, 1), (3, 1), (6, 1), (3, 2), (2, 4)])
def test_every_choice_of_frames_of_the_whole_video_is_equally_likely(frames, stride):
    sampler = WholeVideo(views=1, frames=frames, stride=stride)
    choices = [c for c in combinations(range(6), frames) if all(b - a >= stride for a, b in zip(c, c[1:]))]
    generator = draws()
    counts = Counter(tuple(sampler(at(25, 6), generator)[0].tolist()) for _ in range(200 * len(choices)))
    assert counts.keys() == set(choices)
    assert all(abs(count - 200) < 70 for count in counts.values())  # five standard deviations


def test_views_of_the_whole_video_are_drawn_independently_and_repeatably():
    sampler = WholeVideo(views=3, frames=8)
    clips = sampler(at(25, 60), draws(3))
    assert clips.shape == (3, 8) and clips.dtype == torch.int64
    assert (clips.diff(dim=1) > 0).all() and len({tuple(clip) for clip in clips.tolist()}) == 3
    assert torch.equal(sampler(at(25, 60), draws(3)), clips) and not torch.equal(sampler(at(25, 60), draws(4)), clips)
    with pytest.raises(ValueError, match="Generator"):
        sampler(at(25, 60), None)


def test_a_whole_video_that_is_too_short():
    times = at(25, 4)
    assert WholeVideo(frames=4).fits(times) is None
    assert "has 4 frames" in WholeVideo(frames=5).fits(times) and "needs 7" in WholeVideo(frames=4, stride=2).fits(
        times
    )
    with pytest.raises(ValueError, match=r"data\.sampler\.short"):
        WholeVideo(frames=6)(times, draws())
    assert WholeVideo(frames=6, short="hold")(times, draws()).tolist() == [[0, 1, 2, 3, 3, 3]]
    assert WholeVideo(frames=6, short="loop", views=2)(times, draws()).tolist() == 2 * [[0, 1, 2, 3, 0, 1]]


@pytest.mark.parametrize("wrong", [{"seconds": 0.1}, {"stride": None}, {"stride": None, "seconds": 0.1}])
def test_a_whole_video_counts_frames(wrong):
    with pytest.raises(ValueError, match=r"data\.sampler\.seconds=null data\.sampler\.stride=1"):
        WholeVideo(**wrong)
