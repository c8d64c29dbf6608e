"""A network's names and shapes before any memory is spent on it: what a file asks for is compared with what it holds."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from ssv.backbones.base import Backbone

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def outline(backbone_class: type[Backbone], kwargs: Mapping[str, Any], state: Mapping[str, Any]) -> Backbone:
    """``backbone_class(**kwargs)`` on the meta device, which has names and shapes and no memory.

    Building stops early where the arguments ask for many more parameters than ``state`` has entries, so that it costs
    no more than the file that the arguments come from.

    Args:
        backbone_class: see `Backbone`.
        kwargs: its arguments, which may come from a file.
        state: what it is to be filled from.

    Raises:
        ValueError: if it has too many parameters; also what the constructor raises.
    """
    thread, most, count = threading.get_ident(), 2 * len(state) + 100, 0

    def limit(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal count
        count += threading.get_ident() == thread
        if count > most:
            raise ValueError(
                f"the arguments ask for more than {most} parameters, for which there are {len(state)} tensors"
            )

    hook = register_module_parameter_registration_hook(limit)
    try:
        with torch.device("meta"):
            return backbone_class(**kwargs)
    finally:
        hook.remove()


def kind(value: object) -> str:
    """What ``value`` is in words, unless it is a plain tensor of real numbers: then nothing."""
    if not isinstance(value, Tensor):
        return f"{type(value).__name__}, not a tensor"
    if type(value) not in (Tensor, nn.Parameter):
        return f"a tensor of the class {type(value).__name__}"
    if value.is_meta:
        return "a meta tensor, which has no values"
    if value.is_quantized:
        return "a quantized tensor"
    if value.layout != torch.strided:
        return f"a tensor of the layout {str(value.layout)[6:]}"
    if value.dtype not in FLOATS + INTEGERS:
        return f"a tensor of {str(value.dtype)[6:]}"
    return ""


def fits(given: object, wanted: Tensor) -> bool:
    """Whether ``given`` may be copied into ``wanted``: a plain tensor of its shape, and no whole numbers for others."""
    if not isinstance(given, Tensor) or kind(given):
        return False
    return given.shape == wanted.shape and (given.is_floating_point() or not wanted.is_floating_point())


def shape_of(tensor: Tensor) -> str:
    """The shape in words, with the type where that is no floating point."""
    return str(tuple(tensor.shape)) + ("" if tensor.is_floating_point() else f" of {str(tensor.dtype)[6:]}")


def volume(state: Mapping[str, Any]) -> int:
    """Bytes that the plain tensors of ``state`` fill when each has memory of its own."""
    return sum(tensor.numel() * tensor.element_size() for tensor in state.values() if not kind(tensor))
