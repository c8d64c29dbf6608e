"""Public files: every family is claimed by one converter, filled completely, and computes what it computed at home."""

import importlib
import pkgutil

import pytest
import torch

import ssv.backbones.converters
from ssv.backbones.converters import i3d as i3d_converter
from ssv.backbones.converters.base import COUNTER, IMAGENET_MEAN, IMAGENET_STD, convert_public
from ssv.training.weights import load_backbone
from tests.backbones import families, published, restated
from tests.backbones.families import FAMILIES
from tests.oracles import draw

KINETICS = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
SIGNED, AS_IS = ((0.5,) * 3, (0.5,) * 3), ((0.0,) * 3, (1.0,) * 3)
IMAGENET = (IMAGENET_MEAN, IMAGENET_STD)

# parameters (without the classifier), the statistics that pixels are normalised with, the names left out
EXPECTED = {
    "howto100m": (9_670_800 - 1024 * 512 - 512, AS_IS, {"fc", "text_module"}),
    "kenshohara": (33_203_904, ((0.4345, 0.4051, 0.3775), (0.2768, 0.2713, 0.2737)), {"fc"}),
    "r3d_18": (33_371_472 - 512 * 400 - 400, KINETICS, {"fc"}),
    "mc3_18": (11_695_440 - 512 * 400 - 400, KINETICS, {"fc"}),
    "r2plus1d_18": (31_505_325 - 512 * 400 - 400, KINETICS, {"fc"}),
    "s3d kylemin": (7_910_048, SIGNED, {"fc"}),
    "s3d torchvision": (7_910_048, KINETICS, {"classifier"}),
    "i3d": (12_287_264, SIGNED, {"logits"}),
    "c3d davidea": (27_655_936, ((0.0,) * 3, (1 / 255,) * 3), {"fc6", "fc7", "fc8"}),
    "c3d mmaction2": (27_655_936, ((104 / 255, 117 / 255, 128 / 255), (1 / 255,) * 3), {"fc6", "fc7"}),
    "c3d mmaction2 trained": (
        27_655_936,
        ((104 / 255, 117 / 255, 128 / 255), (1 / 255,) * 3),
        {"backbone.fc6", "backbone.fc7", "cls_head"},
    ),
    "resnet18": (11_689_512 - 512 * 1000 - 1000, IMAGENET, {"fc"}),
    "resnet34": (21_797_672 - 512 * 1000 - 1000, IMAGENET, {"fc"}),
    "resnet50": (25_557_032 - 2048 * 1000 - 1000, IMAGENET, {"fc"}),
    "backbone.": (11_176_512, IMAGENET, {"head"}),
    "vfs": (11_176_512, IMAGENET, {"img_head"}),
    "moco": (23_508_032, IMAGENET, {"encoder_k", "encoder_q.fc", "queue", "queue_ptr"}),
    "videowalk train": (11_242_176 - 512 * 128 - 128, IMAGENET, {"selfsim_fc"}),
    "videowalk test": (2_782_784, IMAGENET, set()),
    "videowalk old": (11_176_512, IMAGENET, {"selfsim_fc"}),
    "timecycle": (
        8_543_296,
        IMAGENET,
        {"afterconv1", "afterconv3_trans", "afterconv4_trans", "encoderVideo.layer4", "linear2"},
    ),
}


@pytest.fixture(autouse=True)
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def converters():
    names = [module.name for module in pkgutil.iter_modules(ssv.backbones.converters.__path__)]
    return {name: importlib.import_module(f"ssv.backbones.converters.{name}") for name in names if name != "base"}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_is_claimed_by_exactly_one_converter(family):
    owner, shapes = FAMILIES[family]
    state = families.blank(shapes)
    assert [name for name, converter in converters().items() if converter.matches(state)] == [owner]


def test_every_converter_has_a_family_here():
    assert set(converters()) == {owner for owner, _ in FAMILIES.values()}
    assert set(EXPECTED) == set(FAMILIES)


@pytest.fixture(scope="module", params=FAMILIES)
def converted(request):
    """(family, shapes of its file, backbone, receipt); the file was saved from DataParallel."""
    _, shapes = FAMILIES[request.param]
    state = {f"module.{name}": tensor for name, tensor in families.blank(shapes).items()}
    return request.param, shapes, *convert_public({"epoch": 3, "state_dict": state})


