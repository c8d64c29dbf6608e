"""Numbers that were there before us: parameter counts, and the features of public code with known weights."""

import argparse
import importlib
from pathlib import Path

import pytest
import torch
import yaml

from ssv.backbones.converters.base import convert_public
from ssv.backbones.resnet3d import ResNet3D
from ssv.backbones.s3dg import S3DG
from ssv.training.weights import load_backbone
from tests.backbones import families, published

CONF = Path(__file__).parents[2] / "conf" / "backbone"


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def build(name, **changes):
    config = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    module, target = config.pop("_target_").rsplit(".", 1)
    return getattr(importlib.import_module(module), target)(**{**config, **changes})


def head(inputs, classes):
    return inputs * classes + classes


@pytest.mark.parametrize(
    ("name", "changes", "parameters"),
    [
        ("s3d", {}, 8_320_048 - head(1024, 400)),  # kylemin/S3D and torchvision, 400 classes
        ("s3dg", {}, 9_535_072 - head(1024, 400)),  # antoine77340/S3D_HowTo100M without space-to-depth, 400 classes
        ("s3dg", {"stem": "space_to_depth"}, 9_670_800 - head(1024, 512)),  # its public weights
        ("s3dg", {"stem": "separable"}, 9_545_056 - head(1024, 400)),
        ("r3d18", {}, 33_409_104 - head(512, 400)),  # kenshohara/3D-ResNets-PyTorch, 400 classes
        ("r3d34", {}, 63_718_736 - head(512, 400)),
        ("r3d50", {}, 47_018_576 - head(2048, 400)),
        ("i3d", {}, 12_697_264 - head(1024, 400)),  # piergiaj/pytorch-i3d, RGB, 400 classes
        ("c3d", {}, 79_991_015 - head(8192, 4096) - head(4096, 4096) - head(4096, 487)),  # 487 classes
        ("c3d", {}, 27_655_936),
        ("r3d18_torchvision", {}, 33_371_472 - head(512, 400)),  # torchvision, 400 classes
        ("mc3_18", {}, 11_695_440 - head(512, 400)),
        ("r2plus1d18", {}, 31_505_325 - head(512, 400)),
        ("resnet18", {}, 11_689_512 - head(512, 1000)),  # torchvision, 1000 classes
        ("resnet50", {}, 25_557_032 - head(2048, 1000)),
        ("s3dg_tiny", {}, 277_424),  # ours
        ("r3d_tiny", {}, 900_528),
    ],
)
def test_parameter_counts(name, changes, parameters):
    with torch.device("meta"):
        backbone = build(name, **changes)
    assert sum(parameter.numel() for parameter in backbone.parameters()) == parameters


# Ours, float64, weights and input as in `pinned`; they change with any change of what a backbone computes.
PINS = {
    "r3d18": 0.646265544194525,
    "r3d34": 0.7452919199152457,
    "r3d50": 0.5869215351255935,
    "r3d_tiny": 0.42182800287957845,
    "s3d": 0.49416117237026513,
    "s3dg": 0.48955665632039885,
    "s3dg_tiny": 0.5078086708684495,
}


@pytest.mark.parametrize("name", PINS)
@torch.no_grad()
def test_pinned_scalar(name, float64):
    with torch.device("meta"):
        backbone = build(name).eval()
    backbone.to_empty(device="cpu")
    wave = torch.arange(10_007.0).cos()
    for key, tensor in backbone.state_dict().items():
        if tensor.ndim > 1:
            tensor.flatten().copy_(wave.repeat(tensor.numel() // len(wave) + 1)[: tensor.numel()])
            tensor.mul_(2 / tensor[0].numel() ** 0.5)
        else:
            tensor.fill_(key.endswith(("norm.weight", "running_var")))
    pixels = torch.arange(3.0 * 16 * 36 * 36).mul(0.37).sin().view(1, 3, 16, 36, 36)
    features = backbone(pixels)
    assert float(features.mean() / features.std()) == pytest.approx(PINS[name], rel=1e-9)


@pytest.mark.parametrize("case", published.FIGURES["howto100m"]["cases"], ids=lambda case: str(case["input"]["shape"]))
@torch.no_grad()
def test_howto100m_features(case, float64):
    weights = published.weights(published.howto100m_shapes())
    words = {"text_module.fc1.weight": torch.zeros(2048, 300), "text_module.fc1.bias": torch.zeros(2048)}
    backbone, receipt = convert_public({**weights, **words})
    assert receipt[1:4] == (tuple(backbone.state_dict()), (), ())
    assert set(receipt.left_out) == {"fc.weight", "fc.bias", *words}
    assert (backbone.mean, backbone.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    features = published.clip(case)
    for number, stage in enumerate(backbone.eval().stages):
        features = stage(features)
        if str(number) in case["stages"]:
            published.check(features, case["stages"][str(number)])
    assert torch.equal(backbone(published.clip(case)), features)
    pooled = features.mean((2, 3, 4))
    published.check(pooled, case["outputs"]["mixed_5c"])
    published.check(pooled @ weights["fc.weight"].T + weights["fc.bias"], case["outputs"]["video_embedding"])


@torch.no_grad()
def test_kenshohara_features(float64):
    weights = published.weights(published.kenshohara_shapes())
    saved = {f"module.{name}": tensor for name, tensor in weights.items()}  # as DataParallel saves it
    backbone, receipt = convert_public({"epoch": 200, "arch": "resnet-18", "state_dict": saved})
    assert receipt[1:6] == (tuple(backbone.state_dict()), (), (), ("fc.weight", "fc.bias"), ())
    backbone.eval()
    for case in published.FIGURES["kenshohara"]["cases"]:
        features = backbone.pool(backbone.stem(published.clip(case)))
        for number, stage in enumerate(backbone.stages):
            features = stage(features)
            published.check(features, case["stages"][str(number)])
        assert torch.equal(backbone(published.clip(case)), features)
        logits = features.mean((2, 3, 4)) @ weights["fc.weight"].T + weights["fc.bias"]
        published.check(logits, case["outputs"]["output"])


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case, marks=pytest.mark.slow if case["input"]["shape"][2] == 16 else (), id=str(case["input"]["shape"])
        )
        for case in published.FIGURES["torchvision_r3d_18"]["cases"]
    ],
)
@torch.no_grad()
def test_torchvision_r3d_18_features(case, float64, r3d_18):
    weights, backbone = r3d_18
    features, stages = with_stages(backbone, published.clip(case))
    for number, stage in enumerate(stages):
        published.check(stage, case["stages"][str(number)])
    assert torch.equal(stages[3], features)
    logits = features.mean((2, 3, 4)) @ weights["fc.weight"].T + weights["fc.bias"]
    published.check(logits, case["outputs"]["output"])


