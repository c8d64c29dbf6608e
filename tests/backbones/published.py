"""The names and shapes of public checkpoints, and what their own code computes with known weights.

`published.json` holds figures measured by running the public code named there (source, commit); weights and inputs
follow the rules in tests/oracles.py. The names below were compared with those of the public code, one by one; those of
further families are in families.py.
"""

import json
from pathlib import Path

import torch

from tests.oracles import draw, fill

FIGURES = json.loads(Path(__file__).with_name("published.json").read_text())

# in, branch 0, branch 1 (reduce, out), branch 2 (reduce, out), branch 3
INCEPTIONS = {
    "3b": (192, 64, 96, 128, 16, 32, 32),
    "3c": (256, 128, 128, 192, 32, 96, 64),
    "4b": (480, 192, 96, 208, 16, 48, 64),
    "4c": (512, 160, 112, 224, 24, 64, 64),
    "4d": (512, 128, 128, 256, 24, 64, 64),
    "4e": (512, 112, 144, 288, 32, 64, 64),
    "4f": (528, 256, 160, 320, 32, 128, 128),
    "5b": (832, 256, 160, 320, 32, 128, 128),
    "5c": (832, 384, 192, 384, 48, 128, 128),
}


def _norm(name, channels):
    leaves = ("weight", "bias", "running_mean", "running_var")
    return {**{f"{name}.{leaf}": (channels,) for leaf in leaves}, f"{name}.num_batches_tracked": ()}


def _conv(name, number, shape):
    return {f"{name}.conv{number}.weight": shape, **_norm(f"{name}.bn{number}", shape[0])}


def _separable(name, inputs, outputs):
    return {**_conv(name, 1, (outputs, inputs, 1, 3, 3)), **_conv(name, 2, (outputs, outputs, 3, 1, 1))}


def _linear(name, inputs, outputs):
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def howto100m_shapes():
    """Video tower and projection; text_module.* is not drawn, it is large and must not be used anyway."""
    shapes = {**_conv("conv1", 1, (64, 24, 2, 4, 4)), **_conv("conv_2b", 1, (64, 64, 1, 1, 1))}
    shapes |= _separable("conv_2c", 64, 192) | _linear("gating.fc", 192, 192)
    for block, (inputs, b0, reduce1, b1, reduce2, b2, b3) in INCEPTIONS.items():
        name = f"mixed_{block}"
        points = {"b0": b0, "b1_a": reduce1, "b2_a": reduce2, "b3_b": b3}
        for branch, outputs in points.items():
            shapes |= _conv(f"{name}.conv_{branch}", 1, (outputs, inputs, 1, 1, 1))
        shapes |= _separable(f"{name}.conv_b1_b", reduce1, b1) | _separable(f"{name}.conv_b2_b", reduce2, b2)
        for branch, outputs in enumerate((b0, b1, b2, b3)):
            shapes |= _linear(f"{name}.gating_b{branch}.fc", outputs, outputs)
    return shapes | _linear("fc", 1024, 512)


def kenshohara_shapes():
    """ResNet-18 with the 700 classes of the released Kinetics-700 files."""
    shapes = {"conv1.weight": (64, 3, 7, 7, 7), **_norm("bn1", 64)}
    inputs = 64
    for stage, width in enumerate((64, 128, 256, 512), start=1):
        for block in range(2):
            name = f"layer{stage}.{block}"
            shapes |= _conv(name, 1, (width, inputs, 3, 3, 3)) | _conv(name, 2, (width, width, 3, 3, 3))
            if inputs != width:
                shapes |= {f"{name}.downsample.0.weight": (width, inputs, 1, 1, 1)}
                shapes |= _norm(f"{name}.downsample.1", width)
            inputs = width
    return shapes | _linear("fc", 512, 700)


def weights(shapes):
    return {name: torch.from_numpy(fill(name, shape)) for name, shape in shapes.items()}


def clip(case):
    """The drawn input of a case, after a look at the check sums given with it, if there are any."""
    given = case["input"]
    pixels = draw(given["seed"], given["shape"], given["kind"])
    if "first" in given:
        torch.testing.assert_close(pixels.ravel()[:3].tolist(), given["first"])
        torch.testing.assert_close(pixels.sum(), given["sum"], check_dtype=False)
    return torch.from_numpy(pixels)


def check(tensor, figures, rtol=1e-9):
    """Same shape, sums and sampled values, to ``rtol`` of the largest absolute value."""
    flat = tensor.detach().contiguous().flatten()
    assert list(tensor.shape) == figures["shape"]
    atol = rtol * float(flat.abs().max())
    torch.testing.assert_close(
        flat[figures["index"]], torch.tensor(figures["value"], dtype=torch.float64), rtol=0, atol=atol
    )
    for name, value in (("sum", flat.sum()), ("abs_sum", flat.abs().sum()), ("sq_sum", flat.square().sum())):
        scale = max(abs(figures[name]), figures["abs_sum"]) if name == "sum" else figures[name]
        assert abs(float(value) - figures[name]) <= rtol * scale, (name, float(value), figures[name])
