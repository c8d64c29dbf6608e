import itertools
import math

import pytest
import torch
from torch import nn

from ssv.backbones.layers import MaxPool3d
from ssv.backbones.s3dg import S3DG, Gate, Inception, SpaceToDepth

TINY = {"width": 0.1, "blocks": (1, 1, 1)}

# Xie et al. 2018, as published: channels of the map behind each block
OUTPUTS = {3: (256, 480), 4: (512, 512, 512, 528, 832), 5: (832, 1024)}


def test_channels_are_those_of_the_table():
    with torch.device("meta"):
        stages = S3DG().stages
    for number, outputs in OUTPUTS.items():
        assert tuple(block.out_channels for block in stages[number - 1] if isinstance(block, Inception)) == outputs


@pytest.mark.parametrize(("last_stage", "channels", "stride"), [
    (1, 64, (2, 2, 2)), (2, 192, (2, 4, 4)), (3, 480, (2, 8, 8)), (4, 832, (4, 16, 16)), (5, 1024, (8, 32, 32)),
])  # fmt: skip
def test_last_stage(last_stage, channels, stride):
    with torch.device("meta"):
        backbone = S3DG(last_stage=last_stage)
    assert (backbone.out_channels, backbone.stride) == (channels, stride)
    assert len(backbone.stages) == last_stage


@pytest.mark.parametrize("changes", [
    {"temporal_stride": 1}, {"temporal_stride": 2}, {"spatial_stride": 16}, {"spatial_stride": 8}, {"spatial_stride": 1},
    {"padding": "reflect"}, {"input": "grey"}, {"time_local": True}, {"time_local": True, "spatial_stride": 8},
    {"far_side_pools": False}, {"far_side_pools": False, "temporal_stride": 1, "spatial_stride": 16},
    {"stem": "separable"}, {"stem": "separable", "temporal_stride": 1}, {"stem": "space_to_depth"},
    {"stem": "space_to_depth", "padding": "reflect"}, {"gating": False}, {"last_stage": 3},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("size", [(1, 1, 1), (3, 17, 34), (10, 33, 20)], ids=str)
@torch.no_grad()
def test_map_follows_stride_whatever_the_options(changes, size):
    backbone = S3DG(**TINY, **changes).eval()
    wanted = {"temporal_stride": 8, "spatial_stride": 32, "last_stage": 5, "time_local": False, **changes}
    frames = 1 if wanted["time_local"] else wanted["temporal_stride"]
    if wanted["last_stage"] == 3:
        assert backbone.stride == (2, 8, 8)
    else:
        assert backbone.stride == (frames, wanted["spatial_stride"], wanted["spatial_stride"])
    cells = [math.ceil(n / s) for n, s in zip(size, backbone.stride)]
    features = backbone(torch.randn(1, len(backbone.mean), *size))
    assert list(features.shape) == [1, backbone.out_channels, *cells]
    assert torch.isfinite(features).all()


def test_without_temporal_stride_no_layer_moves_by_more_than_a_frame():
    """SpeedNet: stem, pool 4a and pool 5a; the window of pool 5a becomes 1x2x2."""
    backbone = S3DG(**TINY, temporal_stride=1)
    strides = [m.stride[0] for m in backbone.modules() if isinstance(m, (nn.Conv3d, MaxPool3d))]
    assert set(strides) == {1}
    assert backbone.stages[4][0].kernel == (1, 2, 2)
    assert backbone.stages[3][0].kernel == (3, 3, 3)


def test_options_change_no_tensor_names():
    shapes = {name: tensor.shape for name, tensor in S3DG(**TINY).state_dict().items()}
    for changes in ({"temporal_stride": 1}, {"spatial_stride": 8}, {"padding": "reflect"}, {"far_side_pools": False}):
        assert {k: v.shape for k, v in S3DG(**TINY, **changes).state_dict().items()} == shapes


def test_fewer_blocks_are_the_last_ones():
    backbone = S3DG(blocks=(1, 1, 1), width=0.25)
    assert backbone.out_channels == 256
    assert [stage[1].out_channels for stage in backbone.stages[2:]] == [120, 208, 256]


@pytest.mark.parametrize("per_frame", [False, True])
def test_gate(per_frame):
    gate = Gate(5, per_frame=per_frame)
    features = torch.randn(2, 5, 3, 4, 4)
    nn.init.zeros_(gate.linear.weight)
    torch.testing.assert_close(gate(features), features / 2)
    nn.init.normal_(gate.linear.weight)
    gated = gate(features)
    for item, frame in itertools.product(range(2), range(3)):
        seen = features[item, :, frame] if per_frame else features[item].flatten(1, 2)
        weights = torch.sigmoid(gate.linear.weight @ seen.mean((1, 2)) + gate.linear.bias)
        torch.testing.assert_close(gated[item, :, frame], features[item, :, frame] * weights[:, None, None])


def test_space_to_depth_order():
    pixels = torch.randn(1, 3, 4, 6, 2)
    cells = SpaceToDepth()(pixels)
    assert cells.shape == (1, 24, 2, 3, 1)
    for t, h, w, dt, dh, dw, colour in itertools.product(*map(range, (2, 3, 1, 2, 2, 2, 3))):
        channel = ((dt * 2 + dh) * 2 + dw) * 3 + colour
        assert cells[0, channel, t, h, w] == pixels[0, colour, 2 * t + dt, 2 * h + dh, 2 * w + dw]
    assert SpaceToDepth()(pixels[:, :, :3, :5, :1]).shape == cells.shape


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stem": "space_to_depth", "time_local": True}, "excludes time_local; set backbone.stem=plain"),
        ({"stem": "space_to_depth", "temporal_stride": 1}, "excludes a stride of 1; set backbone.stem=plain"),
        ({"stem": "7x7x7"}, "stem must be one of separable, plain, space_to_depth, got '7x7x7'"),
        ({"padding": "mirror"}, "padding must be one of zeros, reflect, got 'mirror'"),
        ({"input": "lab"}, "input must be one of rgb, grey, got 'lab'"),
        ({"blocks": (3, 5, 2)}, r"blocks needs 3 numbers, at least 1 and at most \[2, 5, 2\], got \[3, 5, 2\]"),
        ({"last_stage": 6}, "last_stage must be 1 to 5, got 6"),
        ({"spatial_stride": 12}, "spatial_stride must be one of 1, 2, 4, 8, 16, 32, got 12"),
    ],
)
def test_refusals_name_the_key(changes, message):
    with pytest.raises(ValueError, match=message):
        S3DG(**{**TINY, **changes})
