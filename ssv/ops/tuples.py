"""Tuples of frames that tell whether time is in order: which frames of a window make them, and where it moves.

After Misra, Zitnick, Hebert, "Shuffle and Learn" (ECCV 2016). Of five frames a < b < c < d < e, (b,c,d) is
in order, (b,a,d) and (b,e,d) are not: whoever sees only the first and the last frame learns nothing.

Shapes: ``pixels`` uint8 (B,C,W,H,W'), ``seconds`` float32 (B,W) presentation times, ``shots`` int64 (B,W). Limits are in
seconds, where the paper counts frames of videos of 25 per second.
"""

from __future__ import annotations

import torch
from torch import Tensor

STAMP_SECONDS = 1e-3  # containers round time stamps to whole milliseconds
LEVELS = 8  # bins of a channel's histogram
WEIGHT_STEPS = 2**20
SIDE = 32  # about as many rows and columns are looked at

# Columns of what `choose` returns.
BEFORE, FIRST, BETWEEN, LAST, AFTER, OUTSIDE = range(6)
# One tuple in order and three that are not: the paper's 25 to 75, exactly, in every batch.
TUPLES = ((FIRST, BETWEEN, LAST), (FIRST, BEFORE, LAST), (FIRST, AFTER, LAST), (FIRST, OUTSIDE, LAST))


