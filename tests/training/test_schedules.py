import math

import pytest
import torch
from torch import nn

from ssv.training.schedules import constant, decay_groups, milestones, warmup_cosine


def rates(make, steps):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = make(optimizer)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_warmup_cosine_by_hand():
    found = rates(lambda o: warmup_cosine(o, 10, warmup=0.2, final=0.1), 10)
    expected = [1.0, 2.0] + [2 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * k / 8))) for k in range(8)]
    assert found == pytest.approx(expected)


def test_warmup_cosine_without_warmup_starts_at_the_peak():
    assert rates(lambda o: warmup_cosine(o, 10, warmup=0.0), 1) == [2.0]


def test_constant():
    assert rates(lambda o: constant(o, 10, warmup=0.2), 4) == [1.0, 2.0, 2.0, 2.0]


def test_norms_and_biases_do_not_decay():
    module = nn.Sequential(nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4), nn.Linear(4, 2))
    decay, spared = decay_groups(module, 0.1)
    assert decay["weight_decay"] == 0.1 and spared["weight_decay"] == 0.0
    assert {id(p) for p in decay["params"]} == {id(module[0].weight), id(module[2].weight)}
    assert len(spared["params"]) == 4


def test_milestones_by_hand():
    found = rates(lambda o: milestones(o, 10, shares=[0.3, 0.8], factor=0.1), 10)
    assert found == pytest.approx([2.0] * 3 + [0.2] * 5 + [0.02] * 2)


def test_milestones_are_shares():
    with pytest.raises(ValueError, match=r"schedule\.shares"):
        rates(lambda o: milestones(o, 10, shares=[3], factor=0.1), 1)
