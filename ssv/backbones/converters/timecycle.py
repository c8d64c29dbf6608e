"""TimeCycle (Wang, Jabri, Efros, CVPR 2019): the checkpoint of xiaolonw/TimeCycle, trained on VLOG."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ssv.backbones.base import Backbone
from ssv.backbones.converters.base import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Receipt,
    fill,
    kernel_axes,
    planned,
    resnet_name,
    resnet_sizes,
)
from ssv.backbones.resnet3d import ResNet3D

_PREFIX = "encoderVideo."
# Stage 4, which is in the file and never run; the projection to 512 channels; the layers that localise a patch.
LEFT_OUT = (f"{_PREFIX}layer4.", "afterconv", "linear")


def matches(state: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of that repository."""
    return kernel_axes(state, r"encoderVideo\.layer[1-4]\.\d+\.conv[123]\.weight") == 5


def convert(state: Mapping[str, Tensor]) -> tuple[Backbone, Receipt]:
    """The encoder of the file up to stage 3, time-local, with stride 8, and what became of every tensor.

    It is a ResNet-50 whose kernels see one frame; stage 3 has stride 1.

    Raises:
        ValueError: if not every tensor of the backbone can be filled.
    """
    kept = {key: tensor for key, tensor in state.items() if not key.startswith(LEFT_OUT)}
    plain = {key.removeprefix(_PREFIX): tensor for key, tensor in kept.items() if key.startswith(_PREFIX)}
    backbone = planned(
        ResNet3D,
        state,
        **resnet_sizes(plain),
        spatial_stride=8,
        time_local=True,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
    receipt = fill(
        backbone,
        state,
        lambda key: resnet_name(key.removeprefix(_PREFIX)) if key.startswith(_PREFIX) else None,
        converter=__name__.rpartition(".")[2],
        left_out=LEFT_OUT,
    )
    return backbone, receipt
