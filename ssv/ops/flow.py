"""Optical flow by OpenCV: how far things move, where differences of pixels also answer to light and contrast."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor


def flow_magnitudes(pixels: Tensor, *, side: int = 64) -> Tensor:
    """Mean length of the optical flow from each frame to the next (Farneback, 2003).

    On the CPU, frame by frame: about a millisecond a pair at 64 pixels, during which a GPU waits.

    Args:
        pixels: uint8 (B,C,W,H,W') RGB or grey.
        side: pixels that the shorter side is shrunk to, if it is longer.

    Returns:
        float32 (B,W-1) on the device of the pixels, in shares of the shorter side.
    """
    frames = pixels.permute(0, 2, 3, 4, 1).cpu().numpy()  # (B,W,H,W',C)
    scale = min(1.0, side / min(frames.shape[2:4]))
    rows, columns = (max(1, round(scale * n)) for n in frames.shape[2:4])
    lengths = np.zeros((len(frames), frames.shape[1] - 1), np.float32)
    for row, clip in enumerate(frames):
        grey = [cv2.resize(_grey(frame), (columns, rows), interpolation=cv2.INTER_AREA) for frame in clip]
        for step, (now, then) in enumerate(zip(grey, grey[1:], strict=False)):
            # Pyramid of 3 by halves, window 15, 3 rounds, neighbourhood 5 with sigma 1.2: OpenCV's own example.
            flow = cv2.calcOpticalFlowFarneback(now, then, None, 0.5, 3, 15, 3, 5, 1.2, 0)
            lengths[row, step] = np.linalg.norm(flow, axis=-1).mean() / min(rows, columns)
    return torch.from_numpy(lengths).to(pixels.device)


def _grey(frame: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) if frame.shape[-1] == 3 else frame[..., 0]
