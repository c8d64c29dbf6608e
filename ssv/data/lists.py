"""Lists that people and programs write: text files of lines, and CSV files with named columns. All of ssv reads them here.

UTF-8 and UTF-16 with a byte order mark are read, and UTF-8 without one. Anything else is refused: guessing an encoding
would give other names in silence.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import io
import re
from collections.abc import Sequence
from typing import NamedTuple

from ssv.data.sets.lookup import named

DELIMITERS = ",;\t"
MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
LARGEST = 1e30  # of a number; more are none in 32 bits


class Row(NamedTuple):
    """A row of a CSV file: the number of its last line in the file, and its cells by column, without spaces around them."""

    line: int
    cells: dict[str, str]


def read_lines(path: str, *, file_names: bool = False) -> list[tuple[int, str]]:
    """Line numbers, from 1, and the lines that are not empty, without spaces around them.

    Args:
        path: a text file.
        file_names: bytes that are no UTF-8 are kept as file systems keep them, so that names compare equal.

    Raises:
        ValueError: the file is in no encoding known here, or no text.
    """
    lines = re.split(r"\r\n|\r|\n", _text(path, file_names=file_names))
    return [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]


def read_table(path: str, needed: Sequence[str], optional: Sequence[str] = (), *, others: bool = False) -> list[Row]:
    """The rows of a CSV file whose first line names the columns, in any order; commas, semicolons or tabs between cells.

    Args:
        path: a CSV file.
        needed: columns that must be there.
        optional: columns that may be; a row has an empty cell where a column is not there.
        others: whether other columns may be there, and are not read.

    Raises:
        ValueError: the file is in no encoding known here; columns are missing, unknown or named twice; or rows have
            more or fewer cells than there are columns.
    """
    text = _text(path)
    first = text.lstrip().partition("\n")[0]
    delimiter = max(DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(path, header, needed, optional, others=others)
        rows, bad = [], []
        for cells in reader:
            if len(cells) == len(header):
                rows.append(
                    Row(reader.line_num, dict.fromkeys(optional, "") | dict(zip(header, map(str.strip, cells))))
                )
            elif any(cells):
                bad.append(f"line {reader.line_num} has {len(cells)} cells, needed are {len(header)}")
    except csv.Error as error:
        raise ValueError(f"{path}: line {reader.line_num} is no row of a CSV file: {error}") from error
    if bad:
        raise ValueError(f"{path}: {named(bad, between='; ')}")
    return rows


def number(path: str, row: Row, column: str) -> float:
    """A finite number of a cell. Raises ValueError naming the line."""
    try:
        value = float(row.cells[column])
    except ValueError:
        value = float("nan")
    if not abs(value) < LARGEST:
        raise ValueError(f"{path}: line {row.line} has {column} {row.cells[column]!r}; needed is a number such as 12.5")
    return value


def whole(path: str, row: Row, column: str) -> int:
    """A whole number from 0 of a cell. Raises ValueError naming the line."""
    text = row.cells[column]
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise ValueError(f"{path}: line {row.line} has {column} {text!r}; needed is a whole number from 0")
    return int(text)


def _text(path: str, *, file_names: bool = False) -> str:
    with open(path, "rb") as file:
        data = file.read()
    encoding = next((name for mark, name in MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding, "surrogateescape" if file_names and encoding != "utf-16" else "strict")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        found = f"byte 0x{data[error.start]:02x}" if error.start < len(data) else "an odd end"
        raise ValueError(
            f"{path} is no UTF-8 text: line {line} has {found} (Windows-1252, perhaps); save it as UTF-8"
        ) from None
    if "\0" in text:
        raise ValueError(f"{path} holds zero bytes: UTF-16 without a mark, or no text; save it as UTF-8")
    return text


def _check_header(
    path: str, header: Sequence[str], needed: Sequence[str], optional: Sequence[str], *, others: bool
) -> None:
    known = [*needed, *optional]
    wanted = ",".join([*needed, *(f"[{name}]" for name in optional)])
    found = f"{path}: line 1 must name the columns {wanted}, got {','.join(header)!r}"
    unknown = [name for name in header if name not in known]
    missing = [name for name in needed if name not in header]
    if missing or (unknown and not others):
        odd = next(iter(unknown), "")
        near = difflib.get_close_matches(odd.lower(), known, 1, 0.5)
        raise ValueError(f"{found}; {odd!r} is unknown, did you mean {near[0]!r}?" if near else found)
    if twice := {name for name in header if header.count(name) > 1 and name in known}:
        raise ValueError(f"{path}: line 1 names the column {min(twice)!r} twice")
