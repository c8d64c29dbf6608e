"""Jobs of studies: their commands, and the ones that came to nothing."""

from __future__ import annotations

import io
import json
from datetime import datetime

import pytest
from rich.console import Console

from ssv.cli.compare import run
from ssv.report.collect import collect
from ssv.report.export import markdown
from ssv.report.html import render
from ssv.report.table import print_table
from tests.report.fake import finished, score, write_run

NOW = datetime(2026, 11, 22, 18, 0)


def cell(name, run, state="done", verb="evaluate", cause="", command=None):
    return {"cell": name, "verb": verb, "run": run, "state": state, "cause": cause, "command": command or f"ssv {name}"}


def write(outputs, *cells, name="toy"):
    (outputs / f"study-{name}.json").write_text(json.dumps({"cells": cells}))


@pytest.fixture
def outputs(tmp_path):
    for pretext in ("random", "speed"):
        rows = [score("linear_probe", 0.3, weights=pretext)]
        write_run(
            tmp_path / f"{pretext}-s0",
            pretext=pretext,
            seed=0,
            scores=rows,
            status=finished(),
            command=f"make {pretext}",
        )
    return tmp_path


def printed(comparison):
    file = io.StringIO()
    print_table(comparison, Console(file=file))
    return file.getvalue()


def test_every_run_is_shown_with_the_commands_that_made_and_measured_it(outputs):
    write(
        outputs,
        cell("speed-s0", "speed-s0", verb="pretrain", command="ssv pretrain pretext=speed"),
        cell("speed-s0 knn toy", "speed-s0", command="ssv evaluate evaluation=knn 'weights=a & b'"),
        cell("random-s0 knn toy", "random-s0", command="ssv evaluate evaluation=knn weights=random"),
    )
    page = render(collect(outputs), NOW)
    runs = page.partition("<h2>Runs</h2>")[2]
    speed = runs.partition("speed-s0")[2].partition("</tr>")[0]
    assert "<code>make speed</code><br><code>ssv evaluate evaluation=knn &#x27;weights=a &amp; b&#x27;</code>" in speed
    assert "weights=random" not in speed
    assert "ssv pretrain pretext=speed" not in page, "the run says itself how it was made"
    assert "Jobs of studies" not in page


def test_jobs_that_failed_or_never_began_are_rows_with_their_cause(outputs):
    write(
        outputs,
        cell("order-s0", "order-s0", "failed", "pretrain", "disk <full> (exit code 1)", "ssv pretrain pretext=order"),
        cell("order-s0 knn", "order-s0", "skipped", cause="order-s0 failed"),
        cell("speed-s0 knn", "speed-s0", "missing"),
    )
    comparison = collect(outputs)
    out, page, text = printed(comparison), render(comparison, NOW), markdown(comparison, NOW)
    jobs = page.partition("Jobs of studies that are missing")[2].partition("</section>")[0]
    assert "disk &lt;full&gt; (exit code 1)<br><code>ssv pretrain pretext=order</code>" in jobs
    assert "order-s0 knn" in jobs and "speed-s0 knn" not in jobs and "1 of 3 jobs were not done" in jobs
    assert "study toy: order-s0 failed: disk <full> (exit code 1)\n" in out
    assert "study toy: order-s0 knn skipped: order-s0 failed\n" in out and "speed-s0 knn" not in out
    assert "study toy: order-s0 failed: disk \\<full\\> (exit code 1)" in text


def test_chosen_runs_bring_their_own_studies_and_what_these_lack(outputs):
    write(outputs, cell("a", "speed-s0"), cell("b", "random-s0", "failed"), cell("c", "nowhere-s0", "failed"))
    write(outputs, cell("d", "other-s0", "failed"), cell("e", "random-s0"), name="second")
    names = lambda *chosen: [found.name for found in collect(outputs, chosen).cells]  # noqa: E731
    assert names() == ["d", "e", "a", "b", "c"] or names() == ["a", "b", "c", "d", "e"]
    assert names("speed*") == ["a", "c"]
    assert names("random*") == ["b", "c", "d", "e"] or names("random*") == ["d", "e", "b", "c"]


@pytest.mark.parametrize("damage", ["{", "[]", '{"cells": 3}', '{"other": []}', "\x00"])
def test_a_damaged_study_is_named_and_stops_nothing(outputs, damage, capsys):
    (outputs / "study-toy.json").write_text(damage)
    comparison = collect(outputs)
    assert len(comparison.runs) == 2 and comparison.cells == ()
    assert [name for name, _ in comparison.broken] == ["study-toy.json"]
    config = {"outputs": str(outputs), "runs": "*", "html": str(outputs / "x.html")}
    assert run(config) == 0 and "! study-toy.json: " in capsys.readouterr().out
    assert "study-toy.json" in (outputs / "x.html").read_text()


def test_cells_that_are_none_are_left_out(outputs):
    write(outputs, 3, None, {"verb": "evaluate"}, {"cell": "odd", "run": None, "state": 7, "command": ["x"]})
    (found,) = collect(outputs).cells
    assert (found.name, found.run, found.state, found.ended_badly) == ("odd", "", "7", False)
    assert "odd" not in render(collect(outputs), NOW).partition("Jobs of studies")[0]


def test_control_characters_of_a_study_reach_no_terminal(outputs):
    write(outputs, cell("x\x1b[31m", "speed-s0", "failed", cause="[red]\x1b]0;title\x07"))
    out = printed(collect(outputs))
    assert "\x1b" not in out and "\x07" not in out and "[red]" in out
