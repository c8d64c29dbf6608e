"""Pictures of surfaces and of flat objects, drawn from one distribution whatever they are used for."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ssv.data.toy.draws import Draw

Outline = Callable[[Tensor, Tensor], Tensor]
"""(u, v) in [-1.1, 1.1] -> a level that is below 1 inside the object."""


def pattern(draw: Draw, side: int) -> Tensor:
    """Cloudy noise of many scales, float32 (side,side), mean 0 and standard deviation 1."""
    slope = draw.uniform(0.2, 1)
    total = torch.zeros(side, side)
    for cells in (4, 8, 16, 32):
        total += _enlarge(draw.normals(cells, cells), side) * cells**-slope
    return (total - total.mean()) / total.std()


def palette(draw: Draw) -> Tensor:
    """Three colours (3,3), a dark, a middling and a light one, in random order."""
    levels = torch.tensor([0.2, 0.5, 0.8])[torch.randperm(3, generator=draw.generator)]
    return (levels[:, None] + 0.5 * (draw.uniforms(3, 3) - 0.5)).clamp(0.02, 0.98)


def texture(draw: Draw, colours: Tensor, side: int) -> Tensor:
    """A surface in colours near ``colours`` (3,3), float32 (3,side,side) in [0,1]."""
    own = draw.uniform(0.3, 0.8)  # how far the surface leaves the colours of its surroundings
    colours = (1 - own) * colours[torch.randperm(3, generator=draw.generator)] + own * palette(draw)
    blend = torch.sigmoid(draw.uniform(1, 4) * pattern(draw, side))
    patches = 0.35 * (_enlarge(draw.normals(6, 6), side) > 0)
    first, second, third = colours[:, :, None, None]
    surface: Tensor = first * blend + second * (1 - blend)
    return torch.lerp(surface, third.expand_as(surface), patches).clamp(0, 1)


def superellipse(exponent: float) -> Outline:
    """Between a rhombus (1), an ellipse (2) and a box (large exponents)."""
    return lambda u, v: (u.abs() ** exponent + v.abs() ** exponent) ** (1 / exponent)


def star(points: int, depth: float) -> Outline:
    """A rounded star with ``points`` points; ``depth`` in (0,1)."""

    def level(u: Tensor, v: Tensor) -> Tensor:
        reach = 1 - depth * (0.5 - 0.5 * torch.cos(points * torch.atan2(v, u)))
        return torch.hypot(u, v) / reach

    return level


def sprite(draw: Draw, colours: Tensor, outline: Outline, side: int = 40) -> Tensor:
    """A flat object, float32 (5,side,side): red, green, blue, opacity, and the order in which its points dissolve.

    The picture spans [-1.1, 1.1], so that the outline closes inside it. The last channel is uniform in [0,1].
    """
    axis = torch.linspace(-1.1, 1.1, side)
    v, u = torch.meshgrid(axis, axis, indexing="ij")
    opacity = torch.sigmoid((1 - outline(u, v)) * side * 0.6)
    order = torch.special.ndtr(pattern(draw, side))
    return torch.cat([texture(draw, colours, side), opacity[None], order[None]])


def _enlarge(cells: Tensor, side: int) -> Tensor:
    return F.interpolate(cells[None, None], (side, side), mode="bicubic", align_corners=True)[0, 0]
