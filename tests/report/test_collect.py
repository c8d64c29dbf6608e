"""Runs, arms, columns and differences from invented run folders."""

import json
import os

import numpy as np
import pytest

from ssv.report.collect import collect
from ssv.report.predictions import read_predictions
from tests.report.fake import finished, score, write_predictions, write_run, write_study


def arm_of(comparison, label):
    return next(arm for arm in comparison.arms if arm.label == label)


def run_of(comparison, name):
    return next(run for run in comparison.runs if run.name == name)


def three_seeds(outputs, pretext, tops, **identity):
    for seed, top1 in enumerate(tops):
        name = f"{pretext}-{identity.get('backbone', 's3dg_tiny')}-toy-{identity.get('tag', 'base')}-s{seed}"
        rows = [score("linear_probe", top1, seed, weights=f"{name}-w")]
        write_run(outputs / name, pretext=pretext, seed=seed, scores=rows, status=finished(), **identity)


def test_arms_hold_their_seeds_and_references_come_first(tmp_path):
    comparison = collect(write_study(tmp_path))
    assert [arm.pretext for arm in comparison.arms] == [
        "random",
        "supervised",
        "speed_prediction",
        "order_verification",
    ]
    assert all([run.seed for run in arm.runs] == [0, 1, 2] for arm in comparison.arms)
    assert comparison.foreign == 0 and comparison.broken == () and comparison.warnings == ()


def test_columns_are_evaluations_and_their_first_metric_is_the_main_one(tmp_path):
    comparison = collect(write_study(tmp_path))
    assert [(c.evaluation, c.metric, c.main, c.note) for c in comparison.columns] == [
        ("linear_probe", "top1", True, 1),
        ("linear_probe", "top5", False, 1),
        ("fine_tune", "top1", True, 2),
        ("fine_tune", "top5", False, 2),
    ]
    assert comparison.columns[0].chance == pytest.approx(1 / 12)


def test_differences_pair_with_random_of_the_same_backbone(tmp_path):
    three_seeds(tmp_path, "random", [0.10, 0.11, 0.12])
    three_seeds(tmp_path, "random", [0.50, 0.50, 0.50], backbone="r3d_tiny")
    three_seeds(tmp_path, "speed_prediction", [0.30, 0.32, 0.34])
    three_seeds(tmp_path, "speed_prediction", [0.40, 0.41, 0.42], backbone="r3d_tiny")
    comparison = collect(tmp_path)
    column = comparison.columns[0]
    small = comparison.differences[arm_of(comparison, "speed_prediction (s3dg_tiny)"), column, "random"]
    other = comparison.differences[arm_of(comparison, "speed_prediction (r3d_tiny)"), column, "random"]
    assert small.mean == pytest.approx(0.21) and small.verdict == "better"
    assert other.mean == pytest.approx(-0.09) and other.verdict == "worse"
    assert [arm.pretext for arm in comparison.arms[:2]] == ["random", "random"]
    assert any("different backbones: r3d_tiny" in warning for warning in comparison.warnings)


def test_tags_and_weights_files_are_arms_of_their_own(tmp_path):
    three_seeds(tmp_path, "speed_prediction", [0.3, 0.3, 0.3])
    three_seeds(tmp_path, "speed_prediction", [0.4, 0.4, 0.4], tag="long")
    rows = [
        score("linear_probe", 0.2),
        score("linear_probe", 0.25, weights_file="backbone_best_probe.pt", weights="best"),
    ]
    write_run(tmp_path / "order", pretext="order_verification", seed=0, scores=rows, status=finished())
    comparison = collect(tmp_path)
    best = arm_of(comparison, "order_verification (backbone_best_probe.pt)")
    assert comparison.columns[0].values(best) == {0: 0.25}
    assert {arm.label for arm in comparison.arms} == {
        "speed_prediction (base)",
        "speed_prediction (long)",
        "order_verification (backbone.pt)",
        "order_verification (backbone_best_probe.pt)",
    }


def test_protocols_never_share_a_column(tmp_path):
    for seed in range(3):
        rows = [score("linear_probe", 0.2, protocol="1 clip"), score("linear_probe", 0.3, protocol="10 clips")]
        write_run(tmp_path / f"random-{seed}", pretext="random", seed=seed, scores=rows[:1], status=finished(0))
        write_run(tmp_path / f"speed-{seed}", pretext="speed", seed=seed, scores=rows[1:], status=finished())
    comparison = collect(tmp_path)
    assert [(column.protocol, len(column.rows)) for column in comparison.columns] == [("1 clip", 1), ("10 clips", 1)]
    assert comparison.differences == {}
    assert any("measured under 2 protocols [1] [2]" in warning for warning in comparison.warnings)


