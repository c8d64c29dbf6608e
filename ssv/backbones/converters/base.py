"""What the converters of public weights share.

A converter is one module in this folder with ``matches(state) -> bool`` and ``convert(state) -> (Backbone, Receipt)``,
where ``state`` holds tensors by their public name (networks of images and of videos share names, not shapes). It is found
by being there; no two may match the same file.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import statistics
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

import ssv.backbones.converters
from ssv.backbones.base import Backbone
from ssv.backbones.entries import find_entry, is_tensor_name
from ssv.backbones.outline import fits, kind, outline, shape_of, volume

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
COUNTER = ".num_batches_tracked"


# Arguments that no tensor tells: they change what a network computes, not what it holds.
UNTOLD = (
    "stem_stride",
    "pool",
    "spatial_stride",
    "temporal_stride",
    "padding",
    "far_side_pools",
    "norm_eps",
    "mean",
    "std",
)


class Receipt(NamedTuple):
    """What became of every tensor; names of the backbone in ``matched`` and ``missing``, of the file elsewhere."""

    converter: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    left_out: tuple[str, ...]
    counters: tuple[str, ...] = ()  # of ``matched``: steps seen by batch norms, 0 because files before 2018 have none
    assumed: tuple[str, ...] = ()  # arguments that are not in the file, ``name=value``

    def __str__(self) -> str:
        """One line for a log."""
        line = f"{self.converter}: {len(self.matched)} tensors filled, {len(self.missing)} missing, "
        line += f"{len(self.unexpected)} unexpected"
        line += f", {len(self.left_out)} left out ({_short(self.left_out)})" if self.left_out else ""
        line += f", {len(self.counters)} step counters are not in the file and 0" if self.counters else ""
        return line + (f"; not in the file, assumed as published: {', '.join(self.assumed)}" if self.assumed else "")

    def without(self, names: Iterable[str]) -> Receipt:
        """The same where these arguments were given and not assumed."""
        given = set(names)
        return self._replace(assumed=tuple(text for text in self.assumed if text.partition("=")[0] not in given))


def convert_public(
    checkpoint: Mapping[str, Any], *, entry: str | None = None, size: int | None = None
) -> tuple[Backbone, Receipt] | None:
    """The backbone that a public checkpoint holds, or None if no converter knows it.

    Args:
        checkpoint: tensors by name, in whatever `find_entry` looks through.
        entry: which of several networks, such as "model_ema".
        size: bytes of the file; its tensors may ask for twice as many.

    Raises:
        ValueError: if a converter knows the names, but not every backbone tensor can be filled, or if the network must
            be asked for (`find_entry`).
    """
    modules = [
        module.name for module in pkgutil.iter_modules(ssv.backbones.converters.__path__) if module.name != "base"
    ]
    converters = [importlib.import_module(f"ssv.backbones.converters.{name}") for name in modules]
    found = find_entry(checkpoint, lambda state: any(converter.matches(state) for converter in converters), entry)
    if found is None:
        return None
    state = _tensors(found.values)
    if size is not None and (needed := volume(state)) > 2 * size:
        raise ValueError(f"its tensors ask for {needed} bytes, more than twice its size of {size}")
    converter = next(converter for converter in converters if converter.matches(state))
    backbone, receipt = converter.convert(state)
    return backbone, receipt._replace(left_out=receipt.left_out + found.beside())


def _tensors(values: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors among ``values``, which hold settings too; what has the name of a tensor must be one."""
    for name, value in values.items():
        if (isinstance(value, Tensor) or is_tensor_name(name)) and (odd := kind(value)):
            raise ValueError(f"{name} is {odd}; needed are tensors of real numbers")
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def planned(backbone_class: type[Backbone], state: Mapping[str, Tensor], **kwargs: Any) -> Backbone:
    """A backbone without memory for `fill`, of arguments that were read from ``state``.

    Raises:
        ValueError: if there is no such network.
    """
    try:
        return outline(backbone_class, kwargs, state)
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        text = " ".join(str(error).split())
        raise ValueError(f"these weights are of no {backbone_class.__name__} that can be built: {text}") from error


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
        ValueError: if a tensor is missing, of another shape or type, or not known.
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
    used = {origin.get(key) for key in wanted}
    receipt = Receipt(
        converter,
        matched=tuple(key for key in wanted if key in renamed and fits(renamed[key], wanted[key])),
        missing=tuple(key for key in wanted if key not in renamed),
        unexpected=tuple(key for key in kept if key not in used),
        left_out=tuple(key for key in state if key not in kept),
        counters=counters,
    )
    problems = [f"{what} {_short(keys)}" for what, keys in zip(("missing", "unexpected"), receipt[2:4]) if keys]
    if wrong := [key for key in wanted if key in renamed and key not in receipt.matched]:
        first = wrong[0]
        others = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        given = kind(renamed[first]) or shape_of(renamed[first])
        what = "type" if renamed[first].shape == wanted[first].shape else "shape"
        problems.append(f"wrong {what}: {origin[first]} is {given}, needed {shape_of(wanted[first])}{others}")
    if problems:
        raise ValueError(f"these weights do not fill {type(backbone).__name__} ({receipt}); {'; '.join(problems)}")
    backbone.to_empty(device="cpu").load_state_dict(renamed)
    return receipt._replace(assumed=_untold(backbone))


