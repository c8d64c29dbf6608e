import math

import pytest
import torch

from ssv.backbones.video_resnet import VideoResNet, middle_width

TINY = {"widths": (4, 4, 8, 8), "blocks": (1, 1, 1, 1)}
MIXED = {"convs": ("3d", "2d", "2d", "2d"), "temporal_stride": 1}
SPLIT = {"convs": ("2plus1d",) * 4, "stem": "separable"}


@pytest.mark.parametrize("changes", [
    {}, {"temporal_stride": 1}, {"temporal_stride": 2}, {"spatial_stride": 8}, {"spatial_stride": 1}, {"padding": "reflect"},
    {"input": "grey"}, {"time_local": True}, MIXED, {**MIXED, "padding": "reflect", "spatial_stride": 4}, SPLIT,
    {**SPLIT, "temporal_stride": 2}, {**SPLIT, "time_local": True}, {"convs": ("2d", "2plus1d", "2d", "3d"), "temporal_stride": 4},
    {"convs": ("2d", "2d", "2d", "3d"), "temporal_stride": 2},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("size", [(1, 1, 1), (3, 17, 34), (9, 33, 20)], ids=str)
@torch.no_grad()
def test_map_follows_stride_whatever_the_options(changes, size):
    backbone = VideoResNet(**{**TINY, **changes}).eval()
    wanted = {"temporal_stride": 8, "spatial_stride": 16, "time_local": False, **changes}
    frames = 1 if wanted["time_local"] else wanted["temporal_stride"]
    assert backbone.stride == (frames, wanted["spatial_stride"], wanted["spatial_stride"])
    cells = [math.ceil(n / s) for n, s in zip(size, backbone.stride)]
    features = backbone(torch.randn(1, len(backbone.mean), *size))
    assert list(features.shape) == [1, 8, *cells]
    assert torch.isfinite(features).all()


@pytest.mark.parametrize(("last_stage", "channels", "stride"), [
    (1, 64, (1, 2, 2)), (2, 128, (2, 4, 4)), (3, 256, (4, 8, 8)), (4, 512, (8, 16, 16)),
])  # fmt: skip
def test_last_stage(last_stage, channels, stride):
    with torch.device("meta"):
        backbone = VideoResNet(last_stage=last_stage)
    assert (backbone.out_channels, backbone.stride, len(backbone.stages)) == (channels, stride, last_stage)


def test_middle_widths_of_r2plus1d_18_are_torchvisions():
    with torch.device("meta"):
        backbone = VideoResNet(**SPLIT)
    found = [[block.body[i].conv.out_channels for block in stage for i in (0, 2)] for stage in backbone.stages]
    assert found == [[144] * 4, [230, 230, 288, 288], [460, 460, 576, 576], [921, 921, 1152, 1152]]
    assert backbone.stem[0].conv.out_channels == 45


@pytest.mark.parametrize(("inputs", "outputs"), [(64, 64), (64, 128), (5, 9)])
def test_two_convolutions_have_at_most_the_parameters_of_one(inputs, outputs):
    def parameters(middle):
        return inputs * middle * 9 + middle * outputs * 3

    middle = middle_width(inputs, outputs)
    assert parameters(middle) <= inputs * outputs * 27 < parameters(middle + 1)


def test_stages_of_images_keep_every_frame():
    with torch.device("meta"):
        backbone = VideoResNet(**MIXED)
    strides = [stage[0].body[0].conv.stride for stage in backbone.stages]
    assert strides == [(1, 1, 1), (1, 2, 2), (1, 2, 2), (1, 2, 2)]
    assert [stage[0].body[0].conv.kernel_size[0] for stage in backbone.stages] == [3, 1, 1, 1]


def test_options_change_no_tensor_names():
    for base in ({}, SPLIT):
        shapes = {name: tensor.shape for name, tensor in VideoResNet(**TINY, **base).state_dict().items()}
        for changes in ({"temporal_stride": 1}, {"spatial_stride": 8}, {"padding": "reflect"}):
            changed = VideoResNet(**TINY, **base, **changes).state_dict()
            assert {name: tensor.shape for name, tensor in changed.items()} == shapes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"convs": ("3d", "3d", "3d")},
            r"convs needs 4 of 3d, 2d, 2plus1d, got \['3d', '3d', '3d'\]; set backbone.convs",
        ),
        ({"convs": ("3d", "3d", "3d", "4d")}, "convs needs 4 of"),
        ({"stem": "wide"}, "stem must be one of plain, separable, got 'wide'"),
        ({"blocks": (1, 1, 1, 0)}, "blocks needs 4 positive numbers"),
        ({"last_stage": 5}, "last_stage must be 1 to 4, got 5"),
        ({"spatial_stride": 32}, "spatial_stride must be one of 1, 2, 4, 8, 16, got 32"),
        ({"convs": ("3d", "2d", "2d", "2d"), "temporal_stride": 2}, "temporal_stride must be one of 1, got 2"),
        ({"padding": "replicate"}, "padding must be one of zeros, reflect"),
        ({"input": "flow"}, "input must be one of rgb, grey"),
    ],
)
def test_refusals_name_the_key(changes, message):
    with pytest.raises(ValueError, match=message):
        VideoResNet(**{**TINY, **changes})
