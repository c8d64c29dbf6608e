"""From stored pixels to what a backbone reads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# ITU-R BT.601 luma, what codecs and OpenCV call grey.
LUMA = (0.299, 0.587, 0.114)


def normalise(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Scale uint8 pixels to 0..1, subtract ``mean``, divide by ``std``; this happens once, on the device.

    Args:
        pixels: uint8 (...,C,T,H,W), RGB or already grey.
        mean: per channel of the 0..1 input, the backbone's; a single value asks for grey (BT.601 luma).
        std: likewise.

    Returns:
        float32 (...,len(mean),T,H,W), a new tensor.

    Raises:
        ValueError: if the pixels are not uint8, or their channels do not fit ``mean``.
    """
    if pixels.dtype != torch.uint8:
        raise ValueError(f"normalise needs uint8 pixels of 0..255, got {pixels.dtype}; was it called twice?")
    channels = pixels.shape[-4]
    values = pixels.float()
    if len(mean) == 1 and channels == 3:
        red, green, blue = values.unbind(-4)
        values = (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue).unsqueeze(-4)
    elif channels != len(mean):
        raise ValueError(f"the backbone reads {len(mean)} channels (its mean), the pixels have {channels}")
    scale = torch.tensor([1 / (255 * s) for s in std], device=pixels.device).view(-1, 1, 1, 1)
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], device=pixels.device).view(-1, 1, 1, 1)
    return values.mul_(scale).add_(shift)
