"""Public checkpoints wrap a network in many ways; which one is meant is never a guess."""

import pytest
import torch

from ssv.backbones.converters.base import convert_public
from tests.backbones import families, published


@pytest.fixture(scope="module")
def network():
    return published.weights(families.small_kenshohara_shapes())


def other(network):
    return {name: tensor + 1 for name, tensor in network.items()}


def prefixed(prefix, network):
    return {prefix + name: tensor for name, tensor in network.items()}


def stem(checkpoint, **arguments):
    backbone, receipt = convert_public(checkpoint, **arguments)
    assert receipt[2:4] == ((), ())
    return backbone.stem.conv.weight.detach().double(), receipt


def same(checkpoint, network, **arguments):
    torch.testing.assert_close(stem(checkpoint, **arguments)[0], network["conv1.weight"], check_dtype=False)


@pytest.mark.parametrize(
    "prefix",
    ["", "module.", "module.module.", "_orig_mod.", "model.", "net.", "network.", "module._orig_mod.", "_orig_mod.module.",
     "model.module.", "module.model.net.", "model._orig_mod.module."],
)  # fmt: skip
def test_beginnings_of_names_are_taken_off_alone_and_together(network, prefix):
    same(prefixed(prefix, network), network)
    same({"epoch": 3, "state_dict": prefixed(prefix, network), "arch": "r3d"}, network)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda network: {"state_dict": network},
        lambda network: {"model_state_dict": network, "optimizer_state_dict": {"state": {0: {"step": torch.ones(1)}}}},
        lambda network: {"model": network, "lr": 0.1, "optimizer": {"state": {}, "param_groups": [{"params": [0]}]}},
        lambda network: {"net": network, "acc": 93.1},
        lambda network: {"weights": network, "model": "resnet18"},
        lambda network: {"params": network, "loss": {"center": torch.zeros(3)}},
        lambda network: {"model": {"state_dict": network}, "epoch": 1},
        lambda network: {"state_dict": {"model": {"module": network}}},
        lambda network: {"weights": {"net": prefixed("module.", network)}, "loss": {"center": torch.zeros(3)}},
    ],
)
def test_entries_are_looked_through_alone_and_in_one_another(network, wrap):
    same(wrap(network), network)


@pytest.mark.parametrize(
    ("wrap", "places"),
    [
        (lambda plain, mean: {"state_dict": plain, "state_dict_ema": mean}, ("state_dict", "state_dict_ema")),
        (lambda plain, mean: {"model": plain, "model_ema": mean}, ("model", "model_ema")),
        (lambda plain, mean: {"model": plain, "ema": {"module": mean, "decay": 0.99}}, ("model", "ema.module")),
        (
            lambda plain, mean: {"state_dict": {**prefixed("model.", plain), **prefixed("ema_model.", mean)}},
            ("state_dict.model", "state_dict.ema_model"),
        ),
        (
            lambda plain, mean: {"student": prefixed("module.", plain), "teacher": mean},
            ("student.module", "teacher"),
        ),
        (lambda plain, mean: {"model": plain, "net": mean}, ("model", "net")),
    ],
)
def test_one_of_several_networks_is_asked_for_by_name(network, wrap, places):
    checkpoint = wrap(network, other(network))
    with pytest.raises(ValueError, match="there are several networks: .*; choose one with entry=") as caught:
        convert_public(checkpoint)
    assert "\n" not in str(caught.value)
    assert all(place in str(caught.value) for place in places)
    same(checkpoint, network, entry=places[0])
    same(checkpoint, other(network), entry=places[1])
    same(checkpoint, other(network), entry=places[1].removesuffix(".module"))


def test_what_is_asked_for_must_be_there(network):
    checkpoint = {"model": network, "ema": {"a": network.copy(), "b": network.copy()}}
    with pytest.raises(ValueError, match=r"no network known here under entry=swa; there is model, ema\.a, ema\.b"):
        convert_public(checkpoint, entry="swa")
    with pytest.raises(ValueError, match=r"several networks under entry=ema: ema\.a, ema\.b"):
        convert_public(checkpoint, entry="ema")
    with pytest.raises(ValueError, match=r"under entry=model; leave it out$"):
        convert_public(network, entry="model")


@pytest.mark.parametrize("name", ["ema", "teacher", "online_network"])
def test_the_only_network_under_a_name_that_says_something_is_asked_for(network, name):
    for checkpoint in ({name: network, "epoch": 3}, prefixed(f"{name}.", network)):
        with pytest.raises(ValueError, match=rf"the only network is {name}; .*entry={name}$"):
            convert_public(checkpoint)
        same(checkpoint, network, entry=name)


@pytest.mark.parametrize("extra", ["criterion.weight", "queue", "head.fc.weight"])
def test_tensors_beside_a_network_are_left_out_only_when_it_was_asked_for(network, extra):
    checkpoint = {**prefixed("model.", network), extra: torch.ones(3)}
    with pytest.raises(ValueError, match=rf"beside the network under model there is {extra}; .*entry=model$"):
        convert_public(checkpoint)
    assert stem(checkpoint, entry="model")[1].left_out == ("fc.weight", "fc.bias", extra)


@pytest.mark.parametrize("value", [5, None, "text", [1.0]])
def test_what_has_the_name_of_a_tensor_is_one(network, value):
    for name in ("conv1.weight", "layer2.0.bn1.bias", "layer4.0.bn2.running_mean"):
        with pytest.raises(ValueError, match=rf"{name} is {type(value).__name__}, not a tensor"):
            convert_public({**network, name: value})


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensor: tensor.to("meta"), "a meta tensor"),
        (lambda tensor: tensor.to(torch.complex64), "a tensor of complex64"),
        (lambda tensor: tensor.to_sparse(), "a tensor of the layout sparse_coo"),
        (lambda tensor: torch.quantize_per_tensor(tensor.float(), 0.1, 0, torch.qint8), "a quantized tensor"),
    ],
)
def test_tensors_of_other_kinds_are_named(network, change, message):
    for name in ("conv1.weight", "layer2.0.bn1.bias", "fc.weight"):
        with pytest.raises(ValueError, match=f"{name} is {message}"):
            convert_public({"state_dict": {**network, name: change(network[name])}})


def test_many_blocks_without_tensors_are_not_built(network):
    names = {f"layer1.{10**6}.conv1.weight": network["layer1.0.conv1.weight"]}
    with pytest.raises(ValueError, match="of no ResNet3D that can be built: the arguments ask for more than"):
        convert_public({**network, **names})


def test_one_network_under_two_names_is_one(network):
    checkpoint = {"model": network, "best": network}
    for arguments in ({}, {"entry": "model"}, {"entry": "best"}):
        same(checkpoint, network, **arguments)


def test_names_with_control_characters_are_no_names(network):
    for name in ("a\nb", "\x1b[31m"):
        with pytest.raises(ValueError, match=r"networks: model, net;") as caught:
            convert_public({"model": network, "net": network.copy(), name: network.copy()})
        assert str(caught.value).isprintable()


def test_a_dict_that_holds_itself(network):
    checkpoint = {"epoch": 1}
    checkpoint |= {"a": checkpoint, "b": checkpoint, "state_dict": {"model": network}}
    checkpoint["state_dict"]["self"] = checkpoint
    same(checkpoint, network)
    del checkpoint["state_dict"]
    assert convert_public(checkpoint) is None
