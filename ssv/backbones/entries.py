"""Where in a public checkpoint the network is: what it lies in, and what stands before the names of its tensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

# Entries and beginnings of names that say nothing about a network: those of training scripts, DataParallel, torch.compile
# and Lightning. What lies under any other (an average over steps, a teacher) is another network, to be asked for.
WRAPPERS = {"state_dict", "model_state_dict", "model", "module", "_orig_mod", "net", "network", "weights", "params"}
DEPTH = 8


class Entry(NamedTuple):
    """A network in a checkpoint.

    place: entries and beginnings of names that lead to it, such as "state_dict.module"; empty at the top.
    values: its tensors by the name that remains, and whatever stands between them.
    beside: full names of tensors with another beginning, next to it.
    """

    place: str
    values: dict[str, Any]
    beside: tuple[str, ...]


def find_entry(
    checkpoint: Mapping[str, Any], known: Callable[[Mapping[str, Any]], bool], asked: str | None
) -> Entry | None:
    """The one network in ``checkpoint``, or the one at ``asked``; None if there is none and none was asked for.

    An entry of a dict and the beginning of a name up to a dot are the same thing here.

    Args:
        checkpoint: what a file holds.
        known: whether tensors of these names are a network.
        asked: its place, or the beginning of it.

    Raises:
        ValueError: if it must be asked for, because there are several, because what leads to it is none of `WRAPPERS`,
            or because other tensors stand beside it; if there is none at ``asked``.
    """
    found = _entries(checkpoint, known, asked)
    places = ", ".join(entry.place or "the top" for entry in found)
    if asked:
        if not found:
            elsewhere = ", ".join(entry.place for entry in _entries(checkpoint, known, None) if entry.place)
            raise ValueError(
                f"no network known here under entry={asked}; "
                + (f"there is {elsewhere}" if elsewhere else "leave it out")
            )
        if len(found) > 1:
            raise ValueError(f"several networks under entry={asked}: {places}; set entry to one of them")
        return found[0]
    if not found:
        return None
    if len(found) > 1:
        raise ValueError(f"there are several networks: {places}; choose one with entry={found[0].place} or another")
    first = found[0]
    if not WRAPPERS.issuperset(first.place.split(".") if first.place else ()):
        raise ValueError(
            f"the only network is {first.place}; if it is the one you want, ask for it: entry={first.place}"
        )
    if first.beside:
        more = f" and {len(first.beside) - 1} more" if len(first.beside) > 1 else ""
        raise ValueError(
            f"beside the network under {first.place} there is {first.beside[0]}{more}; to load it without, ask for it: "
            f"entry={first.place}"
        )
    return first


def _entries(
    checkpoint: Mapping[str, Any], known: Callable[[Mapping[str, Any]], bool], asked: str | None
) -> list[Entry]:
    """Every known network, the outermost of those that lie in one another."""
    found: list[Entry] = []
    seen = {id(checkpoint)}  # a dict may hold itself
    level: list[tuple[Entry, Mapping[str, Any]]] = [(Entry("", {}, ()), checkpoint)]
    for _ in range(DEPTH):
        below: list[tuple[Entry, Mapping[str, Any]]] = []
        for (place, _, beside), node in level:
            values = {
                key: value for key, value in node.items() if isinstance(key, str) and not isinstance(value, Mapping)
            }
            if _within(place, asked) and known(values):
                found.append(Entry(place, values, beside))
                continue
            start = f"{place}." if place else ""
            for key, value in node.items():
                if isinstance(key, str) and isinstance(value, Mapping) and id(value) not in seen:
                    seen.add(id(value))
                    below.append((Entry(start + key, {}, ()), value))
            groups: dict[str, dict[str, Any]] = {}
            for key, value in values.items():
                head, dot, rest = key.partition(".")
                if dot:
                    groups.setdefault(head, {})[rest] = value
            tensors = [key for key, value in values.items() if isinstance(value, Tensor)]
            for head, group in groups.items():
                others = tuple(start + key for key in tensors if not key.startswith(f"{head}."))
                below.append((Entry(start + head, {}, beside + others), group))
        level = below
    return found


def _within(place: str, asked: str | None) -> bool:
    return not asked or place == asked or place.startswith(f"{asked}.")


def is_tensor_name(name: str) -> bool:
    """Whether only a tensor can have this name in a network."""
    return re.search(r"(^|\.)(weight|bias|running_mean|running_var|num_batches_tracked)$", name) is not None
