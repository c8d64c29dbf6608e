import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ssv.backbones.layers import Conv3d, MaxPool3d, channel_values, halvings, init_weights, pad_reflect


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_pad_reflect_is_numpys_however_short_the_axis(size):
    features = torch.randn(1, 2, size, 3, 4, dtype=torch.float64, requires_grad=True)
    padded = pad_reflect(features, [(3, 2), (0, 1), (2, 2)])
    expected = np.pad(features.detach().numpy(), [(0, 0), (0, 0), (3, 2), (0, 1), (2, 2)], mode="reflect")
    np.testing.assert_array_equal(padded.detach().numpy(), expected)
    padded.sum().backward()
    assert features.grad.sum() == padded.numel()


def slow_max_pool(features, kernel, stride, before):
    """Windows that start ``before`` cells outside; what is outside counts as zero; ceil(n / stride) of them."""
    cells = [-(-n // s) for n, s in zip(features.shape[2:], stride)]
    pooled = torch.zeros(*features.shape[:2], *cells)
    for cell in itertools.product(*map(range, cells)):
        starts = [i * s - b for i, s, b in zip(cell, stride, before)]
        t, h, w = (slice(max(a, 0), a + k) for a, k in zip(starts, kernel))
        pooled[(slice(None), slice(None), *cell)] = features[:, :, t, h, w].amax((2, 3, 4)).clamp(min=0)
    return pooled


@pytest.mark.parametrize(
    ("kernel", "stride", "far_side", "before"),
    [
        ((1, 3, 3), (1, 2, 2), True, (0, 0, 0)),
        ((3, 3, 3), (2, 2, 2), True, (0, 0, 0)),
        ((3, 3, 3), (1, 2, 2), True, (1, 0, 0)),
        ((2, 2, 2), (2, 2, 2), True, (0, 0, 0)),
        ((3, 3, 3), (2, 2, 2), False, (1, 1, 1)),
        ((3, 3, 3), (1, 1, 1), False, (1, 1, 1)),
        ((2, 2, 2), (2, 2, 2), False, (0, 0, 0)),
        ((1, 2, 2), (1, 2, 2), False, (0, 0, 0)),
        ((1, 1, 1), (1, 1, 1), True, (0, 0, 0)),
    ],
)
@pytest.mark.parametrize("size", [(1, 1, 1), (2, 3, 4), (5, 8, 7)])
def test_max_pool(kernel, stride, far_side, before, size):
    features = torch.rand(2, 3, *size)
    pooled = MaxPool3d(kernel, stride, far_side=far_side)(features)
    assert torch.equal(pooled, slow_max_pool(features, kernel, stride, before))


def test_conv_padding():
    pixels = torch.randn(2, 3, 4, 6, 5)
    conv = Conv3d(3, 4, (3, 3, 5), (1, 2, 2))
    assert conv(pixels).shape == (2, 4, 4, 3, 3)
    mirrored = Conv3d(3, 4, (3, 3, 5), (1, 2, 2), padding="reflect")
    mirrored.load_state_dict(conv.state_dict())  # the same names
    expected = F.conv3d(F.pad(pixels, (2, 2, 1, 1, 1, 1), mode="reflect"), conv.weight, stride=(1, 2, 2))
    torch.testing.assert_close(mirrored(pixels), expected)
    uneven = Conv3d(3, 4, (2, 4, 4), pads=((0, 1), (1, 2), (1, 2)))
    expected = F.conv3d(F.pad(pixels, (1, 2, 1, 2, 0, 1)), uneven.weight)
    torch.testing.assert_close(uneven(pixels), expected)


def test_halvings_gives_up_the_late_strides_first():
    assert halvings(5, 32, "spatial_stride") == [2, 2, 2, 2, 2]
    assert halvings(5, 8, "spatial_stride") == [2, 2, 2, 1, 1]
    assert halvings(3, 1, "temporal_stride") == [1, 1, 1]
    for wrong in (0, 3, 16, False, True):
        with pytest.raises(ValueError, match=r"temporal_stride must be one of 1, 2, 4, 8, got .*; set backbone\."):
            halvings(3, wrong, "temporal_stride")


def test_grey_statistics_are_the_luma_of_the_colours():
    assert channel_values((0.5, 0.5, 0.5), "grey", "mean") == pytest.approx((0.5,))
    assert channel_values((1, 0, 0), "grey", "mean") == (0.299,)
    assert channel_values([0.4], "grey", "mean") == (0.4,)
    with pytest.raises(ValueError, match="mean needs 3 values"):
        channel_values([0.4], "rgb", "mean")


def test_a_convolution_without_a_norm_may_have_a_bias():
    assert Conv3d(2, 3, (1, 1, 1)).bias is None
    network = Conv3d(2, 3, (3, 3, 3), bias=True)
    init_weights(network)
    assert not network.bias.any()
    assert network.weight.std() > 0