def with_stages(backbone, pixels):
    """The map, and the one behind every stage."""
    seen = []
    hooks = [stage.register_forward_hook(lambda *call: seen.append(call[-1])) for stage in backbone.stages]
    features = backbone(pixels)
    for hook in hooks:
        hook.remove()
    return features, seen


@pytest.fixture(scope="module")
def r3d_18():
    """The file and its backbone."""
    torch.set_default_dtype(torch.float64)
    weights = published.weights(families.FAMILIES["r3d_18"][1])
    assert len(weights) == published.FIGURES["torchvision_r3d_18"]["tensors"]
    backbone = convert_public(weights)[0].eval()
    torch.set_default_dtype(torch.float32)
    return weights, backbone


VIDEOWALK = {
    "train (layer4 kept, head_depth 0)": (families.videowalk_shapes(), {}),
    "test (layer4 removed, head_depth -1)": (families.videowalk_shapes(stages=3, head=()), {}),
    "zero padding variant (model_type scratch_zeropad)": (families.videowalk_shapes(), {"padding": "zeros"}),
    "head_depth 1": (families.videowalk_shapes(head=((512, 512), (128, 512))), {}),
}


@pytest.mark.parametrize("model", published.FIGURES["videowalk"]["models"], ids=lambda model: model["label"])
@torch.no_grad()
def test_videowalk_features(model, float64, tmp_path):
    shapes, overrides = VIDEOWALK[model["label"]]
    assert (len(shapes), families.parameters(shapes)) == (model["tensors"], model["parameters"])
    weights = published.weights(shapes)
    torch.save({"model": weights, "epoch": 25, "args": argparse.Namespace(lr=1e-4)}, tmp_path / "pretrained.pth")
    backbone, provenance = load_backbone(tmp_path / "pretrained.pth", **overrides)
    assert provenance["receipt"].startswith(f"videowalk: {len(backbone.state_dict())} tensors filled, 0 missing")
    assert (backbone.stride, backbone.kwargs["padding"]) == ((1, 8, 8), overrides.get("padding", "reflect"))
    backbone.eval()
    for case in model["cases"]:
        if "what" in case:
            nodes, maps = as_nodes(backbone, weights, published.clip(case))
            published.check(nodes, case["outputs"]["q_BxCxTxN"])
            published.check(maps, case["outputs"]["maps"])
            continue
        features, stages = with_stages(backbone, published.clip(case))
        for number, stage in enumerate(stages):
            published.check(stage.transpose(1, 2).flatten(0, 1), case["stages"][str(number)])
        published.check(features, case["outputs"]["feature_map"])


