"""3D ResNets trained on Kinetics and Moments by Hara, Kataoka and Satoh: the files of kenshohara/3D-ResNets-PyTorch."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from ssv.backbones.base import Backbone
from ssv.backbones.converters.base import Receipt, fill
from ssv.backbones.resnet3d import ResNet3D

LEFT_OUT = ("fc.",)  # the classifier


def matches(keys: Collection[str]) -> bool:
    """Whether these are the names of that repository (those of image ResNets are the same; their shapes are not)."""
    return "conv1.weight" in keys and "layer4.0.conv2.weight" in keys


def convert(state: Mapping[str, Tensor]) -> tuple[Backbone, Receipt]:
    """The network of the file without its classifier, and what became of every tensor.

    Depth and widths are read from the tensors; strides are not in them and taken to be those of the published files.

    Raises:
        ValueError: if not every tensor of the backbone can be filled, or the convolutions are two-dimensional.
    """
    stem = state["conv1.weight"].shape
    if len(stem) != 5:
        raise ValueError(f"these are weights of an image network: conv1.weight is {tuple(stem)}, not (D,C,t,h,w)")
    with torch.device("meta"):
        backbone = ResNet3D(
            blocks=[_count(state, rf"layer{stage}\.(\d+)\.conv1\.weight") for stage in (1, 2, 3, 4)],
            bottleneck="layer1.0.conv3.weight" in state,
            widths=[state[f"layer{stage}.0.conv1.weight"].shape[0] for stage in (1, 2, 3, 4)],
            stem_kernel=list(stem[2:]),
        )
    receipt = fill(backbone, state, _rename, converter=__name__.rpartition(".")[2], left_out=LEFT_OUT)
    return backbone, receipt


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    return sum(re.fullmatch(pattern, key) is not None for key in state)


def _rename(key: str) -> str | None:
    if stem := re.fullmatch(r"(conv1|bn1)\.(\w+)", key):
        return f"stem.{'conv' if stem[1] == 'conv1' else 'norm'}.{stem[2]}"
    if body := re.fullmatch(r"layer([1-4])\.(\d+)\.(conv|bn)([123])\.(\w+)", key):
        layer = "conv" if body[3] == "conv" else "norm"
        return f"stages.{int(body[1]) - 1}.{body[2]}.body.{int(body[4]) - 1}.{layer}.{body[5]}"
    if side := re.fullmatch(r"layer([1-4])\.(\d+)\.downsample\.([01])\.(\w+)", key):
        layer = "conv" if side[3] == "0" else "norm"
        return f"stages.{int(side[1]) - 1}.{side[2]}.shortcut.{layer}.{side[4]}"
    return None
