"""Where in a public checkpoint the network is: what it lies in, and what stands before the names of its tensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

# Entries and beginnings of names that say nothing about a network: those of training scripts, DataParallel, torch.compile
# and Lightning. What lies under any other (an average over steps, a teacher) is another network, to be asked for.
WRAPPERS = {"state_dict", "model_state_dict", "model", "module", "_orig_mod", "net", "network", "weights", "params"}
DEPTH = 8
LEAST = 10  # tensors of a network: a file with thousands of tiny groups is not worth thousands of looks


class Entry(NamedTuple):
    """A network in a checkpoint, or a place where one may be.

    place: entries and beginnings of names that lead to it, such as "state_dict.module"; empty at the top.
    values: its tensors by the name that remains, and whatever stands between them.
    around: for every beginning of names in ``place``: the place before it, the beginning, and all that is there.
    """

    place: str
    values: Mapping[str, Any]
    around: tuple[tuple[str, str, Mapping[str, Any]], ...] = ()

    def beside(self) -> tuple[str, ...]:
        """Full names of the tensors with another beginning."""
        return tuple(
            f"{start}{name}"
            for start, head, values in self.around
            for name, value in values.items()
            if isinstance(value, Tensor) and not name.startswith(head)
        )


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
    if asked:
        if not found:
            there = [entry for entry in _entries(checkpoint, known, None) if entry.place]
            raise ValueError(
                f"no network known here under entry={asked}; {f'there is {_places(there)}' if there else 'leave it out'}"
            )
        if len(found) > 1:
            raise ValueError(f"several networks under entry={asked}: {_places(found)}; set entry to one of them")
        return found[0]
    if not found:
        return None
    first = found[0]
    if len(found) > 1:
        raise ValueError(
            f"there are several networks: {_places(found)}; choose one with entry={first.place} or another"
        )
    if not WRAPPERS.issuperset(first.place.split(".") if first.place else ()):
        raise ValueError(
            f"the only network is {first.place}; if it is the one you want, ask for it: entry={first.place}"
        )
    if beside := first.beside():
        raise ValueError(
            f"beside the network under {first.place} there is {_short(beside)}; to load it without, ask for it: "
            f"entry={first.place}"
        )
    return first


def _entries(
    checkpoint: Mapping[str, Any], known: Callable[[Mapping[str, Any]], bool], asked: str | None
) -> list[Entry]:
    """Every known network, the outermost of those that lie in one another."""
    found: list[Entry] = []
    seen = {(id(checkpoint), not asked)}  # a dict may hold itself, and may stand at two places
    level = [Entry("", checkpoint)]
    for _ in range(DEPTH):
        below: list[Entry] = []
        for place, node, around in level:
            values = {key: value for key, value in node.items() if _is_text(key) and not isinstance(value, Mapping)}
            if len(values) >= LEAST and _within(place, asked) and known(values):
                found.append(Entry(place, values, around))
                continue
            start = f"{place}." if place else ""
            for key, value in node.items():
                if _is_text(key) and isinstance(value, Mapping):
                    look = (id(value), _within(start + key, asked))
                    if look not in seen:
                        seen.add(look)
                        below.append(Entry(start + key, value))
            groups: dict[str, dict[str, Any]] = {}
            for key, value in values.items():
                head, dot, rest = key.partition(".")
                if dot:
                    groups.setdefault(head, {})[rest] = value
            below += [
                Entry(start + head, group, (*around, (start, f"{head}.", values)))
                for head, group in groups.items()
                if len(group) >= LEAST
            ]
        level = below
    return found


def _places(found: Sequence[Entry]) -> str:
    return _short([entry.place for entry in found])


def _short(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _is_text(key: object) -> bool:
    return isinstance(key, str) and key.isprintable()  # what ends up in messages has no control characters


def _within(place: str, asked: str | None) -> bool:
    return not asked or place == asked or place.startswith(f"{asked}.")


def is_tensor_name(name: str) -> bool:
    """Whether only a tensor can have this name in a network."""
    return re.search(r"(^|\.)(weight|bias|running_mean|running_var|num_batches_tracked)$", name) is not None
