"""S3D-G trained on HowTo100M by MIL-NCE (Miech et al., CVPR 2020): `s3d_howto100m.pth` of antoine77340/S3D_HowTo100M."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from ssv.backbones.base import Backbone
from ssv.backbones.converters.base import Receipt, fill, kernel_axes, planned
from ssv.backbones.s3dg import S3DG

LEFT_OUT = ("fc.", "text_module.")  # the projection into the space of words, and the words
_BLOCKS = ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c")
_LAYERS = {"conv1": "space.conv", "bn1": "space.norm", "conv2": "time.conv", "bn2": "time.norm"}


def matches(state: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of that repository."""
    return kernel_axes(state, r"mixed_\d[b-f]\.conv_b\d(_[ab])?\.conv[12]\.weight") == 5


def convert(state: Mapping[str, Tensor]) -> tuple[Backbone, Receipt]:
    """The video network of the file, which takes 0..1 pixels as they are, and what became of every tensor.

    Raises:
        ValueError: if not every tensor of the backbone can be filled.
    """
    stem = "plain" if state.get("conv1.conv1.weight", torch.empty(0)).shape[1:2] == (3,) else "space_to_depth"
    backbone = planned(S3DG, state, stem=stem, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    receipt = fill(
        backbone, state, lambda key: _rename(key, stem), converter=__name__.rpartition(".")[2], left_out=LEFT_OUT
    )
    return backbone, receipt


def _rename(key: str, stem: str) -> str | None:
    head, _, rest = key.partition(".")
    layer, _, leaf = rest.partition(".")  # conv1 | bn1 | conv2 | bn2 | fc
    single = f"{_LAYERS[layer].removeprefix('space.')}.{leaf}" if layer in ("conv1", "bn1") else None
    if head == "conv1" and single:
        return f"stages.0.1.{single}" if stem == "space_to_depth" else f"stages.0.{single}"
    if head == "conv_2b" and single:
        return f"stages.1.1.{single}"
    if head == "conv_2c" and layer in _LAYERS:
        return f"stages.1.2.{_LAYERS[layer]}.{leaf}"
    if head == "gating" and layer == "fc":
        return f"stages.1.3.linear.{leaf}"
    if head.startswith("mixed_") and head[6:] in _BLOCKS:
        return _rename_in_block(head[6:], rest)
    return None


def _rename_in_block(block: str, rest: str) -> str | None:
    """``rest`` is, for example, conv_b1_b.conv2.weight or gating_b3.fc.bias."""
    first = [b for b in _BLOCKS if b[0] == block[0]].index(block) + 1  # after the pool
    prefix = f"stages.{int(block[0]) - 1}.{first}"
    if gate := re.fullmatch(r"gating_b([0-3])\.fc\.(\w+)", rest):
        branch = int(gate[1])
        return f"{prefix}.branch{branch}.{1 if branch == 0 else 2}.linear.{gate[2]}"
    if separable := re.fullmatch(r"conv_b([12])_b\.(conv[12]|bn[12])\.(\w+)", rest):
        return f"{prefix}.branch{separable[1]}.1.{_LAYERS[separable[2]]}.{separable[3]}"
    if point := re.fullmatch(r"conv_b(?:(0)|([12])_a|(3)_b)\.(conv1|bn1)\.(\w+)", rest):
        branch = int(point[1] or point[2] or point[3])
        layer = "conv" if point[4] == "conv1" else "norm"
        return f"{prefix}.branch{branch}.{1 if branch == 3 else 0}.{layer}.{point[5]}"
    return None
