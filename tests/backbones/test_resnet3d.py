import math

import pytest
import torch

from ssv.backbones.resnet3d import ResNet3D

TINY = {"widths": (4, 4, 8, 8), "blocks": (1, 1, 1, 1), "stem_kernel": (3, 3, 3)}


@pytest.mark.parametrize("changes", [
    {}, {"temporal_stride": 1}, {"temporal_stride": 4}, {"spatial_stride": 16}, {"spatial_stride": 8}, {"spatial_stride": 1},
    {"padding": "reflect"}, {"input": "grey"}, {"time_local": True}, {"time_local": True, "spatial_stride": 8},
    {"bottleneck": True}, {"blocks": (2, 1, 2, 1)}, {"time_local": True, "stem_stride": 2}, {"padding": "reflect", "pool": False},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("size", [(1, 1, 1), (3, 17, 34), (17, 33, 20)], ids=str)
@torch.no_grad()
def test_map_follows_stride_whatever_the_options(changes, size):
    backbone = ResNet3D(**{**TINY, **changes}).eval()
    wanted = {"temporal_stride": 16, "spatial_stride": 32, "time_local": False, **changes}
    if not wanted.get("pool", True):
        wanted |= {"temporal_stride": 8, "spatial_stride": 16}
    frames = 1 if wanted["time_local"] else wanted["temporal_stride"]
    assert backbone.stride == (frames, wanted["spatial_stride"], wanted["spatial_stride"])
    assert backbone.out_channels == (32 if "bottleneck" in changes else 8)
    cells = [math.ceil(n / s) for n, s in zip(size, backbone.stride)]
    features = backbone(torch.randn(1, len(backbone.mean), *size))
    assert list(features.shape) == [1, backbone.out_channels, *cells]
    assert torch.isfinite(features).all()


@pytest.mark.parametrize(("last_stage", "channels", "stride"), [
    (1, 64, (2, 4, 4)), (2, 128, (4, 8, 8)), (3, 256, (8, 16, 16)), (4, 512, (16, 32, 32)),
])  # fmt: skip
def test_last_stage(last_stage, channels, stride):
    with torch.device("meta"):
        backbone = ResNet3D(last_stage=last_stage)
    assert (backbone.out_channels, backbone.stride) == (channels, stride)
    assert len(backbone.stages) == last_stage


def test_stride_8_keeps_the_early_strides():
    with torch.device("meta"):
        backbone = ResNet3D(spatial_stride=8, last_stage=3)
    assert backbone.stride == (8, 8, 8)
    assert backbone.stem.conv.stride == (1, 2, 2)
    assert backbone.pool.stride == (2, 2, 2)
    assert [stage[0].body[0].conv.stride for stage in backbone.stages] == [(1, 1, 1), (2, 2, 2), (2, 1, 1)]


@pytest.mark.parametrize(("changes", "strides"), [
    ({"stem_stride": 2}, [(2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2)]),
    ({"pool": False}, [(1, 2, 2), (1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2)]),
    ({"pool": False, "spatial_stride": 8, "temporal_stride": 2}, [(1, 2, 2), (1, 1, 1), (2, 2, 2), (1, 2, 2), (1, 1, 1)]),
    ({"stem_stride": 4, "temporal_stride": 1}, [(4, 2, 2), (1, 2, 2), (1, 2, 2), (1, 2, 2), (1, 2, 2)]),
    ({"stem_stride": 4, "time_local": True, "spatial_stride": 4}, [(1, 2, 2), (1, 2, 2), (1, 1, 1), (1, 1, 1), (1, 1, 1)]),
])  # fmt: skip
def test_stem_and_pool_have_strides_of_their_own(changes, strides):
    with torch.device("meta"):
        backbone = ResNet3D(**TINY, **changes)
    assert backbone.stem.conv.stride == strides[0]
    assert backbone.pool.stride == strides[1]
    assert [stage[0].body[0].conv.stride for stage in list(backbone.stages)[1:]] == strides[2:]
    assert backbone.stride == tuple(math.prod(axis) for axis in zip(*strides))


def test_options_change_no_tensor_names():
    shapes = {name: tensor.shape for name, tensor in ResNet3D(**TINY).state_dict().items()}
    for changes in (
        {"temporal_stride": 1},
        {"stem_stride": 2, "pool": False},
        {"spatial_stride": 8},
        {"padding": "reflect"},
    ):
        assert {k: v.shape for k, v in ResNet3D(**TINY, **changes).state_dict().items()} == shapes


def test_sequences_of_any_kind_become_plain_lists():
    assert ResNet3D(**TINY).kwargs["widths"] == [4, 4, 8, 8]
    assert type(ResNet3D(**TINY).kwargs["widths"]) is list


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks": (1, 1, 1)}, r"blocks needs 4 positive numbers, got \[1, 1, 1\]; set backbone.blocks"),
        ({"widths": (4, 4, 0, 4)}, "widths needs 4 positive numbers"),
        ({"stem_kernel": (2, 3, 3)}, r"stem_kernel needs odd numbers up to 31, got \[2, 3, 3\]"),
        ({"stem_kernel": (33, 3, 3)}, r"stem_kernel needs odd numbers up to 31, got \[33, 3, 3\]"),
        ({"stem_stride": 0}, "stem_stride must be 1 to 16, got 0; set backbone.stem_stride"),
        ({"last_stage": 0}, "last_stage must be 1 to 4, got 0"),
        ({"temporal_stride": 32}, "temporal_stride must be one of 1, 2, 4, 8, 16, got 32"),
        ({"padding": "replicate"}, "padding must be one of zeros, reflect"),
        ({"input": "flow"}, "input must be one of rgb, grey"),
    ],
)
def test_refusals_name_the_key(changes, message):
    with pytest.raises(ValueError, match=message):
        ResNet3D(**{**TINY, **changes})
