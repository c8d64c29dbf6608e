"""Shuffle and Learn: are these three frames in order? (Misra, Zitnick, Hebert, ECCV 2016)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssv.backbones.base import Backbone
from ssv.ops.flow import flow_magnitudes
from ssv.ops.photometric import normalise
from ssv.ops.resample import take_frames
from ssv.ops.tuples import (
    AFTER,
    BEFORE,
    BETWEEN,
    OUTSIDE,
    TUPLES,
    choose,
    frame_differences,
    shot_numbers,
    squared_differences,
)
from ssv.pretexts.base import Pretext
from ssv.types import Clips, PretextOutput

# What stands in for the random numbers of `choose` in eval mode: the middle of everything, and a farther frame before.
MIDDLES = (0.5, 0.5, 0.5, 0.5, 0.0, 0.1)

TRIES = 10
"""How often frames of a window are drawn again because the wrong middle frame looks like the right one."""


class OrderVerification(Pretext):
    """Tells three frames in order, forwards or backwards, from those whose middle frame lies outside the other two.

    Each window makes four tuples with the same first and last frame, one of them in order: the paper's 25 %.

    Args:
        backbone: ``time_local`` for ``form="frames"``; any for ``form="clip"``.
        form: "frames" is the paper's: one tower for each frame, three features side by side. "clip" shows the three
            frames as a clip, for a backbone with kernels in time.
        frames: W, frames of the window the loader hands over.
        max_span: seconds from first to last frame at most; the paper's 60 frames at 25 per second.
        min_distance: seconds a wrong middle frame lies outside at least; the paper's 15 frames.
        motion: what tuples are drawn by: "flow" is the paper's optical flow, by OpenCV on the CPU; "difference" of
            neighbouring frames is free, but grows with contrast and changes of light too; "none" draws uniformly.
        alike: mean squared difference of the pixels (0..255) of a right and a wrong middle frame below which the two
            look alike and other frames are drawn; windows where that keeps failing are left out. 0 asks all.
        cut: share of a histogram that changes at a shot cut, above which no tuple crosses it; 1 looks for none.
        hidden: units of the head's hidden layer; 0 is a linear head.
        reverse: probability of a tuple to be shown backwards; its answer stays.
    """

    is_temporal = True

    def __init__(
        self,
        backbone: Backbone,
        *,
        form: str = "frames",
        frames: int = 31,
        max_span: float = 2.4,
        min_distance: float = 0.6,
        motion: str = "difference",
        alike: float = 10.0,
        cut: float = 0.5,
        hidden: int = 512,
        reverse: float = 0.5,
    ) -> None:
        super().__init__()
        if form not in ("frames", "clip"):
            raise ValueError(f"pretext.form must be frames or clip, got {form!r}")
        if form == "frames" and not backbone.time_local:
            raise ValueError("pretext.form=frames needs a backbone of single frames; set backbone.time_local=true")
        if max_span <= 0 or min_distance <= 0:
            raise ValueError(
                f"pretext.max_span and pretext.min_distance are seconds above 0, got {max_span} and {min_distance}"
            )
        if motion not in MOTIONS:
            raise ValueError(f"pretext.motion must be one of {', '.join(MOTIONS)}, got {motion!r}")
        if alike < 0:
            raise ValueError(f"pretext.alike is a squared difference of pixels, 0 or more, got {alike}")
        if hidden < 0:
            raise ValueError(f"pretext.hidden must be 0 (a linear head) or more, got {hidden}")
        self.backbone = backbone
        inputs = backbone.out_channels * (3 if form == "frames" else 1)
        # The paper's head is linear. In a sum of three terms only the middle frame's can tell tuples of one window
        # apart, whatever the outer two are: a linear head cannot compare, so a hidden layer is the default.
        self.head = (
            nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, 2))
            if hidden
            else (nn.Linear(inputs, 2))
        )
        self.form, self.frames, self.max_span, self.min_distance = form, frames, max_span, min_distance
        self.motion, self.alike, self.cut, self.reverse = motion, alike, cut, reverse

    def forward(self, clips: Clips) -> PretextOutput:
        """Ask four tuples of every window: B windows make 4*B questions, a quarter of them in order."""
        pixels = self.one_view(clips, self.frames)
        chosen, is_found, order = self.ask(pixels, clips.seconds[:, 0])
        logits = self.order_logits(take_frames(pixels, chosen), order).flatten(0, 1)
        in_order = (torch.arange(len(TUPLES), device=pixels.device) == 0).long().repeat(len(pixels))
        is_asked = is_found.repeat_interleave(len(TUPLES))
        losses = F.cross_entropy(logits, in_order, reduction="none")  # no class weights, as in the paper
        loss = (losses * is_asked).sum() / is_asked.sum().clamp(min=1)
        return PretextOutput(loss, _score(logits.detach(), in_order, is_asked))

    def ask(self, pixels: Tensor, seconds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The questions of uint8 windows (B,C,W,H,W') with their times (B,W).

        Returns:
            int64 (B,6), frames of each window that take part; bool (B,), False where nothing is asked, because cuts
            leave no room or wrong middle frames look like the right one; int64 (B,4,3), for each tuple which of the six frames it shows, the first tuple being in order.
        """
        batch, device = len(pixels), pixels.device
        shots, motion = shot_numbers(pixels, threshold=self.cut), MOTIONS[self.motion](pixels)
        chosen = torch.zeros(batch, len(MIDDLES), dtype=torch.long, device=device)
        is_found = torch.zeros(batch, dtype=torch.bool, device=device)
        for _ in range(TRIES if self.training else 1):
            u = torch.rand(batch, 6, device=device) if self.training else _middles(batch, device)
            tried, has_room = choose(
                seconds, shots, motion, u=u, max_span=self.max_span, min_distance=self.min_distance
            )
            chosen = torch.where(is_found[:, None], chosen, tried)
            is_found = is_found | (has_room & self._look_apart(pixels, tried))
            if bool(is_found.all()):
                break
        order = torch.tensor(TUPLES, device=device).expand(batch, -1, -1)
        if self.training:
            is_reversed = torch.rand(batch, len(TUPLES), device=device) < self.reverse
            order = torch.where(is_reversed[..., None], order.flip(2), order)
        return chosen, is_found, order

    def _look_apart(self, pixels: Tensor, chosen: Tensor) -> Tensor:
        """Whether no wrong middle frame looks like the right one, bool (B,); section 3 of the paper."""
        wrong = chosen[:, [BEFORE, AFTER, OUTSIDE]]
        right = chosen[:, [BETWEEN]].expand_as(wrong)
        return (squared_differences(pixels, wrong, right) >= self.alike).all(1)

    def order_logits(self, pixels: Tensor, order: Tensor) -> Tensor:
        """Two logits a tuple, wrong and in order, float32 (B,4,2).

        Args:
            pixels: uint8 (B,C,6,H,W'), the frames that take part.
            order: int64 (B,4,3), which of them each tuple shows.
        """
        frames = normalise(pixels, self.backbone.mean, self.backbone.std)
        batch, tuples = order.shape[:2]
        if self.form == "frames":
            # Every frame passes once, whatever the number of tuples it is in.
            features = self.backbone(frames).mean((3, 4)).transpose(1, 2)  # (B,6,D)
            rows = torch.arange(batch, device=order.device)[:, None, None]
            pooled = features[rows, order].flatten(2)  # (B,4,3D)
        else:
            shown = take_frames(frames.repeat_interleave(tuples, 0), order.flatten(0, 1))
            pooled = self.backbone(shown).mean((2, 3, 4)).view(batch, tuples, -1)
        logits: Tensor = self.head(pooled).float()
        return logits


