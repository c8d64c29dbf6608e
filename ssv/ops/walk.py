"""The contrastive random walk: out along a video and back, and home again (Jabri, Owens, Efros, NeurIPS 2020).

Shapes: ``nodes`` float (B,D,T,N), of length 1 over D; a transition (B,N,N) holds in row n the probabilities of where a
walker at node n goes next.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

DROPPED = -1e20
"""The similarity of a dropped edge. Finite, so that a row without edges becomes uniform and not NaN."""

EPSILON = 1e-20
"""Added to probabilities before the logarithm; below the smallest half-precision number, hence float32 throughout."""


class Walk(NamedTuple):
    """What `walk_loss` computes; entry i belongs to the walk that turns round at frame i + 2."""

    loss: Tensor
    """Scalar, the mean of ``losses``."""
    losses: Tensor
    """(T-2,), cross entropy of coming home, mean over B*N walkers."""
    accuracies: Tensor
    """(T-2,) detached, share of walkers whose most probable end is their start."""


def transitions(
    start: Tensor,
    end: Tensor,
    *,
    temperature: float,
    dropout: float = 0.0,
    dropout_mode: str = "independent",
    balanced: bool = False,
    draws: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Steps from the nodes of one frame to those of another and back, (B,N,N) each, of (B,D,N) twice; rows sum to 1.

    The way back is no transposed way out: each is normalised over where it leads.

    Args:
        start: float (B,D,N), of length 1 over D.
        end: likewise.
        temperature: similarities (cosines) are divided by it.
        dropout: probability of each edge to be cut before the softmax, so that the others share what it had.
        dropout_mode: ``independent``: each direction draws its own edges. ``released``: the way back also lacks the
            edges cut on the way out, and so loses 1 - (1 - dropout)^2 of them: the released code writes into a view.
        balanced: `sinkhorn` in place of the softmax.
        draws: uniform float (2,B,N,N) of the way out and the way back in place of drawn ones; an edge is cut where its
            draw is below ``dropout``. Edges of the way back are indexed (node of ``end``, node of ``start``).
    """
    out = start.transpose(1, 2) @ end
    back = out.transpose(1, 2)
    if dropout > 0:
        cut_out, cut_back = (torch.rand_like(out.expand(2, *out.shape)) if draws is None else draws) < dropout
        if dropout_mode == "released":
            cut_back = cut_back | cut_out.transpose(1, 2)
        out, back = out.masked_fill(cut_out, DROPPED), back.masked_fill(cut_back, DROPPED)
    if balanced:
        return sinkhorn(out / temperature), sinkhorn(back / temperature)
    return (out / temperature).softmax(-1), (back / temperature).softmax(-1)


def sinkhorn(logits: Tensor, *, tolerance: float = 0.01, rounds: int = 100) -> Tensor:
    """Rows of exp(``logits``) (...,N,N) that sum to 1 while columns do so too, up to ``tolerance``.

    Rows and columns are normalised in turn, in logarithms, at most ``rounds`` times (Sinkhorn and Knopp, 1967; limits
    as in ajabri/videowalk); rows last. Nodes then cannot all lead to one: each is reached as often as it is left.
    """
    steps = logits.log_softmax(-1)
    for _ in range(rounds):
        reached = steps.logsumexp(-2, keepdim=True)
        if float((reached.detach().exp() - 1).abs().max()) < tolerance:
            break
        steps = (steps - reached).log_softmax(-1)
    return steps.exp()


@torch.no_grad()
def transition_entropy(nodes: Tensor, *, temperature: float) -> Tensor:
    """How undecided single steps are: their mean entropy over log N, from 0 (sure) to 1 (anywhere). No edge is cut.

    Args:
        nodes: float (B,D,T,N), of length 1 over D.
        temperature: of the `transitions`, there and back.
    """
    nodes = nodes.to(torch.promote_types(nodes.dtype, torch.float32))
    with torch.autocast(nodes.device.type, enabled=False):
        entropies = [
            torch.special.entr(step).sum(-1).mean()
            for t in range(nodes.shape[2] - 1)
            for step in transitions(nodes[:, :, t], nodes[:, :, t + 1], temperature=temperature)
        ]
        return torch.stack(entropies).mean() / math.log(max(2, nodes.shape[-1]))


