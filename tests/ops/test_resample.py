import pytest
import torch

from ssv.ops.resample import even_skip, first_true, frame_durations, random_skip, take_frames


def windows(rate, frames, rows=400, start=3.7):
    return (start + torch.arange(frames) / rate).expand(rows, frames).contiguous()


@pytest.mark.parametrize("rate", [24, 25, 30, 60])
@pytest.mark.parametrize("speed", [1.0, 1.2, 1.7, 2.2])
def test_random_skip_plays_at_the_speed_in_seconds_whatever_the_rate(rate, speed):
    frames, base = 16, 1 / 24
    seconds = windows(rate, 5 * frames * rate // 24, rows=2000)
    torch.manual_seed(0)
    indices = random_skip(seconds, speed=torch.full((2000,), speed), seconds_per_frame=base, frames=frames)
    assert (indices.diff(dim=1) > 0).all(), "filmed order, no frame twice"
    shown = seconds.gather(1, indices)
    step = (shown[:, -1] - shown[:, 0]) / (frames - 1)
    # Gaps between kept frames are geometric: mean d/p, variance d^2 (1-p)/p^2 with p = d / (speed * base).
    d = 1 / rate
    p = min(1.0, d / (speed * base))
    sigma = (d**2 * (1 - p) / p**2 / (frames - 1) / len(step)) ** 0.5
    assert float(step.mean()) == pytest.approx(d / p, abs=3 * sigma + 1e-6)
    assert d / p == pytest.approx(speed * base)


def test_random_skip_draws_again_until_all_rows_have_enough():
    torch.manual_seed(1)
    seconds = windows(25, 24)
    indices = random_skip(seconds, speed=torch.full((400,), 2.2), seconds_per_frame=1 / 25, frames=10)
    assert indices.max() < 24 and (indices.diff(dim=1) > 0).all()


def test_random_skip_says_when_the_window_cannot_do():
    with pytest.raises(ValueError, match="holds too few"):
        random_skip(windows(25, 10), speed=torch.full((400,), 2.0), seconds_per_frame=1 / 25, frames=10)


def test_even_skip_literal():
    assert even_skip(windows(24, 12, 1), speed=1.0, seconds_per_frame=1 / 24, frames=4).tolist() == [[0, 1, 2, 3]]
    assert even_skip(windows(24, 12, 1), speed=2.0, seconds_per_frame=1 / 24, frames=4).tolist() == [[0, 2, 4, 6]]
    assert even_skip(windows(30, 12, 1), speed=2.0, seconds_per_frame=1 / 24, frames=4).tolist() == [[0, 2, 5, 7]]


def test_even_skip_never_repeats_and_refuses_to_overrun():
    uneven = torch.tensor([[0.0, 0.05, 0.08, 0.12, 0.16, 0.2]])
    assert even_skip(uneven, speed=1.0, seconds_per_frame=0.02, frames=4).tolist() == [[0, 1, 2, 3]]
    with pytest.raises(ValueError, match="does not give"):
        even_skip(windows(24, 6, 1), speed=2.0, seconds_per_frame=1 / 24, frames=4)


def test_first_true_and_take_frames_against_loops():
    torch.manual_seed(0)
    mask = torch.rand(5, 20) < 0.7
    found = first_true(mask, 6)
    pixels = torch.randint(0, 255, (5, 3, 20, 4, 4), dtype=torch.uint8)
    taken = take_frames(pixels, found)
    for row in range(5):
        expected = [i for i in range(20) if mask[row, i]][:6]
        assert found[row].tolist() == expected
        for k, i in enumerate(expected):
            assert torch.equal(taken[row, :, k], pixels[row, :, i])


def test_frame_durations():
    assert frame_durations(torch.tensor([[0.0, 1.0, 3.0]])).tolist() == [[1.0, 2.0, 2.0]]
