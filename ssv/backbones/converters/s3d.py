"""S3D without gates, trained on Kinetics-400: the files of kylemin/S3D and of `torchvision.models.video.s3d`.

The network is the same, layer by layer; the names and the normalisation of the pixels are not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from ssv.backbones.base import Backbone
from ssv.backbones.converters.base import Receipt, fill, kernel_axes, planned
from ssv.backbones.s3dg import S3DG

LEFT_OUT = ("fc.", "classifier.")
_KYLEMIN = r"base\.\d+\.branch\d\.\d\.(conv|conv_s|conv_t)\.weight"
_TORCHVISION = r"features\.\d+\.branch\d\.(\d\.)*0\.weight"

# Position in the public list of layers (pools are 1, 4, 7 and 13) and in ours.
_PLACES = {0: "0", 2: "1.1", 3: "1.2", 5: "2.1", 6: "2.2", 8: "3.1", 9: "3.2", 10: "3.3", 11: "3.4", 12: "3.5"}
_PLACES |= {14: "4.1", 15: "4.2"}
_LAYERS = {"conv": "conv", "bn": "norm", "0": "conv", "1": "norm"}
_LAYERS |= {"conv_s": "space.conv", "bn_s": "space.norm", "conv_t": "time.conv", "bn_t": "time.norm"}
_LAYERS |= {"0.0": "space.conv", "0.1": "space.norm", "1.0": "time.conv", "1.1": "time.norm"}


def matches(state: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of one of the two."""
    return 5 in (kernel_axes(state, _KYLEMIN), kernel_axes(state, _TORCHVISION))


def convert(state: Mapping[str, Tensor]) -> tuple[Backbone, Receipt]:
    """The network of the file without its classifier, and what became of every tensor.

    Raises:
        ValueError: if not every tensor of the backbone can be filled.
    """
    # torchvision's presets of its video networks; kylemin scales pixels to -1..1.
    mean, std = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
    if kernel_axes(state, _KYLEMIN):
        mean, std = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    backbone = planned(
        S3DG,
        state,
        gating=False,
        stem="separable",
        far_side_pools=False,
        norm_eps=1e-3,
        norm_momentum=1e-3,
        mean=mean,
        std=std,
    )
    receipt = fill(backbone, state, _rename, converter=__name__.rpartition(".")[2], left_out=LEFT_OUT)
    return backbone, receipt


def _rename(key: str) -> str | None:
    """Both lists of layers: base.5.branch1.1.conv_s.weight, features.5.branch1.1.0.0.weight."""
    found = re.fullmatch(
        r"(?:base|features)\.(\d+)\.(branch0\.|branch[0-3]\.[01]\.)?([01]|[01]\.[01]|[a-z_]+)\.(\w+)", key
    )
    if not found or int(found[1]) not in _PLACES or found[3] not in _LAYERS:
        return None
    branch = "branch0.0." if found[2] == "branch0." else found[2] or ""
    return f"stages.{_PLACES[int(found[1])]}.{branch}{_LAYERS[found[3]]}.{found[4]}"
