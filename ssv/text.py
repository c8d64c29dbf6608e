"""Text that a terminal and a page can show, whoever chose it: names of files, tensors and runs, words of errors."""

from __future__ import annotations

import unicodedata


def clean(value: object) -> str:
    """Any value as one line of text without control characters (terminal codes, direction overrides)."""
    return "".join(" " if unicodedata.category(letter)[0] == "C" else letter for letter in str(value)).strip()


def printable(text: str) -> str:
    """The same of names in files systems: bytes that are no UTF-8 become escapes."""
    return clean(text.encode("utf-8", "backslashreplace").decode())


def lines(text: str) -> str:
    """Several lines, each printable; spaces at their start are kept."""
    return "\n".join(line[: len(line) - len(line.lstrip(" "))] + printable(line) for line in text.split("\n"))
