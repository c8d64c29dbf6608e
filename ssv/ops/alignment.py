"""Temporal cycle-consistency: out of a video and back, at the same moment again? (Dwibedi et al., CVPR 2019).

Shapes: ``P`` pairs of videos; ``start`` float (P,T,D), the frames one sets out from; ``other`` float (P,U,D), the frames
of the video passed through; ``logits`` float (P,T,T), row i: at which frame of the first video one that set out from
frame i comes back.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def similarities(queries: Tensor, keys: Tensor, *, kind: str = "l2", temperature: float = 0.1) -> Tensor:
    """How alike frames are, float (...,N,M), of embeddings (...,N,D) and (...,M,D).

    Args:
        queries: float (...,N,D), not normalised.
        keys: float (...,M,D).
        kind: ``l2``: the negative squared distance (the paper's); ``inner_product``: what the released code calls
            cosine, which it is of embeddings of length 1 only.
        temperature: similarities are divided by it and by D. The paper names neither; without the division by D the
            softmax is saturated from the start.

    Raises:
        ValueError: if there is no such ``kind``.
    """
    if kind not in ("l2", "inner_product"):
        raise ValueError(f"similarity is l2 or inner_product, got {kind!r}")
    alike = queries @ keys.transpose(-1, -2)
    if kind == "l2":
        alike = 2 * alike - queries.square().sum(-1)[..., :, None] - keys.square().sum(-1)[..., None, :]
    return alike / queries.shape[-1] / temperature


def soft_neighbours(queries: Tensor, keys: Tensor, *, kind: str = "l2", temperature: float = 0.1) -> Tensor:
    """For each query the mean of the keys, weighted by the softmax of `similarities`, float (...,N,D)."""
    return similarities(queries, keys, kind=kind, temperature=temperature).softmax(-1) @ keys


def cycle_back(start: Tensor, other: Tensor, *, kind: str = "l2", temperature: float = 0.1) -> Tensor:
    """The logits of where one comes back, float (P,T,T): from the soft neighbours in ``other`` to ``start`` again."""
    neighbours = soft_neighbours(start, other, kind=kind, temperature=temperature)
    return similarities(neighbours, start, kind=kind, temperature=temperature)


def classification_losses(logits: Tensor, *, smoothing: float = 0.1) -> Tensor:
    """Cross entropy of coming back to the frame one set out from, float (P,T): cycle-back classification.

    Args:
        logits: float (P,T,T).
        smoothing: the share of the target spread evenly over all T frames, of the released code; the paper has none.
    """
    home = torch.arange(logits.shape[-1], device=logits.device).expand(logits.shape[:-1])
    losses = functional.cross_entropy(logits.flatten(0, 1), home.flatten(), label_smoothing=smoothing, reduction="none")
    return losses.view(home.shape)


def landing(logits: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of the time one comes back at, float (P,T) each.

    Args:
        logits: float (P,T,T).
        times: float (P,T), of the frames of the first video, such as their share of its length.
    """
    back = logits.softmax(-1)
    mean = (back * times[:, None]).sum(-1)
    variance = (back * (times[:, None] - mean[..., None]).square()).sum(-1)
    return mean, variance


def regression_losses(
    logits: Tensor,
    times: Tensor,
    *,
    kind: str = "variance",
    variance_weight: float = 0.001,
    variance_floor: float = 1e-12,
    delta: float = 0.1,
) -> Tensor:
    """How far from the time one set out one comes back, float (P,T): cycle-back regression.

    Args:
        logits: float (P,T,T).
        times: float (P,T), of the frames of the first video; the released code's are their numbers divided by the
            length of the video.
        kind: ``variance``: the squared error over the variance, and the variance's logarithm; ``mse``: the squared
            error alone, with which everything may come back as a blur; ``huber``: less of large errors.
        variance_weight: of that logarithm. The paper's is of half of it (log sigma).
        variance_floor: least variance, in squared ``times``. Neither the paper nor its code has one: of a softmax that is
            all on one frame nothing finite would remain.
        delta: the error up to which ``huber`` is squared, in units of ``times``.

    Raises:
        ValueError: if there is no such ``kind``.
    """
    mean, variance = landing(logits, times)
    if kind == "mse":
        return (mean - times).square()
    if kind == "huber":
        return functional.huber_loss(mean, times, delta=delta, reduction="none")
    if kind != "variance":
        raise ValueError(f"kind is variance, mse or huber, got {kind!r}")
    variance = variance.clamp(min=variance_floor)
    return (mean - times).square() / variance + variance_weight * variance.log()


@torch.no_grad()
def neighbour_tau(start: Tensor, other: Tensor) -> Tensor:
    """Kendall's tau of each frame's nearest neighbour in ``other``, float (P,): 1 if in order, -1 if reversed.

    Coming back says nothing of it: two videos may each go their own way and come back.
    This is tau-a, in which frames that share a neighbour count as neither.
    """
    nearest = similarities(start, other).argmax(-1)
    ahead = (nearest[:, None, :] - nearest[:, :, None]).sign()  # (P,T,T), of frame j over frame i
    frames = start.shape[1]
    first, second = torch.triu_indices(frames, frames, offset=1, device=start.device)
    return ahead[:, first, second].to(start.dtype).mean(1)
