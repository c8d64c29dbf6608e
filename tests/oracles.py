"""Weights and inputs that are a function of a name or a seed, so that nobody has to store them.

Figures measured by running public code were measured with these rules; see where they are used.
"""

import math
import zlib

import numpy as np


def fill(name, shape):
    """The tensor ``name`` of a public state_dict, float64: the seed is the CRC-32 of the name."""
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, dtype=np.int64)
    normal = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    if leaf in ("running_mean", "bias"):
        return 0.1 * normal
    if leaf == "running_var":
        return 1.0 + 0.1 * np.abs(normal)
    if len(shape) == 1:
        return 1.0 + 0.1 * normal
    return normal * math.sqrt(2.0 / math.prod(shape[1:]))


def draw(seed, shape, kind):
    """A float64 input. ``clip``, (B,C,T,H,W) or (B,C,H,W): waves and noise, so that places and frame order matter."""
    rng = np.random.default_rng(seed)
    if kind == "normal":
        return rng.standard_normal(shape)
    if kind == "uniform":
        return rng.random(shape)
    assert kind == "clip", kind
    batch, channels, *axes = shape
    base = 2.0 * rng.standard_normal((batch, channels))
    height = 2.0 * rng.standard_normal((batch, channels, 3))
    frequency = rng.uniform(0.3, 3.0, (batch, channels, 3, len(axes)))
    phase = rng.uniform(0.0, 2.0 * np.pi, (batch, channels, 3))
    pixels = 0.5 * rng.standard_normal(shape) + base.reshape(batch, channels, *[1] * len(axes))
    grid = np.stack(np.meshgrid(*[np.arange(n) / n for n in axes], indexing="ij"))
    for b, c, wave in np.ndindex(batch, channels, 3):
        turns = np.tensordot(frequency[b, c, wave], grid, axes=1)
        pixels[b, c] += height[b, c, wave] * np.cos(2.0 * np.pi * turns + phase[b, c, wave])
    return pixels
