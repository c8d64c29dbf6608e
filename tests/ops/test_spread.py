"""Closed forms of what features tell without labels, and slow loops."""

import math

import pytest
import torch

from ssv.ops.spread import effective_rank, feature_std, order_sensitivity, same_video


def normal(rows, dims, seed=0):
    return torch.randn(rows, dims, generator=torch.Generator().manual_seed(seed))


def test_isotropic_features_have_std_1_and_almost_full_rank():
    features = normal(20_000, 64) * 7
    assert float(feature_std(features)) == pytest.approx(1, abs=0.01)
    assert 63 < float(effective_rank(features)) <= 64


def test_constant_features_have_std_0_and_rank_1():
    features = normal(1, 32).expand(100, 32)
    assert float(feature_std(features)) == pytest.approx(0, abs=1e-6)
    assert float(effective_rank(features)) == pytest.approx(1, abs=1e-4)


def test_length_alone_is_no_spread():
    features = normal(1, 32) * torch.arange(1, 101)[:, None]
    assert float(feature_std(features)) == pytest.approx(0, abs=1e-6)
    assert float(effective_rank(features)) == pytest.approx(1, abs=1e-4)


def test_two_opposite_points_in_one_dimension_of_d():
    features = torch.zeros(1000, 16)
    features[:, 3] = torch.tensor([1.0, -1.0]).repeat(500)
    # One dimension of std 1 (unbiased) among 16, times sqrt(16).
    assert float(feature_std(features)) == pytest.approx(4 / 16 * math.sqrt(1000 / 999))


def test_effective_rank_is_the_exponential_of_the_entropy():
    values = torch.tensor([4.0, 2.0, 1.0, 1.0])
    left, right = (torch.linalg.qr(normal(n, 4, seed)).Q for n, seed in ((9, 1), (6, 2)))
    shares = [0.5, 0.25, 0.125, 0.125]
    expected = math.exp(-sum(share * math.log(share) for share in shares))
    assert float(effective_rank(left @ values.diag() @ right.T)) == pytest.approx(expected, rel=1e-5)
    assert float(effective_rank(torch.eye(5))) == pytest.approx(5)


def test_nothing_to_measure_is_0():
    assert float(effective_rank(torch.zeros(4, 3))) == 0
    assert float(feature_std(normal(1, 3))) == 0


def cosine(one, other):
    return float(one.double() @ other.double() / one.double().norm() / other.double().norm())


def test_order_sensitivity_is_in_distances_between_videos():
    features, shuffled = normal(7, 5) + 1, normal(7, 5, seed=1) + 1
    pairs = [1 - cosine(features[i], features[j]) for i in range(7) for j in range(7) if i != j]
    moved = [1 - cosine(features[i], shuffled[i]) for i in range(7)]
    expected = (sum(moved) / 7) / (sum(pairs) / 42)
    assert float(order_sensitivity(features, shuffled)) == pytest.approx(expected, rel=1e-9)
    assert float(order_sensitivity(features, 3 * features)) == pytest.approx(0, abs=1e-12)
    assert float(order_sensitivity(normal(500, 8), normal(500, 8, seed=2))) == pytest.approx(1, abs=0.1)


def test_order_sensitivity_of_features_that_say_nothing_is_0():
    assert float(order_sensitivity(torch.ones(4, 3), torch.ones(4, 3))) == 0
    assert float(order_sensitivity(normal(1, 3), normal(1, 3, seed=1))) == 0


def test_same_video_is_the_share_of_nearest_rows():
    earlier, later = normal(30, 4), normal(30, 4, seed=1)
    later[:10] = earlier[:10] * 5
    likeness = [[cosine(one, other) for other in later] for one in earlier]
    expected = sum(max(row) == row[i] for i, row in enumerate(likeness)) / 30
    assert 10 / 30 <= expected < 1
    assert float(same_video(earlier, later)) == pytest.approx(expected)
    assert float(same_video(torch.ones(8, 3), torch.ones(8, 3))) == pytest.approx(1 / 8), "chance"
