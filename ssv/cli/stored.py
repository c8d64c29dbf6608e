"""The configuration that a run keeps, ``config.yaml``: written whole, and not taken for whole where it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ssv.cli.errors import UserError
from ssv.files import MOST_BYTES, read_regular

MOST_VALUES = 1_000_000
END = "...\n"  # YAML's mark for the end of a document: a file without it was cut off


def as_yaml(config: dict[str, Any]) -> str:
    """A configuration as text, with a mark at its end."""
    import yaml

    text: str = yaml.safe_dump(config, sort_keys=False, explicit_end=True)
    return text


def read_config(file: Path) -> dict[str, Any]:
    """The configuration in a file that ssv has written.

    Raises:
        UserError: when there is no such file, or it is damaged.
    """
    import yaml

    try:
        text = read_regular(file, MOST_BYTES).decode()
        found = yaml.safe_load(text)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise UserError(f"{file}: no such file; give the config.yaml of a run") from None
    except (OSError, ValueError, LookupError, AttributeError, TypeError, RecursionError, yaml.YAMLError):
        text, found = "", None
    if isinstance(found, dict) and _values(found, {}) > MOST_VALUES:
        raise UserError(f"{file} holds more than {MOST_VALUES} values, counting repeated ones; no run of ssv wrote it")
    # Files from before there was a mark end in the command, or in the weights, and what the run is called.
    is_whole = text.endswith(END) or (
        text.endswith("\n") and isinstance(found, dict) and {"command", "weights"} & {*found}
    )
    if not isinstance(found, dict) or not is_whole or not isinstance(found.get("run"), dict):
        raise UserError(
            f"{file} is damaged (empty or cut off, as after a power cut); run the command that made the run again, which "
            "rewrites it"
        )
    return {str(key): value for key, value in found.items()}


def is_configuration(value: object) -> bool:
    """Whether a value that came from a file is a run's configuration, of a size that one may have."""
    return isinstance(value, dict) and isinstance(value.get("run"), dict) and _values(value, {}) <= MOST_VALUES


def _values(node: Any, known: dict[int, int]) -> int:
    """Values below a node, each as often as YAML's aliases repeat it; a node that holds itself counts as too many."""
    children = (
        [*node, *node.values()] if isinstance(node, dict) else list(node) if isinstance(node, (list, set)) else []
    )
    if id(node) not in known:
        known[id(node)] = MOST_VALUES + 1  # until it is known
        known[id(node)] = 1 + sum(_values(child, known) for child in children if isinstance(child, (dict, list, set)))
    return known[id(node)] + len(children)