@torch.no_grad()
def test_timecycle_features(float64, tmp_path):
    """Features of stage 3, and what its own projection to 512 channels makes of them."""
    figures = published.FIGURES["timecycle"]
    shapes = families.timecycle_shapes()
    assert (len(shapes), families.parameters(shapes)) == (figures["tensors"], figures["parameters"])
    weights = published.weights(shapes)
    saved = {f"module.{name}": tensor for name, tensor in weights.items()}
    torch.save({"epoch": 14, "state_dict": saved, "optimizer": {"state": {}}}, tmp_path / "checkpoint_14.pth.tar")
    backbone, provenance = load_backbone(tmp_path / "checkpoint_14.pth.tar")
    assert provenance["receipt"].startswith("timecycle: 258 tensors filled, 0 missing, 0 unexpected, 65 left out (")
    assert (backbone.stride, backbone.out_channels, backbone.time_local) == ((1, 8, 8), 1024, True)
    for case in figures["cases"]:
        features, stages = with_stages(backbone.eval(), published.clip(case))
        for number, stage in enumerate(stages):
            published.check(stage, case["stages"][str(number)])
        projected = torch.nn.functional.conv3d(features, weights["afterconv1.weight"]).relu()
        published.check(projected, case["outputs"]["feat512"])


def as_nodes(backbone, weights, pixels):
    """(B,N,C,T,H,W) patches, or one whole frame whose cells are the nodes: (B,C,T,N) and maps (B,N,C,T,h,w)."""
    maps = torch.stack([backbone(patch) for patch in pixels.unbind(1)], dim=1)
    if pixels.shape[1] == 1:
        maps = maps[:, 0].flatten(3).movedim(3, 1)[..., None, None]
    nodes = maps.mean((4, 5)).transpose(2, 3)  # (B,N,T,C)
    for layer in (0, 2):
        if f"selfsim_fc.{layer}.weight" in weights:
            nodes = nodes.relu() if layer else nodes
            nodes = nodes @ weights[f"selfsim_fc.{layer}.weight"].T + weights[f"selfsim_fc.{layer}.bias"]
    return torch.nn.functional.normalize(nodes, dim=3).permute(0, 3, 2, 1), maps


@pytest.mark.parametrize("blocks", [(2, 2, 2, 2), (3, 4, 6, 3)])
@pytest.mark.parametrize("bottleneck", [False, True])
def test_kenshohara_depth_is_read_from_the_tensors(blocks, bottleneck):
    """The names of a deeper network, written from our own ones by the public rule."""
    widths = (4, 8, 8, 12)
    ours = ResNet3D(blocks=blocks, bottleneck=bottleneck, widths=widths, stem_kernel=(3, 5, 5))
    layers = {"stem.conv": "conv1", "stem.norm": "bn1"}
    for stage, count in enumerate(blocks):
        for block in range(count):
            for i in range(3):
                layers[f"stages.{stage}.{block}.body.{i}.conv"] = f"layer{stage + 1}.{block}.conv{i + 1}"
                layers[f"stages.{stage}.{block}.body.{i}.norm"] = f"layer{stage + 1}.{block}.bn{i + 1}"
            layers[f"stages.{stage}.{block}.shortcut.conv"] = f"layer{stage + 1}.{block}.downsample.0"
            layers[f"stages.{stage}.{block}.shortcut.norm"] = f"layer{stage + 1}.{block}.downsample.1"
    public = {}
    for name, tensor in ours.state_dict().items():
        layer, _, leaf = name.rpartition(".")
        public[f"{layers[layer]}.{leaf}"] = tensor
    backbone, _ = convert_public(public)
    assert backbone.kwargs == ours.kwargs
    assert all(torch.equal(tensor, ours.state_dict()[name]) for name, tensor in backbone.state_dict().items())


def test_what_nobody_knows():
    assert convert_public({"weight": torch.zeros(3)}) is None
    assert convert_public(S3DG(width=0.1, last_stage=1).state_dict()) is None
    assert convert_public({"state_dict": None}) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer2.1.bn1.weight": None}, r"1 missing, 0 unexpected.*; missing stages\.1\.1\.body\.0\.norm\.weight$"),
        ({"layer5.0.conv1.weight": torch.zeros(3)}, r"0 missing, 1 unexpected.*; unexpected layer5\.0\.conv1\.weight$"),
        (
            {"layer2.1.bn1.weight": torch.zeros(7)},
            r"0 missing, 0 unexpected.*; wrong shape: layer2\.1\.bn1\.weight is \(7,\), needed \(128,\)$",
        ),
        (
            {"conv1.weight": torch.zeros(64, 3, 7, 7)},
            r"^wrong shape: conv1\.weight is \(64, 3, 7, 7\), a kernel of 3 dimensions is needed$",
        ),
        # type A shortcuts have no tensors
        ({f"layer{i}.0.downsample.0.weight": None for i in (2, 3, 4)}, r"3 missing, 0 unexpected"),
    ],
    ids=["missing", "unexpected", "shape", "image", "shortcut A"],
)
def test_kenshohara_refuses_in_one_line(change, message):
    state = {**families.blank(published.kenshohara_shapes()), **change}
    with pytest.raises(ValueError, match=message) as caught:
        convert_public({name: tensor for name, tensor in state.items() if tensor is not None})
    assert "\n" not in str(caught.value)


def test_howto100m_refuses_a_file_without_a_gate():
    state = families.blank(published.howto100m_shapes())
    del state["gating.fc.weight"]
    with pytest.raises(ValueError, match=r"do not fill S3DG.*missing stages\.1\.3\.linear\.weight$"):
        convert_public(state)
