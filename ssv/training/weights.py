"""`backbone.pt`, the one link between pretraining and evaluation: written whole or not at all, read strictly.

The file is ``{"backbone": {"class", "kwargs"}, "state_dict", "provenance"}``, tensors and plain values only. Nothing in it
is executed: it is read with ``weights_only=True``, and the class it names is looked up among ``ssv.backbones`` only.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ssv.backbones.base import Backbone
from ssv.backbones.converters.base import Receipt, convert_public
from ssv.backbones.outline import volume
from ssv.backbones.rebuild import refit
from ssv.files import write_bytes
from ssv.training.weights_file import read_weights_file

FILE = "backbone.pt"


class _Stored(NamedTuple):
    """What a file holds, whoever wrote it."""

    backbone_class: type[Backbone]
    kwargs: dict[str, Any]
    state: dict[str, Tensor]
    provenance: dict[str, Any]
    receipt: Receipt | None = None


def save_backbone(path: str | Path, backbone: Backbone, provenance: Mapping[str, Any]) -> None:
    """Write ``backbone`` to ``path`` so that at any moment the file is the one before or the new one, whole.

    Args:
        path: usually ``<run>/backbone.pt``; its folder is made.
        backbone: on any device.
        provenance: plain values: where these weights come from.

    Raises:
        OSError: if it cannot be written (a full disk); the file before is kept.
    """
    path = Path(path)
    content = {
        "backbone": {"class": _class_name(type(backbone)), "kwargs": backbone.kwargs},
        "state_dict": {name: tensor.detach().cpu().contiguous() for name, tensor in backbone.state_dict().items()},
        "provenance": dict(provenance),
    }
    buffer = io.BytesIO()  # torch reports a full disk in words of its own; a plain file says OSError
    torch.save(content, buffer)
    try:
        write_bytes(path, buffer.getbuffer())
    except OSError as error:
        kept = "; the file before is kept" if path.exists() else ""
        raise OSError(error.errno, f"cannot write {path}: {error.strerror}{kept}") from error


def load_backbone(
    weights: str | Path,
    *,
    backbone_class: type[Backbone] | None = None,
    entry: str | None = None,
    **overrides: Any,
) -> tuple[Backbone, dict[str, Any]]:
    """The backbone in a file, on the CPU, in training mode, and where it comes from.

    Args:
        weights: a `backbone.pt`, a run folder with one, or a public file that a converter knows.
        backbone_class: the class in the file, where it lives outside `ssv.backbones`.
        entry: which network of a public file that holds several, such as "model_ema".
        overrides: arguments of the backbone to change. What needs no new tensors may change (strides, padding,
            ``last_stage``: tensors of later stages are left out), and ``time_local=False`` inflates.

    Returns:
        The backbone and a dict of plain values: what `save_backbone` was given; ``receipt`` for a public file;
        ``overrides``, ``inflated`` and ``left_out`` where there are any.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds no weights, they are not finite or do not fill what was asked for, or ``entry`` is needed
            or not there.
    """
    path = _find(Path(weights))
    stored = _read(path, backbone_class, entry)
    provenance = dict(stored.provenance)
    backbone, left_out, inflated = refit(
        stored.backbone_class, stored.kwargs, stored.state, overrides, source=str(path)
    )
    odd = [name for name, tensor in backbone.state_dict().items() if not bool(tensor.isfinite().all())]
    if odd:
        raise ValueError(f"{path} holds weights that are not finite ({odd[0]}{', ...' if len(odd) > 1 else ''})")
    if stored.receipt is not None:
        provenance["receipt"] = str(stored.receipt.without(overrides))
    if inflated:
        provenance["inflated"] = True
    if overrides:
        provenance["overrides"] = {name: backbone.kwargs[name] for name in overrides}
    if left_out:
        provenance["left_out"] = f"{len(left_out)} tensors of the stages after {overrides['last_stage']}"
    return backbone, provenance


def weights_digest(backbone: Backbone) -> str:
    """Twelve hex digits that change with any name or any bit of the weights, whatever device they are on."""
    digest = hashlib.sha256()
    for name, tensor in backbone.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]


def _find(path: Path) -> Path:
    file = path / FILE if path.is_dir() else path
    if file.is_file():
        return file
    where = f"the folder {path} holds no {FILE}" if path.is_dir() else f"no weights at {path}"
    raise FileNotFoundError(f"{where}; give a {FILE}, the folder of a run, or a public file")


def _read(path: Path, backbone_class: type[Backbone] | None, entry: str | None) -> _Stored:
    try:
        content = read_weights_file(path)
    except ValueError as error:
        if path.suffix != ".ckpt":
            raise
        raise ValueError(f"{error}; if it is a checkpoint to resume a run from, {_instead(path)}") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds {type(content).__name__}, not weights; give a {FILE} or a public file")
    if {"backbone", "state_dict", "provenance"} <= content.keys():
        if entry:
            raise ValueError(f"{path} is a {FILE}, which holds one network; leave out entry={entry}")
        return _own(path, content, backbone_class)
    if _is_resumable(content):
        raise ValueError(f"{path} is a checkpoint to resume a run from, not weights; {_instead(path)}")
    try:
        converted = convert_public(content, entry=entry, size=path.stat().st_size)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if converted is None:
        raise ValueError(f"{path} holds tensors of no architecture known here; give a {FILE} or write a converter")
    backbone, receipt = converted
    named = {"name": path.name, **({"entry": entry} if entry else {})}
    return _Stored(type(backbone), backbone.kwargs, dict(backbone.state_dict()), named, receipt)


def _is_resumable(content: Mapping[str, Any]) -> bool:
    """Whether this is a checkpoint of ours, or one of Lightning without tensors; those of others may hold weights."""
    state = content.get("state_dict")
    names = list(state) if isinstance(state, Mapping) else []
    return "pytorch-lightning_version" in content and (not names or any(str(n).startswith("pretext.") for n in names))


def _own(path: Path, content: Mapping[str, Any], backbone_class: type[Backbone] | None) -> _Stored:
    try:
        name, kwargs = str(content["backbone"]["class"]), dict(content["backbone"]["kwargs"])
        state, provenance = dict(content["state_dict"]), dict(content["provenance"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is a damaged {FILE}: it has the entries of one, but not their content") from error
    if not all(isinstance(key, str) and key.isprintable() for key in (name, *kwargs, *state, *provenance)):
        raise ValueError(f"{path} is a damaged {FILE}: its entries have names that are no text")
    if type(seed := provenance.get("seed", 0)) is not int:
        raise ValueError(f"{path} is a damaged {FILE}: its seed is {type(seed).__name__}, needed a whole number")
    _check_volume(path, state)
    return _Stored(_class(path, name, backbone_class), kwargs, state, provenance)


def _check_volume(path: Path, state: Mapping[str, Any]) -> None:
    """Tensors may share memory in a file; a network's have their own."""
    size = path.stat().st_size
    if (bytes_ := volume(state)) > 2 * size:
        raise ValueError(f"{path} asks for {bytes_} bytes of tensors, more than twice its size of {size}")