def test_a_score_evaluated_again_replaces_the_old_one_and_evaluation_seeds_are_averaged(tmp_path):
    rows = [score("linear_probe", 0.1), score("linear_probe", 0.3), score("linear_probe", 0.5, seed=1)]
    write_run(tmp_path / "run", pretext="speed", seed=0, scores=rows, status=finished())
    comparison = collect(tmp_path)
    assert comparison.columns[0].values(comparison.arms[0]) == {0: pytest.approx(0.4)}


def test_the_bootstrap_over_videos_holds_the_paired_mean_and_ignores_foreign_predictions(tmp_path):
    comparison = collect(write_study(tmp_path))
    speed, column = arm_of(comparison, "speed_prediction"), comparison.columns[0]
    difference = comparison.differences[speed, column, "random"]
    assert difference.videos[0] < difference.mean < difference.videos[1]

    # predictions that do not give the stored score are not those of this score
    file = tmp_path / "speed_prediction-s3dg_tiny-toy-base-s1" / "evaluations" / "linear_probe.npz"
    write_predictions(file, 0.9, np.random.default_rng(5))
    again = collect(tmp_path)
    assert again.differences[arm_of(again, "speed_prediction"), again.columns[0], "random"].videos is None
    file.write_bytes(file.read_bytes()[:300])  # half written
    again = collect(tmp_path)
    assert again.differences[arm_of(again, "speed_prediction"), again.columns[0], "random"].videos is None


def test_predictions_outside_the_run_folder_are_not_opened(tmp_path):
    outside = tmp_path / "secret.npz"
    exact = write_predictions(outside, 0.5, np.random.default_rng(0))
    folder = write_run(
        tmp_path / "runs" / "a",
        pretext="a",
        seed=0,
        scores=[score("linear_probe", exact, per_video="../../secret.npz")],
    )
    assert outside.is_file() and (folder / "../../secret.npz").is_file()
    assert collect(tmp_path / "runs").runs[0].rows[0].per_video is None


def test_lines_cut_off_by_a_kill_are_left_out_and_named(tmp_path):
    lines = [{"step": step, "clips_seen": 32 * step, "pretext/accuracy": 0.5} for step in (1, 2, 3)]
    folder = write_run(tmp_path / "run", pretext="speed", seed=0, lines=lines, scores=[score("linear_probe", 0.3)])
    for name in ("metrics.jsonl", "scores.jsonl"):
        with (folder / name).open("a") as file:
            file.write('{"step": 4, "clips_seen": 12')
    run = collect(tmp_path).runs[0]
    assert sorted(run.curves["pretext/accuracy"]) == [1, 2, 3]
    assert [row.scores["top1"] for row in run.rows] == [0.3]
    assert [note for note in run.notes if "cut off" in note] == [
        "metrics.jsonl: the last line is cut off and was left out",
        "scores.jsonl: the last line is cut off and was left out",
    ]


def test_damaged_lines_odd_values_and_repeated_steps(tmp_path):
    lines = [{"step": 1, "clips_seen": 32, "online/top1": 0.1}, {"step": 1, "clips_seen": 32, "online/top1": 0.2}]
    lines += [{"step": 2, "clips_seen": 64, "online/top1": float("nan")}, {"step": 3, "online/top1": "high"}]
    folder = write_run(tmp_path / "run", pretext="speed", seed=0, lines=lines, status=finished())
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('garbage\n[1, 2]\n{"step": 4, "clips_seen": 96, "online/top1": 0.4}\n')
    run = collect(tmp_path).runs[0]
    assert run.curves["online/top1"] == {1: (32, 0.2), 4: (96, 0.4)}
    assert run.notes == ("metrics.jsonl: 2 unreadable lines left out",)


def test_scores_that_are_no_numbers_are_named_and_left_out(tmp_path):
    rows = [score("linear_probe", float("nan")), {"evaluation": "knn"}, score("knn", 0.5, scores={"top1": 10**400})]
    write_run(tmp_path / "run", pretext="speed", seed=0, scores=rows, status=finished())
    comparison = collect(tmp_path)
    assert comparison.columns == ()
    assert sum("no finite number" in note for note in comparison.runs[0].notes) == 2
    assert any("a row without" in note for note in comparison.runs[0].notes)


