"""What features tell without labels, in figures that mean the same for every task and width."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def feature_std(features: Tensor) -> Tensor:
    """Mean over dimensions of the standard deviation over the rows of features of length 1, times sqrt(D).

    1: spread isotropically; 0: all rows point the same way (the measure of Chen and He, SimSiam, CVPR 2021, figure 2).

    Args:
        features: float (M,D), M rows of D dimensions; taken in float64.

    Returns:
        float64 scalar; 0 for fewer than two rows.
    """
    if len(features) < 2:
        return features.new_zeros((), dtype=torch.float64)
    directions = functional.normalize(features.double(), dim=1)
    spread: Tensor = directions.std(0).mean() * features.shape[1] ** 0.5
    return spread


def effective_rank(features: Tensor) -> Tensor:
    """The exponential of the entropy of the singular values, divided by their sum (Roy and Vetterli, EUSIPCO 2007).

    From 1 (all rows are multiples of one) to min(M,D). Nothing is centred, so that rows that hardly differ from their
    mean count as one direction.

    Args:
        features: float (M,D); taken in float64.

    Returns:
        float64 scalar; 0 where all features are zero.
    """
    values: Tensor = torch.linalg.svdvals(features.double())
    if not bool(values.any()):
        return values.new_zeros(())
    rank: Tensor = torch.special.entr(values / values.sum()).sum().exp()
    return rank


def order_sensitivity(features: Tensor, shuffled: Tensor) -> Tensor:
    """How far shuffling its frames moves a video, in distances (1 - cosine) between two videos.

    0: the order of frames changes nothing; 1: as much as another video would.

    Args:
        features: float (M,D), a row a video; taken in float64.
        shuffled: float (M,D), of the same videos with their frames shuffled.

    Returns:
        float64 scalar; 0 where all rows of ``features`` point the same way, or there are fewer than two.
    """
    first, second = (functional.normalize(rows.double(), dim=1) for rows in (features, shuffled))
    count = len(first)
    total = first.sum(0)
    # The mean over pairs of two rows, from the length of the sum of all.
    apart: Tensor = 1 - (total @ total - first.square().sum()) / max(1, count * (count - 1))
    if count < 2 or apart < 1e-9:
        return first.new_zeros(())
    moved: Tensor = (1 - (first * second).sum(1)).mean()
    return moved / apart


def same_video(earlier: Tensor, later: Tensor) -> Tensor:
    """Share of rows of ``earlier`` whose nearest row of ``later``, by cosine, is that of the same video.

    Args:
        earlier: float (M,D), a row a video; taken in float64.
        later: float (M,D), other frames of the same videos.

    Returns:
        float64 scalar, 1/M where features say nothing; a row that is as near to several counts in parts.
    """
    first, second = (functional.normalize(rows.double(), dim=1) for rows in (earlier, later))
    likeness = first @ second.T
    nearest = likeness >= likeness.amax(1, keepdim=True) - 1e-9
    share: Tensor = (nearest.diagonal() / nearest.sum(1)).mean()
    return share
