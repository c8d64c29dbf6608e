import errno
import os
import pickle
import struct

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ssv.backbones.base import Backbone
from ssv.backbones.resnet3d import ResNet3D
from ssv.backbones.s3dg import S3DG
from ssv.training.weights import load_backbone, save_backbone, weights_digest
from tests.backbones import families, published

TINY = {"widths": (4, 4, 8, 8), "blocks": (1, 1, 1, 1), "stem_kernel": (3, 3, 3)}
PROVENANCE = {"name": "speed_prediction-r3d_tiny-toy-x-s0", "steps": 3, "config": {"seed": 0}}


class Outsider(Backbone):
    """A backbone that lives in a user's own package."""

    def __init__(self, *, channels: int = 2) -> None:
        super().__init__()
        self.kwargs = {"channels": channels}
        self.out_channels, self.stride, self.time_local = channels, (1, 1, 1), True
        self.mean, self.std = (0.5,) * 3, (0.5,) * 3
        self.conv = nn.Conv3d(3, channels, 1)

    def forward(self, pixels):
        return self.conv(pixels)


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    backbone = ResNet3D(**TINY).eval()
    save_backbone(tmp_path / "backbone.pt", backbone, PROVENANCE)
    return tmp_path / "backbone.pt", backbone


def refused(path, message, error=ValueError, **arguments):
    with pytest.raises(error, match=message) as caught:
        load_backbone(path, **arguments)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@torch.no_grad()
def test_comes_back_as_it_was(saved):
    path, backbone = saved
    for weights in (path, str(path), path.parent):
        loaded, provenance = load_backbone(weights)
        assert type(loaded) is ResNet3D
        assert loaded.kwargs == backbone.kwargs
        assert provenance == PROVENANCE
        assert weights_digest(loaded) == weights_digest(backbone)
    pixels = torch.randn(1, 3, 4, 32, 32)
    assert torch.equal(loaded.eval()(pixels), backbone(pixels))


def test_is_made_of_plain_values_only(saved):
    content = torch.load(saved[0], weights_only=True)
    assert content.keys() == {"backbone", "state_dict", "provenance"}
    assert content["backbone"] == {"class": "ssv.backbones.resnet3d.ResNet3D", "kwargs": saved[1].kwargs}
    assert content["state_dict"].keys() == saved[1].state_dict().keys()


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_a_full_disk_leaves_the_file_before(saved, monkeypatch, fails):
    path, backbone = saved
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, fails, full)
    with pytest.raises(OSError, match="No space left on device; the file before is kept") as caught:
        save_backbone(path, S3DG(width=0.1, last_stage=1), {})
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_strides_padding_and_stage_may_change(saved):
    path, backbone = saved
    loaded, provenance = load_backbone(path, spatial_stride=8, temporal_stride=1, padding="reflect")
    assert loaded.stride == (1, 8, 8)
    assert weights_digest(loaded) == weights_digest(backbone)
    assert provenance["overrides"] == {"spatial_stride": 8, "temporal_stride": 1, "padding": "reflect"}
    early, provenance = load_backbone(path, last_stage=2, spatial_stride=4)
    assert (early.out_channels, early.stride) == (4, (4, 4, 4))
    assert torch.equal(early.stages[1][0].body[0].conv.weight, backbone.stages[1][0].body[0].conv.weight)
    dropped = [name for name in backbone.state_dict() if name.startswith(("stages.2", "stages.3"))]
    assert provenance["left_out"] == f"{len(dropped)} tensors of the stages after 2"


def test_a_time_local_file_is_inflated(tmp_path):
    backbone = ResNet3D(**TINY, time_local=True)
    save_backbone(tmp_path / "backbone.pt", backbone, {})
    loaded, provenance = load_backbone(tmp_path, time_local=False, last_stage=2)
    assert provenance["inflated"] is True
    thin = backbone.stem.conv.weight
    torch.testing.assert_close(loaded.stem.conv.weight, thin.expand(-1, -1, 3, -1, -1) / 3)
    assert "inflated" not in load_backbone(tmp_path)[1]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"widths": [4, 4, 8, 12]}, r"widths=\[4, 4, 8, 8\].*widths=\[4, 4, 8, 12\].*do not fit.*stages\.3\.0"),
        ({"bottleneck": True}, r"holds ResNet3D\(bottleneck=False\), needed for ResNet3D\(bottleneck=True\)"),
        ({"time_local": True}, r"stem\.conv\.weight, \(4, 3, 3, 3, 3\) in the file, \(4, 3, 1, 3, 3\) needed"),
        ({"input": "grey"}, r"\(4, 3, 3, 3, 3\) in the file, \(4, 1, 3, 3, 3\) needed"),
        ({"blocks": [1, 1, 1, 2], "last_stage": 3}, None),
        ({"blocks": [1, 2, 1, 1], "last_stage": 3}, r"stages\.1\.1.* absent in the file"),
        ({"widht": 3}, "ResNet3D in .* has no argument widht; it has blocks, bottleneck"),
        ({"last_stage": 9}, None),
    ],
    ids=str,
)
def test_what_needs_new_tensors_is_refused(saved, overrides, message):
    if message:
        refused(saved[0], message, **overrides)
    elif overrides["last_stage"] == 9:
        with pytest.raises(ValueError, match="last_stage must be 1 to 4, got 9"):
            load_backbone(saved[0], **overrides)
    else:
        load_backbone(saved[0], **overrides)


