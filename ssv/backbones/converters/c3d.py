"""C3D trained on Sports-1M: `c3d.pickle` of DavideA/c3d-pytorch and the files of open-mmlab/mmaction2.

Both feed RGB, though the weights were first trained in Caffe; what they feed is taken over, because it is what their
published use is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from ssv.backbones.base import Backbone
from ssv.backbones.c3d import C3D
from ssv.backbones.converters.base import Receipt, fill, kernel_axes, planned

# Fully connected layers, bound to 16 frames of 112x112, and what mmaction2 puts behind them.
LEFT_OUT = ("fc6.", "fc7.", "fc8.", "backbone.fc6.", "backbone.fc7.", "cls_head.")
_DAVIDEA = r"conv[345][ab]\.weight"
_MMACTION = r"(backbone\.)?conv[1-5][ab]\.conv\.weight"  # pretrained for it, trained with it
# conv1 (or conv1a), conv2 (conv2a), conv3a, conv3b, ...: stage, and layer between convolution and ReLU
_PLACES = {"1": "0.0", "1a": "0.0", "2": "1.0", "2a": "1.0"}
_PLACES |= {f"{stage}{letter}": f"{stage - 1}.{2 * 'ab'.index(letter)}" for stage in (3, 4, 5) for letter in "ab"}


def matches(state: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of one of the two."""
    return 5 in (kernel_axes(state, _DAVIDEA), kernel_axes(state, _MMACTION))


def convert(state: Mapping[str, Tensor]) -> tuple[Backbone, Receipt]:
    """The convolutions of the file, and what became of every tensor.

    Raises:
        ValueError: if not every tensor of the backbone can be filled.
    """
    # 0..255 pixels; mmaction2 takes the mean off (its numbers are in this order), c3d-pytorch does not.
    takes_mean_off = not kernel_axes(state, _DAVIDEA)
    mean = [104 / 255, 117 / 255, 128 / 255] if takes_mean_off else [0.0, 0.0, 0.0]
    backbone = planned(C3D, state, mean=mean, std=[1 / 255] * 3)
    receipt = fill(backbone, state, _rename, converter=__name__.rpartition(".")[2], left_out=LEFT_OUT)
    return backbone, receipt


def _rename(key: str) -> str | None:
    found = re.fullmatch(r"(?:backbone\.)?conv(\d[ab]?)\.(?:conv\.)?(weight|bias)", key)
    return f"stages.{_PLACES[found[1]]}.{found[2]}" if found and found[1] in _PLACES else None
