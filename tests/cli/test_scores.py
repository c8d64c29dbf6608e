"""Rows of ``scores.jsonl`` replace what they repeat, and nothing else."""

import json

import pytest

from ssv.cli.scores import put_row

ROW = {
    "weights": "a1", "weights_file": "backbone.pt", "evaluation": "knn", "data": "toy", "protocol": "k 20", "seed": 0,
}  # fmt: skip


def test_a_row_replaces_the_one_that_it_repeats(tmp_path):
    for score in (0.1, 0.2):
        put_row(tmp_path / "scores.jsonl", {**ROW, "scores": score})
    assert [json.loads(line)["scores"] for line in (tmp_path / "scores.jsonl").read_text().splitlines()] == [0.2]


@pytest.mark.parametrize("key", ROW)
def test_a_row_that_differs_in_anything_that_counts_stands_beside_it(tmp_path, key):
    """In the file too: the weights of the best online probe may be the last ones, and are a row of their own."""
    for row in (ROW, {**ROW, key: "other"}):
        put_row(tmp_path / "scores.jsonl", row)
    assert len((tmp_path / "scores.jsonl").read_text().splitlines()) == 2
