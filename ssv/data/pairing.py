"""Pairs of videos of one label, for tasks that compare two of a kind."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def partnerless(labels: np.ndarray) -> np.ndarray:
    """Which videos are the only ones of their label, bool (n,).

    Raises:
        ValueError: if a label is -1, none.
    """
    if (labels < 0).any():
        raise ValueError(
            f"data.pairs=true pairs videos by label, and {int((labels < 0).sum())} of {len(labels)} videos have none; "
            "take data with labels (data=ucf101, csv), or set data.pairs=false"
        )
    found, count = np.unique(labels, return_counts=True)
    return np.isin(labels, found[count == 1])


def pair_up(places: Tensor, labels: Tensor) -> Tensor:
    """Neighbours of one label, int64 (pairs,2), label by label, of any int64 (n,) and their labels (n,).

    Of an odd number the first is also the partner of the last, so that nobody is left out.
    """
    by_label = torch.split(places[labels.argsort(stable=True)], _counts(labels))
    return torch.cat([torch.cat([some, some[: len(some) % 2]]).view(-1, 2) for some in by_label])


def pair_count(labels: Tensor) -> int:
    """How many pairs `pair_up` makes."""
    return sum((count + 1) // 2 for count in _counts(labels))


def _counts(labels: Tensor) -> list[int]:
    counts: list[int] = torch.unique(labels, return_counts=True)[1].tolist()
    return counts
