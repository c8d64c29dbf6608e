"""What every backbone promises, asked of everything in conf/backbone; a new YAML file is asked unbidden."""

import copy
import importlib
import inspect
import math
from pathlib import Path

import pytest
import torch
import yaml

from ssv.backbones.base import Backbone

CONF = Path(__file__).parents[2] / "conf" / "backbone"


def read(path):
    config = yaml.safe_load(path.read_text())
    module, name = config.pop("_target_").rsplit(".", 1)
    return getattr(importlib.import_module(module), name), config


@pytest.fixture(scope="module", params=sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def case(request):
    """(class, arguments in the YAML, the backbone in eval mode)"""
    make, config = read(request.param)
    torch.manual_seed(0)
    return make, config, make(**config).eval()


def clips(backbone, shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape[0], len(backbone.mean), *shape[1:], generator=generator)


def test_yaml_names_every_argument_and_no_other(case):
    make, config, backbone = case
    assert issubclass(make, Backbone)
    assert list(config) == list(inspect.signature(make).parameters)
    assert backbone.kwargs == config


def test_is_rebuilt_from_its_own_arguments(case):
    make, _, backbone = case
    with torch.device("meta"):
        again = make(**backbone.kwargs)
    shapes = {name: tensor.shape for name, tensor in backbone.state_dict().items()}
    assert {name: tensor.shape for name, tensor in again.state_dict().items()} == shapes
    assert (again.out_channels, again.stride, again.time_local) == (
        backbone.out_channels,
        backbone.stride,
        backbone.time_local,
    )


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 3, 70), (5, 33, 47), (9, 64, 31)], ids=str)
@torch.no_grad()
def test_map_has_one_cell_per_stride_rounded_up(case, size):
    backbone = case[2]
    cells = [math.ceil(n / s) for n, s in zip(size, backbone.stride)]
    assert list(backbone(clips(backbone, (1, *size))).shape) == [1, backbone.out_channels, *cells]


@torch.no_grad()
def test_items_of_a_batch_do_not_see_each_other_and_the_input_is_left_alone(case):
    backbone = case[2]
    batch = clips(backbone, (3, 4, 40, 36))
    before = batch.clone()
    together = backbone(batch)
    alone = torch.cat([backbone(item[None]) for item in batch])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5 * float(together.abs().max()))
    assert torch.equal(batch, before)
    assert not torch.allclose(together[0], together[1])


@pytest.mark.parametrize("time_local", [False, True])
@torch.no_grad()
def test_time_local_exactly_if_a_frame_changes_its_own_step_only(case, time_local):
    make, config, backbone = case
    if time_local != backbone.time_local:
        if "time_local" not in config:
            pytest.skip("this backbone has no such argument")
        backbone = make(**{**config, "time_local": time_local}).eval()
    frames = 2 * backbone.stride[0] + 1
    before = clips(backbone, (1, frames, 32, 32))
    after = before.clone()
    after[:, :, frames // 2] += clips(backbone, (1, 1, 32, 32), seed=1)[:, :, 0]
    change = (backbone(after) - backbone(before)).abs().amax((0, 1, 3, 4))
    changed = (change > 1e-6 * change.max()).nonzero().flatten().tolist()
    assert backbone.time_local == time_local
    if time_local:
        assert backbone.stride[0] == 1
        assert changed == [frames // 2]
    else:
        assert len(changed) > 1


def test_every_parameter_learns(case):
    backbone = copy.deepcopy(case[2]).train()
    if not list(backbone.parameters()):
        pytest.skip("nothing to learn")
    features = backbone(clips(backbone, (2, 4, 64, 48)))
    (features * torch.randn(features.shape, generator=torch.Generator().manual_seed(1))).sum().backward()
    for name, parameter in backbone.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


@torch.no_grad()
def test_runs_in_bfloat16(case):
    backbone = case[2]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = backbone(clips(backbone, (2, 4, 32, 32))).float()
    exact = backbone(clips(backbone, (2, 4, 32, 32)))
    assert (features - exact).norm() < 0.1 * exact.norm()


def test_pixels_are_normalised_per_channel(case):
    backbone = case[2]
    assert len(backbone.mean) == len(backbone.std) in (1, 3)
    assert all(0 <= value <= 1 for value in backbone.mean)
    assert all(0 < value <= 1 for value in backbone.std)
    with pytest.raises(ValueError, match=r"set backbone\.input"):
        backbone(torch.zeros(1, 2, 4, 32, 32))
