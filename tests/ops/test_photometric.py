import pytest
import torch

from ssv.ops.photometric import normalise


def test_every_pixel_is_scaled_by_its_own_channel():
    pixels = torch.randint(256, (2, 3, 3, 2, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    out = normalise(pixels, mean, std)
    assert out.dtype == torch.float32 and out.shape == pixels.shape
    for c in range(3):
        expected = (pixels[:, :, c].double() / 255 - mean[c]) / std[c]
        torch.testing.assert_close(out[:, :, c].double(), expected, atol=1e-5, rtol=0)


def test_one_mean_makes_grey_by_luma_and_leaves_grey_alone():
    pixels = torch.zeros(1, 3, 1, 1, 3, dtype=torch.uint8)
    for c in range(3):
        pixels[0, c, 0, 0, c] = 255  # a red, a green and a blue pixel
    grey = normalise(pixels, (0.0,), (1.0,))
    torch.testing.assert_close(grey.flatten(), torch.tensor([0.299, 0.587, 0.114]))
    already_grey = torch.full((1, 1, 2, 2, 2), 255, dtype=torch.uint8)
    torch.testing.assert_close(normalise(already_grey, (0.5,), (0.5,)), torch.ones(1, 1, 2, 2, 2))


def test_the_input_is_left_as_it_was():
    pixels = torch.full((3, 1, 2, 2), 7, dtype=torch.uint8)
    normalise(pixels, (0.0,) * 3, (1.0,) * 3)
    assert bool((pixels == 7).all())


@pytest.mark.parametrize(
    ("pixels", "message"),
    [(torch.zeros(3, 1, 2, 2), "uint8"), (torch.zeros(1, 1, 2, 2, dtype=torch.uint8), "3 channels.*have 1")],
)
def test_what_does_not_fit_is_refused(pixels, message):
    with pytest.raises(ValueError, match=message):
        normalise(pixels, (0.4, 0.4, 0.4), (0.2, 0.2, 0.2))
