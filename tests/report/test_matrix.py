"""Pretexts against each other: by hand, and in words."""

from __future__ import annotations

import math
import re
from datetime import datetime

import pytest

from ssv.report.collect import collect
from ssv.report.html import render
from ssv.report.matrix import chance_line
from ssv.report.words import strengths
from tests.report.fake import finished, score, write_run

NOW = datetime(2026, 11, 22, 18, 0)
RANDOM = [0.10, 0.11, 0.12]


def rows(outputs, pretext, tops, *, evaluation="linear_probe", first=0, state="finished", **identity):
    """One run a seed with one score."""
    for seed, top1 in enumerate(tops, start=first):
        line = score(evaluation, top1, seed, weights=f"{pretext}{seed}{identity}")
        name = f"{pretext}-{identity.get('backbone', '')}{identity.get('tag', '')}-s{seed}"
        write_run(
            outputs / name, pretext=pretext, seed=seed, scores=[line], status={**finished(), "state": state}, **identity
        )


def arm_of(comparison, pretext):
    return next(arm for arm in comparison.arms if arm.label == pretext)


def between(comparison, one, other, column=0):
    return comparison.duels.get((arm_of(comparison, one), arm_of(comparison, other), comparison.columns[column]))


def said(comparison, pretext):
    return next(sentence for arm, _, sentence in strengths(comparison) if arm.label == pretext)


def test_two_pretexts_are_compared_seed_by_seed_and_both_ways(tmp_path):
    rows(tmp_path, "a", [0.30, 0.36, 0.42])
    rows(tmp_path, "b", [0.10, 0.15, 0.20, 0.90])
    comparison = collect(tmp_path)
    difference, turned = between(comparison, "a", "b"), between(comparison, "b", "a")
    half = 4.302653 * 0.01 / math.sqrt(3)  # of .20 .21 .22
    assert difference.seeds == turned.seeds == (0, 1, 2)
    assert difference.mean == pytest.approx(0.21) and turned.mean == pytest.approx(-0.21)
    assert difference.interval == pytest.approx((0.21 - half, 0.21 + half), abs=1e-6)
    assert turned.interval == pytest.approx((-0.21 - half, -0.21 + half), abs=1e-6)
    assert (difference.verdict, turned.verdict) == ("better", "worse")


def test_three_common_seeds_one_backbone_and_one_data_set_are_needed(tmp_path):
    rows(tmp_path, "a", [0.3, 0.3, 0.3])
    rows(tmp_path, "late", [0.1, 0.1, 0.1], first=1)  # two seeds in common
    rows(tmp_path, "deep", [0.1, 0.1, 0.1], backbone="r3d18")
    rows(tmp_path, "far", [0.1, 0.1, 0.1], data="ucf101")
    rows(tmp_path, "random", RANDOM)
    comparison = collect(tmp_path)
    assert comparison.duels == {}
    assert chance_line(comparison).startswith("Comparisons: 2 with random initialisation. Were there")
    assert "Does the row beat the column?" not in render(comparison, NOW)


def test_the_matrix_marks_better_worse_and_open(tmp_path):
    rows(tmp_path, "a", [0.30, 0.31, 0.32])
    rows(tmp_path, "b", [0.20, 0.21, 0.22])
    rows(tmp_path, "c", [0.10, 0.31, 0.40])
    rows(tmp_path, "random", RANDOM)
    page = render(collect(tmp_path), NOW)
    matrix = page.partition("Does the row beat the column?")[2].partition("</section>")[0]
    assert matrix.count("▲ +10.0") == 1 and matrix.count("▼ −10.0") == 1
    assert len(re.findall(r"<span class=\"\">○ [+−]", matrix)) == 4
    assert matrix.count("<td>–</td>") == 3
    assert (
        "Comparisons: 3 of two pretexts and 3 with random initialisation. " in matrix and "here less than one" in matrix
    )
    assert "random initialisation" not in matrix.partition("<table")[2]


def test_nothing_is_concluded_between_runs_that_have_not_finished(tmp_path):
    rows(tmp_path, "a", [0.30, 0.31, 0.32], state="running")
    rows(tmp_path, "b", [0.20, 0.21, 0.22])
    rows(tmp_path, "random", RANDOM)
    comparison = collect(tmp_path)
    assert between(comparison, "a", "b").verdict is None
    assert "beats each" not in said(comparison, "a") and "one other" not in said(comparison, "a")
    page = render(comparison, NOW).partition("Does the row beat the column?")[2]
    assert "○ +10.0" in page and "▲ +" not in page and "unfinished" in page.partition("</section>")[0]