def round_trips(
    nodes: Tensor,
    *,
    temperature: float,
    dropout: float = 0.0,
    dropout_mode: str = "independent",
    balanced: bool = False,
    flip: bool = False,
    draws: Tensor | None = None,
) -> Iterator[Tensor]:
    """The palindromes 0 -> i+1 -> 0 for i = 1..T-2, shortest first; each (B,N,N), row n: where a walker from n ends.

    The shortest goes two frames out: 0 -> 1 -> 0 is no part of the released objective. The way out and the way back are
    running products, so that each palindrome costs three products of matrices, whatever its length.

    Args:
        nodes: float (B,D,T,N), of length 1 over D.
        temperature: of the `transitions`, as the next two.
        dropout: probability of each edge to be cut.
        dropout_mode: ``independent`` or ``released``.
        balanced: `sinkhorn` in place of the softmax; in none of the published results.
        flip: multiply in reversed order, each new factor on the left. The released code calls it a bug, and off.
        draws: uniform float (T-1,2,B,N,N) in place of drawn ones.

    Raises:
        ValueError: if T < 3, if ``dropout`` is not in [0, 1), or if there is no such ``dropout_mode``.
    """
    if nodes.shape[2] < 3:
        raise ValueError(f"a random walk needs 3 frames or more, got {nodes.shape[2]}; raise data.sampler.frames")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is the share of edges to cut, 0 <= dropout < 1, got {dropout}")
    if dropout_mode not in ("independent", "released"):
        raise ValueError(f"dropout_mode is independent or released, got {dropout_mode!r}")
    return _palindromes(nodes, temperature, dropout, dropout_mode, balanced, flip, draws)


def walk_loss(
    nodes: Tensor,
    *,
    temperature: float,
    dropout: float = 0.0,
    dropout_mode: str = "independent",
    balanced: bool = False,
    flip: bool = False,
    draws: Tensor | None = None,
) -> Walk:
    """How surely walkers come home, averaged over `round_trips`, whose arguments these are (section 3.1).

    Half precision is raised to float32, under autocast too; float64 stays.
    """
    nodes = nodes.to(torch.promote_types(nodes.dtype, torch.float32))
    losses, accuracies = [], []
    with torch.autocast(nodes.device.type, enabled=False):
        trips = round_trips(
            nodes,
            temperature=temperature,
            dropout=dropout,
            dropout_mode=dropout_mode,
            balanced=balanced,
            flip=flip,
            draws=draws,
        )
        for trip in trips:
            home = torch.arange(trip.shape[-1], device=trip.device).expand(trip.shape[:2])
            losses.append(functional.cross_entropy((trip + EPSILON).log().flatten(0, 1), home.flatten()))
            accuracies.append((trip.argmax(-1) == home).to(trip.dtype).mean().detach())
    per_length = torch.stack(losses)
    return Walk(per_length.mean(), per_length, torch.stack(accuracies))


def _palindromes(
    nodes: Tensor, temperature: float, dropout: float, mode: str, balanced: bool, flip: bool, draws: Tensor | None
) -> Iterator[Tensor]:
    way_out, way_back = None, None
    for t in range(nodes.shape[2] - 1):
        out, back = transitions(
            nodes[:, :, t],
            nodes[:, :, t + 1],
            temperature=temperature,
            dropout=dropout,
            dropout_mode=mode,
            balanced=balanced,
            draws=None if draws is None else draws[t],
        )
        if way_out is None or way_back is None:
            way_out, way_back = out, back
            continue
        if flip:
            way_out, way_back = out @ way_out, way_back @ back
            yield way_back @ way_out
        else:
            way_out, way_back = way_out @ out, back @ way_back
            yield way_out @ way_back
