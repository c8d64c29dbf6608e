"""Refuses keys that nothing reads and values of the wrong kind: Hydra accepts any ``+typo=1`` and any ``lr=abc``."""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from ssv.cli.errors import UserError, nearest, unknown_key


def check_config(config: dict[str, Any], allowed: set[str]) -> None:
    """Top-level keys must be known, and every ``_target_`` must take the keys beside it, with values of their kind.

    Raises:
        UserError: naming the key and the nearest one that exists, or what it takes.
    """
    for key in config:
        if key not in allowed:
            raise UserError(unknown_key(key, allowed))
    check_node(config, "")


def check_plain(node: Any, prefix: str) -> None:
    """Raises UserError for values that no command line gives, such as dates, and for arguments without a name."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "_args_":
                raise UserError(f"{prefix}_args_ gives arguments without names; name them")
            check_plain(value, f"{prefix}{key}.")
    elif isinstance(node, list):
        for item in node:
            check_plain(item, prefix)
    elif not isinstance(node, (str, int, float, bool, type(None))):
        raise UserError(f"{prefix.rstrip('.')} is no plain value, got {node!r}")


def check_node(node: Any, prefix: str) -> None:
    """Walk a configuration and compare keys and values with signatures; NaN is no value of anything."""
    if isinstance(node, list):
        for item in node:
            check_node(item, prefix)
    if isinstance(node, float) and math.isnan(node):
        raise UserError(f"{prefix.rstrip('.')} is no number, got nan")
    if not isinstance(node, dict):
        return
    if "_target_" in node:
        target = locate(node["_target_"], prefix)
        parameters, kinds = inspect.signature(target).parameters, annotated(target)
        takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
        for key, value in node.items():
            if not key.startswith("_") and key not in parameters and not takes_any:
                raise UserError(unknown_key(f"{prefix}{key}", [f"{prefix}{name}" for name in parameters]))
            is_later = key == "seed" and value is None  # of an evaluation: that of the weights, once they are known
            is_given = key in kinds and key in parameters and value is not parameters[key].default and not is_later
            if is_given and not fits(value, kinds[key]):
                raise UserError(f"{prefix}{key} takes {in_words(kinds[key])}, got {value!r}{infinite(value)}")
    for key, value in node.items():
        check_node(value, f"{prefix}{key}.")


SEQUENCES = (list, tuple, Sequence)
PLAIN = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}


def annotated(target: Callable[..., Any]) -> dict[str, Any]:
    """The annotated types of what a class or a function takes; empty where they cannot be found out."""
    try:
        return get_type_hints(getattr(target, "__init__") if isinstance(target, type) else target)  # noqa: B009 - mypy
    except Exception:  # a name that is imported for type checkers alone, for one
        return {}


def fits(value: Any, kind: Any) -> bool:
    """Whether a plain value is one of an annotated type; True where the type says nothing about plain values."""
    if get_origin(kind) in (Union, UnionType):
        return any(fits(value, one) for one in get_args(kind))
    if get_origin(kind) in SEQUENCES:
        items = [one for one in get_args(kind) if one is not Ellipsis]
        is_list = isinstance(value, list) and all(any(fits(item, one) for one in items) for item in value)
        return is_list or isinstance(value, dict)
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if is_tensor(kind):
        return False
    return kind not in PLAIN or isinstance(value, (dict, kind))


def in_words(kind: Any) -> str:
    """The plain values of an annotated type, for a message."""
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return " or ".join(dict.fromkeys(PLAIN.get(one, "a list") for one in kinds if not is_tensor(one)))


def is_tensor(kind: Any) -> bool:
    """Whether a type is torch's Tensor, which optimizers take in place of numbers and no file holds."""
    return getattr(kind, "__name__", "") == "Tensor"


def infinite(value: Any) -> str:
    """How a command line spells infinity, for those who wrote it as a file does."""
    return "; on a command line infinity is inf" if value in (".inf", "-.inf") else ""


def check_whole(config: dict[str, Any], least: Mapping[str, int], optional: Collection[str] = ()) -> None:
    """Keys of a verb that take whole numbers from ``least`` on; the ``optional`` ones may be null.

    Raises:
        UserError: naming the key and what it takes.
    """
    for key, lowest in least.items():
        value = config[key]
        if not (value is None and key in optional) and not (fits(value, int) and value >= lowest):
            raise UserError(f"{key} takes a whole number of at least {lowest}, got {value!r}")


def target_of(config: dict[str, Any], group: str) -> Callable[..., Any]:
    """The class or function that the choice of a group stands for.

    Raises:
        UserError: when its file sets none, as without the line that says where its content goes.
    """
    target = (config.get(group) or {}).get("_target_")
    if not isinstance(target, str):
        raise UserError(
            f"{group}._target_ is not set: the file of a {group} names its class there; if its content begins with "
            f"'{group}:', its first line, before any other comment, must be '# @package _global_'"
        )
    return locate(target, f"{group}.")


def locate(target: str, prefix: str) -> Callable[..., Any]:
    """The class or function a dotted name stands for; imports its module, the user's own ones too.

    Raises:
        UserError: when there is none of that name.
    """
    module_name, _, name = target.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise UserError(
            f"{prefix}_target_ names '{target}', but there is no module '{error.name}'; "
            f"is its folder on PYTHONPATH, or its package installed?"
        ) from error
    if not hasattr(module, name):
        raise UserError(f"{prefix}_target_ names '{target}'{nearest(name, dir(module)) or ', which does not exist'}")
    found: Callable[..., Any] = getattr(module, name)
    return found
