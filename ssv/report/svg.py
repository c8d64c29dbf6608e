"""A drawing as inline SVG: text stays text, colours are CSS classes, so that it follows light, dark and print."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

Point = tuple[float, float]


class Drawing:
    """Shapes in pixels, origin top left; every string is escaped here and nowhere else."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self.width, self.height, self.title = width, height, title
        self._parts: list[str] = []

    def line(self, start: Point, end: Point, css: str) -> None:
        """A straight line."""
        self._parts.append(
            f'<line x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}" class="{escape(css)}"/>'
        )

    def path(self, points: Sequence[Point], css: str) -> None:
        """A line through the points; nothing for fewer than two."""
        if len(points) > 1:
            steps = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            self._parts.append(f'<polyline points="{steps}" class="{escape(css)}"/>')

    def box(self, left: float, top: float, width: float, height: float, css: str, tip: str = "") -> None:
        """A rectangle with a tool tip."""
        self._parts.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{max(0.0, width):.1f}" height="{height:.1f}" rx="2"'
            f' class="{escape(css)}">{_tip(tip)}</rect>'
        )

    def dot(self, centre: Point, radius: float, css: str, tip: str = "") -> None:
        """A disc with a tool tip."""
        self._parts.append(
            f'<circle cx="{centre[0]:.1f}" cy="{centre[1]:.1f}" r="{radius:g}" class="{escape(css)}">'
            f"{_tip(tip)}</circle>"
        )

    def text(self, at: Point, words: str, css: str = "", anchor: str = "start") -> None:
        """One line of text; ``anchor`` is start, middle or end."""
        self._parts.append(
            f'<text x="{at[0]:.1f}" y="{at[1]:.1f}" text-anchor="{anchor}" class="{escape(css)}">{escape(words)}</text>'
        )

    def __str__(self) -> str:
        """The element, scaled by the page, never below two thirds of its size."""
        return (
            f'<svg viewBox="0 0 {self.width:g} {self.height:g}" style="max-width:{self.width:g}px;'
            f'min-width:{self.width * 0.66:.0f}px" role="img" aria-label="{escape(self.title)}">'
            + "".join(self._parts)
            + "</svg>"
        )


def _tip(words: str) -> str:
    return f"<title>{escape(words)}</title>" if words else ""


def axis(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Values to pixels: ``low`` falls on ``start``, ``high`` on ``end``."""
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """At most ``most`` round numbers (1, 2 or 5 times a power of ten) from ``low`` to ``high``."""
    span = (high - low) or 1.0
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * factor for factor in (1, 2, 5, 10, 20, 50) if _inside(low, high, power * factor) <= most)
    first = math.ceil(low / step - 1e-9)
    return [round((first + i) * step, 12) for i in range(_inside(low, high, step))]


def _inside(low: float, high: float, step: float) -> int:
    return math.floor(high / step + 1e-9) - math.ceil(low / step - 1e-9) + 1


def spread_labels(heights: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Heights moved as little as needed so that labels keep ``gap`` pixels apart within ``low`` to ``high``."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    placed = list(heights)
    floor = low
    for i in order:
        placed[i] = max(placed[i], floor)
        floor = placed[i] + gap
    ceiling = high
    for i in reversed(order):
        placed[i] = min(placed[i], ceiling)
        ceiling = placed[i] - gap
    return placed
