"""What a scan of a pile of videos found, as one self-contained HTML file with small pictures of what to look at."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from pathlib import Path

from ssv.files import write_text
from ssv.report.blocks import section, small, table
from ssv.report.page import STYLE
from ssv.report.pile_words import Pile, amounts, clips, digits, next_commands, number, prediction, remarks
from ssv.report.svg import Drawing, axis
from ssv.text import printable

LISTED = 200  # files in a list of the page
SHOWN = 12  # of a kind that have a picture
GROUPS, ALIKE = 20, 6  # groups of copies on the page, and members of one
BARS = 12  # kinds in a chart; the rest together

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_STYLE = """
.charts { display:grid; grid-template-columns:repeat(auto-fill, minmax(420px, 1fr)); gap:6px 40px; }
.charts svg { min-width:0 !important; } .charts .bar { opacity:.55; }
.files td, .files th { vertical-align:middle; overflow-wrap:anywhere; } .files td:first-child { width:130px; }
.files tbody th { width:150px; font-weight:400; } .files img, .alike img { display:block; }
img { height:84px; width:auto; max-width:150px; object-fit:cover; border-radius:4px; background:var(--line); }
.none { display:inline-block; width:112px; height:84px; border-radius:4px; border:1px dashed var(--line);
  color:var(--soft); font-size:12px; text-align:center; line-height:84px; }
.alike { display:flex; flex-wrap:wrap; gap:8px 14px; margin:14px 0 0; padding-bottom:14px;
  border-bottom:1px solid var(--line); }
