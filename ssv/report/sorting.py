"""The one script of the report: a click on a column's heading sorts its table."""

from __future__ import annotations

import base64
import hashlib

SCRIPT = """
"use strict";
function ordered(rows, column, way) {
  const numeric = rows.some(row => row.cells[column].dataset.sort !== undefined);
  const key = row => {
    const cell = row.cells[column];
    return !numeric ? cell.textContent.trim() : cell.dataset.sort === undefined ? null : Number(cell.dataset.sort);
  };
  const sign = way === "ascending" ? 1 : -1;
  return [...rows].sort((one, other) => {
    const [a, b] = [key(one), key(other)];
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (numeric ? a - b : a.localeCompare(b, undefined, {numeric: true}));
  });
}
for (const table of document.querySelectorAll("table.sorts")) {
  const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("span");
    button.role = "button";
    button.tabIndex = 0;
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("keydown", event => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      button.click();
    });
    button.addEventListener("click", () => {
      const ways = ["ascending", "descending"];
      if (rows.some(row => row.cells[column].dataset.sort !== undefined)) ways.reverse();
      const way = [...ways, null][ways.indexOf(head.getAttribute("aria-sort")) + 1];
      heads.forEach(other => other.removeAttribute("aria-sort"));
      if (way) head.setAttribute("aria-sort", way);
      body.append(...(way ? ordered(rows, column, way) : rows));
    });
  });
}
"""
"""A span plays the button, as a real one stays blank where print repeats the heading on the next page.

Numbers start with the largest, text with A; a second click turns the order round, a third restores the first.
"""


def allowance() -> str:
    """The word of a Content-Security-Policy that lets this script run and no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()}'"
