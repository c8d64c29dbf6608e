"""Accuracy by class, against loops."""

from __future__ import annotations

import json
from datetime import datetime

import numpy as np
import pytest

from ssv.report.classes import MOST, by_class, names
from ssv.report.collect import collect
from ssv.report.html import render
from tests.report.fake import finished, score, write_predictions, write_run, write_study

NOW = datetime(2026, 11, 22, 18, 0)


def of(comparison, pretext):
    return next(arm for arm in comparison.arms if arm.pretext == pretext)


def test_accuracy_and_paired_difference_against_loops(tmp_path):
    comparison = collect(write_study(tmp_path))
    column = comparison.columns[0]
    found = by_class(comparison, column)

    def right(pretext, seed, label):
        file = np.load(tmp_path / f"{pretext}-s3dg_tiny-toy-base-s{seed}" / "evaluations" / "linear_probe.npz")
        hits = [p == k for k, p in zip(file["label"], file["prediction"]) if k == label]
        return sum(hits) / len(hits)

    for label in range(12):
        ours = [right("speed_prediction", seed, label) for seed in range(3)]
        theirs = [right("random", seed, label) for seed in range(3)]
        assert found.accuracy[of(comparison, "speed_prediction")][label] == pytest.approx(sum(ours) / 3)
        assert found.difference[of(comparison, "speed_prediction")][label] == pytest.approx(
            (sum(ours) - sum(theirs)) / 3
        )
    assert found.label.tolist() == list(range(12)) and found.videos.tolist() == [18] * 12
    assert of(comparison, "random") not in found.difference and len(found.accuracy) == 4


def test_common_seeds_only_are_paired(tmp_path):
    write_study(tmp_path)
    (tmp_path / "random-s3dg_tiny-toy-base-s1" / "evaluations" / "linear_probe.npz").unlink()
    comparison = collect(tmp_path)
    speed = of(comparison, "speed_prediction")
    found = by_class(comparison, comparison.columns[0])

    def mean(pretext, seeds):
        files = [tmp_path / f"{pretext}-s3dg_tiny-toy-base-s{seed}/evaluations/linear_probe.npz" for seed in seeds]
        loaded = [np.load(file) for file in files]
        return np.mean([np.mean((file["prediction"] == file["label"])[file["label"] == 4]) for file in loaded])

    expected = mean("speed_prediction", (0, 2)) - mean("random", (0, 2))
    assert found.difference[speed][4] == pytest.approx(expected)
    assert found.accuracy[speed][4] == pytest.approx(mean("speed_prediction", (0, 1, 2)))


def test_other_videos_and_missing_predictions_show_no_table(tmp_path):
    write_study(tmp_path)
    for file in tmp_path.glob("*/evaluations/fine_tune.npz"):
        file.unlink()
    comparison = collect(tmp_path)
    assert by_class(comparison, comparison.main_columns[1]) is None
    page = render(comparison, NOW)
    assert page.count("accuracy by class, %") == 1
    file = tmp_path / "speed_prediction-s3dg_tiny-toy-base-s1" / "evaluations" / "linear_probe.npz"
    with np.load(file) as held:
        arrays = {key: held[key] for key in held.files}
    np.savez(file, **{**arrays, "path": np.char.add("x", arrays["path"])})
    comparison = collect(tmp_path)
    assert by_class(comparison, comparison.columns[0]) is None
    assert "Which classes" not in render(comparison, NOW)


def test_classes_are_named_after_folders_where_these_tell_them_apart():
    paths = ["data/UCF-101/Archery/a.avi", "data/UCF-101/Bowling/b.avi", "data/UCF-101/Archery/c.avi"]
    assert names(paths, [0, 3, 0]) == ["Archery", "Bowling"]
    assert names(["all/a.mp4", "all/b.mp4"], [0, 3]) == ["class 0", "class 3"]
    assert names(["x/a.mp4", "y/b.mp4"], [0, 0]) == ["class 0"]
    assert names(["a.mp4", "b.mp4"], [0, 1]) == ["class 0", "class 1"]


def test_strings_in_predictions_are_escaped_and_colours_follow_the_difference(tmp_path):
    for pretext, hits in (("random", 1), ("speed", 3)):
        folder = write_run(tmp_path / pretext, pretext=pretext, seed=0, status=finished())
        (folder / "evaluations").mkdir()
        label = np.repeat([0, 1], 4)
        prediction = np.where(np.tile(np.arange(4), 2) < hits, label, 1 - label)
        arrays = {"label": label, "prediction": prediction, "group": np.array(["g"] * 8)}
        paths = np.array([f"<img src=x>{k}/{i}" for i, k in enumerate(label)])
        np.savez(folder / "evaluations" / "p.npz", path=paths, **arrays)
        line = score("linear_probe", hits / 4, weights=pretext, per_video="evaluations/p.npz")
        (folder / "scores.jsonl").write_text(json.dumps(line) + "\n")
    page = render(collect(tmp_path), NOW)
    assert "<img" not in page and "&lt;img src=x&gt;0" in page
    assert page.count('<span class="up" style="--heat:50%">75 <small>+50</small></span>') == 2


def test_of_many_classes_those_that_differ_most_are_shown(tmp_path):
    classes = MOST + 10
    label = np.repeat(np.arange(classes), 2)
    for pretext, known in (("random", classes), ("speed", MOST)):
        folder = write_run(tmp_path / pretext, pretext=pretext, seed=0, status=finished())
        (folder / "evaluations").mkdir()
        right = label >= classes - known  # all but the first ten
        arrays = {"label": label, "prediction": np.where(right, label, -1), "group": np.array(["g"] * len(label))}
        np.savez(folder / "evaluations" / "p.npz", path=np.array([f"v{i:04d}" for i in range(len(label))]), **arrays)
        line = score("linear_probe", known / classes, weights=pretext, per_video="evaluations/p.npz")
        (folder / "scores.jsonl").write_text(json.dumps(line) + "\n")
    heat = render(collect(tmp_path), NOW).partition("Which classes")[2].partition("</section>")[0]
    assert heat.count("<tr>") == MOST + 1 and f"The {MOST} of {classes} classes" in heat
    assert all(f">class {place}<" in heat for place in range(10))


def test_predictions_are_read_once(tmp_path, monkeypatch):
    import ssv.report.runs as runs

    write_predictions(tmp_path / "a" / "evaluations" / "p.npz", 0.5, np.random.default_rng(0))
    read = []
    original = runs.read_predictions
    monkeypatch.setattr(runs, "read_predictions", lambda path: read.append(path) or original(path))
    comparison = collect(write_study(tmp_path / "study"))
    assert comparison.duels
    render(comparison, NOW)
    assert len(read) == len(set(read)) == 24
