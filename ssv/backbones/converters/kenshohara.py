"""3D ResNets trained on Kinetics and Moments by Hara, Kataoka and Satoh: the files of kenshohara/3D-ResNets-PyTorch."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ssv.backbones.base import Backbone
from ssv.backbones.converters.base import Receipt, fill, kernel_axes, planned, resnet_name, resnet_sizes
from ssv.backbones.resnet3d import ResNet3D

LEFT_OUT = ("fc.",)  # the classifier


def matches(state: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of that repository (those of image ResNets are the same; their shapes are not)."""
    return kernel_axes(state, r"layer[1-4]\.\d+\.conv[123]\.weight") == 5


def convert(state: Mapping[str, Tensor]) -> tuple[Backbone, Receipt]:
    """The network of the file without its classifier, and what became of every tensor.

    Depth and widths are read from the tensors; strides are not in them and taken to be those of the published files.

    Raises:
        ValueError: if not every tensor of the backbone can be filled.
    """
    backbone = planned(ResNet3D, state, **resnet_sizes(state))
    receipt = fill(backbone, state, resnet_name, converter=__name__.rpartition(".")[2], left_out=LEFT_OUT)
    return backbone, receipt
