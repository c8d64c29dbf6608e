"""The report in a browser: headings sort, nothing else runs, and nothing is said on the console."""

from __future__ import annotations

from datetime import datetime

import pytest

from ssv.report.collect import collect
from ssv.report.html import render
from tests.report.browser import CHROMIUM, browser
from tests.report.fake import finished, score, write_run, write_study

NOW = datetime(2026, 11, 22, 18, 0)
ROWS = "[...document.querySelectorAll('{} tbody tr')].map(row => row.cells[{}].innerText.split('\\n')[0])"
SCORES = "table.scores"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, which is not installed")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    write_study(folder)
    write_run(folder / "late-s0", pretext="late", seed=0, status=finished())  # a row without scores
    file = folder / "report.html"
    file.write_text(render(collect(folder), NOW), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def head(column, table=SCORES):
    return f"{table} thead th:nth-child({column}) [role=button]"


def order(page, column=1):
    return page.evaluate(ROWS.format(SCORES, column - 1))


def test_a_click_sorts_again_turns_round_and_a_third_restores(report, tab):
    page = tab.show(report)
    start = order(page)
    assert start[0] == "random initialisation" and len(start) == 5
    probe = next(
        i for i in range(1, 9) if "linear_probe" in page.evaluate(f"document.querySelector({head(i)!r}).innerText")
    )
    page.click(head(probe))
    means = [float(words.split(" ")[0]) for words in order(page, probe)[:4]]
    assert means == sorted(means, reverse=True) and order(page, probe)[4] == "–"
    page.click(head(probe))
    assert [float(words.split(" ")[0]) for words in order(page, probe)[:4]] == means[::-1]
    assert order(page, probe)[4] == "–", "what was not measured stays last"
    page.click(head(probe))
    assert order(page) == start
    assert page.evaluate(f"document.querySelector('{SCORES} tfoot th').innerText") == "chance"
    assert page.said == []


def test_keys_sort_text_and_one_heading_at_a_time_says_so(report, tab):
    page = tab.show(report)
    start = order(page)
    page.evaluate(f"document.querySelector({head(1)!r}).focus()")
    page.press("Enter", 13)
    assert order(page) == sorted(start)
    assert page.evaluate(f"document.querySelector({head(1)!r}).parentElement.ariaSort") == "ascending"
    page.press(" ", 32)
    assert order(page) == sorted(start, reverse=True)
    page.click(head(2))
    assert page.evaluate(f"[...document.querySelectorAll('{SCORES} th[aria-sort]')].length") == 1
    assert page.evaluate(f"document.querySelectorAll('{SCORES} tbody tr').length") == len(start)
    assert page.said == []


def test_any_other_script_is_refused(report, tab, tmp_path):
    page = report.read_text(encoding="utf-8")
    evil = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"
    file = tmp_path / "evil.html"
    file.write_text(page.replace("<main>", f"<main>{evil}"), encoding="utf-8")
    shown = tab.show(file)
    assert shown.evaluate("document.title") == "Pretexts compared on toy"
    refused = [line for line in shown.said if "Content Security Policy" in line]
    assert len(refused) >= 2, "the policy speaks for both"
    assert shown.evaluate(f"document.querySelectorAll('{SCORES} th [role=button]').length") > 4, (
        "ours runs all the same"
    )


def test_without_script_the_page_is_complete(report, tab):
    page = tab.show(report, script=False)
    text = page.ask("DOMSnapshot.captureSnapshot", computedStyles=[])["strings"]
    assert "button" not in text and "speed_prediction" in text
    assert any("beats random initialisation in linear_probe" in words for words in text)
    assert page.said == []


def test_text_is_sorted_as_people_count(tab, tmp_path):
    for seed in (0, 2, 10):
        rows = [score("linear_probe", 0.3, seed, weights=f"w{seed}")]
        write_run(tmp_path / f"run-s{seed}", pretext="speed", seed=seed, scores=rows, status=finished())
    file = tmp_path / "report.html"
    file.write_text(render(collect(tmp_path), NOW), encoding="utf-8")
    page = tab.show(file)
    page.click(head(1, "table.runs"))
    names = page.evaluate(ROWS.format("table.runs", 0))
    assert names == ["run-s0", "run-s2", "run-s10"]
