"""What the converters of public weights share.

A converter is one module in this folder with ``matches(keys) -> bool`` and ``convert(state) -> (Backbone, Receipt)``.
It is found by being there.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

import ssv.backbones.converters
from ssv.backbones.base import Backbone


class Receipt(NamedTuple):
    """What became of every tensor; names of the backbone in ``matched`` and ``missing``, of the file elsewhere."""

    converter: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        """One line for a log."""
        line = f"{self.converter}: {len(self.matched)} tensors filled, {len(self.missing)} missing, "
        line += f"{len(self.unexpected)} unexpected"
        return line + (f", {len(self.left_out)} left out ({_short(self.left_out)})" if self.left_out else "")


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
        if converter.matches(state.keys()):
            backbone, receipt = converter.convert(state)
            return backbone, receipt
    return None


def unwrapped(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors by name: out of ``state_dict``, if there is one, and without the ``module.`` of DataParallel."""
    inner = checkpoint.get("state_dict", checkpoint)
    entries = inner if isinstance(inner, Mapping) else {}
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
    renamed = {new: tensor for key, tensor in kept.items() if (new := rename(key)) is not None}
    wanted = backbone.state_dict()
    matched = tuple(key for key in wanted if key in renamed and renamed[key].shape == wanted[key].shape)
    receipt = Receipt(
        converter,
        matched,
        missing=tuple(key for key in wanted if key not in matched),
        unexpected=tuple(key for key in kept if rename(key) not in matched),
        left_out=tuple(key for key in state if key not in kept),
    )
    if receipt.missing or receipt.unexpected:
        first = [f"{what} {_short(keys)}" for what, keys in zip(("missing", "unexpected"), receipt[2:4]) if keys]
        raise ValueError(f"these weights do not fill {type(backbone).__name__} ({receipt}); {'; '.join(first)}")
    backbone.to_empty(device="cpu").load_state_dict(renamed)
    return receipt


def _short(keys: tuple[str, ...], most: int = 3) -> str:
    return ", ".join(keys[:most]) + (f" and {len(keys) - most} more" if len(keys) > most else "")