def test_every_tensor_is_filled_and_what_is_left_out_is_named(converted):
    family, shapes, backbone, receipt = converted
    count, _, left_out = EXPECTED[family]
    assert receipt[1:4] == (tuple(backbone.state_dict()), (), ())
    assert sum(parameter.numel() for parameter in backbone.parameters()) == count
    assert {next(n for n in left_out if name == n or name.startswith(f"{n}.")) for name in receipt.left_out} == left_out
    assert len(receipt.matched) + len(receipt.left_out) == len(shapes)
    assert receipt.counters == ()
    assert not any(tensor.any() for tensor in backbone.state_dict().values())


def test_normalisation_comes_along(converted):
    family, _, backbone, _ = converted
    assert (tuple(backbone.mean), tuple(backbone.std)) == EXPECTED[family][1]
    assert backbone.time_local == (FAMILIES[family][0] in ("image_resnet", "timecycle", "videowalk"))


def test_a_file_with_one_tensor_missing_is_refused_in_one_line(converted):
    family, shapes, _, receipt = converted
    kept = [name for name in shapes if name not in receipt.left_out]
    for name in (kept[0], kept[len(kept) // 4], kept[len(kept) // 2], kept[-2], kept[-1]):
        with pytest.raises(ValueError, match=r"do not fill|lack (conv1\.weight|layer1\.0\.conv1\.weight)") as caught:
            convert_public(families.blank({key: shape for key, shape in shapes.items() if key != name}))
        assert "\n" not in str(caught.value), name


def test_a_tensor_of_a_wrong_shape_is_called_that(converted):
    family, shapes, _, receipt = converted
    kept = [name for name in shapes if name not in receipt.left_out and shapes[name]]
    for name in (kept[0], kept[len(kept) // 2], kept[-1]):
        with pytest.raises(ValueError, match=r"wrong shape: \S+ is \(7,\), (needed \(\d+|a kernel)") as caught:
            convert_public(families.blank({**shapes, name: (7,)}))
        assert "\n" not in str(caught.value), name


def test_whole_numbers_do_not_fill_weights(converted):
    family, shapes, _, receipt = converted
    kept = [name for name in shapes if name not in receipt.left_out and shapes[name]]
    for name in (kept[0], kept[len(kept) // 2]):
        state = {**families.blank(shapes), name: torch.zeros((), dtype=torch.int8).expand(shapes[name])}
        with pytest.raises(ValueError, match=r"wrong type: \S+ is \(.*\) of int8, needed \("):
            convert_public(state)


@pytest.mark.parametrize("family", ["kenshohara", "resnet18", "vfs", "videowalk train", "timecycle"])
def test_a_resnet_without_its_first_block_is_refused_in_one_line(family):
    shapes = FAMILIES[family][1]
    first = next(name for name in shapes if "layer1.0.conv1." in name)
    state = families.blank({name: shape for name, shape in shapes.items() if name != first})
    with pytest.raises(ValueError, match=r"these weights of a ResNet lack layer1\.0\.conv1\.weight"):
        convert_public(state)


@pytest.mark.parametrize(
    ("family", "name"),
    [("resnet18", "layer5.0.conv1.weight"), ("vfs", "momentum_backbone.conv1.conv.weight"), ("moco", "predictor.0.weight"),
     ("videowalk train", "encoder.layer1.0.conv1.weight"), ("videowalk train", "layer1.0.conv1.weight"),
     ("i3d", "Mixed_5d.b0.conv3d.weight"), ("c3d davidea", "conv6.weight"), ("r3d_18", "stem.3.bias"),
     ("s3d kylemin", "base.7.conv.weight"), ("s3d torchvision", "features.0.2.0.weight")],
)  # fmt: skip
def test_a_tensor_that_nobody_knows_is_refused(family, name):
    with pytest.raises(ValueError, match=rf"0 missing, 1 unexpected.*; unexpected {name}$"):
        convert_public(families.blank({**FAMILIES[family][1], name: (3,)}))


@pytest.mark.parametrize(
    ("family", "name", "shape"),
    [("vfs", "backbone.conv1.weight", (64, 3, 7, 7)), ("videowalk train", "encoder.model.conv1.1.weight", (64, 3, 7, 7)),
     ("c3d davidea", "conv1a.conv.weight", (64, 3, 3, 3, 3)), ("s3d kylemin", "features.2.0.weight", (64, 64, 1, 1, 1))],
)  # fmt: skip
def test_two_tensors_for_one_place_are_refused(family, name, shape):
    with pytest.raises(ValueError, match=rf"0 missing, 1 unexpected.*; unexpected {name}$"):
        convert_public(families.blank({**FAMILIES[family][1], name: shape}))


@pytest.mark.parametrize(
    ("family", "prefix"), [("vfs", "backbone."), ("moco", "encoder_q."), ("videowalk train", "encoder.model.")]
)
def test_a_tensor_outside_the_encoder_does_not_fill_it(family, prefix):
    shapes = dict(FAMILIES[family][1])
    name = next(name for name in shapes if name.startswith(f"{prefix}layer2.0.downsample."))
    shapes[name.removeprefix(prefix)] = shapes.pop(name)
    with pytest.raises(ValueError, match=r"1 missing, 1 unexpected"):
        convert_public(families.blank(shapes))


def test_old_files_without_step_counters_are_filled_and_say_so():
    shapes = FAMILIES["resnet18"][1]
    state = families.blank({name: shape for name, shape in shapes.items() if not name.endswith(COUNTER)})
    backbone, receipt = convert_public(state)
    assert receipt[1:4] == (tuple(backbone.state_dict()), (), ())
    assert str(receipt) == (
        "image_resnet: 120 tensors filled, 0 missing, 0 unexpected, 2 left out (fc.weight, fc.bias), "
        "20 step counters are not in the file and 0; not in the file, assumed as published: pool=True, spatial_stride=32, "
        "padding=zeros, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]"
    )
    assert "counters" not in str(convert_public(families.blank(shapes))[1])


def test_the_flow_stream_of_i3d_is_refused():
    with pytest.raises(
        ValueError, match=r"^these are weights of I3D's flow stream \(2 input channels\); use those of RGB"
    ):
        i3d_converter.convert(families.blank(families.i3d_shapes(channels=2)))


@pytest.mark.parametrize(
    ("shapes", "count"),
    [
        (FAMILIES["r3d_18"][1], 33_371_472),
        (FAMILIES["mc3_18"][1], 11_695_440),
        (FAMILIES["r2plus1d_18"][1], 31_505_325),
        (FAMILIES["s3d kylemin"][1], 8_320_048),
        (FAMILIES["s3d torchvision"][1], 8_320_048),
        (FAMILIES["i3d"][1], 12_697_264),
        (families.i3d_shapes(channels=2), 12_675_312),
        (FAMILIES["c3d davidea"][1], 79_991_015),
        (FAMILIES["resnet18"][1], 11_689_512),
        (FAMILIES["resnet34"][1], 21_797_672),
        (FAMILIES["resnet50"][1], 25_557_032),
    ],
)
def test_the_names_written_down_here_have_the_published_number_of_parameters(shapes, count):
    assert families.parameters(shapes) == count


def test_number_of_entries():
    assert [len(FAMILIES[name][1]) for name in ("r3d_18", "mc3_18", "r2plus1d_18")] == [122, 122, 224]


def drawn(family):
    """The file of a family, its weights drawn by name; what is left out is blank."""
    shapes = FAMILIES[family][1]
    left_out = tuple(EXPECTED[family][2])
    kept = {name: shape for name, shape in shapes.items() if not name.startswith(left_out)}
    return {**families.blank(shapes), **published.weights(kept)}


def same(features, expected):
    assert features.shape == expected.shape
    assert float((features - expected).abs().max()) < 1e-9 * float(expected.abs().max())


@pytest.mark.parametrize(
    ("family", "network", "size"),
    [
        ("mc3_18", restated.video_resnet, (2, 3, 3, 32, 48)),
        ("r2plus1d_18", restated.video_resnet, (1, 3, 8, 32, 40)),
        ("i3d", restated.i3d, (1, 3, 9, 33, 64)),
        ("i3d", restated.i3d, (1, 3, 16, 64, 50)),
        ("s3d kylemin", restated.s3d, (1, 3, 8, 64, 32)),
        ("c3d davidea", restated.c3d, (1, 3, 16, 48, 16)),  # 3 rows and 1 column reach the last pool
    ],
)
@torch.no_grad()
def test_computes_what_the_definition_says(family, network, size):
    state = drawn(family)
    pixels = torch.from_numpy(draw(5, size, "clip"))
    features = convert_public(state)[0].eval()(pixels)
    expected = network(state, pixels)
    same(features, expected)


@pytest.mark.parametrize("size", [(1, 3, 9, 50, 39), (1, 3, 6, 33, 40)], ids=str)
@pytest.mark.parametrize(("stem_stride", "pool"), [(1, True), (2, True), (1, False), (2, False), (3, False)])
@torch.no_grad()
def test_the_options_of_kenshohara_that_leave_no_trace_in_a_file(tmp_path, stem_stride, pool, size):
    shapes = families.small_kenshohara_shapes()
    torch.save({"state_dict": published.weights(shapes)}, tmp_path / "r3d.pth")
    backbone, provenance = load_backbone(tmp_path / "r3d.pth", stem_stride=stem_stride, pool=pool)
    pixels = torch.from_numpy(draw(8, size, "clip"))
    options = {"conv1_t_stride": stem_stride, "no_max_pool": not pool}
    features = backbone.eval()(pixels)
    same(features, restated.kenshohara(published.weights(shapes), pixels, **options))
    assert list(features.shape[2:]) == [-(-n // s) for n, s in zip(size[2:], backbone.stride)]
    spatial, temporal = (32, 16) if pool else (16, 8)
    assert backbone.stride == (stem_stride * temporal, spatial, spatial)
    assert provenance["overrides"] == {"stem_stride": stem_stride, "pool": pool}


@torch.no_grad()
def test_torchvisions_s3d_is_kylemins_with_other_names():
    theirs = drawn("s3d kylemin")
    layers = {"conv_s": "0.0", "bn_s": "0.1", "conv_t": "1.0", "bn_t": "1.1", "conv": "0", "bn": "1"}
    state = {}
    for name, tensor in theirs.items():
        *place, layer, leaf = name.split(".")
        if layer in layers:
            place = ["features", *place[1:]]
            if place[2:] == ["branch0", "0"]:
                place.pop()
            state[".".join([*place, layers[layer], leaf])] = tensor
    head = {f"classifier.1.{leaf}": theirs[f"fc.0.{leaf}"] for leaf in ("weight", "bias")}
    assert set(state) | set(head) == set(FAMILIES["s3d torchvision"][1])
    pixels = torch.from_numpy(draw(6, (1, 3, 8, 32, 32), "clip"))
    ours = [convert_public(file)[0].eval()(pixels) for file in (theirs, {**state, **head})]
    assert torch.equal(*ours)


@pytest.mark.parametrize("family", ["resnet34", "resnet50"])
@torch.no_grad()
def test_image_networks_see_frame_by_frame_what_the_definition_says(family):
    state = drawn(family)
    pixels = torch.from_numpy(draw(7, (1, 3, 2, 40, 64), "clip"))
    features = convert_public(state)[0].eval()(pixels)
    expected = restated.image_resnet(state, pixels.transpose(1, 2).flatten(0, 1))
    same(features.transpose(1, 2).flatten(0, 1), expected)


@torch.no_grad()
def test_the_same_image_network_under_other_names_has_the_same_weights():
    plain = {name: tensor for name, tensor in drawn("resnet18").items() if not name.startswith("fc.")}
    wanted = convert_public(plain)[0].state_dict()
    other = {name: tensor + 1 for name, tensor in plain.items()}
    vfs = {f"backbone.{families.conv_module(name)}": tensor for name, tensor in plain.items()}
    moco = {f"module.encoder_q.{name}": tensor for name, tensor in plain.items()}
    moco |= {f"module.encoder_k.{name}": tensor for name, tensor in other.items()}
    padded = {  # videowalk's older names
        name.replace(".weight", ".1.weight") if tensor.ndim == 4 and tensor.shape[-1] > 1 else name: tensor
        for name, tensor in plain.items()
    }
    old = {f"encoder.model.{name}": tensor for name, tensor in padded.items()}
    for file in (vfs, moco, {f"backbone.{name}": tensor for name, tensor in plain.items()}, old):
        got = convert_public(file)[0].state_dict()
        assert all(torch.equal(tensor, wanted[name]) for name, tensor in got.items())
        assert got.keys() == wanted.keys()
