"""Colours as the eye orders them: CIE Lab, and which of a few clusters a colour belongs to."""

from __future__ import annotations

import torch
from torch import Tensor

# sRGB primaries to XYZ (IEC 61966-2-1), each row divided by the white point D65 (0.950456, 1, 1.088754).
_TO_XYZ = (
    (0.412453 / 0.950456, 0.357580 / 0.950456, 0.180423 / 0.950456),
    (0.212671, 0.715160, 0.072169),
    (0.019334 / 1.088754, 0.119193 / 1.088754, 0.950227 / 1.088754),
)


def lab(pixels: Tensor) -> Tensor:
    """CIE Lab under D65 of sRGB values.

    Args:
        pixels: float (...,3,H,W), 0 to 1.

    Returns:
        float32 (...,3,H,W): L 0 to 100, a and b about -128 to 127. No offsets: 8-bit conversions of other libraries
        add 128 to a and b, and clusters of one do not fit the other.
    """
    pixels = pixels.float()
    linear = torch.where(pixels > 0.04045, ((pixels + 0.055) / 1.055).clamp(min=0) ** 2.4, pixels / 12.92)
    matrix = torch.tensor(_TO_XYZ, device=pixels.device)
    xyz = torch.einsum("kc,...chw->...khw", matrix, linear)
    cube_root = xyz.clamp(min=1e-12) ** (1 / 3)
    x, y, z = torch.where(xyz > 0.008856, cube_root, 7.787 * xyz + 16 / 116).unbind(-3)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -3)


def nearest(colours: Tensor, clusters: Tensor) -> Tensor:
    """Number of the nearest cluster of each colour; float (N,2) with (K,2) -> int64 (N,)."""
    return (colours[:, None] - clusters).square().sum(-1).argmin(-1)


def clusters_of(colours: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Centres of ``count`` clusters by k-means; float (N,2) -> float32 (count,2), sorted, the same for one generator.

    Raises:
        ValueError: if there are fewer different colours than clusters.
    """
    from sklearn.cluster import KMeans  # here, because importing it takes a second

    distinct = len(torch.unique(colours.round(decimals=2), dim=0))
    if distinct < count:
        raise ValueError(f"the videos show {distinct} different colours, {count} clusters were asked; are they grey?")
    seed = int(torch.randint(2**31 - 1, (), generator=generator))
    centres = KMeans(count, n_init=1, random_state=seed).fit(colours.double().cpu().numpy()).cluster_centers_
    found = torch.from_numpy(centres).float()
    return found[found[:, 0].argsort()]
