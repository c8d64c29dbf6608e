"""Neighbours, votes and recall against loops written from the definitions."""

import itertools
import math

import numpy as np
import pytest
import torch

from ssv.evaluations.metrics.ranking import chance_recall, nearest, recalls, unit, weighted_vote


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).numpy()


def labels(count, classes, seed=0):
    return torch.randint(classes, (count,), generator=torch.Generator().manual_seed(seed)).numpy()


def cosine(a, b):
    dot = sum(float(x) * float(y) for x, y in zip(a, b))
    return dot / math.sqrt(sum(float(x) ** 2 for x in a) * sum(float(y) ** 2 for y in b))


def slow_nearest(queries, gallery, k):
    return [sorted(range(len(gallery)), key=lambda row: -cosine(query, gallery[row]))[:k] for query in queries]


@pytest.mark.parametrize("k", [1, 4, 23])
def test_nearest_rows_are_those_of_the_largest_cosines(k):
    queries, gallery = drawn(300, 5), 3 * drawn(23, 5, seed=1)  # more queries than are compared at a time
    found = nearest(queries, gallery, k)
    assert found.row.tolist() == slow_nearest(queries, gallery, k)
    for i, j in ((0, 0), (299, k - 1)):
        assert found.similarity[i, j] == pytest.approx(cosine(queries[i], gallery[found.row[i, j]]))


def test_of_equals_the_first_in_the_gallery_comes_first():
    gallery = np.repeat(drawn(4, 3), 50, axis=0)[labels(200, 4, seed=2) * 50]  # four directions, each many times
    gallery *= np.arange(1, 201, dtype=np.float32)[:, None]
    found = nearest(drawn(6, 3, seed=3), gallery, 120)
    for rows, similarity in zip(found.row, found.similarity, strict=True):
        for (a, x), (b, y) in itertools.pairwise(zip(rows, similarity, strict=True)):
            assert x > y or (x == y and a < b)


def test_a_vector_of_zeros_is_near_nothing_and_no_error():
    assert unit(np.zeros((1, 3))).tolist() == [[0, 0, 0]]
    assert nearest(np.zeros((1, 3)), np.eye(3), 2).row.tolist() == [[0, 1]]


@pytest.mark.parametrize("k", [0, 6])
def test_more_neighbours_than_rows_are_refused(k):
    with pytest.raises(ValueError, match=f"5 rows to choose {k}"):
        nearest(drawn(2, 3), drawn(5, 3), k)


@pytest.mark.parametrize("temperature", [0.07, 1e-4, 3.0])
def test_votes_are_the_weights_of_the_neighbours_up_to_a_factor(temperature):
    similarity = -np.sort(-drawn(7, 9).astype(np.float64).clip(-1, 1), axis=1)
    label = labels(63, 4).reshape(7, 9)
    votes = weighted_vote(label, similarity, 5, temperature)
    assert votes.shape == (7, 5) and np.isfinite(votes).all()
    for i in range(7):
        slow = [0.0] * 5
        for k, s in zip(label[i], similarity[i], strict=True):
            slow[k] += math.exp((s - similarity[i, 0]) / temperature)
        np.testing.assert_allclose(votes[i], slow)


def test_the_temperature_says_whether_one_near_or_many_far_ones_win():
    label, similarity = np.array([[1, 0, 0, 0]]), np.array([[0.9, 0.8, 0.8, 0.8]])
    assert weighted_vote(label, similarity, 2, 0.07).argmax() == 1 - (3 * math.exp(-0.1 / 0.07) > 1)
    assert weighted_vote(label, similarity, 2, 1.0).argmax() == 0
    assert weighted_vote(label, similarity, 2, 0.01).argmax() == 1


def test_recall_is_any_hit_among_the_first():
    query, neighbour = labels(40, 6), labels(40 * 11, 6, seed=4).reshape(40, 11)
    got = recalls(query, neighbour, [1, 3, 11])
    for k in (1, 3, 11):
        hits = sum(any(neighbour[i][j] == query[i] for j in range(k)) for i in range(40))
        assert got[f"r@{k}"] == hits / 40
    assert got["r@1"] <= got["r@3"] <= got["r@11"] and all(type(value) is float for value in got.values())


@pytest.mark.parametrize("k", [1, 2, 4])
def test_chance_is_the_mean_over_all_orders_of_the_gallery(k):
    gallery, query = np.array([0, 0, 1, 2, 2]), np.array([0, 1, 1, 2, 7])  # no row has label 7
    orders = [np.array(order) for order in itertools.permutations(gallery.tolist())]
    mean = np.mean([recalls(query, np.tile(order, (5, 1)), [k])[f"r@{k}"] for order in orders])
    assert chance_recall(query, gallery, k) == pytest.approx(mean)


def test_chance_at_one_is_the_meeting_of_two_frequencies():
    assert chance_recall(np.array([0, 0, 1]), np.array([0, 1, 1, 1]), 1) == pytest.approx(2 / 3 / 4 + 1 / 3 * 3 / 4)
    assert chance_recall(np.array([0]), np.array([0, 0, 1]), 3) == 1.0
