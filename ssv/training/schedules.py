"""Learning-rate schedules, as functions of an optimizer and the total number of steps, and parameter groups."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warmup_cosine(optimizer: Optimizer, total_steps: int, *, warmup: float = 0.05, final: float = 0.0) -> LambdaLR:
    """Linear rise over the share ``warmup`` of all steps, then half a cosine down to ``final`` of the peak."""
    if not 0 <= final <= 1:
        raise ValueError(f"schedule.final is a share of the peak rate, 0 to 1, got {final}")
    rise = _rise(warmup, total_steps)

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        share = min(1.0, (step - rise) / max(1, total_steps - rise))
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * share))

    return LambdaLR(optimizer, factor)


def constant(optimizer: Optimizer, total_steps: int, *, warmup: float = 0.0) -> LambdaLR:
    """The peak rate throughout, after a linear rise over the share ``warmup`` of all steps."""
    rise = _rise(warmup, total_steps)
    return LambdaLR(optimizer, lambda step: (step + 1) / rise if step < rise else 1.0)


def milestones(optimizer: Optimizer, total_steps: int, *, shares: Sequence[float], factor: float) -> LambdaLR:
    """The rate is multiplied by ``factor`` at each of ``shares`` (0 to 1, ascending) of all steps, as papers' steps are."""
    if not all(0 < share < 1 for share in shares):
        raise ValueError(f"schedule.shares={list(shares)} are shares of all steps, between 0 and 1")
    places = [round(share * total_steps) for share in shares]
    return LambdaLR(optimizer, lambda step: factor ** sum(step >= place for place in places))


def _rise(warmup: float, total_steps: int) -> int:
    if not 0 <= warmup <= 1:
        raise ValueError(f"schedule.warmup is a share of all steps, 0 to 1, got {warmup}")
    return round(warmup * total_steps)


def decay_groups(module: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Two parameter groups: matrices and kernels decay, biases and norms (one-dimensional) do not."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
