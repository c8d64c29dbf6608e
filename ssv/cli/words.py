"""The words after a verb as they are meant, in the form that Hydra's grammar reads.

Hydra takes a value as plain text only if its characters are few: a path with ``~``, ``=``, a quote or a letter that is
not Latin is an error of its parser. Such values are quoted here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from typing import Any

from ssv.cli.errors import UserError

WORD = re.compile(r"([~+]{0,2}[A-Za-z_][\w./@-]*)=(.*)", re.DOTALL)
STRUCTURE = "[{\"'"
"""A value that begins so is a list, a dict or quoted; its errors are reported, not hidden by quotes."""


def path_first(words: list[str], key: str, keys: Collection[str]) -> list[str]:
    """``words`` with the key of the first given, if it is a path and no ``key=value``.

    Args:
        words: after the verb.
        key: what the path is for.
        keys: the top-level keys of the verb.
    """
    if not words or words[0].startswith("-"):
        return words
    first = words[0]
    given = WORD.fullmatch(first)
    if given and (given[1].lstrip("~+").split(".")[0] in keys or not os.path.exists(first)):
        return words
    # By itself, "???" is Hydra's word for a missing value.
    path = "./???" if first == "???" else os.path.expanduser(first)
    return [f"{key}={as_text(path)}", *words[1:]]


def readable(words: list[str]) -> list[str]:
    """``words``, with values quoted that Hydra cannot parse, and ``~`` at the start of a path expanded.

    Options in dashes and their arguments stay as they are.
    """
    is_sweep = bool({"-m", "--multirun"} & {*words})
    return [_readable(word, is_sweep=is_sweep) for word in words]


def as_text(value: str) -> str:
    """A text as an override's value: as it is if Hydra reads it so, else quoted, with nothing in it interpolated."""
    if "$" not in value and _parsed(f"x={value}") == [value]:
        return value
    return quoted(re.sub(r"(\\*)\$\{", r"\1\1\\${", value))


def quoted(value: str) -> str:
    """A text between the quotes of Hydra's grammar: backslashes count before a quote only."""
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', value)
    end = re.search(r"\\*$", escaped)
    return f'"{escaped}{end[0] if end else ""}"'


def check_choices(words: list[str], groups: Collection[str], keys: Collection[str]) -> None:
    """Refuse to take away what a verb needs (``~schedule``), and ``group=null``. Raises UserError."""
    for word in words:
        key, _, value = word.lstrip("+").partition("=")
        if key[:1] == "~" and key[1:] in {*groups, *keys}:
            raise UserError(f"{word}: {key[1:]} is needed; set {key[1:]}= to another value")
        if key in groups and value and any(not isinstance(one, (str, list)) for one in _parsed(word) or []):
            none = f"; for none set {key}=none" if key == "logger" else ""
            raise UserError(f"{word}: {key} takes the name of a choice{none}; `ssv list` shows them")


def _readable(word: str, *, is_sweep: bool) -> str:
    given = WORD.fullmatch(word)
    if word.startswith("-") or not given:
        return word
    key, value = given.groups()
    if value == "~" or value.startswith("~/"):
        value = os.path.expanduser(value)
        word = f"{key}={value}"
    parsed = _parsed(word)
    is_odd_path = parsed is not None and len(parsed) > 1 and "/" in value and not is_sweep  # one with a comma
    if value[:1] in STRUCTURE or (parsed is not None and not is_odd_path):
        return word
    return f"{key}={quoted(value)}"


def _parsed(word: str) -> list[Any] | None:
    """The values of an override, several if it is a sweep; None if Hydra cannot parse it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        override = OverridesParser.create().parse_override(word)
        return list(override.sweep_iterator()) if override.is_sweep_override() else [override.value()]
    except HydraException:  # also where a sweep is of names that are not known yet, ``glob(*)``
        return None
