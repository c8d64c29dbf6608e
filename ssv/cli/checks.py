"""Refuses keys that nothing reads: Hydra accepts any ``+typo=1`` and any misspelt key of an experiment file."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

from ssv.cli.errors import UserError, nearest, unknown_key


def check_config(config: dict[str, Any], allowed: set[str]) -> None:
    """Top-level keys must be known, and every ``_target_`` must take the keys beside it.

    Raises:
        UserError: naming the key and the nearest one that exists.
    """
    for key in config:
        if key not in allowed:
            raise UserError(unknown_key(key, allowed))
    check_node(config, "")


def check_node(node: Any, prefix: str) -> None:
    """Walk a configuration and compare keys with signatures."""
    if isinstance(node, list):
        for item in node:
            check_node(item, prefix)
    if not isinstance(node, dict):
        return
    if "_target_" in node:
        parameters = inspect.signature(locate(node["_target_"], prefix)).parameters
        takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
        for key in node:
            if not key.startswith("_") and key not in parameters and not takes_any:
                raise UserError(unknown_key(f"{prefix}{key}", [f"{prefix}{name}" for name in parameters]))
    for key, value in node.items():
        check_node(value, f"{prefix}{key}.")


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