def _untold(backbone: Backbone) -> tuple[str, ...]:
    still = ("stem_stride", "temporal_stride") if backbone.time_local else ()
    kwargs = {name: value for name, value in backbone.kwargs.items() if name in UNTOLD and name not in still}
    return tuple(f"{name}={_plain(value)}" for name, value in kwargs.items())


def _plain(value: Any) -> str:
    return f"[{', '.join(f'{v:.4g}' for v in value)}]" if isinstance(value, list) else str(value)


def kernel_axes(state: Mapping[str, Any], name: str) -> int:
    """How many axes most tensors have whose whole name matches the pattern ``name``; 0 if there is none.

    One tensor that is missing, or of a wrong shape, must not make a family unknown: converters ask all of them.
    """
    axes = [v.ndim for key, v in state.items() if isinstance(v, Tensor) and re.fullmatch(name, key)]
    return statistics.mode(axes) if axes else 0


def resnet_sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of `ResNet3D` that can be read from tensors named as in torchvision (conv1, layer1.0.conv1, ...).

    Kernels must have three dimensions (`as_video`). Stages must be there from the first on; those that are not get sizes
    and are not built. Strides and padding are in no file.

    Raises:
        ValueError: if the first convolution, or the first one of a stage, is missing or no kernel.
    """
    if lacking := [key for key in ("conv1.weight", "layer1.0.conv1.weight") if key not in state]:
        raise ValueError(f"these weights of a ResNet lack {lacking[0]}")
    widths: dict[int, list[int]] = {}
    blocks: dict[int, int] = {}
    for key, tensor in state.items():
        if place := re.fullmatch(r"layer([1-4])\.(\d+)\.conv1\.weight", key):
            stage, block = int(place[1]), int(place[2])
            blocks[stage] = max(blocks.get(stage, 0), block + 1)
            widths.setdefault(stage, []).append(tensor.shape[0] if tensor.ndim else 1)
    count = max(blocks)
    if absent := [stage for stage in range(1, count) if stage not in blocks]:
        raise ValueError(f"these weights of a ResNet lack layer{absent[0]}.0.conv1.weight")
    stem = state["conv1.weight"]
    if stem.ndim != 5:
        raise ValueError(f"wrong shape: conv1.weight is {shape_of(stem)}, a kernel of 3 dimensions is needed")
    depths = [blocks[stage] for stage in range(1, count + 1)]
    sizes = [statistics.mode(widths[stage]) for stage in range(1, count + 1)]
    return {
        "blocks": depths + depths[-1:] * (4 - count),
        "widths": sizes + [sizes[-1] * 2**more for more in range(1, 5 - count)],
        "bottleneck": any(re.fullmatch(r"layer1\.\d+\.conv3\.weight", key) for key in state),
        "stem_kernel": list(stem.shape[2:]),
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
