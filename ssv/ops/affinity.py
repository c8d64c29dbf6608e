"""Attention from one frame to others: every target cell reads what reference cells hold, by how alike features are.

Shapes: ``target`` float (B,D,h,w); ``references`` float (B,D,S,h,w), S frames; ``values`` float (B,K,S,h,w), what is read.
The softmax runs over the cells of ALL reference frames together, so that an occluded frame can be ignored
(Vondrick et al., ECCV 2018, section 3.1).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Read(NamedTuple):
    """What `attend` finds."""

    values: Tensor
    """(B,K,h,w), means of the values, weighted by weights that sum to 1."""
    entropy: Tensor
    """Scalar, detached: mean entropy of the weights over the logarithm of their number; 0 sure, 1 anywhere."""


def attend(
    target: Tensor, references: Tensor, values: Tensor, *, temperature: float, radius: int | None = None
) -> Read:
    """Read ``values`` at the cells of the references that look like each cell of the target.

    Half precision is raised to float32, under autocast too.

    Args:
        target: (B,D,h,w).
        references: (B,D,S,h,w).
        values: (B,K,S,h,w).
        temperature: dot products are divided by it.
        radius: only cells at most so many rows and columns away take part (Lai and Xie, BMVC 2019); None: all. The
            matrix of all pairs is then never formed: memory grows with (2 * radius + 1)^2, not with h * w.
    """
    dtype = torch.promote_types(target.dtype, torch.float32)
    target, references, values = target.to(dtype), references.to(dtype), values.to(dtype)
    with torch.autocast(target.device.type, enabled=False):
        if radius is None:
            return _everywhere(target / temperature, references, values)
        return _nearby(target / temperature, references, values, radius)


def _everywhere(target: Tensor, references: Tensor, values: Tensor) -> Read:
    weights = (target.flatten(2).transpose(1, 2) @ references.flatten(2)).softmax(-1)  # (B,h*w,S*h*w)
    read = values.flatten(2) @ weights.transpose(1, 2)
    return Read(read.view(*read.shape[:2], *target.shape[2:]), _entropy(weights.detach(), -1))


def _nearby(target: Tensor, references: Tensor, values: Tensor, radius: int) -> Read:
    height, width = target.shape[2:]
    shifts = [(y, x) for y in range(2 * radius + 1) for x in range(2 * radius + 1)]
    around = (radius,) * 4
    padded, inside = F.pad(references, around), F.pad(torch.ones_like(target[:1, :1, None]), around)
    logits = torch.stack(
        [
            (target[:, :, None] * padded[..., y : y + height, x : x + width])
            .sum(1)
            .masked_fill(inside[:, 0, :, y : y + height, x : x + width] == 0, -torch.inf)
            for y, x in shifts
        ],
        dim=1,
    )  # (B,shifts,S,h,w)
    weights = logits.flatten(1, 2).softmax(1).view_as(logits)
    padded = F.pad(values, around)
    read = torch.zeros_like(values[:, :, 0])
    for number, (y, x) in enumerate(shifts):
        read = read + (weights[:, number, None] * padded[..., y : y + height, x : x + width]).sum(2)
    return Read(read, _entropy(weights.detach().flatten(1, 2), 1))


def _entropy(weights: Tensor, dim: int) -> Tensor:
    entropy: Tensor = torch.special.entr(weights).sum(dim).mean() / math.log(max(2, weights.shape[dim]))
    return entropy
