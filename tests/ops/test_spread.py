"""Closed forms of the two figures of spread."""

import math

import pytest
import torch

from ssv.ops.spread import effective_rank, feature_std


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
