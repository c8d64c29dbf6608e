import pytest
import torch

from ssv.ops.tuples import (
    AFTER,
    BEFORE,
    BETWEEN,
    FIRST,
    LAST,
    OUTSIDE,
    STAMP_SECONDS,
    admissible,
    choose,
    draw,
    frame_differences,
    shot_numbers,
)

LIMITS = {"max_span": 2.4, "min_distance": 0.6}


def times(batch, rate, frames=31, step=0.12, seed=0):
    """Presentation times of the frames nearest to a grid, as a sampler finds them; a start anywhere."""
    start = torch.rand(batch, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 9
    grid = start + step * torch.arange(frames)
    return ((grid * rate).round() / rate).float()


def chosen_of(seconds, shots=None, motion=None, seed=0, **limits):
    generator = torch.Generator().manual_seed(seed)
    shots = torch.zeros_like(seconds).long() if shots is None else shots
    motion = torch.ones_like(seconds[:, 1:]) if motion is None else motion
    u = torch.rand(len(seconds), 6, generator=generator)
    return choose(seconds, shots, motion, u=u, **{**LIMITS, **limits})


def slow_admissible(seconds, shots, max_span, min_distance):
    """All pairs that leave room for the other three, by trying every five frames' parts."""
    pairs, frames = set(), range(len(seconds))
    for b in frames:
        for d in frames:
            gap = seconds[d] - seconds[b]
            inside = [c for c in frames if seconds[b] < seconds[c] < seconds[d] and shots[c] == shots[b]]
            before = [a for a in frames if seconds[b] - seconds[a] >= min_distance and shots[a] == shots[b]]
            after = [e for e in frames if seconds[e] - seconds[d] >= min_distance and shots[e] == shots[b]]
            if 0 < gap <= max_span and shots[b] == shots[d] and inside and before and after:
                pairs.add((b, d))
    return pairs


def test_pairs_are_those_of_a_loop():
    generator = torch.Generator().manual_seed(1)
    seconds = torch.rand(6, 14, generator=generator).cumsum(1) * 0.5
    shots = (torch.rand(6, 14, generator=generator) < 0.1).long().cumsum(1)
    found = admissible(seconds, shots, max_span=1.2 - STAMP_SECONDS, min_distance=0.3 + STAMP_SECONDS)
    counts = []
    for row in range(6):
        expected = slow_admissible(seconds[row].tolist(), shots[row].tolist(), 1.2, 0.3)
        assert {tuple(pair) for pair in found[row].nonzero().tolist()} == expected
        counts.append(len(expected))
    assert max(counts) > 5


@pytest.mark.parametrize("rate", [24, 25, 30, 29.97])
def test_limits_hold_in_seconds_at_every_frame_rate(rate):
    seconds = times(3000, rate)
    chosen, is_found = chosen_of(seconds)
    t = seconds.gather(1, chosen)
    a, b, c, d, e, x = (t[:, k] for k in (BEFORE, FIRST, BETWEEN, LAST, AFTER, OUTSIDE))
    assert is_found.all()
    assert ((b < c) & (c < d)).all() and (d - b <= 2.4 + 2e-3).all()
    assert (b - a >= 0.6 - 2e-3).all() and (e - d >= 0.6 - 2e-3).all()
    assert ((b - x >= 0.6 - 2e-3) ^ (x - d >= 0.6 - 2e-3)).all()
    assert (x < b).float().mean() == pytest.approx(0.5, abs=0.04)
    assert (d - b).max() > 2.2 and (d - b).min() < 0.5, "every span is asked"


def test_limits_hold_for_times_that_jitter():
    seconds = times(3000, 25)
    seconds = seconds + (torch.rand(seconds.shape, generator=torch.Generator().manual_seed(3)) - 0.5) * 0.08
    chosen, _ = chosen_of(seconds, max_span=1.5)
    t = seconds.gather(1, chosen)
    gap = t[:, LAST] - t[:, FIRST]
    assert (gap <= 1.5 + 2e-3).all() and (t[:, FIRST] - t[:, BEFORE] >= 0.6 - 2e-3).all()
    assert (t[:, AFTER] - t[:, LAST] >= 0.6 - 2e-3).all()


def test_draw_is_by_weight_and_never_takes_a_zero():
    weights = torch.tensor([[0, 3, 0, 1, 0]]).repeat(8000, 1)
    entries = draw(weights, torch.rand(8000, generator=torch.Generator().manual_seed(0)))
    assert set(entries.tolist()) == {1, 3} and (entries == 1).float().mean() == pytest.approx(0.75, abs=0.02)
    edges = torch.tensor([0.0, 1 - 2**-24])
    assert draw(weights[:2], edges).tolist() == [1, 3]
    totals = torch.cat([2**k + torch.arange(-9, 10) for k in range(5, 32)])[:, None]
    assert (draw(totals, edges[1:].expand(len(totals))) == 0).all(), "rounding never leads past the end"
    assert draw(torch.zeros(2, 5).long(), edges).tolist() == [0, 0]


def test_no_window_without_motion_where_something_moves():
    seconds = times(2000, 25)
    motion = torch.zeros(2000, 30)
    motion[:, 12] = 0.1
    chosen, _ = chosen_of(seconds, motion=motion)
    assert ((chosen[:, FIRST] <= 12) & (chosen[:, LAST] >= 13)).all()


def test_a_pair_is_drawn_in_proportion_to_its_motion():
    seconds = (torch.arange(6) * 1.0).expand(9000, 6)
    motion = torch.tensor([0.0, 1.0, 1.0, 2.0, 0.0]).expand(9000, 5)
    chosen, _ = chosen_of(seconds, motion=motion, max_span=2.0, min_distance=1.0)
    # Frames 1..4 with one between: (1,3) moves 1+1, (2,4) moves 1+2.
    share = (chosen[:, FIRST] == 1).float().mean()
    assert set(chosen[:, FIRST].tolist()) == {1, 2} and share == pytest.approx(0.4, abs=0.02)


def test_no_tuple_crosses_a_cut():
    seconds = times(2000, 25)
    shots = (
        torch.arange(31)[None] >= torch.randint(0, 31, (2000, 1), generator=torch.Generator().manual_seed(2))
    ).long()
    chosen, is_found = chosen_of(seconds, shots=shots)
    assert (shots.gather(1, chosen)[is_found].diff(dim=1) == 0).all() and is_found.all()
    shots = torch.arange(31).div(6, rounding_mode="floor").expand(2000, 31)
    assert not chosen_of(seconds, shots=shots)[1].any(), "shots of 0.72 s leave no room"


def test_a_short_window_is_one_line_that_names_the_keys():
    seconds = torch.cat([times(3, 25), times(2, 25, step=0.04)])
    with pytest.raises(
        ValueError, match=r"^2 of 5 windows of 31 frames .*data\.sampler\.frames or data\.sampler\.sec"
    ) as e:
        chosen_of(seconds)
    assert "\n" not in str(e.value)


def test_cuts_are_seen_and_motion_is_not_one():
    generator = torch.Generator().manual_seed(0)
    scenes = torch.rand(2, 3, 48, 64, generator=generator) * torch.tensor([0.4, 0.3])[:, None, None, None]
    scenes[1] += 0.6
    frames = [scenes[int(t >= 5)].roll(3 * t, -1) for t in range(12)]
    pixels = (torch.stack(frames, 1)[None] * 255).to(torch.uint8)
    assert shot_numbers(pixels, threshold=0.5).tolist() == [[0] * 5 + [1] * 7]
    assert shot_numbers(pixels, threshold=1.0).tolist() == [[0] * 12]
    assert frame_differences(pixels).shape == (1, 11)


def test_frame_differences_are_on_a_scale_of_one():
    pixels = torch.zeros(1, 3, 3, 40, 70, dtype=torch.uint8)
    pixels[:, :, 1] = 255
    pixels[:, :, 2, :, :35] = 255
    assert frame_differences(pixels)[0].tolist() == pytest.approx([1.0, 0.5], abs=0.02)
