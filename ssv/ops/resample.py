"""Resampling of time: which frames of a window make a clip of a given speed.

Shapes: ``seconds`` (B,W) presentation times of the W frames of each window, ``indices`` int64 (B,T).
"""

from __future__ import annotations

import torch
from torch import Tensor


def frame_durations(seconds: Tensor) -> Tensor:
    """Seconds each frame stays on screen, (B,W); the last one is taken to last as long as the one before it."""
    steps = seconds.diff(dim=-1)
    return torch.cat([steps, steps[..., -1:]], dim=-1)


def random_skip(seconds: Tensor, *, speed: Tensor, seconds_per_frame: float, frames: int, tries: int = 100) -> Tensor:
    """Keep each frame at random so that a clip plays ``speed`` times as fast as filmed; the first T kept frames.

    A frame that lasts d seconds survives with probability d / (speed * seconds_per_frame), so that survivors are
    ``speed * seconds_per_frame`` apart on average whatever the file's frame rate (Benaim et al. 2020, section 3.1,
    where frames are counted instead: the same at one rate). No frame is taken twice and order is kept.
    Rows with fewer than T survivors are drawn again, from torch's global generator; ``speed`` (B,).

    Raises:
        ValueError: if a window is too short for T frames at the speed asked.
    """
    keep_probability = (frame_durations(seconds) / (speed[:, None] * seconds_per_frame)).clamp(max=1)
    kept = torch.zeros_like(seconds, dtype=torch.bool)
    open_rows = torch.ones(len(seconds), dtype=torch.bool, device=seconds.device)
    for _ in range(tries):
        kept = torch.where(open_rows[:, None], torch.rand_like(keep_probability) < keep_probability, kept)
        open_rows = kept.sum(1) < frames
        if not open_rows.any():
            return first_true(kept, frames)
    raise ValueError(
        f"a window of {seconds.shape[1]} frames holds too few for {frames} at {float(speed.max()):.2f} times the speed"
    )


def first_true(mask: Tensor, count: int) -> Tensor:
    """Positions of the first ``count`` True entries of each row of ``mask`` (B,W), int64 (B,count)."""
    # A stable sort of the negated mask moves the True entries to the front and keeps their order.
    return torch.argsort((~mask).to(torch.uint8), dim=1, stable=True)[:, :count]


def even_skip(seconds: Tensor, *, speed: float, seconds_per_frame: float, frames: int) -> Tensor:
    """The frames nearest to every ``speed * seconds_per_frame`` seconds from the window's start, int64 (B,T).

    No frame is taken twice: where two moments share a nearest frame (a 25 per second source on a grid of 24), the
    later one takes the next frame.

    Raises:
        ValueError: if the window ends before.
    """
    count = torch.arange(frames, device=seconds.device)
    wanted = seconds[:, :1] + speed * seconds_per_frame * count
    nearest = (seconds[:, None, :] - wanted[:, :, None]).abs().argmin(2)
    indices = (nearest - count).cummax(1).values + count
    last = seconds[:, -1:] + frame_durations(seconds)[:, -1:]
    if bool((wanted >= last).any()) or int(indices.max()) >= seconds.shape[1]:
        step = speed * seconds_per_frame
        raise ValueError(f"a window of {seconds.shape[1]} frames does not give {frames} frames every {step:.4f} s")
    return indices


def take_frames(pixels: Tensor, indices: Tensor) -> Tensor:
    """Gather frames: (B,C,W,H,W') with (B,T) -> (B,C,T,H,W')."""
    rows = torch.arange(len(pixels), device=pixels.device)[:, None]
    return pixels.transpose(1, 2)[rows, indices].transpose(1, 2)