def thin(pixels: Tensor) -> Tensor:
    """Every n-th row and column, so that about ``SIDE`` of the shorter remain; uint8 (B,C,W,h,w)."""
    step = max(1, min(pixels.shape[-2:]) // SIDE)
    return pixels[..., ::step, ::step]


def frame_differences(pixels: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring frames of 0..1 values, float32 (B,W-1)."""
    values = thin(pixels).float() / 255
    return values.diff(dim=2).abs().mean((1, 3, 4))


def squared_differences(pixels: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """How unlike two frames of each window look: mean squared difference of their 0..255 values.

    Args:
        pixels: uint8 (B,C,W,H,W').
        one: int64 (B,n), frames of each window.
        other: int64 (B,n).

    Returns:
        float32 (B,n).
    """
    values = thin(pixels).transpose(1, 2).float()  # (B,W,C,h,w)
    rows = torch.arange(len(values), device=values.device)[:, None]
    return (values[rows, one] - values[rows, other]).square().mean((2, 3, 4))


def shot_numbers(pixels: Tensor, *, threshold: float) -> Tensor:
    """Number of the shot each frame belongs to, int64 (B,W).

    A cut lies where the histograms of neighbouring frames, ``LEVELS`` bins a channel, differ by more than ``threshold``:
    0 for equal ones, 1 for ones without a common bin. Moving things keep their colours and change it little.
    """
    levels = (thin(pixels) // (256 // LEVELS)).flatten(3)  # (B,C,W,h*w)
    # One count for all: bins of a histogram of its own for every channel of every frame. Counts of integers are the
    # same in any order, so this is deterministic on CUDA too.
    own = torch.arange(levels[..., 0].numel(), device=pixels.device).view(*levels.shape[:3], 1)
    counts = (own * LEVELS + levels).flatten().bincount(minlength=own.numel() * LEVELS)
    histograms = counts.view(*levels.shape[:3], LEVELS) / levels.shape[3]
    distances = histograms.diff(dim=2).abs().sum(3).mean(1) / 2  # (B,W-1)
    cuts = (distances > threshold).long()
    return torch.cat([torch.zeros_like(cuts[:, :1]), cuts.cumsum(1)], dim=1)


def draw(weights: Tensor, u: Tensor) -> Tensor:
    """Entry of each row at the share ``u`` of its weight: with a uniform ``u``, drawn by weight. Integers, so exact.

    Args:
        weights: int64 (B,N), not negative; an entry of weight 0 is never taken, a row of zeros gives 0.
        u: float32 (B,) in [0,1).

    Returns:
        int64 (B,).
    """
    heaped = weights.cumsum(1)
    total = heaped[:, -1]
    mark = (u * total).long()  # below the total: the greatest float32 below 1 takes off more than rounding adds
    return (heaped <= mark[:, None]).sum(1) * (total > 0)


def outside(seconds: Tensor, shots: Tensor, *, min_distance: float) -> Tensor:
    """Whether frame j lies at least ``min_distance`` before frame i, in one shot; bool (B,W,W), [:, i, j]."""
    same = shots[:, :, None] == shots[:, None, :]
    return same & (seconds[:, :, None] - seconds[:, None, :] >= min_distance - STAMP_SECONDS)


def admissible(seconds: Tensor, shots: Tensor, *, max_span: float, min_distance: float) -> Tensor:
    """Whether frames b and d can be first and last, with some a, c and e in the same shot; bool (B,W,W), [:, b, d]."""
    gap = seconds[:, None, :] - seconds[:, :, None]
    later = (gap > 0) & (shots[:, :, None] == shots[:, None, :])
    has_between = torch.bmm(later.float(), later.float()) > 0
    earlier = outside(seconds, shots, min_distance=min_distance)
    has_before, has_after = earlier.any(2), earlier.any(1)
    near = later & (gap <= max_span + STAMP_SECONDS)
    return near & has_between & has_before[:, :, None] & has_after[:, None, :]


def choose(
    seconds: Tensor, shots: Tensor, motion: Tensor, *, u: Tensor, max_span: float, min_distance: float
) -> tuple[Tensor, Tensor]:
    """Six frames of each window, as ``BEFORE`` to ``OUTSIDE`` name them; the last is a second draw of a or of e.

    First and last are drawn together, by the motion between them, from all pairs at most ``max_span`` seconds apart;
    the others uniformly from what lies between them, or at least ``min_distance`` seconds outside them.

    Args:
        seconds: float32 (B,W).
        shots: int64 (B,W), as `shot_numbers` gives them; zeros where cuts do not matter.
        motion: float32 (B,W-1), weight of the step from each frame to the next, not negative; where all of it is 0,
            pairs are drawn uniformly.
        u: float32 (B,6) in [0,1): what decides.
        max_span: seconds.
        min_distance: seconds.

    Returns:
        int64 (B,6), and bool (B,): False where cuts leave no room, and the frames were chosen across them.

    Raises:
        ValueError: if a window gives no tuple even without cuts.
    """
    batch, window = seconds.shape
    rows = torch.arange(batch, device=seconds.device)
    limits = {"max_span": max_span, "min_distance": min_distance}
    is_found = admissible(seconds, shots, **limits).flatten(1).any(1)
    shots = torch.where(is_found[:, None], shots, 0)
    pairs = admissible(seconds, shots, **limits)
    lacking = int((~pairs.flatten(1).any(1)).sum())
    if lacking:
        longest = float((seconds[:, -1] - seconds[:, 0]).max())
        raise ValueError(
            f"{lacking} of {batch} windows of {window} frames (at most {longest:.2f} s) have no three frames with others "
            f"{min_distance} s before and after them; raise data.sampler.frames or data.sampler.seconds"
        )
    pair = draw(_pair_weights(pairs, motion), u[:, 0])
    first, last = pair // window, pair % window

    earlier = outside(seconds, shots, min_distance=min_distance)
    before, after = earlier[rows, first], earlier.transpose(1, 2)[rows, last]
    is_between = (seconds > seconds[rows, first, None]) & (seconds < seconds[rows, last, None])
    is_between &= shots == shots[rows, first, None]
    again = torch.where(u[:, 4, None] < 0.5, before, after)
    masks = (before, is_between, after, again)
    a, c, e, x = (draw(mask.long(), u[:, k]) for mask, k in zip(masks, (1, 2, 3, 5), strict=True))
    return torch.stack([a, first, c, last, e, x], dim=1), is_found


def _pair_weights(pairs: Tensor, motion: Tensor) -> Tensor:
    """Motion summed from b to d, in whole steps of the greatest, int64 (B,W*W); 0 where a pair is not admissible."""
    path = torch.nn.functional.pad(motion, (1, 0)).cumsum(1)
    weight = (path[:, None, :] - path[:, :, None]).clamp(min=0) * pairs
    weight = weight / weight.amax((1, 2), keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny)
    steps = (weight * WEIGHT_STEPS).ceil().long().flatten(1)
    return torch.where(steps.any(1, keepdim=True), steps, pairs.flatten(1).long())
