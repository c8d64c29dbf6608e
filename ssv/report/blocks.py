"""Sections, tables and small print of the report."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


def section(title: str, body: str, intro: str = "") -> str:
    """A section, or nothing where there is nothing to show; ``body`` and ``intro`` are HTML."""
    if not body:
        return ""
    return f"<section><h2>{escape(title)}</h2>{f'<p class=intro>{intro}</p>' if intro else ''}{body}</section>"


def table(head: Iterable[str], rows: Iterable[Iterable[str]], css: str = "") -> str:
    """A table of HTML cells; the first cell of a row is its heading."""
    top = "".join(f"<th scope=col>{cell}</th>" for cell in head)
    body = "".join(
        "<tr>"
        + "".join(f"<th scope=row>{cell}</th>" if i == 0 else f"<td>{cell}</td>" for i, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return f'<div class=wide><table class="{css}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def small(text: str, css: str = "") -> str:
    """A line of small print below a cell, or nothing; ``text`` is escaped."""
    return f'<span class="under {css}">{escape(text)}</span>' if text else ""
