"""Clips with something taken away: what a network still answers from them, it answers without it.

Each function maps ``Clips`` to ``Clips`` of the same shapes and times and leaves its input alone.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ssv.ops.photometric import LUMA
from ssv.ops.resample import take_frames
from ssv.types import Clips


def whole(clips: Clips) -> Clips:
    """Nothing taken away: the yardstick."""
    return clips


def frozen_time(clips: Clips) -> Clips:
    """Every view holds its middle frame: one picture, no motion."""
    middle = clips.pixels.shape[3] // 2
    return clips._replace(pixels=clips.pixels[:, :, :, middle : middle + 1].expand_as(clips.pixels).contiguous())


def first_frame(clips: Clips) -> Clips:
    """The first frame of every view, and black after it."""
    pixels = torch.zeros_like(clips.pixels)
    pixels[:, :, :, 0] = clips.pixels[:, :, :, 0]
    return clips._replace(pixels=pixels)


def shuffled_frames(clips: Clips) -> Clips:
    """The frames of every view in an order drawn from torch's global generator; the times stay where they were."""
    views = clips.pixels.flatten(0, 1)  # (B*V,C,T,H,W)
    order = torch.rand(len(views), views.shape[2], device=views.device).argsort(1)
    return clips._replace(pixels=take_frames(views, order).view_as(clips.pixels).contiguous())


def borders(clips: Clips, width: float = 0.125) -> Clips:
    """A frame around the picture; black within.

    Args:
        clips: to impoverish.
        width: of the border, as a share of the shorter side; at least one pixel.
    """
    pixels = clips.pixels.clone()
    wide = max(1, round(width * min(pixels.shape[-2:])))
    pixels[..., wide:-wide, wide:-wide] = 0
    return clips._replace(pixels=pixels)


def blurred(clips: Clips, cells: int = 4) -> Clips:
    """Means of ``cells`` x ``cells`` parts of the picture, blended smoothly into one another."""
    frames = _frames(clips.pixels)
    coarse = functional.adaptive_avg_pool2d(frames.float(), cells)
    smooth = functional.interpolate(coarse, size=frames.shape[-2:], mode="bilinear", align_corners=False)
    return clips._replace(pixels=_clips(smooth, clips.pixels))


def mean_colour(clips: Clips, grain: int = 2) -> Clips:
    """Every frame becomes its mean colour: what stays is the light of each moment, and the place of a pixel.

    Args:
        clips: to impoverish.
        grain: noise of so many levels up or down, from torch's global generator, new for every pixel of every frame.
            Without it a pretext that looks for motion finds it everywhere alike, and asks about the same place each
            time, which can be learned.
    """
    mean = _clips(_frames(clips.pixels).float().mean((-2, -1), keepdim=True), clips.pixels)
    noise = torch.randint(-grain, grain + 1, mean.shape, device=mean.device, dtype=torch.int16)
    return clips._replace(pixels=(mean + noise).clamp_(0, 255).to(torch.uint8))


def colour_only(clips: Clips) -> Clips:
    """Brightness is the same everywhere (BT.601 luma 128, within rounding), differences of colour are halved to fit."""
    frames = _frames(clips.pixels).float()
    if frames.shape[1] != len(LUMA):
        raise ValueError(f"audit colour_only needs clips of 3 colours, got {frames.shape[1]}; leave it out of only=")
    luma = (frames * torch.tensor(LUMA, device=frames.device).view(-1, 1, 1)).sum(1, keepdim=True)
    return clips._replace(pixels=_clips((frames - luma) / 2 + 128, clips.pixels))


def _frames(pixels: Tensor) -> Tensor:
    """(B,V,C,T,H,W) -> (B*V*T,C,H,W)."""
    return pixels.transpose(2, 3).flatten(0, 2)


def _clips(frames: Tensor, like: Tensor) -> Tensor:
    """Float frames (B*V*T,C,H or 1,W or 1) of 0..255 as uint8 clips of the shape of ``like``."""
    batch, views, channels, time, height, width = like.shape
    rounded = frames.round().clamp(0, 255).to(torch.uint8).view(batch, views, time, channels, *frames.shape[-2:])
    return rounded.transpose(2, 3).expand(like.shape).contiguous()
