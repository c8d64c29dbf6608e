"""The contrastive random walk (Jabri, Owens, Efros, NeurIPS 2020): the files of ajabri/videowalk."""

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

LEFT_OUT = ("selfsim_fc.",)  # the head that nodes go through in training
_PREFIX = "encoder.model."


def matches(state: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of that repository, those of now or those with `conv1.1` in them."""
    return kernel_axes(state, rf"{re.escape(_PREFIX)}layer[1-4]\.\d+\.conv[123]\.(1\.)?weight") == 4


def convert(state: Mapping[str, Tensor]) -> tuple[Backbone, Receipt]:
    """The encoder of the file, time-local, with stride 8 and mirrored edges, and what became of every tensor.

    Label propagation uses the map of stage 3 (``last_stage=3``). Whether edges were mirrored or zero is not in the file;
    the released one has them mirrored; for the other kind load with ``padding="zeros"``.

    Raises:
        ValueError: if not every tensor of the backbone can be filled.
    """
    plain = {_plain(key): tensor for key, tensor in as_video(state).items() if key.startswith(_PREFIX)}
    backbone = planned(
        ResNet3D,
        plain,
        **resnet_sizes(plain),
        spatial_stride=8,
        padding="reflect",
        time_local=True,
        # Training used the statistics of CIFAR, the evaluation (data/vos.py) those of ImageNet: the published scores
        # were obtained with the latter.
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
    receipt = fill(
        backbone,
        as_video(state),
        lambda key: resnet_name(_plain(key)) if key.startswith(_PREFIX) else None,
        converter=__name__.rpartition(".")[2],
        left_out=LEFT_OUT,
    )
    return backbone, receipt


def _plain(key: str) -> str:
    """The name in torchvision; older files have the convolution behind a layer of its own that pads (conv1.1)."""
    return re.sub(r"(^|\.)(conv\d)\.1\.weight$", r"\1\2.weight", key.removeprefix(_PREFIX))
