"""Public networks written from their definitions with plain functions, on tensors with their public names.

Each takes a state dict and a clip, both float64, in eval mode, and gives the last map in front of the classifier.
Padding is done by hand, and max pools pad with -inf.
"""

import torch
from torch.nn import functional as F

from tests.backbones.published import INCEPTIONS


def _norm(x, state, name, eps):
    mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    scale, shift = state[f"{name}.weight"], state[f"{name}.bias"]
    shape = (1, -1) + (1,) * (x.ndim - 2)
    return (x - mean.view(shape)) / (var.view(shape) + eps).sqrt() * scale.view(shape) + shift.view(shape)


def video_resnet(state, x):
    """torchvision's r3d_18, mc3_18, r2plus1d_18."""

    def conv(x, name, stride):
        kernel = state[name]
        return F.conv3d(x, kernel, stride=stride, padding=[size // 2 for size in kernel.shape[2:]])

    x = _norm(conv(x, "stem.0.weight", (1, 2, 2)), state, "stem.1", 1e-5).relu()
    if "stem.3.weight" in state:
        x = _norm(conv(x, "stem.3.weight", 1), state, "stem.4", 1e-5).relu()
    for stage in (1, 2, 3, 4):
        for block in (0, 1):
            name = f"layer{stage}.{block}"
            step = 2 if stage > 1 and block == 0 else 1
            flat = f"{name}.conv1.0.weight" in state and state[f"{name}.conv1.0.weight"].shape[2] == 1
            moved, stride = x, (1 if flat else step, step, step)
            for number in (1, 2):
                layer = f"{name}.conv{number}"
                if f"{layer}.0.weight" in state:
                    moved = conv(moved, f"{layer}.0.weight", stride)
                else:
                    moved = conv(moved, f"{layer}.0.0.weight", (1, *stride[1:]))
                    moved = _norm(moved, state, f"{layer}.0.1", 1e-5).relu()
                    moved = conv(moved, f"{layer}.0.3.weight", (stride[0], 1, 1))
                moved = _norm(moved, state, f"{layer}.1", 1e-5)
                if number == 1:
                    moved, stride = moved.relu(), (1, 1, 1)
            if f"{name}.downsample.0.weight" in state:
                stride = (1 if flat else step, step, step)
                x = _norm(conv(x, f"{name}.downsample.0.weight", stride), state, f"{name}.downsample.1", 1e-5)
            x = (x + moved).relu()
    return x


def kenshohara(state, x, *, conv1_t_stride=1, no_max_pool=False):
    """kenshohara/3D-ResNets-PyTorch with basic blocks, of the options named as there."""

    def conv(x, name, stride=1):
        kernel = state[name]
        return F.conv3d(x, kernel, stride=stride, padding=[size // 2 for size in kernel.shape[2:]])

    x = _norm(conv(x, "conv1.weight", (conv1_t_stride, 2, 2)), state, "bn1", 1e-5).relu()
    if not no_max_pool:
        x = F.max_pool3d(F.pad(x, (1,) * 6, value=-torch.inf), 3, 2)
    for stage in (1, 2, 3, 4):
        block = 0
        while f"layer{stage}.{block}.conv1.weight" in state:
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            moved = _norm(conv(x, f"{name}.conv1.weight", stride), state, f"{name}.bn1", 1e-5).relu()
            moved = _norm(conv(moved, f"{name}.conv2.weight"), state, f"{name}.bn2", 1e-5)
            if f"{name}.downsample.0.weight" in state:
                x = _norm(conv(x, f"{name}.downsample.0.weight", stride), state, f"{name}.downsample.1", 1e-5)
            x, block = (x + moved).relu(), block + 1
    return x


def c3d(state, x):
    """DavideA/c3d-pytorch, up to pool5."""
    pools = {"1": (1, 2, 2), "2": (2, 2, 2), "3b": (2, 2, 2), "4b": (2, 2, 2)}
    for number in ("1", "2", "3a", "3b", "4a", "4b", "5a", "5b"):
        x = F.conv3d(x, state[f"conv{number}.weight"], state[f"conv{number}.bias"], padding=1).relu()
        if number in pools:
            x = F.max_pool3d(x, pools[number], pools[number])
    return F.max_pool3d(x, 2, 2, padding=(0, 1, 1))


def _same(x, kernel, stride, value):
    """TensorFlow's SAME: ceil(n / s) windows, what they need beyond n is shared out, the odd cell behind."""
    pads = []
    for size, k, s in zip(x.shape[2:], kernel, stride):
        needed = max((-(-size // s) - 1) * s + k - size, 0)
        pads = [needed // 2, needed - needed // 2, *pads]
    return F.pad(x, pads, value=value)


def i3d(state, x):
    """piergiaj/pytorch-i3d, up to Mixed_5c."""

    def unit(x, name, stride=(1, 1, 1)):
        kernel = state[f"{name}.conv3d.weight"]
        x = F.conv3d(_same(x, kernel.shape[2:], stride, 0.0), kernel, stride=stride)
        return _norm(x, state, f"{name}.bn", 1e-3).relu()

    def pool(x, kernel, stride):
        return F.max_pool3d(_same(x, kernel, stride, -torch.inf), kernel, stride)

    x = pool(unit(x, "Conv3d_1a_7x7", (2, 2, 2)), (1, 3, 3), (1, 2, 2))
    x = pool(unit(unit(x, "Conv3d_2b_1x1"), "Conv3d_2c_3x3"), (1, 3, 3), (1, 2, 2))
    for block in INCEPTIONS:
        if block == "4b":
            x = pool(x, (3, 3, 3), (2, 2, 2))
        if block == "5b":
            x = pool(x, (2, 2, 2), (2, 2, 2))
        name = f"Mixed_{block}"
        branches = [unit(x, f"{name}.b0"), unit(unit(x, f"{name}.b1a"), f"{name}.b1b")]
        branches += [unit(unit(x, f"{name}.b2a"), f"{name}.b2b"), unit(pool(x, (3, 3, 3), (1, 1, 1)), f"{name}.b3b")]
        x = torch.cat(branches, dim=1)
    return x


def s3d(state, x):
    """kylemin/S3D, up to the last block."""

    def one(x, conv, norm, stride=1):
        kernel = state[f"{conv}.weight"]
        x = F.conv3d(x, kernel, stride=stride, padding=[size // 2 for size in kernel.shape[2:]])
        return _norm(x, state, norm, 1e-3).relu()

    def point(x, name):
        return one(x, f"{name}.conv", f"{name}.bn")

    def separable(x, name, step=1):
        x = one(x, f"{name}.conv_s", f"{name}.bn_s", (1, step, step))
        return one(x, f"{name}.conv_t", f"{name}.bn_t", (step, 1, 1))

    def pool(x, kernel, stride, padding):
        return F.max_pool3d(x, kernel, stride, padding)

    x = pool(separable(x, "base.0", 2), (1, 3, 3), (1, 2, 2), (0, 1, 1))
    x = pool(separable(point(x, "base.2"), "base.3"), (1, 3, 3), (1, 2, 2), (0, 1, 1))
    for place in range(5, 16):
        name = f"base.{place}.branch"
        if place == 7:
            x = pool(x, 3, 2, 1)
        elif place == 13:
            x = pool(x, 2, 2, 0)
        else:
            branches = [point(x, f"{name}0.0"), separable(point(x, f"{name}1.0"), f"{name}1.1")]
            branches += [separable(point(x, f"{name}2.0"), f"{name}2.1"), point(pool(x, 3, 1, 1), f"{name}3.1")]
            x = torch.cat(branches, dim=1)
    return x


def image_resnet(state, images):
    """torchvision's ResNets of images; (B,3,H,W)."""

    def conv(x, name, stride=1):
        kernel = state[f"{name}.weight"]
        return F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)

    x = _norm(conv(images, "conv1", 2), state, "bn1", 1e-5).relu()
    x = F.max_pool2d(x, 3, 2, 1)
    for stage in (1, 2, 3, 4):
        block = 0
        while f"layer{stage}.{block}.conv1.weight" in state:
            name, step = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            last = 3 if f"{name}.conv3.weight" in state else 2
            moved = x
            for number in range(1, last + 1):
                stride = step if number == last - 1 else 1  # of a bottleneck, the 3x3 one; of two, the first
                moved = _norm(conv(moved, f"{name}.conv{number}", stride), state, f"{name}.bn{number}", 1e-5)
                moved = moved if number == last else moved.relu()
            if f"{name}.downsample.0.weight" in state:
                x = _norm(conv(x, f"{name}.downsample.0", step), state, f"{name}.downsample.1", 1e-5)
            x = (x + moved).relu()
            block += 1
    return x
