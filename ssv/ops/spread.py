"""How spread out features are, in two figures that mean the same for every task and width."""

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