.alike figure { margin:0; width:150px; } .alike figcaption { font-weight:400; font-size:12px; margin:3px 0 0; }
.fact dt { color:var(--soft); float:left; clear:left; width:110px; } .fact dd { margin:0 0 4px 120px; }
"""


def write_pile(pile: Pile, path: Path, *, now: datetime | None = None) -> None:
    """Write the page; it appears whole or not at all. Every name in it counts as untrusted and is escaped."""
    write_text(path, render(pile, now or datetime.now()))


def worth_seeing(pile: Pile) -> list[str]:
    """The paths that the page shows a picture of, each once."""
    found = pile.summary
    paths = [path for path, reason in found.broken.items() if "damaged" in reason][:SHOWN]
    paths += [*list(found.still)[:SHOWN], *list(found.black)[:SHOWN]]
    paths += [path for group in _groups(pile) for path in group[:ALIKE]]
    return list(dict.fromkeys(paths))


def render(pile: Pile, now: datetime) -> str:
    """The page as text."""
    title = f"What is in {printable(pile.root)}"
    found = pile.summary
    sections = (
        _summary(pile),
        _clips(pile),
        _charts(pile),
        _broken(pile),
        section(
            "Without any change for long",
            _files(pile, {path: f"{seconds:.1f} s" for path, seconds in found.still.items()}, "longest stillness"),
            "More than 3 seconds and half of the video: slides, frozen cameras, end titles.",
        ),
        section(
            "Black",
            _files(pile, {path: f"{100 * share:.0f} %" for path, share in found.black.items()}, "share of the frames"),
        ),
        _copies(pile),
        _lists(pile),
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{STYLE}{_STYLE}</style></head>\n<body><main>\n"
        f'<header><h1>{escape(title)}</h1><p class="facts">{now:%d %B %Y, %H:%M} · '
        f"{escape(amounts(pile))}</p></header>\n"
        + "\n".join(part for part in sections if part)
        + "\n</main></body></html>\n"
    )


def _summary(pile: Pile) -> str:
    broken = len(pile.summary.broken)
    state = f"{number(broken, 'video')} of {digits(pile.summary.videos)} broken" if broken else "No video is broken"
    first = f'<li class="{"bad" if broken else "good"}"><b>{state}.</b></li>'
    rest = "".join(f'<li class="open">{escape(_sentence(remark))}</li>' for remark in remarks(pile))
    todo = "<p>Next: " + " or ".join(f"<code>{escape(command)}</code>" for command in next_commands(pile)) + "</p>"
    return f'<section class="summary"><h2>In short</h2><ul>{first}{rest}</ul>{todo}</section>'


def _clips(pile: Pile) -> str:
    facts = {"Clips": clips(pile)}
    if pile.cost is not None:
        facts["Prediction"] = prediction(pile.cost)
    body = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    return section("For training", f'<dl class="fact">{body}</dl>')


def _charts(pile: Pile) -> str:
    found = pile.summary
    charts = {
        "How long they last": found.durations,
        "Frames per second": found.rates,
        "Pixels": found.sizes,
        "Codec and container": found.codecs,
    }
    figures = "".join(
        f"<figure><figcaption>{escape(title)}</figcaption>{_bars(title, counted)}</figure>"
        for title, counted in charts.items()
        if counted
    )
    return section("What there is", f'<div class="charts">{figures}</div>' if figures else "")


def _bars(title: str, counted: Mapping[str, int]) -> str:
    rows = list(counted.items())[:BARS]
    if len(counted) > BARS:
        rows.append((f"{len(counted) - BARS} more", sum(counted.values()) - sum(count for _, count in rows)))
    drawing = Drawing(440, 22 * len(rows) + 6, title)
    place = axis(0, max(count for _, count in rows), 0, 220)
    for i, (name, count) in enumerate(rows):
        top = 22 * i + 4
        drawing.text((142, top + 12), name, "small", "end")
        drawing.box(150, top, max(1.5, place(count)), 15, "bar c0", f"{name}: {digits(count)}")
        drawing.text((156 + place(count), top + 12), digits(count), "small")
    return str(drawing)


def _broken(pile: Pile) -> str:
    return section(
        "Broken",
        _files(pile, pile.summary.broken, "why"),
        "Training leaves these out, counted and named, when data.max_broken allows as many. They stay where they are.",
    )


def _copies(pile: Pile) -> str:
    body = ""
    for group in _groups(pile):
        leak = (
            f"<b class=bad-text>{escape(' and '.join(sorted(_sides(pile, group))))}</b>" if group in pile.leaks else ""
        )
        members = "".join(
            f"<figure>{_picture(pile, path)}<figcaption>{escape(printable(path))}"
            f"{small(pile.parts.get(path, ''))}</figcaption></figure>"
            for path in group[:ALIKE]
        )
        others = small(f"and {len(group) - ALIKE} more") if len(group) > ALIKE else ""
        body += f'{leak}<div class="alike">{members}{others}</div>'
    left = len(pile.groups) - GROUPS
    body += f"<p class=under>and {number(left, 'more group')}</p>" if left > 0 else ""
    return section(
        "Look like another one",
        body,
        "Videos that last as long as another one and show nearly the same at the same five places: copies, recoded or "
        "resized ones, or a camera that never moves. Groups on both sides of a split come first.",
    )


def _lists(pile: Pile) -> str:
    """What is listed without pictures."""
    found = pile.summary
    wrong = {path: f"header {header}, frames {frames}" for path, (header, frames) in found.miscounted.items()}
    lists = {
        "Folders that cannot be listed": pile.unreadable,
        f"No clip of {pile.wish}": pile.clips.refused,
        "Headers with a wrong number of frames": wrong,
    }
    parts = [section(title, _names(names)) for title, names in lists.items()]
    parts.append(section("Frames at uneven times", _names(dict.fromkeys(found.varying, ""))))
    return "".join(parts)


def _names(reasons: Mapping[str, str]) -> str:
    rows = [[escape(printable(path)), escape(reason)] for path, reason in list(reasons.items())[:LISTED]]
    return table(["file", ""], rows, "plain runs") + _left(len(reasons)) if rows else ""


def _files(pile: Pile, reasons: Mapping[str, str], heading: str) -> str:
    """A table of files with a picture where there is one."""
    paths = list(reasons)[:LISTED]
    has_pictures = any(path in pile.pictures for path in paths)
    rows = []
    for path in paths:
        cells = [escape(printable(path)), escape(reasons[path])]
        rows.append([_picture(pile, path) if path in pile.pictures else "", *cells] if has_pictures else cells)
    if not rows:
        return ""
    head = [*([""] if has_pictures else []), "file", escape(heading)]
    return table(head, rows, "files" if has_pictures else "plain runs") + _left(len(reasons))


def _left(count: int) -> str:
    return f"<p class=under>and {digits(count - LISTED)} more</p>" if count > LISTED else ""


def _picture(pile: Pile, path: str) -> str:
    found = pile.pictures.get(path)
    if found is None:
        return '<span class="none">no picture</span>'
    return f'<img alt="" src="data:image/jpeg;base64,{b64encode(found).decode()}">'


def _groups(pile: Pile) -> list[list[str]]:
    """The groups shown, those across two parts first."""
    return [*pile.leaks, *(group for group in pile.groups if group not in pile.leaks)][:GROUPS]


def _sides(pile: Pile, group: Sequence[str]) -> Iterable[str]:
    return {pile.parts[path] for path in group if path in pile.parts}


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
