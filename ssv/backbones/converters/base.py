"""What the converters of public weights share.

A converter is one module in this folder with ``matches(state) -> bool`` and ``convert(state) -> (Backbone, Receipt)``,
where ``state`` holds tensors by their public name (networks of images and of videos share names, not shapes). It is found
by being there; no two may match the same file.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

import ssv.backbones.converters
from ssv.backbones.base import Backbone

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
COUNTER = ".num_batches_tracked"


class Receipt(NamedTuple):
    """What became of every tensor; names of the backbone in ``matched`` and ``missing``, of the file elsewhere."""

    converter: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    left_out: tuple[str, ...]
    counters: tuple[str, ...] = ()  # of ``matched``: steps seen by batch norms, 0 because files before 2018 have none

    def __str__(self) -> str:
        """One line for a log."""
        line = f"{self.converter}: {len(self.matched)} tensors filled, {len(self.missing)} missing, "
        line += f"{len(self.unexpected)} unexpected"
        line += f", {len(self.left_out)} left out ({_short(self.left_out)})" if self.left_out else ""
        return line + (f", {len(self.counters)} step counters are not in the file and 0" if self.counters else "")


def convert_public(checkpoint: Mapping[str, Any]) -> tuple[Backbone, Receipt] | None:
    """The backbone that a public checkpoint holds, or None if no converter knows it.

    Raises:
        ValueError: if a converter knows the names, but not every backbone tensor can be filled.
    """
    state = unwrapped(checkpoint)
    for module in pkgutil.iter_modules(ssv.backbones.converters.__path__):
        if module.name == "base":
            continue
        converter = importlib.import_module(f"ssv.backbones.converters.{module.name}")
        if converter.matches(state):
            backbone, receipt = converter.convert(state)
            return backbone, receipt
    return None


def unwrapped(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors by name: out of ``state_dict`` or ``model``, if there is one, without DataParallel's ``module.``."""
    entries = next((checkpoint[name] for name in ("state_dict", "model") if name in checkpoint), checkpoint)
    if not isinstance(entries, Mapping):
        return {}
    return {str(key).removeprefix("module."): value for key, value in entries.items() if isinstance(value, Tensor)}


def fill(
    backbone: Backbone,
    state: Mapping[str, Tensor],
    rename: Callable[[str], str | None],
    *,
    converter: str,
    left_out: tuple[str, ...],
) -> Receipt:
    """Fill every tensor of ``backbone`` in place, or none.

    Args:
        backbone: of the architecture in the file; made on the meta device, it comes to the CPU (to draw millions of
            random numbers first only to overwrite them takes longer than reading the file).
        state: tensors by their public name.
        rename: public name to the backbone's, None for a name that it does not know.
        converter: name for the receipt.
        left_out: beginnings of the public names that are left out on purpose.

    Raises:
        ValueError: if a tensor is missing, of another shape, or not known.
    """
    kept = {key: tensor for key, tensor in state.items() if not key.startswith(left_out)}
    origin: dict[str, str] = {}  # the first of two keys of the same name; the second one is unexpected
    for key in kept:
        if (new := rename(key)) is not None:
            origin.setdefault(new, key)
    renamed = {new: kept[key] for new, key in origin.items()}
    wanted = backbone.state_dict()
    counters: tuple[str, ...] = ()
    if not any(key.endswith(COUNTER) for key in renamed):
        counters = tuple(key for key in wanted if key.endswith(COUNTER))
        renamed |= {key: torch.zeros((), dtype=torch.int64) for key in counters}
    matched = tuple(key for key in wanted if key in renamed and renamed[key].shape == wanted[key].shape)
    used = {origin.get(key) for key in matched}
    receipt = Receipt(
        converter,
        matched,
        missing=tuple(key for key in wanted if key not in matched),
        unexpected=tuple(key for key in kept if key not in used),
        left_out=tuple(key for key in state if key not in kept),
        counters=counters,
    )
    if receipt.missing or receipt.unexpected:
        first = [f"{what} {_short(keys)}" for what, keys in zip(("missing", "unexpected"), receipt[2:4]) if keys]
        raise ValueError(f"these weights do not fill {type(backbone).__name__} ({receipt}); {'; '.join(first)}")
    backbone.to_empty(device="cpu").load_state_dict(renamed)
    return receipt


def resnet_sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of `ResNet3D` that can be read from tensors named as in torchvision (conv1, layer1.0.conv1, ...).

    Kernels must have three dimensions (`as_video`). Stages must be there from the first on; those that are not get sizes
    and are not built. Strides and padding are in no file.

    Raises:
        ValueError: if the first convolution, or the first one of stage 1, is missing.
    """
    if lacking := [key for key in ("conv1.weight", "layer1.0.conv1.weight") if key not in state]:
        raise ValueError(f"these weights of a ResNet lack {lacking[0]}")
    count = 1
    while count < 4 and f"layer{count + 1}.0.conv1.weight" in state:
        count += 1
    patterns = [rf"layer{stage}\.\d+\.conv1\.weight" for stage in range(1, count + 1)]
    blocks = [sum(re.fullmatch(pattern, key) is not None for key in state) for pattern in patterns]
    widths = [state[f"layer{stage}.0.conv1.weight"].shape[0] for stage in range(1, count + 1)]
    return {
        "blocks": blocks + blocks[-1:] * (4 - count),
        "widths": widths + [widths[-1] * 2**more for more in range(1, 5 - count)],
        "bottleneck": "layer1.0.conv3.weight" in state,
        "stem_kernel": list(state["conv1.weight"].shape[2:]),
        "last_stage": count,
    }


def resnet_name(key: str) -> str | None:
    """The name in `ResNet3D` of a tensor named as in torchvision, None for any other."""
    if stem := re.fullmatch(r"(conv1|bn1)\.(\w+)", key):
        return f"stem.{'conv' if stem[1] == 'conv1' else 'norm'}.{stem[2]}"
    if body := re.fullmatch(r"layer([1-4])\.(\d+)\.(conv|bn)([123])\.(\w+)", key):
        layer = "conv" if body[3] == "conv" else "norm"
        return f"stages.{int(body[1]) - 1}.{body[2]}.body.{int(body[4]) - 1}.{layer}.{body[5]}"
    if side := re.fullmatch(r"layer([1-4])\.(\d+)\.downsample\.([01])\.(\w+)", key):
        layer = "conv" if side[3] == "0" else "norm"
        return f"stages.{int(side[1]) - 1}.{side[2]}.shortcut.{layer}.{side[4]}"
    return None


def as_video(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every (D,C,h,w) kernel of an image network as the (D,C,1,h,w) kernel of one that sees each frame alone."""
    return {key: tensor.unsqueeze(2) if tensor.ndim == 4 else tensor for key, tensor in state.items()}


def _short(keys: tuple[str, ...], most: int = 3) -> str:
    return ", ".join(keys[:most]) + (f" and {len(keys) - most} more" if len(keys) > most else "")
