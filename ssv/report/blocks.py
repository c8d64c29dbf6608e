"""Sections, tables and small print of the report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple


class Keyed(NamedTuple):
    """A cell of HTML, and the number it is sorted by; None stands last."""

    html: str
    key: float | None


def section(title: str, body: str, intro: str = "") -> str:
    """A section, or nothing where there is nothing to show; ``body`` and ``intro`` are HTML."""
    if not body:
        return ""
    return f"<section><h2>{escape(title)}</h2>{f'<p class=intro>{intro}</p>' if intro else ''}{body}</section>"


def table(
    head: Iterable[str], rows: Iterable[Sequence[str | Keyed]], css: str = "", foot: Sequence[str] | None = None
) -> str:
    """A table of HTML cells; the first cell of a row is its heading.

    ``css`` with the word ``sorts`` lets a reader sort it by a click on a heading; ``foot`` is a row that stays below.
    """
    top = "".join(f"<th scope=col>{cell}</th>" for cell in head)
    body = "".join(_row(row) for row in rows)
    below = f"<tfoot>{_row(foot)}</tfoot>" if foot else ""
    return (
        f'<div class=wide><table class="{css}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody>{below}</table></div>'
    )


def _row(cells: Sequence[str | Keyed]) -> str:
    return "<tr>" + "".join(_cell(cell, "th scope=row" if i == 0 else "td") for i, cell in enumerate(cells)) + "</tr>"


def _cell(cell: str | Keyed, tag: str) -> str:
    html, key = cell if isinstance(cell, Keyed) else (cell, None)
    sort = "" if key is None else f' data-sort="{key!r}"'
    return f"<{tag}{sort}>{html}</{tag.split()[0]}>"


def small(text: str, css: str = "") -> str:
    """A line of small print below a cell, or nothing; ``text`` is escaped."""
    return f'<span class="under {css}">{escape(text)}</span>' if text else ""
