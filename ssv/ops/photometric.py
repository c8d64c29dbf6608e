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


def drop_channels(frames: Tensor, probability: float | None) -> Tensor:
    """Blank one or two of three channels of some clips and amplify the rest by 3/(3-n), as CorrFlow does (BMVC 2019).

    Args:
        frames: float (B,3,T,H,W), normalised, so that 0 is the mean. All frames of a clip lose the same channels.
        probability: of a clip to lose any, drawn from torch's global generator; None: nothing is drawn, green remains.
    """
    if probability is None:
        keep = torch.tensor([0.0, 1.0, 0.0], device=frames.device).expand(len(frames), 3)
    else:
        # The channels in random order; how many of the last ones go is 0, 1 or 2.
        order = torch.rand(len(frames), 3, device=frames.device).argsort(1)
        lost = torch.randint(1, 3, (len(frames),), device=frames.device)
        lost = lost * (torch.rand(len(frames), device=frames.device) < probability)
        keep = (order < 3 - lost[:, None]).float()
    return frames * (keep * 3 / keep.sum(1, keepdim=True))[:, :, None, None, None]
