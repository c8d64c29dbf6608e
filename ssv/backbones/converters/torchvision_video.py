"""r3d_18, mc3_18 and r2plus1d_18 trained on Kinetics-400: the files of `torchvision.models.video`."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping

from torch import Tensor

from ssv.backbones.base import Backbone
from ssv.backbones.converters.base import Receipt, fill, kernel_axes, planned
from ssv.backbones.video_resnet import VideoResNet

LEFT_OUT = ("fc.",)  # the classifier


def matches(state: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of that package."""
    return kernel_axes(state, r"layer[1-4]\.\d+\.conv[12]\.0(\.[03])?\.weight") == 5


def convert(state: Mapping[str, Tensor]) -> tuple[Backbone, Receipt]:
    """The network of the file without its classifier, and what became of every tensor.

    The kind of every stage is read from its tensors. Pixels are normalised as the package's own presets do.

    Raises:
        ValueError: if not every tensor of the backbone can be filled.
    """
    convs = [_kind(state, stage) for stage in (1, 2, 3, 4)]
    deep = [kind for kind in convs[1:] if kind != "2d"]
    stem = "separable" if any(f"stem.{layer}.weight" in state for layer in (3, 4)) else "plain"
    backbone = planned(VideoResNet, state, convs=convs, stem=stem, temporal_stride=2 ** len(deep))
    receipt = fill(
        backbone, state, lambda key: _rename(key, convs), converter=__name__.rpartition(".")[2], left_out=LEFT_OUT
    )
    return backbone, receipt


def _kind(state: Mapping[str, Tensor], stage: int) -> str:
    found = [state[key] for key in state if re.fullmatch(rf"layer{stage}\.\d+\.conv[12]\.0\.weight", key)]
    if not found:
        return "2plus1d"
    return "2d" if statistics.mode(tuple(kernel.shape[2:3]) for kernel in found) == (1,) else "3d"


def _rename(key: str, convs: list[str]) -> str | None:
    if stem := re.fullmatch(r"stem\.([0134])\.(\w+)", key):
        place, norm = divmod(int(stem[1]), 3)
        return f"stem.{place}.{'norm' if norm else 'conv'}.{stem[2]}"
    if side := re.fullmatch(r"layer([1-4])\.(\d+)\.downsample\.([01])\.(\w+)", key):
        return f"stages.{int(side[1]) - 1}.{side[2]}.shortcut.{'conv' if side[3] == '0' else 'norm'}.{side[4]}"
    body = re.fullmatch(r"layer([1-4])\.(\d+)\.conv([12])\.(0|1|0\.0|0\.1|0\.3)\.(\w+)", key)
    if not body:
        return None
    stage, number = int(body[1]) - 1, int(body[3]) - 1
    if convs[stage] == "2plus1d":  # conv1.0.0 conv1.0.1 (ReLU) conv1.0.3 conv1.1: space, norm, time, norm
        place, layer = {"0.0": (0, "conv"), "0.1": (0, "norm"), "0.3": (1, "conv")}.get(body[4], (1, "norm"))
        return f"stages.{stage}.{body[2]}.body.{2 * number + place}.{layer}.{body[5]}"
    layer = {"0": "conv", "1": "norm"}.get(body[4], "")
    return f"stages.{stage}.{body[2]}.body.{number}.{layer}.{body[5]}" if layer else None
