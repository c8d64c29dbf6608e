"""ResNets of images, frame by frame: torchvision and DINO, MoCo, and VFS (xvjiarui/VFS, Kinetics-400).

All of them take RGB with the statistics of ImageNet. Names are those of torchvision behind a prefix, or those of
open-mmlab's ConvModule (`conv1.conv`, `conv1.bn`), which VFS has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from ssv.backbones.base import Backbone
from ssv.backbones.converters.base import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Receipt,
    as_video,
    fill,
    kernel_axes,
    planned,
    resnet_name,
    resnet_sizes,
)
from ssv.backbones.resnet3d import ResNet3D

# Beginnings of the names, and what stands beside the network and is left out: classifiers, projections, MoCo's slow
# encoder (the released files and their evaluation use encoder_q) and its queue.
LEFT_OUT = {
    "": ("fc.",),
    "backbone.": ("backbone.fc.", "img_head.", "cls_head.", "head."),
    "encoder_q.": ("encoder_q.fc.", "encoder_k.", "queue"),
}


def matches(state: Mapping[str, Tensor]) -> bool:
    """Whether these are such names with kernels of two dimensions."""
    return _prefix(state) is not None


def convert(state: Mapping[str, Tensor]) -> tuple[Backbone, Receipt]:
    """The network of the file, time-local, with stride 32 as it was trained, and what became of every tensor.

    Raises:
        ValueError: if not every tensor of the backbone can be filled.
    """
    prefix = _prefix(state) or ""
    plain = {_plain(key, prefix): tensor for key, tensor in as_video(state).items() if key.startswith(prefix)}
    backbone = planned(ResNet3D, plain, **resnet_sizes(plain), time_local=True, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    receipt = fill(
        backbone,
        as_video(state),
        lambda key: resnet_name(_plain(key, prefix)) if key.startswith(prefix) else None,
        converter=__name__.rpartition(".")[2],
        left_out=LEFT_OUT[prefix],
    )
    return backbone, receipt


def _prefix(state: Mapping[str, Tensor]) -> str | None:
    for prefix in LEFT_OUT:
        if kernel_axes(state, rf"{re.escape(prefix)}layer[1-4]\.\d+\.conv[123]\.(conv\.)?weight") == 4:
            return prefix
    return None


def _plain(key: str, prefix: str) -> str:
    """The name in torchvision: no prefix, conv2.conv is conv2, conv2.bn is bn2, downsample.bn is downsample.1."""
    key = key.removeprefix(prefix)
    key = re.sub(r"(^|\.)downsample\.(conv|bn)\.", lambda m: f"{m[1]}downsample.{0 if m[2] == 'conv' else 1}.", key)
    return re.sub(r"(^|\.)conv(\d)\.(conv|bn)\.", r"\1\3\2.", key)