def test_foreign_folders_are_counted_and_broken_runs_named(tmp_path):
    three_seeds(tmp_path, "random", [0.1, 0.1, 0.1])
    (tmp_path / "wandb").mkdir()
    (tmp_path / ".cache").mkdir()
    (tmp_path / "table.txt").write_text("")
    for name, text in (("half", '{"pretext": "sp'), ("other", '{"pretext": "x"}'), ("list", "[]")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(text)
    write_run(tmp_path / "seed", pretext="x", seed="first")
    comparison = collect(tmp_path)
    assert comparison.foreign == 1 and len(comparison.runs) == 3
    reasons = dict(comparison.broken)
    assert "not JSON" in reasons["half"] and "no mapping" in reasons["list"]
    assert reasons["other"] == "run.json lacks backbone, data, seed"
    assert "not a whole number" in reasons["seed"]


@pytest.mark.parametrize("state", ["failed", "stopped", "running"])
def test_an_unfinished_run_is_shown_with_its_step_and_nothing_is_concluded(tmp_path, state):
    three_seeds(tmp_path, "random", [0.10, 0.11, 0.12])
    three_seeds(tmp_path, "speed_prediction", [0.30, 0.32, 0.34])
    status = {**finished(), "state": state, "step": 400, "message": "disk full"}
    (tmp_path / "speed_prediction-s3dg_tiny-toy-base-s1" / "status.json").write_text(json.dumps(status))
    comparison = collect(tmp_path)
    difference = comparison.differences[arm_of(comparison, "speed_prediction"), comparison.columns[0], "random"]
    assert difference.mean == pytest.approx(0.21) and difference.verdict is None
    expected = f"speed_prediction-s3dg_tiny-toy-base-s1 {state} at step 400 of 900: disk full"
    assert any(warning.startswith(expected) for warning in comparison.warnings)


def test_a_run_that_fell_silent_is_noticed(tmp_path):
    status = {**finished(), "state": "running", "step": 5}
    folder = write_run(tmp_path / "run", pretext="speed", seed=0, status=status)
    os.utime(folder / "status.json", (1_000_000, 1_000_000))
    assert collect(tmp_path, now=1_000_000 + 60).runs[0].notes == ()
    assert collect(tmp_path, now=1_000_000 + 7200).runs[0].notes == (
        "says running, but wrote nothing for 2.0 h: killed?",
    )


def test_unfair_comparisons_are_named(tmp_path):
    three_seeds(tmp_path, "speed_prediction", [0.3, 0.3, 0.3])
    three_seeds(tmp_path, "order_verification", [0.3, 0.3, 0.3], commit="fedcba")
    for seed in range(2):
        folder = tmp_path / f"order_verification-s3dg_tiny-toy-base-s{seed}"
        (folder / "status.json").write_text(json.dumps(finished(1800, 57_600, 1_000_000)))
    for name in ("run.json", "scores.jsonl", "status.json"):
        (tmp_path / "order_verification-s3dg_tiny-toy-base-s2" / name).unlink()
    warnings = "\n".join(collect(tmp_path).warnings)
    assert "no row of random initialisation" in warnings and "no row of supervised training" in warnings
    assert "order_verification: no run with seed 2" in warnings
    assert "different numbers of steps: 1,800 (order_verification), 900 (speed_prediction)" in warnings
    assert "different clips seen: 28.8 k (speed_prediction), 57.6 k (order_verification)" in warnings
    assert "different frames seen: 1.0 M (order_verification), 461 k (speed_prediction)" in warnings
    assert "different commits of the code" in warnings


def test_missing_scores_are_named(tmp_path):
    three_seeds(tmp_path, "speed_prediction", [0.3, 0.3, 0.3])
    write_run(tmp_path / "r0", pretext="random", seed=0, scores=[score("linear_probe", 0.1), score("knn", 0.1)])
    write_run(tmp_path / "r1", pretext="random", seed=1, scores=[score("linear_probe", 0.1)])
    warnings = collect(tmp_path).warnings
    assert "no score in knn toy [2]: speed_prediction" in warnings
    assert "random initialisation: no score in knn toy [2] for seed 1" in warnings
    assert "random initialisation: no run with seed 2" in warnings


def test_seeds_with_the_same_weights_are_no_seeds(tmp_path):
    for seed in range(3):
        rows = [score("linear_probe", 0.3, seed, weights="abc")]
        write_run(tmp_path / f"s{seed}", pretext="speed", seed=seed, scores=rows, status=finished())
    assert any("seeds 0, 1, 2 hold the same weights (abc)" in warning for warning in collect(tmp_path).warnings)


def test_copies_of_a_run_do_not_count_twice(tmp_path):
    write_run(tmp_path / "a", pretext="speed", seed=0, scores=[score("linear_probe", 0.1)], created="2026-01-01")
    write_run(tmp_path / "b", pretext="speed", seed=0, scores=[score("linear_probe", 0.2)], created="2026-01-02")
    comparison = collect(tmp_path)
    assert comparison.columns[0].values(comparison.arms[0]) == {0: 0.2}
    assert comparison.broken == (("a", "left out, b is a newer run of the same name"),)


def test_names_and_globs_choose_runs(tmp_path):
    write_study(tmp_path, seeds=1)
    chosen = collect(tmp_path, ["speed*", str(tmp_path / "random-s3dg_tiny-toy-base-s0")])
    assert {run.pretext for run in chosen.runs} == {"speed_prediction", "random"}
    with pytest.raises(ValueError, match=r"no run in .* matches 'sped\*'; there are 4 runs"):
        collect(tmp_path, ["sped*"])
    with pytest.raises(FileNotFoundError, match="no folder"):
        collect(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert collect(tmp_path / "empty", ["*"]).runs == ()


def test_rows_with_another_card_are_marked_and_explained(tmp_path):
    flat = {"backbone": "2D, each frame alone", "precision": "32-true"}
    full = {"backbone": "3D, inflated", "precision": "32-true"}
    write_run(tmp_path / "a", pretext="random", seed=0, scores=[score("linear_probe", 0.1, card=flat)])
    write_run(tmp_path / "b", pretext="speed_prediction", seed=0, scores=[score("linear_probe", 0.3, card=full)])
    write_run(tmp_path / "c", pretext="old", seed=0, scores=[score("linear_probe", 0.2)])
    comparison = collect(tmp_path)
    (column,) = comparison.columns
    marks = {arm.pretext: column.mark(arm) for arm in comparison.arms}
    assert marks == {"random": "a", "speed_prediction": "b", "old": ""}
    assert column.card_notes == ("a: backbone 2D, each frame alone", "b: backbone 3D, inflated")
    assert any("rows with another letter were measured in another way" in line for line in comparison.warnings)


def test_a_row_is_paired_with_the_random_start_of_its_own_form(tmp_path):
    grey, colour = {"pixels": "grey"}, {"pixels": "RGB"}
    for seed in range(3):
        for card, tag, start in ((grey, "aaa", 0.3), (colour, "bbb", 0.2)):
            rows = [score("linear_probe", start + 0.01 * seed, seed, card=card)]
            write_run(tmp_path / f"{tag}{seed}", pretext="random", tag=tag, seed=seed, scores=rows)
        rows = [score("linear_probe", 0.25 + 0.01 * seed, seed, card=colour)]
        write_run(tmp_path / f"walk{seed}", pretext="random_walk", tag="base", seed=seed, scores=rows)
    comparison = collect(tmp_path)
    (column,) = comparison.main_columns
    (walk,) = [arm for arm in comparison.arms if arm.pretext == "random_walk"]
    assert comparison.differences[walk, column, "random"].mean == pytest.approx(0.05)


def test_a_row_is_paired_with_the_random_start_of_its_very_network(tmp_path):
    """Two networks may look alike on a card: another depth, say."""
    card = {"backbone": "2D, alone", "pixels": "RGB, mean"}
    for seed in range(3):
        for network, tag, start in (("deep", "aaa", 0.3), ("flat", "bbb", 0.2)):
            rows = [score("linear_probe", start + 0.01 * seed, seed, card=card)]
            write_run(tmp_path / f"{tag}{seed}", pretext="random", tag=tag, seed=seed, scores=rows, network=network)
            rows = [score("linear_probe", 0.5 + 0.01 * seed, seed, card=card)]
            write_run(
                tmp_path / f"on_{network}{seed}", pretext=f"on_{network}", seed=seed, scores=rows, network=network
            )
    comparison = collect(tmp_path)
    (column,) = comparison.main_columns
    means = {arm.pretext: comparison.differences[arm, column, "random"].mean for arm in comparison.arms[2:]}
    assert means == {"on_deep": pytest.approx(0.2), "on_flat": pytest.approx(0.3)}
    assert {arm.tag for arm in comparison.arms[:2]} == {"2D, RGB, aaa", "2D, RGB, bbb"}


def test_random_starts_of_one_form_are_one_row_whatever_measured_their_batch_norms(tmp_path):
    forms = {"aaa": {"backbone": "2D, alone", "pixels": "grey, mean"}, "bbb": {"backbone": "3D", "pixels": "RGB, mean"}}
    for seed in range(3):
        for tag, card in forms.items():
            for data, top1 in (("toy", 0.2), ("toy_davis", 0.4)):
                rows = [score("linear_probe", top1 + 0.01 * seed, seed, card=card, data=data)]
                name = f"{tag}-{data}-{seed}"
                write_run(tmp_path / name, pretext="random", tag=tag, data=data, seed=seed, scores=rows)
    comparison = collect(tmp_path)
    assert {arm.label for arm in comparison.arms} == {
        "random initialisation (2D, grey)",
        "random initialisation (3D, RGB)",
    }
    for arm in comparison.arms:
        assert arm.seeds == (0, 1, 2) and len(arm.runs) == 6
        means = [summary.mean for column in comparison.main_columns if (summary := column.summary(arm))]
        assert means == pytest.approx([0.21, 0.41])
    assert not [line for line in comparison.warnings if "no score" in line or "different pretraining" in line]


def test_one_card_for_all_rows_is_no_reason_for_marks(tmp_path):
    card = {"backbone": "3D"}
    for seed in range(2):
        write_run(tmp_path / f"a{seed}", pretext="random", seed=seed, scores=[score("linear_probe", 0.1, card=card)])
    comparison = collect(tmp_path)
    (column,) = comparison.columns
    assert column.mark(comparison.arms[0]) == "" and column.card_notes == ("backbone 3D",)


def test_held_labels_are_the_floor_of_tracking_and_no_column(tmp_path):
    scores = {"jf_mean": 0.5, "copy_first": 0.4}
    row = {**score("label_propagation", 0), "scores": scores}
    write_run(tmp_path / "a", pretext="random", seed=0, scores=[row])
    comparison = collect(tmp_path)
    assert [column.metric for column in comparison.columns] == ["jf_mean"]
    assert comparison.columns[0].chance == 0.4


def test_three_folds_have_a_mean_of_their_own_and_two_have_none(tmp_path):
    def fold(number, top1):
        return score("linear_probe", top1, protocol=f"probe; fold {number}")

    write_run(tmp_path / "a", pretext="random", seed=0, scores=[fold(1, 0.1), fold(2, 0.2), fold(3, 0.6)])
    write_run(tmp_path / "b", pretext="speed_prediction", seed=0, scores=[fold(1, 0.5), fold(2, 0.5)])
    columns = {column.protocol: column for column in collect(tmp_path).columns}
    assert list(columns) == ["probe; fold 1", "probe; fold 2", "probe; fold 3", "probe; mean of folds 1 to 3"]
    values = {arm.pretext: column for arm, column in columns["probe; mean of folds 1 to 3"].rows.items()}
    assert list(values) == ["random"]
    (row,) = values["random"][0]
    assert row.scores["top1"] == pytest.approx(0.3) and row.per_video is None


def test_the_order_of_stored_predictions_does_not_matter(tmp_path):
    def interval():
        comparison = collect(tmp_path)
        return comparison.differences[arm_of(comparison, "speed_prediction"), comparison.columns[0], "random"].videos

    write_study(tmp_path)
    before = interval()
    file = tmp_path / "speed_prediction-s3dg_tiny-toy-base-s1" / "evaluations" / "linear_probe.npz"
    with np.load(file) as held:
        np.savez(file, **{key: held[key][::-1] for key in held.files})
    assert before is not None and interval() == before


def test_files_of_another_kind_are_no_predictions(tmp_path):
    file = tmp_path / "p.npz"
    arrays = {"path": np.array(["b", "a"]), "label": np.array([0, 1]), "prediction": np.array([0, 0])}
    np.savez(file, **arrays)
    assert read_predictions(file) is None
    np.savez(file, **arrays, group=np.array(["g1", "g2"]))
    assert read_predictions(file).right.tolist() == [False, True] and read_predictions(tmp_path / "none.npz") is None
    assert read_predictions(file).scenes == ["1/g2", "0/g1"]
    np.savez(file, **{**arrays, "prediction": np.array([0])}, group=np.array(["g1", "g2"]))
    assert read_predictions(file) is None