def _no_motion(pixels: Tensor) -> Tensor:
    return torch.zeros(len(pixels), pixels.shape[2] - 1, device=pixels.device)


MOTIONS = {"difference": frame_differences, "flow": flow_magnitudes, "none": _no_motion}


def _middles(batch: int, device: torch.device) -> Tensor:
    return torch.tensor(MIDDLES, device=device).repeat(batch, 1)


def _score(logits: Tensor, in_order: Tensor, is_asked: Tensor) -> dict[str, Tensor]:
    """``accuracy`` is the mean over the two answers; of all tuples alike, answering "wrong" always gives 0.75.

    A quarter of the tuples is in order, so a network that knows something, but not enough, answers "wrong" to all. For
    ``accuracy`` a tuple counts as taken to be in order if that is more probable than a quarter.
    """
    is_taken = logits[:, 1] - logits[:, 0] > -math.log(len(TUPLES) - 1)
    is_right = (logits.argmax(1) == in_order) & is_asked
    counts = is_asked.sum().clamp(min=1)
    of_each = [
        (is_asked & (in_order == k) & (is_taken == k)).sum() / (is_asked & (in_order == k)).sum().clamp(min=1)
        for k in (0, 1)
    ]
    return {
        "accuracy": torch.where(is_asked.any(), (of_each[0] + of_each[1]) / 2, 0.5),  # nothing asked, nothing known
        "chance": torch.tensor(0.5),
        "plain_accuracy": is_right.sum() / counts,
        "windows_left_out": 1 - is_asked.float().mean(),
    }
