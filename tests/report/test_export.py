"""Markdown and CSV."""

from __future__ import annotations

import csv
import re
from datetime import datetime

import pytest

from ssv.cli.compare import run
from ssv.report.collect import collect
from ssv.report.export import HEAD, markdown, write_csv
from tests.report.fake import finished, score, write_run, write_study

NOW = datetime(2026, 11, 22, 18, 0)
EVIL = "<script>x</script> [a](http://b) `c` *d* | e &amp; \\"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return collect(write_study(tmp_path_factory.mktemp("study")))


def read(comparison, path):
    write_csv(comparison, path)
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_value_is_a_line_and_nothing_else(study, tmp_path):
    lines = read(study, tmp_path / "values.csv")
    assert tuple(lines[0]) == HEAD
    expected = {
        ("score", run.name, row.evaluation, metric, value)
        for run in study.runs
        for row in run.rows
        for metric, value in row.scores.items()
    }
    expected |= {("cost", run.name, row.evaluation, "seconds", row.seconds) for run in study.runs for row in run.rows}
    quantities = ("clips_seen", "frames_seen", "hours")
    expected |= {("cost", run.name, "", key, getattr(run, key)) for run in study.runs for key in quantities}
    found = [(line["kind"], line["run"], line["evaluation"], line["metric"], float(line["value"])) for line in lines]
    assert len(found) == len(set(found)) == len(expected) and set(found) == expected
    tops = [
        float(line["value"])
        for line in lines
        if (line["pretext"], line["evaluation"], line["metric"]) == ("supervised", "linear_probe", "top1")
    ]
    column, arm = study.columns[0], next(arm for arm in study.arms if arm.pretext == "supervised")
    assert tops == list(column.values(arm).values())


def test_memory_is_a_cost_and_formulas_stay_text(tmp_path):
    row = score("linear_probe", 0.3, peak_gb=1.5, card={"backbone": "3D", "precision": "32"}, protocol="=1+1")
    write_run(tmp_path / "a", pretext="@speed", seed=0, scores=[row], status=finished(), name="-x")
    lines = read(collect(tmp_path), tmp_path / "values.csv")
    assert [line["value"] for line in lines if line["metric"] == "peak_gb"] == ["1.5"]
    (top1,) = [line for line in lines if line["metric"] == "top1"]
    assert (top1["protocol"], top1["pretext"], top1["run"]) == ("'=1+1", "'@speed", "'-x")
    assert top1["card"] == "backbone 3D, precision 32" and top1["evaluation_seed"] == "0"


def table_of(text, heading):
    lines = text.partition(f"## {heading}")[2].split("\n\n")[1].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_a_table_for_each_evaluation_best_first(study):
    text = markdown(study, NOW)
    column = study.main_columns[0]
    lines = table_of(text, "linear_probe toy \\[1\\]")
    assert lines[0][:3] == ["row", "seeds", "top1, %"] and set("".join(lines[1])) <= set("-:")
    means = [float(line[2].split(" ± ")[0]) for line in lines[2:6]]
    assert means == sorted(means, reverse=True) and len(lines) == 7 and lines[6][:3] == ["chance", "", "8.3"]
    speed = next(line for line in lines if line[0] == "speed_prediction")
    arm = next(arm for arm in study.arms if arm.pretext == "speed_prediction")
    difference = study.differences[arm, column, "random"]
    low, high = (f"{100 * edge:+.1f}".replace("-", "−") for edge in difference.interval)
    assert speed[1] == "3" and speed[3] == f"+{100 * difference.mean:.1f} [{low}, {high}]" and speed[5] == "better"
    assert re.fullmatch(r"\[\+\d+\.\d, \+\d+\.\d\]", speed[4])
    assert next(line for line in lines if line[0] == "random initialisation")[3:] == ["–", "–", "–"]
    assert "Protocol: frozen features, 4 clips, centre crop 56, logistic regression" in text
    assert "- **speed_prediction**: beats random initialisation in linear_probe toy \\[1\\] (+" in text
    assert text.endswith("\n") and "Comparisons: 2 of two pretexts and 4 with random initialisation." in text


def test_strings_from_files_are_no_markup(tmp_path):
    row = score(EVIL, 0.3, data=EVIL, protocol=EVIL, scores={EVIL: 0.3})
    write_run(tmp_path / "a", pretext=EVIL, backbone=EVIL, data=EVIL, tag=EVIL, seed=0, scores=[row])
    text = markdown(collect(tmp_path), NOW)
    assert "&amp;amp;" in text and not re.search(
        r"(?<!\\)[<>`*\[](?!\*)", text.replace("- **", "- ").replace("**:", ":")
    )
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line.replace("\\\\", ""))) for line in rows}) == 1


def test_the_verb_writes_what_is_asked_for(tmp_path, capsys):
    outputs = write_study(tmp_path / "outputs", seeds=1)
    config = {"outputs": str(outputs), "runs": "*", "html": None, "markdown": None, "csv": None}
    assert run(config) == 0
    assert {path.name for path in outputs.iterdir() if path.is_file()} == {"compare.html"}
    files = {"markdown": str(tmp_path / "new" / "a.md"), "csv": str(tmp_path / "b.csv")}
    assert run({**config, **files}) == 0
    assert (tmp_path / "new" / "a.md").read_text().startswith("# Pretexts compared on toy\n")
    assert (tmp_path / "b.csv").read_text().startswith("kind,row,")
    assert f"markdown: {files['markdown']}\ncsv: {files['csv']}\n" in capsys.readouterr().out