def test_fewer_tensors_than_the_file_has_are_refused_too(tmp_path):
    save_backbone(tmp_path / "backbone.pt", S3DG(width=0.1, last_stage=3), {})
    refused(tmp_path / "backbone.pt", r"gating=True.*gating=False.*absent needed", gating=False)
    refused(tmp_path / "backbone.pt", r"absent needed", gating=False, last_stage=2)


def test_a_damaged_file_is_refused(saved):
    path, backbone = saved
    content = torch.load(path, weights_only=True)
    del content["state_dict"]["stem.norm.bias"]
    torch.save(content, path)
    refused(path, r"1 tensors do not fit, the first is stem\.norm\.bias, absent in the file, \(4,\) needed")
    torch.save({**content, "backbone": None}, path)
    refused(path, "damaged backbone.pt")
    save_backbone(path, backbone, {})
    path.write_bytes(path.read_bytes()[:-1000])
    refused(path, "is not a weights file")


def test_not_a_weights_file(tmp_path):
    path = tmp_path / "weights.pt"
    refused(path, "no weights at .*; give a backbone.pt, the folder of a run, or a public file", FileNotFoundError)
    refused(tmp_path, "holds no backbone.pt", FileNotFoundError)
    for content in (b"", b"hello", b"\x80\x04}", struct.pack("<q", 7) * 20, b"PK\x03\x04" + b"\0" * 40):
        path.write_bytes(content)
        refused(path, "is not a weights file")
    torch.save(torch.zeros(3), path)
    refused(path, "holds Tensor, not weights")
    torch.save({"weight": torch.zeros(3)}, path)
    refused(path, "no architecture known here")


def test_a_checkpoint_of_lightning_is_refused_with_the_right_file(tmp_path):
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save({"pytorch-lightning_version": "2.6.0", "state_dict": {}}, folder / "last.ckpt")
    nothing = "the backbone.pt that a run writes at its end"
    refused(folder / "last.ckpt", rf"to resume a run from, not weights; use {nothing}$")
    (tmp_path / "run" / "backbone.pt").touch()
    refused(folder / "last.ckpt", rf"to resume a run from, not weights; use {tmp_path}/run/backbone.pt$")
    ours = {"pytorch-lightning_version": "2.6.0", "state_dict": {"pretext.backbone.stem.conv.weight": torch.zeros(1)}}
    torch.save(ours, folder / "last.ckpt")
    refused(folder / "last.ckpt", rf"to resume a run from, not weights; use {tmp_path}/run/backbone.pt$")
    (folder / "last.ckpt").write_bytes(b"what only Lightning can read")
    refused(folder / "last.ckpt", rf"to resume a run from, use {tmp_path}/run/backbone.pt$")
    (tmp_path / "run" / "backbone.pt").unlink()
    refused(folder / "last.ckpt", rf"to resume a run from, use {nothing}$")


def test_a_checkpoint_of_somebody_elses_lightning_is_a_public_file(tmp_path):
    path = tmp_path / "checkpoints" / "epoch=3.ckpt"
    path.parent.mkdir()
    public = published.weights(families.small_kenshohara_shapes())
    content = {"pytorch-lightning_version": "1.9.0", "state_dict": {f"model.{n}": t for n, t in public.items()}}
    torch.save(content, path)
    backbone, provenance = load_backbone(path)
    assert backbone.kwargs["widths"] == [4, 6, 8, 10]
    assert provenance["receipt"].startswith("kenshohara: ")
    content["state_dict"]["criterion.weight"] = torch.ones(3)
    torch.save(content, path)
    refused(
        path,
        r"beside the network under state_dict\.model there is state_dict\.criterion\.weight; .*entry=state_dict\.mod",
    )
    backbone, provenance = load_backbone(path, entry="state_dict.model")
    assert "3 left out (fc.weight, fc.bias, state_dict.criterion.weight)" in provenance["receipt"]
    assert provenance["entry"] == "state_dict.model"
    torch.save({**content, "state_dict": {"model.weight": torch.ones(3)}}, path)
    refused(path, "holds tensors of no architecture known here")


def test_a_public_file_of_safetensors(tmp_path):
    public = {n: t.float() for n, t in published.weights(families.small_kenshohara_shapes()).items() if t.ndim}
    save_file({f"model.{name}": tensor.contiguous() for name, tensor in public.items()}, tmp_path / "model.safetensors")
    backbone, provenance = load_backbone(tmp_path / "model.safetensors")
    assert torch.equal(backbone.stem.conv.weight, public["conv1.weight"])
    assert "step counters are not in the file" in provenance["receipt"]


