"""Activation checkpointing changes what is kept in memory, and nothing else."""

import copy

import pytest
import torch

from ssv.training.recompute import recompute
from tests.compose import compose

TINY = {
    "s3dg": (1, 3, 16, 32, 32),
    "r3d_tiny": (2, 3, 8, 32, 32),
    "resnet18": (1, 3, 2, 32, 32),
    "r2plus1d18": (1, 3, 4, 32, 32),
    "c3d": (1, 3, 8, 32, 32),
}


def build(name):
    """The backbone as configured."""
    from ssv.cli.build import build_backbone

    return build_backbone(compose("pretrain", f"backbone={name}")).train()


def steps(backbone, pixels, count=2):
    """Loss and gradients of some steps of training, and all tensors after them."""
    optimizer = torch.optim.SGD(backbone.parameters(), lr=0.01)
    seen = []
    for number in range(count):
        torch.manual_seed(number)  # dropout draws the same in the second pass
        loss = backbone(pixels).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(loss.detach())
    return [*seen, *(p.grad for p in backbone.parameters()), *backbone.state_dict().values()]


@pytest.mark.parametrize("name", TINY)
def test_no_number_changes(name):
    torch.manual_seed(0)
    plain = build(name)
    lean = copy.deepcopy(plain)
    recompute(lean)
    pixels = torch.randn(TINY[name])
    assert plain.state_dict().keys() == lean.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(steps(plain, pixels), steps(lean, pixels)))
    plain.eval(), lean.eval()
    assert torch.equal(plain(pixels), lean(pixels))
    assert torch.equal(copy.deepcopy(lean)(pixels), lean(pixels)), "probes look at a copy"


def kept(backbone, pixels):
    """Bytes of all tensors that wait for the backward pass."""
    sizes = {}

    def pack(tensor):
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        backbone(pixels)
    own = {p.untyped_storage().data_ptr() for p in backbone.parameters()}
    return sum(size for pointer, size in sizes.items() if pointer not in own)


def test_less_is_kept():
    backbone = build("r3d18")
    pixels = torch.randn(1, 3, 8, 56, 56)
    before = kept(backbone, pixels)
    recompute(backbone)
    assert kept(backbone, pixels) < before / 2