@pytest.mark.parametrize(
    ("arms", "number", "expected"), [(2, 1, "less than one"), (7, 21, "about one"), (9, 36, "about 2")]
)
def test_how_many_chance_would_decide(tmp_path, arms, number, expected):
    for place in range(arms):
        rows(tmp_path, f"p{place}", [0.1, 0.2, 0.3])
    line = chance_line(collect(tmp_path))
    assert line.startswith(f"Comparisons: {number} of two pretexts. ")
    assert f"here {expected}," in line


def test_a_sentence_says_what_the_numbers_carry_and_no_more(tmp_path):
    rows(tmp_path, "random", RANDOM)
    rows(tmp_path, "good", [0.30, 0.32, 0.34])
    rows(tmp_path, "bad", [0.05, 0.06, 0.07])
    rows(tmp_path, "open", [0.05, 0.12, 0.18])
    rows(tmp_path, "few", [0.5, 0.5])
    comparison = collect(tmp_path)
    assert chance_line(comparison).startswith("Comparisons: 3 of two pretexts and 3 with random initialisation. ")
    assert said(comparison, "good").startswith(
        "beats random initialisation in linear_probe toy [1] (+21.0 points [+18.5"
    )
    assert said(comparison, "bad").startswith(
        "does worse than random initialisation in linear_probe toy [1] (−5.0 points"
    )
    assert said(comparison, "open").startswith("no difference to random initialisation shown in linear_probe toy [1] (")
    assert said(comparison, "few") == "2 seeds: no conclusion in linear_probe toy [1] (+39.5 points)"
    # two seeds of "few" cannot be compared, so nobody beats all
    assert not any("beats each" in sentence for _, _, sentence in strengths(comparison))
    assert {arm.label: verdict for arm, verdict, _ in strengths(comparison)} == {
        "good": "better",
        "bad": "worse",
        "open": "",
        "few": "",
    }


def test_who_beats_all_others_is_said_where_it_does(tmp_path):
    rows(tmp_path, "random", RANDOM)
    rows(tmp_path, "first", [0.30, 0.32, 0.34])
    rows(tmp_path, "second", [0.20, 0.22, 0.24])
    rows(tmp_path, "third", [0.10, 0.21, 0.32])
    comparison = collect(tmp_path)
    assert "beats" not in said(comparison, "second").partition("; ")[2]
    assert "beats each" not in said(comparison, "first"), "third is open"
    for seed in range(3):
        (tmp_path / f"third--s{seed}" / "scores.jsonl").unlink()
    comparison = collect(tmp_path)
    assert said(comparison, "first").endswith("; beats the one other pretext measured in linear_probe toy [1]")
    assert said(comparison, "third") == "not measured beside random initialisation"


def test_mixed_results_are_neither_good_nor_bad(tmp_path):
    for evaluation, random, tops in (("linear_probe", RANDOM, [0.3, 0.31, 0.32]), ("knn", [0.4, 0.4, 0.4], RANDOM)):
        rows(tmp_path / evaluation, "random", random, evaluation=evaluation)
        rows(tmp_path / evaluation, "a", tops, evaluation=evaluation)
    for file in (tmp_path / "knn").glob("*/scores.jsonl"):
        other = tmp_path / "linear_probe" / file.parent.name / "scores.jsonl"
        other.write_text(other.read_text() + file.read_text())
    comparison = collect(tmp_path / "linear_probe")
    ((arm, verdict, sentence),) = strengths(comparison)
    assert arm.label == "a" and verdict == ""
    assert "beats random initialisation in linear_probe" in sentence
    assert "; does worse than random initialisation in knn" in sentence


def test_a_random_start_of_another_form_is_named(tmp_path):
    for seed in range(3):
        for name, top1, form in (("random", 0.1, "2D"), ("flat", 0.2, "2D"), ("deep", 0.3, "3D")):
            line = score("linear_probe", top1, seed, weights=f"{name}{seed}", card={"backbone": form})
            write_run(tmp_path / f"{name}{seed}", pretext=name, seed=seed, scores=[line], status=finished())
    assert [line for line in collect(tmp_path).warnings if "stands in" in line] == [
        "deep: no random initialisation of its form in linear_probe toy [1], one of form b stands in"
    ]


def test_random_starts_for_other_evaluations_are_not_missed(tmp_path):
    rows(tmp_path, "random", RANDOM)
    rows(tmp_path, "random", RANDOM, evaluation="knn", tag="other")
    rows(tmp_path, "a", [0.3, 0.3, 0.3])
    rows(tmp_path, "b", [0.3, 0.3, 0.3], evaluation="knn")
    missing = [line for line in collect(tmp_path).warnings if line.startswith("no score in")]
    assert missing == ["no score in linear_probe toy [1]: b", "no score in knn toy [2]: a"]
