import pytest
import torch
from torch import nn

from ssv.backbones.base import Backbone
from ssv.backbones.c3d import C3D
from ssv.backbones.i3d import I3D
from ssv.backbones.rebuild import rebuilt
from ssv.backbones.resnet3d import ResNet3D
from ssv.backbones.s3dg import S3DG
from ssv.backbones.video_resnet import VideoResNet

R3D = {"widths": (4, 8, 8, 12), "blocks": (1, 1, 1, 1), "stem_kernel": (3, 3, 3)}
S3D = {"width": 0.1, "blocks": (1, 1, 1)}
TINY = {
    "r3d": lambda: ResNet3D(**R3D),
    "time-local": lambda: ResNet3D(**R3D, time_local=True),
    "video": lambda: VideoResNet(widths=(4, 8, 8, 12), blocks=(1, 1, 1, 1)),
    "s3dg": lambda: S3DG(**S3D),
    "s3d": lambda: S3DG(**S3D, gating=False, stem="separable", far_side_pools=False),
    "space to depth": lambda: S3DG(**S3D, stem="space_to_depth"),
    "i3d": lambda: I3D(last_stage=4),
    "c3d": lambda: C3D(last_stage=4),
}


def first_stages(backbone, pixels, count):
    """The map behind stage ``count`` of the whole network."""
    features = pixels
    if hasattr(backbone, "stem"):
        features = backbone.stem(features)
        features = backbone.pool(features) if hasattr(backbone, "pool") else features
    for stage in backbone.stages[:count]:
        features = stage(features)
    return features


@pytest.fixture(params=TINY)
def backbone(request):
    torch.manual_seed(0)
    made = TINY[request.param]()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return made.eval()


@torch.no_grad()
def test_label_propagation_gets_stage_3_at_stride_8(backbone):
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    changed = rebuilt(backbone, {"last_stage": 3, "spatial_stride": 8})
    assert changed.stride[1:] == (8, 8)
    assert len(changed.stages) == 3
    assert changed.kwargs == {**backbone.kwargs, "last_stage": 3, "spatial_stride": 8}
    assert all(torch.equal(tensor, before[name]) for name, tensor in changed.state_dict().items())
    assert set(before) - set(changed.state_dict()) == {
        name for name in before if name.startswith(("stages.3", "stages.4"))
    }
    pixels = torch.randn(1, 3, 4, 40, 48)
    features = changed(pixels)
    assert features.shape[3:] == (5, 6)
    if not isinstance(backbone, ResNet3D):  # stage 3 of those has stride 8 anyway
        assert torch.equal(features, first_stages(backbone, pixels, 3))
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())
    assert backbone.kwargs["last_stage"] > 3


@torch.no_grad()
def test_every_earlier_stage_is_the_one_of_the_whole_network(backbone):
    pixels = torch.randn(1, 3, 4, 33, 48)
    for stage in range(1, len(backbone.stages)):
        changed = rebuilt(backbone, {"last_stage": stage})
        assert changed.out_channels == changed(pixels).shape[1]
        assert torch.equal(changed(pixels), first_stages(backbone, pixels, stage))


@torch.no_grad()
def test_a_denser_map_holds_the_same_numbers_where_no_layer_came_after_the_stride():
    """Stage 4 of a ResNet with stride 1 in its first convolution: at every second cell that convolution is the same."""
    torch.manual_seed(0)
    backbone = ResNet3D(**R3D, time_local=True).eval()
    dense = rebuilt(backbone, {"spatial_stride": 16})
    pixels = torch.randn(1, 3, 1, 64, 64)
    coarse, fine = (first_stages(network, pixels, 3) for network in (backbone, dense))
    assert torch.equal(coarse, fine)
    layers = [network.stages[3][0].body[0] for network in (backbone, dense)]
    torch.testing.assert_close(layers[0](coarse), layers[1](fine)[..., ::2, ::2])
    assert dense(pixels).shape[3:] == (4, 4)


def test_device_dtype_mode_and_random_numbers_are_left_as_they_are():
    backbone = ResNet3D(**R3D).double().eval()
    torch.manual_seed(3)
    expected = torch.randn(2)
    torch.manual_seed(3)
    changed = rebuilt(backbone, {"padding": "reflect"})
    assert torch.equal(torch.randn(2), expected)
    assert not changed.training
    assert {tensor.dtype for tensor in changed.parameters()} == {torch.float64}
    assert changed.stem[0].bias is None
    assert torch.equal(changed.stem[0].weight, backbone.stem[0].weight)
    with torch.no_grad():
        changed.stem[0].weight.zero_()
    assert backbone.stem[0].weight.any()
    assert rebuilt(backbone.train(), {}).training


def test_a_time_local_backbone_may_be_inflated():
    backbone = ResNet3D(**R3D, time_local=True)
    full = rebuilt(backbone, {"time_local": False, "last_stage": 2})
    kernel = backbone.stages[0][0].body[0].conv.weight
    torch.testing.assert_close(full.stages[0][0].body[0].conv.weight, kernel.expand(-1, -1, 3, -1, -1) / 3)


class Outsider(Backbone):
    """A backbone that lives in a user's own package and has no stages to choose from."""

    def __init__(self, *, channels=2):
        super().__init__()
        self.kwargs = {"channels": channels}
        self.out_channels, self.stride, self.time_local = channels, (1, 1, 1), True
        self.mean, self.std = (0.5,) * 3, (0.5,) * 3
        self.conv = nn.Conv3d(3, channels, 1)

    def forward(self, pixels):
        return self.conv(pixels)


@pytest.mark.parametrize(
    ("backbone", "overrides", "message"),
    [
        (lambda: Outsider(), {"last_stage": 3}, "^Outsider in memory has no argument last_stage; it has channels$"),
        (
            lambda: Outsider(),
            {"channels": 3},
            r"memory holds Outsider\(channels=2\), needed for Outsider\(channels=3\): 2 ",
        ),
        (lambda: ResNet3D(**R3D, last_stage=2), {"last_stage": 3}, r"first is stages\.2\.0.*, absent in memory, \("),
        (lambda: ResNet3D(**R3D), {"time_local": True}, r"\(4, 3, 3, 3, 3\) in memory, \(4, 3, 1, 3, 3\) needed"),
        (lambda: ResNet3D(**R3D), {"spatial_stride": 3}, "spatial_stride must be one of 1, 2, 4, 8, 16, 32, got 3"),
        (lambda: S3DG(**S3D), {"widht": 3}, "S3DG in memory has no argument widht; it has gating, stem"),
        (lambda: S3DG(**S3D, stem="space_to_depth"), {"spatial_stride": 1}, "excludes a stride of 1"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(backbone, overrides, message):
    with pytest.raises(ValueError, match=message) as caught:
        rebuilt(backbone(), overrides)
    assert "\n" not in str(caught.value)
