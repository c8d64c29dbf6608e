"""What a configuration that somebody stored may name. Nothing that it names is imported before it has been checked.

A configuration that Hydra composes is its user's own; one that is read from a run's folder may be anybody's. It may name
what the package's own configuration names, torch's optimizers, and what its user names: on the command line, or in the
files of a folder given by ``--config-dir``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssv.cli.errors import UserError
from ssv.cli.stored import read_config

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable  # Python 3.11

TARGET = re.compile(r"\b_target_['\"]?\s*:\s*['\"]?([A-Za-z_][\w.]*)")
UNREAD = {"command"}  # words as typed, never built from


def read_trusted(file: Path, named: Collection[str] = ()) -> dict[str, Any]:
    """The configuration in a file, all of whose classes and functions are known or ``named`` by the user.

    Raises:
        UserError: when there is no such file, it is damaged, or names anything else.
    """
    config = read_config(file)
    if not re.fullmatch(r"(?!\.+$)[\w.-]+", str(config["run"].get("name", "run"))):
        raise UserError(f"{file}: run.name={config['run']['name']} is no name of a folder of a run")
    for key, name in foreign(config).items():
        if name not in named:
            raise UserError(
                f"{file}: {key} names {name}, which is no part of ssv and would be executed; if you know it, name it: "
                f"--allow {name} (`ssv audit`: allow=[{name}])"
            )
    return config


def allowing(config: dict[str, Any]) -> list[str]:
    """The words after ``--resolved FILE`` for a configuration of one's own: what it names beyond ssv is allowed."""
    return [word for name in dict.fromkeys(foreign(config).values()) for word in ("--allow", name)]


def foreign(config: dict[str, Any]) -> dict[str, str]:
    """What a configuration would have executed beyond what ssv's own names, by key; values to resolve among them."""
    known = named_in(own_configuration())
    return {
        key: name
        for key, name in _executed({key: value for key, value in config.items() if key not in UNREAD}, "")
        if name not in known and not _is_optimizer(name)
    }


def named_in(folder: Path | Traversable) -> set[str]:
    """All targets that the YAML files of a folder name, at any depth."""
    found: set[str] = set()
    for entry in folder.iterdir():
        if entry.is_dir():
            found |= named_in(entry)
        elif entry.name.endswith((".yaml", ".yml")):
            found |= set(TARGET.findall(entry.read_bytes().decode(errors="replace")))
    return found


def own_configuration() -> Path | Traversable:
    """The package's configuration: the checkout's ``conf/``, or the packaged copy."""
    from ssv.cli.job import config_path

    return files("ssv.conf") if config_path().startswith("pkg:") else Path(config_path())


def _executed(node: Any, key: str) -> Iterator[tuple[str, str]]:
    """Key and text of every target, and of every value that Hydra would resolve, which might make one."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "_target_":
                yield f"{key}_target_", str(value)
            else:
                yield from _executed(name, f"{key}{name}.")
                yield from _executed(value, f"{key}{name}.")
    elif isinstance(node, (list, tuple, set)):
        for item in node:
            yield from _executed(item, key)
    elif isinstance(node, str) and "${" in node:
        yield key.rstrip("."), node


def _is_optimizer(name: str) -> bool:
    """Whether a name is that of one of torch's optimizers, such as ``torch.optim.RMSprop``."""
    found = re.fullmatch(r"torch\.optim\.([A-Z]\w*)", name)
    if not found:
        return False
    import torch

    kind = getattr(torch.optim, found[1], None)
    return isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)
