import pytest
import torch
from torch import nn

from ssv.backbones.c3d import C3D
from ssv.backbones.i3d import I3D
from ssv.backbones.inflate import inflate
from ssv.backbones.resnet3d import ResNet3D
from ssv.backbones.s3dg import S3DG
from ssv.backbones.video_resnet import VideoResNet

S3D_TINY = {"width": 0.1, "blocks": (1, 1, 1)}
VIDEO_TINY = {"widths": (4, 8, 8, 8), "blocks": (1, 1, 1, 1)}
R3D_TINY = {"widths": (4, 8, 8, 8), "blocks": (1, 1, 1, 1), "stem_kernel": (7, 3, 3)}


def trained(backbone):
    """Statistics, scales and gates that are not those of a fresh network."""
    torch.manual_seed(0)
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight)
    return backbone.eval().double()


@pytest.mark.parametrize(
    "backbone",
    [
        S3DG(**S3D_TINY, time_local=True, padding="reflect"),
        S3DG(**S3D_TINY, time_local=True, padding="reflect", stem="separable", far_side_pools=False),
        ResNet3D(**R3D_TINY, time_local=True, padding="reflect"),
        ResNet3D(**{**R3D_TINY, "bottleneck": True}, time_local=True, padding="reflect", spatial_stride=8),
        VideoResNet(**VIDEO_TINY, time_local=True, padding="reflect"),
        VideoResNet(**VIDEO_TINY, convs=["2plus1d"] * 4, stem="separable", time_local=True, padding="reflect"),
        I3D(last_stage=3, time_local=True, padding="reflect"),
        C3D(last_stage=3, time_local=True, padding="reflect"),
    ],
    ids=["s3dg", "s3dg separable", "r3d", "r3d bottleneck", "video", "r2plus1d", "i3d", "c3d"],
)
@torch.no_grad()
def test_a_video_that_does_not_move_gives_the_same_features_in_3d(backbone):
    trained(backbone)
    full = inflate(backbone)
    still = torch.randn(2, 3, 1, 40, 33, dtype=torch.float64).expand(-1, -1, 18, -1, -1)
    features = full(still)
    assert not full.time_local
    assert full.kwargs == {**backbone.kwargs, "time_local": False}
    torch.testing.assert_close(features, backbone(still)[:, :, : features.shape[2]], rtol=1e-9, atol=1e-12)


@torch.no_grad()
def test_with_zero_padding_the_interior_is_the_same():
    backbone = trained(ResNet3D(**{**R3D_TINY, "stem_kernel": (3, 3, 3)}, time_local=True, temporal_stride=1))
    full = inflate(backbone)
    reach = 1 + 1 + 8  # stem, pool, two convolutions in each of four blocks
    still = torch.randn(1, 3, 1, 20, 20, dtype=torch.float64).expand(-1, -1, 2 * reach + 3, -1, -1)
    thick, thin = full(still), backbone(still)
    torch.testing.assert_close(thick[:, :, reach:-reach], thin[:, :, reach:-reach], rtol=1e-9, atol=1e-12)
    assert not torch.allclose(thick[:, :, 0], thin[:, :, 0])


def test_kernels_are_shared_evenly_and_the_original_is_left_alone():
    backbone = ResNet3D(**R3D_TINY, time_local=True)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    full = inflate(backbone.train())
    assert full.training
    assert full.stem.conv.weight.shape[2] == 7
    for frame in range(7):
        torch.testing.assert_close(full.stem.conv.weight[:, :, frame], before["stem.conv.weight"][:, :, 0] / 7)
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())


def test_refuses_what_sees_time_already():
    with pytest.raises(ValueError, match="inflate needs a time-local backbone, got ResNet3D"):
        inflate(ResNet3D(**R3D_TINY))
