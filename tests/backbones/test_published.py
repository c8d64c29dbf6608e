"""Numbers that were there before us: parameter counts, and the features of public code with known weights."""

import importlib
from pathlib import Path

import pytest
import torch
import yaml

from ssv.backbones.converters import howto100m, kenshohara
from ssv.backbones.converters.base import convert_public
from ssv.backbones.resnet3d import ResNet3D
from ssv.backbones.s3dg import S3DG
from tests.backbones import published

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
    assert receipt[1:] == (tuple(backbone.state_dict()), (), (), ("fc.weight", "fc.bias"))
    backbone.eval()
    for case in published.FIGURES["kenshohara"]["cases"]:
        features = backbone.pool(backbone.stem(published.clip(case)))
        for number, stage in enumerate(backbone.stages):
            features = stage(features)
            published.check(features, case["stages"][str(number)])
        assert torch.equal(backbone(published.clip(case)), features)
        logits = features.mean((2, 3, 4)) @ weights["fc.weight"].T + weights["fc.bias"]
        published.check(logits, case["outputs"]["output"])


def empty(shapes):
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


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


def test_each_converter_knows_its_own_names_only():
    theirs = {howto100m: published.howto100m_shapes(), kenshohara: published.kenshohara_shapes()}
    for converter in theirs:
        assert [other for other, shapes in theirs.items() if converter.matches(shapes.keys())] == [converter]
    assert convert_public({"weight": torch.zeros(3)}) is None
    assert convert_public(S3DG(width=0.1, last_stage=1).state_dict()) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer2.1.bn1.weight": None}, r"1 missing, 0 unexpected.*; missing stages\.1\.1\.body\.0\.norm\.weight$"),
        ({"layer5.0.conv1.weight": torch.zeros(3)}, r"0 missing, 1 unexpected.*; unexpected layer5\.0\.conv1\.weight$"),
        ({"layer2.1.bn1.weight": torch.zeros(7)}, r"1 missing, 1 unexpected"),
        ({"conv1.weight": torch.zeros(64, 3, 7, 7)}, r"weights of an image network"),
        # type A shortcuts have no tensors
        ({f"layer{i}.0.downsample.0.weight": None for i in (2, 3, 4)}, r"3 missing, 0 unexpected"),
    ],
    ids=["missing", "unexpected", "shape", "image", "shortcut A"],
)
def test_kenshohara_refuses_in_one_line(change, message):
    state = {**empty(published.kenshohara_shapes()), **change}
    with pytest.raises(ValueError, match=message) as caught:
        convert_public({name: tensor for name, tensor in state.items() if tensor is not None})
    assert "\n" not in str(caught.value)


def test_howto100m_refuses_a_file_without_a_gate():
    state = empty(published.howto100m_shapes())
    del state["gating.fc.weight"]
    with pytest.raises(ValueError, match=r"do not fill S3DG.*missing stages\.1\.3\.linear\.weight$"):
        convert_public(state)
