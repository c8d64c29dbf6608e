"""Nearest neighbours by cosine: their order, the votes of their labels, and recall among the first k.

``Q`` queries, ``M`` rows of the gallery, ``D`` feature channels, ``K`` classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ssv.types import Scores

BLOCK = 256
"""Queries compared at a time; only memory depends on it."""
DECIMALS = 12
"""Of a similarity: equal vectors are then equally near on every machine, whatever its last bit."""


class Neighbours(NamedTuple):
    """Rows of the gallery, nearest first, int64 (Q,k), and their similarities, float64 (Q,k)."""

    row: np.ndarray
    similarity: np.ndarray


def unit(features: np.ndarray) -> np.ndarray:
    """Rows of float (M,D) divided by their length, float64; a row of zeros stays one."""
    features = features.astype(np.float64)
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(length > 0, length, 1.0)


def nearest(queries: np.ndarray, gallery: np.ndarray, k: int) -> Neighbours:
    """The ``k`` rows of ``gallery`` (M,D) most similar to each of ``queries`` (Q,D) by cosine.

    Of equals the first in the gallery comes first.

    Raises:
        ValueError: if ``k`` is not between 1 and M.
    """
    if not 1 <= k <= len(gallery):
        raise ValueError(f"there are {len(gallery)} rows to choose {k} nearest ones from")
    queries, gallery = unit(queries), unit(gallery)
    found = Neighbours(np.empty((len(queries), k), dtype=np.int64), np.empty((len(queries), k)))
    for start in range(0, len(queries), BLOCK):
        block = np.round(queries[start : start + BLOCK] @ gallery.T, DECIMALS)
        for number, similarity in enumerate(block, start):
            # Sorting the few that can be among the first, and not the whole gallery.
            least = np.partition(similarity, -k)[-k]
            rows = np.flatnonzero(similarity >= least)
            found.row[number] = rows[np.argsort(-similarity[rows], kind="stable")[:k]]
            found.similarity[number] = similarity[found.row[number]]
    return found


def weighted_vote(label: np.ndarray, similarity: np.ndarray, classes: int, temperature: float) -> np.ndarray:
    """Sum of ``exp(similarity / temperature)`` of the neighbours of each class, float64 (Q,K), largest weight 1.

    Wu, Xiong, Yu, Lin, Unsupervised Feature Learning via Non-Parametric Instance Discrimination, CVPR 2018, section
    3.4. Each row is divided by its largest weight, which changes no order and cannot overflow.

    Args:
        label: of the neighbours, int (Q,k), 0..K-1.
        similarity: of the neighbours, float (Q,k), nearest first.
        classes: K.
        temperature: above 0; the smaller, the more the nearest ones count.
    """
    weight = np.exp((similarity - similarity[:, :1]) / temperature)
    votes = np.zeros((len(label), classes))
    np.add.at(votes, (np.arange(len(label))[:, None], label), weight)
    return votes


def recalls(query: np.ndarray, neighbour: np.ndarray, ks: Sequence[int]) -> Scores:
    """``r@k`` for each k: the share of queries with one neighbour of their label at least among the first k.

    Args:
        query: labels int (Q,).
        neighbour: labels of the neighbours, nearest first, int (Q,n), n the largest k.
        ks: numbers of neighbours.
    """
    hit = neighbour == query[:, None]
    return {f"r@{k}": float(hit[:, :k].any(1).mean()) for k in ks}


def chance_recall(query: np.ndarray, gallery: np.ndarray, k: int) -> float:
    """Expected ``r@k`` when the gallery is in random order, from labels alone: int (Q,), int (M,).

    A query whose label n of the M rows have misses with probability C(M-n, k) / C(M, k).
    """
    labels, times = np.unique(query, return_counts=True)
    hit = 0.0
    for label, weight in zip(labels, times):
        rows = int((gallery == label).sum())
        drawn = np.arange(k)
        miss = np.prod(np.maximum(len(gallery) - rows - drawn, 0) / (len(gallery) - drawn))
        hit += weight * (1.0 - miss)
    return float(hit / len(query))
