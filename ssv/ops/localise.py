"""Where in an image does a patch lie? The maths of a patch localiser (Wang, Jabri, Efros, TimeCycle, CVPR 2019).

Shapes: ``patch`` float (N,D,p,p) and ``image`` float (N,D,h,w), maps of features; ``theta`` float (N,2,3), an affine
map from places in the patch to places in the image, both (x, y) from -1 to 1; ``points`` float (N,p,p,2), such places;
``affinity`` float (N,h*w,p,p), how probable each cell of the image (row by row) is for each cell of the patch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

EPSILON = 1e-5
"""Added to every entry of the released soft-inlier mask before it is summed."""


def affinity(patch: Tensor, image: Tensor, *, temperature: float) -> Tensor:
    """Softmax over the cells of the IMAGE of inner products over ``temperature`` (section 3.2); (N,h*w,p,p).

    Over the patch's cells instead, the localiser could not read off where a cell lies.
    """
    products = torch.einsum("ndij,ndk->nkij", patch, image.flatten(2))
    probable: Tensor = (products / temperature).softmax(1)
    return probable


def affinity_entropy(affinity: Tensor) -> Tensor:
    """Mean entropy over its largest value, the logarithm of h*w: 1 knows nothing, 0 is sure; scalar."""
    entropy: Tensor = torch.special.entr(affinity).sum(1).mean()
    return entropy / math.log(affinity.shape[1])


def similarity_map(parameters: Tensor, *, scale: float) -> Tensor:
    """Translation and rotation (t_x, t_y, angle in radians), float (N,3), as affine maps of fixed scale, (N,2,3)."""
    x, y, angle = parameters.unbind(-1)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    return torch.stack([torch.stack([cos, -sin, x], -1), torch.stack([sin, cos, y], -1)], -2)


def square(side: int, like: Tensor) -> Tensor:
    """Places (x, y) of ``side`` x ``side`` cells whose outermost middles lie at -1 and 1, (side,side,2)."""
    line = torch.linspace(-1, 1, side, dtype=like.dtype, device=like.device) if side > 1 else like.new_zeros(1)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y], -1)


def moved(theta: Tensor, side: int, *, translation_factor: float = 1.0) -> Tensor:
    """Where ``theta`` takes the `square`, (N,side,side,2).

    ``translation_factor`` stretches the translation alone: 227/210 in the released code where features are sampled.
    """
    turned = torch.einsum("ijc,nrc->nijr", square(side, theta), theta[..., :2])
    return turned + translation_factor * theta[:, None, None, :, 2]


def sample(image: Tensor, points: Tensor, *, align_corners: bool) -> Tensor:
    """Bilinear values of ``image`` at ``points``, zeros outside, (N,D,p,p).

    ``align_corners``: -1 and 1 are the middles of the outermost cells, else their outer edges.
    """
    return functional.grid_sample(image, points, padding_mode="zeros", align_corners=align_corners)


def grid_loss(found: Tensor, wanted: Tensor, *, side: int = 20) -> Tensor:
    """Mean squared distance of ``side`` x ``side`` points moved by two thetas, for each of N (section 3.3); (N,)."""
    # Affine maps subtract, so that the points need not be moved twice.
    return moved(found - wanted, side).square().sum(-1).mean((1, 2))


def is_near(found: Tensor, wanted: Tensor, distance: float) -> Tensor:
    """1.0 where two thetas put the middle of the patch at most ``distance`` apart, else 0.0; float (N,)."""
    apart: Tensor = (found - wanted)[..., 2].norm(dim=-1)
    return (apart <= distance).float()


def soft_inliers(affinity: Tensor, points: Tensor, size: tuple[int, int], *, align_corners: bool) -> Tensor:
    """Mean affinity of each cell of the patch to the place in the image that the localiser puts it at, (N,).

    The released code's similarity, after Rocco et al., "End-to-end weakly-supervised semantic alignment" (CVPR 2018).
    There a mask for each cell of the image is warped by theta; its values are the weights of bilinear interpolation.

    Args:
        affinity: float (N,h*w,p,p).
        points: float (N,p,p,2).
        size: h and w.
        align_corners: as for `sample`.
    """
    height, width = size
    across, down = (_weights(points[..., k], (width, height)[k], align_corners) for k in (0, 1))
    scores = torch.einsum("nhwij,nijh,nijw->n", affinity.view(-1, *size, *affinity.shape[2:]), down, across)
    weight = (across.sum(-1) * down.sum(-1)).sum((1, 2))
    return scores / (weight + EPSILON * math.prod(affinity.shape[1:]))


def _weights(places: Tensor, cells: int, align_corners: bool) -> Tensor:
    """Share of each of ``cells`` along one axis in the value at ``places`` (...), (...,cells)."""
    position = (places + 1) / 2 * (cells - 1) if align_corners else ((places + 1) * cells - 1) / 2
    distance = position[..., None] - torch.arange(cells, dtype=places.dtype, device=places.device)
    return (1 - distance.abs()).clamp(min=0)


def window_motion(before: Tensor, after: Tensor, *, grid: int = 9, span: int = 3) -> Tensor:
    """How much windows of ``span`` x ``span`` of ``grid`` x ``grid`` cells differ between two frames.

    Args:
        before: uint8 (B,C,H,W).
        after: likewise.
        grid: cells along each side.
        span: cells along a window's side.

    Returns:
        Mean absolute difference of 0..1 values, float32 (B,grid-span+1,grid-span+1), rows first.
    """
    difference = (after.float() - before.float()).abs().mean(1, keepdim=True) / 255
    cells = functional.adaptive_avg_pool2d(difference, grid)
    return functional.avg_pool2d(cells, span, stride=1)[:, 0]
