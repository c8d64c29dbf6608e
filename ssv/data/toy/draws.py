"""Random numbers that belong to a name: the same name always draws the same numbers, whoever asks and when."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

HURST = 0.25
"""Roughness of every wandering. Played s times as fast, a wandering is s**HURST times as large, and else the same in law."""


class Draw:
    """A stream of random numbers fixed by its ``identity`` (world seed, class, group, ...)."""

    def __init__(self, *identity: object) -> None:
        digest = blake2b("/".join(map(str, identity)).encode(), digest_size=8).digest()
        self.generator = torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)

    def uniforms(self, *shape: int) -> Tensor:
        """float32 ``shape``, uniform in [0, 1)."""
        return torch.rand(shape, generator=self.generator)

    def normals(self, *shape: int) -> Tensor:
        """float32 ``shape``, standard normal."""
        return torch.randn(shape, generator=self.generator)

    def uniform(self, low: float, high: float) -> float:
        """One number, uniform between ``low`` and ``high``."""
        return low + (high - low) * float(self.uniforms(1))

    def log_uniform(self, low: float, high: float) -> float:
        """One number whose logarithm is uniform between those of ``low`` and ``high``."""
        return math.exp(self.uniform(math.log(low), math.log(high)))

    def normal(self) -> float:
        """One standard normal number."""
        return float(self.normals(1))

    def about(self, value: float, spread: float = 0.12) -> float:
        """``value`` times a log-normal factor: how much amplitudes and frequencies vary between videos."""
        return value * math.exp(spread * self.normal())

    def angle(self) -> float:
        """Uniform on the circle, radians."""
        return self.uniform(0, 2 * math.pi)

    def chance(self, probability: float) -> bool:
        """True with ``probability``."""
        return float(self.uniforms(1)) < probability

    def pick(self, options: Sequence[T]) -> T:
        """One of ``options``, all equally likely."""
        return options[int(torch.randint(len(options), (1,), generator=self.generator))]

    def wander(self, seconds: Tensor, count: int = 1) -> Tensor:
        """``count`` independent fractional Brownian motions at ``seconds`` (T,), float32 (count,T).

        Zero in the middle of the video and about 1 a second later. Its law has no time scale: played
        faster it only grows, by a power of 2**HURST per doubling. Camera, light and bystanders move like
        this, so that nothing but the actor tells how fast a video is played.
        """
        root = _covariance_root(tuple(seconds.tolist()))
        paths = (root @ self.normals(len(seconds), count).double()).T
        return (paths - paths[:, len(seconds) // 2, None]).float()


@lru_cache(maxsize=16)
def _covariance_root(seconds: tuple[float, ...]) -> Tensor:
    """Lower Cholesky factor (T,T) of the covariance of fractional Brownian motion, born a second before the video."""
    t = torch.tensor(seconds, dtype=torch.float64) - seconds[0] + 1
    power = 2 * HURST
    covariance = (t[:, None] ** power + t**power - (t[:, None] - t).abs() ** power) / 2
    root: Tensor = torch.linalg.cholesky(covariance)
    return root
