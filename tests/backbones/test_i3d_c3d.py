import math

import pytest
import torch
from torch.nn import functional as F

from ssv.backbones.c3d import C3D, LastPool
from ssv.backbones.i3d import I3D, SameMaxPool3d, same_pads


@pytest.mark.parametrize("make", [I3D, C3D])
@pytest.mark.parametrize("changes", [
    {"temporal_stride": 1}, {"temporal_stride": 2}, {"spatial_stride": 16}, {"spatial_stride": 8}, {"spatial_stride": 1},
    {"padding": "reflect"}, {"input": "grey"}, {"time_local": True, "padding": "reflect"}, {"last_stage": 3},
], ids=str)  # fmt: skip
def test_map_follows_stride_whatever_the_options(make, changes):
    with torch.device("meta"):
        backbone = make(**changes).eval()
        wanted = {"temporal_stride": 8 if make is I3D else 16, "spatial_stride": 32, **changes}
        if "last_stage" in changes:
            assert backbone.stride == ((2, 8, 8) if make is I3D else (4, 8, 8))
        else:
            frames = 1 if "time_local" in changes else wanted["temporal_stride"]
            assert backbone.stride == (frames, wanted["spatial_stride"], wanted["spatial_stride"])
        for size in ((1, 1, 1), (3, 17, 34), (10, 64, 33)):
            cells = [math.ceil(n / s) for n, s in zip(size, backbone.stride)]
            features = backbone(torch.empty(1, len(backbone.mean), *size))
            assert list(features.shape) == [1, backbone.out_channels, *cells], size


@pytest.mark.parametrize(("make", "expected"), [
    (I3D, [(64, (2, 2, 2)), (192, (2, 4, 4)), (480, (2, 8, 8)), (832, (4, 16, 16)), (1024, (8, 32, 32))]),
    (C3D, [(64, (1, 2, 2)), (128, (2, 4, 4)), (256, (4, 8, 8)), (512, (8, 16, 16)), (512, (16, 32, 32))]),
])  # fmt: skip
def test_last_stage(make, expected):
    with torch.device("meta"):
        found = [make(last_stage=stage) for stage in range(1, 6)]
    assert [(backbone.out_channels, backbone.stride) for backbone in found] == expected


@pytest.mark.parametrize("make", [I3D, C3D])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"last_stage": 6}, "last_stage must be 1 to 5, got 6; set backbone.last_stage"),
        ({"padding": "replicate"}, "padding must be one of zeros, reflect"),
        ({"input": "flow"}, "input must be one of rgb, grey"),
        ({"spatial_stride": 12}, "spatial_stride must be one of 1, 2, 4, 8, 16, 32, got 12"),
        ({"temporal_stride": 64}, "temporal_stride must be one of 1, 2, 4, 8"),
    ],
)
def test_refusals_name_the_key(make, changes, message):
    with pytest.raises(ValueError, match=message), torch.device("meta"):
        make(**changes)


def test_same_pads_what_a_window_too_few_needs_and_no_more():
    """As many windows as steps of ``stride`` fit into the axis; the last one ends where axis and padding do."""
    for size in range(1, 20):
        for kernel, stride in ((7, 2), (7, 1), (3, 2), (3, 1), (2, 2), (1, 1), (1, 2)):
            ((before, after),) = same_pads([size], [kernel], [stride])
            starts = range(0, size, stride)
            assert before + after == max(starts[-1] + kernel - size, 0)
            assert after - before in (0, 1)
    features = torch.rand(1, 2, 3, 4, 5)
    assert SameMaxPool3d((3, 3, 3), (2, 2, 2))(features).shape == (1, 2, 2, 2, 3)


def test_without_stride_the_window_of_2_is_gone():
    """It would shift the map by half a cell; the window of 3 stays."""
    with torch.device("meta"):
        for changes, kernels in (({"temporal_stride": 1}, [3, 1]), ({"temporal_stride": 4}, [3, 1]), ({}, [3, 2])):
            assert [stage[0].kernel[0] for stage in I3D(**changes).stages[3:]] == kernels
        assert I3D(spatial_stride=16).stages[4][0].kernel == (2, 1, 1)
        assert C3D(temporal_stride=1, spatial_stride=8).stages[3][-1].kernel == (1, 1, 1)


def test_mirrored_edges_show_no_border():
    """Where every pixel is the same, so is every cell; with zeros the border is seen."""
    still = torch.ones(1, 3, 8, 18, 21)
    for make in (I3D, C3D):
        for padding, same in (("reflect", True), ("zeros", False)):
            with torch.no_grad():
                features = make(padding=padding, last_stage=1).eval()(still)
            spread = (features - features[..., :1, :1, :1]).abs().max() / features.abs().max()
            assert (spread < 1e-5) == same


def test_i3ds_norms():
    with torch.device("meta"):
        norms = [module for module in I3D().modules() if isinstance(module, torch.nn.BatchNorm3d)]
    assert len(norms) == 57
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}


def test_the_last_pool_of_c3d():
    """The original's pads (0, 1, 1); that gives a row too many where rows are even, and only there."""
    pool = LastPool((2, 2, 2), (2, 2, 2))
    for rows, columns in ((7, 7), (3, 5), (1, 9)):
        features = torch.rand(2, 3, 4, rows, columns)
        assert torch.equal(pool(features), F.max_pool3d(features, 2, 2, padding=(0, 1, 1)))
    features = torch.rand(2, 3, 4, 6, 7)
    assert torch.equal(pool(features), F.max_pool3d(features, 2, 2, padding=(0, 0, 1)))
    assert torch.equal(LastPool((1, 1, 1), (1, 1, 1))(features), features)
    assert pool(torch.rand(1, 1, 1, 1, 1)).shape == (1, 1, 1, 1, 1)
