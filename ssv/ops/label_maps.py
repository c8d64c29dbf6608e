"""Soft label maps: from joints to maps and back, and from cells to pixels.

Shapes: a map is float (L,h,w), one channel per class; for joints ``L = 1 + K``, the background first.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def upsample(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """A soft map (L,h,w) at ``size`` (rows, columns): bilinear between half-pixel centres, as ``cv2.resize`` does it."""
    return functional.interpolate(labels[None], size, mode="bilinear", align_corners=False)[0]


def minmax(labels: Tensor, axes: tuple[int, ...] = (1, 2)) -> Tensor:
    """A soft map (L,h,w) stretched to 0..1, for what is written out, never for what is carried on.

    Args:
        labels: float (L,h,w).
        axes: over which the least and the greatest value are taken. (1, 2): each class over its map, as DINO and others
            do; (0,): each cell over the classes, the switch ``norm_mask`` in the code of Jabri et al. 2020.

    Returns:
        A new map. Where all values are equal there is nothing to stretch and they stay: an absent class wins nowhere.
    """
    low, high = labels.amin(axes, keepdim=True), labels.amax(axes, keepdim=True)
    return torch.where(high > low, (labels - low) / (high - low), labels)


def heatmaps(joints: Tensor, size: tuple[int, int], *, sigma: float = 0.5) -> Tensor:
    """Joints as Gaussians on a grid, as the JHMDB protocol of Jabri et al. 2020 draws them (after Newell et al. 2016).

    A Gaussian has the value 1 at a cell, the joint's place cut to whole cells, and ends 3 sigma from the joint. The cut
    is towards zero, of the corner of the drawn window: near the upper and left edge the middle is one cell too far in.
    This is kept, as published figures contain it.

    Args:
        joints: float (K,2), x and y in cells; what lies outside or is NaN leaves its map empty.
        size: rows and columns of the grid.
        sigma: in cells.

    Returns:
        (1+K,h,w) of the dtype of ``joints``; channel 0, the background, is 1 where no joint reaches.
    """
    x, y = (_bump(joints[:, axis], size[1 - axis], sigma) for axis in (0, 1))
    drawn = y[:, :, None] * x[:, None, :]
    return torch.cat([(drawn.sum(0, keepdim=True) == 0).to(drawn), drawn])


def _bump(places: Tensor, length: int, sigma: float) -> Tensor:
    """One axis of the Gaussians: (K,) places -> (K,length)."""
    start, stop = (places - 3 * sigma).trunc(), (places + 3 * sigma + 1).trunc()
    middle = start + (6 * sigma + 1) // 2
    cells = torch.arange(length, device=places.device)
    inside = (cells >= start[:, None]) & (cells < stop[:, None])
    return torch.where(inside, torch.exp(-((cells - middle[:, None]) ** 2) / (2 * sigma**2)), 0)


def joint_positions(maps: Tensor, *, topk: int = 3) -> Tensor:
    """Where the joints of a map (1+K,h,w) are: (K,2), x and y in cells.

    The mean of the ``topk`` strongest cells, weighted by their values; (-1,-1) for a joint whose map is empty.
    """
    width = maps.shape[2]
    joints = maps[1:].flatten(1)
    weights, cells = joints.topk(min(topk, joints.shape[1]))
    places = torch.stack([cells % width, cells // width], dim=-1).to(maps)
    means = (weights[..., None] * places).sum(1) / weights.sum(1, keepdim=True)
    return torch.where(joints.sum(1, keepdim=True) == 0, -1, means)