def _class(path: Path, name: str, given: type[Backbone] | None) -> type[Backbone]:
    """The class that a file names. Only `ssv.backbones` is searched: a file must not decide what is imported."""
    if given is not None:
        if _class_name(given) != name:
            raise ValueError(f"{path} holds weights of {name}, asked for {_class_name(given)}")
        return given
    parts = re.fullmatch(r"(ssv\.backbones\.[a-z0-9_]+)\.([A-Za-z0-9_]+)", name)
    if not parts:
        raise ValueError(f"{path} holds weights of {name}, which is not in ssv.backbones; pass backbone_class")
    try:
        found = getattr(importlib.import_module(parts[1]), parts[2])
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{path} holds weights of {name}, which this version of ssv does not have") from error
    if not (isinstance(found, type) and issubclass(found, Backbone)):
        raise ValueError(f"{path} names {name}, which is not a backbone")
    return found


def _instead(path: Path) -> str:
    """What to load instead of a checkpoint: a file that is there, if one is."""
    folder = path.parent.parent if path.parent.name == "checkpoints" else path.parent
    return f"use {folder / FILE if (folder / FILE).is_file() else f'the {FILE} that a run writes at its end'}"


def _class_name(backbone_class: type[Backbone]) -> str:
    return f"{backbone_class.__module__}.{backbone_class.__qualname__}"