def test_a_receipt_says_what_was_assumed_and_not_what_was_given(tmp_path):
    path = tmp_path / "r3d.pth"
    torch.save(published.weights(families.small_kenshohara_shapes()), path)
    receipt = load_backbone(path)[1]["receipt"]
    assert receipt.endswith(
        "; not in the file, assumed as published: stem_stride=1, pool=True, spatial_stride=32, temporal_stride=16, "
        "padding=zeros, mean=[0.4345, 0.4051, 0.3775], std=[0.2768, 0.2713, 0.2737]"
    )
    receipt = load_backbone(path, stem_stride=2, pool=False)[1]["receipt"]
    assert "assumed as published: spatial_stride=32, temporal" in receipt


def test_nothing_in_a_file_is_executed(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    path = tmp_path / "weights.pt"
    for content in (Bomb(), {"backbone": Bomb(), "state_dict": {}, "provenance": {}}):
        torch.save(content, path)
        refused(path, "is not a weights file")
        path.write_bytes(pickle.dumps(content))
        refused(path, "is not a weights file")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["os.system", "ssv.backbones.s3dg.Gate", "ssv.backbones.s3dg.S3DX", "ssv.backbones.x.Y",
                                  "ssv.backbones.converters.base.Receipt", "torch.nn.Linear", "ssv.backbones.s3dg"])  # fmt: skip
def test_only_backbones_of_the_package_are_looked_up(saved, name):
    content = torch.load(saved[0], weights_only=True)
    content["backbone"]["class"] = name
    torch.save(content, saved[0])
    refused(saved[0], rf"{name}, which (is not|this version)")


def test_a_backbone_from_elsewhere_needs_its_class(tmp_path):
    path = tmp_path / "backbone.pt"
    save_backbone(path, Outsider(channels=3), {})
    refused(path, r"Outsider, which is not in ssv\.backbones; pass backbone_class")
    refused(path, r"holds weights of .*Outsider, asked for ssv\.backbones\.s3dg\.S3DG", backbone_class=S3DG)
    loaded, _ = load_backbone(path, backbone_class=Outsider)
    assert loaded.out_channels == 3


def test_a_public_file_is_converted(tmp_path):
    shapes = {k: v for k, v in published.kenshohara_shapes().items() if not k.startswith(("layer3", "layer4"))}
    deep = {"layer3.0", "layer3.1", "layer4.0", "layer4.1"}
    thin = ResNet3D(widths=(64, 128, 4, 4)).state_dict()
    public = published.weights(shapes)
    for block in deep:
        ours = f"stages.{int(block[5]) - 1}.{block[7]}"
        for name, tensor in thin.items():
            if name.startswith(ours):
                layer, _, leaf = name.removeprefix(ours + ".").rpartition(".")
                kind, _, rest = layer.partition(".")
                if kind == "shortcut":
                    public[f"{block}.downsample.{0 if rest == 'conv' else 1}.{leaf}"] = tensor
                else:
                    number, part = rest.split(".")
                    public[f"{block}.{'conv' if part == 'conv' else 'bn'}{int(number) + 1}.{leaf}"] = tensor
    path = tmp_path / "r3d18_K_200ep.pth"
    torch.save({"epoch": 200, "state_dict": {f"module.{name}": tensor for name, tensor in public.items()}}, path)
    backbone, provenance = load_backbone(path, last_stage=2, spatial_stride=4)
    assert backbone.kwargs["widths"] == [64, 128, 4, 4]
    torch.testing.assert_close(backbone.stem.conv.weight.detach(), public["conv1.weight"].float())
    assert provenance["name"] == "r3d18_K_200ep.pth"
    assert provenance["receipt"].startswith("kenshohara: 120 tensors filled, 0 missing, 0 unexpected, 2 left out")
    del public["bn1.weight"]
    torch.save(public, path)
    refused(path, r"r3d18_K_200ep\.pth: these weights do not fill ResNet3D")


def test_digest_changes_with_a_bit_or_a_name_and_with_nothing_else():
    torch.manual_seed(0)
    backbone = ResNet3D(**TINY)
    digest = weights_digest(backbone)
    assert len(digest) == 12
    assert int(digest, 16) >= 0
    same = ResNet3D(**TINY, spatial_stride=8)
    same.load_state_dict(backbone.state_dict())
    assert weights_digest(same.to(memory_format=torch.channels_last_3d)) == digest
    with torch.no_grad():
        same.stem.norm.bias[0] = -0.0  # one bit
    assert weights_digest(same) != digest
    assert weights_digest(ResNet3D(**TINY)) != digest
    renamed = Outsider()
    before = weights_digest(renamed)
    renamed.other = renamed.conv
    del renamed.conv
    assert weights_digest(renamed) != before
    assert len(weights_digest(ResNet3D(**TINY).bfloat16())) == 12
