"""Frames as the decoder leaves them: brightness at full, colour at half the resolution, 8 bits each.

They are half the bytes of RGB, so that is how clips travel from the reading processes: as decoded, a batch at once.
Where they arrive, on whatever device that is, ``to_clips`` makes the clips that everything else knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from ssv.data.crops import Box, Cut
from ssv.types import Clips

RED, BLUE = 0.299, 0.114  # shares of brightness, ITU-R BT.601; green has the rest


class Planes(NamedTuple):
    """The part of T frames that covers a box, widened to even borders; h and w are even.

    y: uint8 (T,h,w), luma. uv: uint8 (T,2,h/2,w/2), Cb and Cr, each sample for 2x2 pixels.
    box: what was asked for, in pixels of this part.
    full_range: luma and chroma take all of 0 to 255; else luma 16 to 235, chroma 16 to 240. The matrix is BT.601.
    """

    y: np.ndarray
    uv: np.ndarray
    box: Box
    full_range: bool


@runtime_checkable
class ReadsPlanes(Protocol):
    """A reader that knows the size of frames before it reads, and can hand over a part of them as decoded."""

    def size(self, path: str) -> tuple[int, int]:
        """Height and width of the frames of ``path`` in pixels."""

    def read_planes(self, path: str, indices: Sequence[int], box: Box) -> Planes:
        """The part of the frames that covers ``box``, in the order asked."""


class PlaneClips(NamedTuple):
    """A sample not yet cut: as ``Clips`` without B, but for the pixels.

    planes: one for each clip. cuts: of each clip, the same number, in pixels of its planes; each becomes a view of
    ``size`` x ``size`` pixels.
    """

    planes: list[Planes]
    cuts: list[list[Cut]]
    size: int
    seconds: Tensor
    label: Tensor
    video: Tensor


class PlaneBatch(NamedTuple):
    """A batch of ``PlaneClips``: one tensor, and tables.

    data: uint8 (bytes,), for each clip its luma and then its chroma, as in ``Planes``.
    table: int64 (B * V, 8), of each view: where its clip begins in ``data``, height and width of the planes; top, left,
    height and width of the box; 1 where it is mirrored.
    size, full_range: as above. seconds, label, video: as in ``Clips``.
    """

    data: Tensor
    table: np.ndarray
    size: int
    full_range: bool
    seconds: np.ndarray
    label: np.ndarray
    video: np.ndarray


def around(cuts: Sequence[Cut]) -> Box:
    """The smallest box that holds those of all ``cuts``."""
    top, left = min(cut.box.top for cut in cuts), min(cut.box.left for cut in cuts)
    bottom = max(cut.box.top + cut.box.height for cut in cuts)
    right = max(cut.box.left + cut.box.width for cut in cuts)
    return Box(top, left, bottom - top, right - left)


def within(cuts: Sequence[Cut], whole: Box, part: Box) -> list[Cut]:
    """The same cuts where ``whole``, which holds them, lies at ``part``."""
    down, along = part.top - whole.top, part.left - whole.left
    return [cut._replace(box=cut.box._replace(top=cut.box.top + down, left=cut.box.left + along)) for cut in cuts]


def collate_planes(samples: Sequence[PlaneClips]) -> PlaneBatch:
    """One batch of samples that agree in everything but the sizes of their planes."""
    pieces, table, start = [], [], 0
    for sample in samples:
        for planes, cuts in zip(sample.planes, sample.cuts):
            size = planes.y.shape[1:]
            table += [(start, *size, *cut.box, int(cut.mirror)) for cut in cuts]
            pieces += [planes.y.reshape(-1), planes.uv.reshape(-1)]
            start += planes.y.size + planes.uv.size
    return PlaneBatch(
        data=torch.from_numpy(np.concatenate(pieces)),
        table=np.array(table, dtype=np.int64),
        size=samples[0].size,
        full_range=samples[0].planes[0].full_range,
        seconds=np.stack([sample.seconds.numpy() for sample in samples]),
        label=np.array([int(sample.label) for sample in samples]),
        video=np.array([int(sample.video) for sample in samples]),
    )


def collate(samples: Sequence[Clips | PlaneClips]) -> Clips | PlaneBatch:
    """One batch of samples, (B,...); all are of one type."""
    if planes := [sample for sample in samples if isinstance(sample, PlaneClips)]:
        return collate_planes(planes)
    return Clips(*map(torch.stack, zip(*samples)))


@torch.no_grad()
def to_clips(batch: PlaneBatch) -> Clips:
    """The clips of a batch, pixels uint8 (B,V,3,T,size,size), on the device of ``batch.data``; no draws.

    A chroma sample lies in the middle of its 2x2 pixels (as in JPEG), and pixels between samples are interpolated
    linearly. A box that is nowhere smaller than the result is resized by averaging the area each pixel covers, any
    other one linearly, as the crops do it with RGB frames. All of that is linear and so done in one go for each plane,
    in float32; only the result is rounded to 8 bits. Devices may differ by one grey level.
    """
    views, frames = batch.seconds.shape[1:]
    shape = (3, frames, batch.size, batch.size)
    pixels = torch.empty((len(batch.table), *shape), dtype=torch.uint8, device=batch.data.device)
    with torch.autocast(batch.data.device.type, enabled=False):
        for row, (start, height, width, top, left, *box, mirror) in enumerate(batch.table.tolist()):
            end, half = start + frames * height * width, (height // 2, width // 2)
            y = batch.data[start:end].view(frames, height, width)
            uv = batch.data[end : end + 2 * frames * half[0] * half[1]].view(frames, 2, *half)
            down, along = _resizing(box[0], box[1], batch.size)
            along = along.flip(0) if mirror else along
            part = y[:, top : top + box[0], left : left + box[1]]
            luma = _apply(part, down, along)
            # The box is cut out of chroma at full resolution: its borders may be odd.
            down = down @ linear(half[0], height)[top : top + box[0]]
            along = along @ linear(half[1], width)[left : left + box[1]]
            chroma = _apply(uv, down, along)
            pixels[row] = _rgb(luma, chroma, full_range=batch.full_range)
    rest = (torch.tensor(field) for field in (batch.seconds, batch.label, batch.video))
    return Clips(pixels.view(-1, views, *shape), *rest)


def linear(count: int, size: int) -> Tensor:
    """Weights of linear interpolation, float32 (size,count): ``count`` samples to ``size``, ends held."""
    places = ((torch.arange(size, dtype=torch.float64) + 0.5) * count / size - 0.5).clamp(0, count - 1)
    return (1 - (places[:, None] - torch.arange(count)).abs()).clamp(min=0).float()


def areas(count: int, size: int) -> Tensor:
    """Weights of averaging, float32 (size,count): the shares of ``count`` samples in each of ``size``, not more."""
    edges = torch.arange(size + 1, dtype=torch.float64)[:, None] * count / size
    samples = torch.arange(count)
    shares = torch.minimum(edges[1:], samples + 1) - torch.maximum(edges[:-1], samples)
    return (shares.clamp(min=0) * size / count).float()


def _resizing(height: int, width: int, size: int) -> tuple[Tensor, Tensor]:
    weights = areas if height >= size and width >= size else linear
    return weights(height, size), weights(width, size)


def _apply(planes: Tensor, down: Tensor, along: Tensor) -> Tensor:
    """Rows and columns weighed: uint8 (...,h,w) to float32 (...,size,size)."""
    down, along = down.to(planes.device, non_blocking=True), along.to(planes.device, non_blocking=True)
    return down @ (planes.float() @ along.T)


def _rgb(luma: Tensor, chroma: Tensor, *, full_range: bool) -> Tensor:
    """Brightness (T,h,w) and colour (T,2,h,w), float32, to RGB uint8 (3,T,h,w); BT.601."""
    luma = luma if full_range else (luma - 16) * (255 / 219)
    chroma = (chroma - 128) * (1.0 if full_range else 255 / 224)
    red, blue = chroma[:, 1] * (2 * (1 - RED)), chroma[:, 0] * (2 * (1 - BLUE))
    green = (red * RED + blue * BLUE) / (RED + BLUE - 1)
    return torch.stack([luma + red, luma + green, luma + blue]).round_().clamp_(0, 255).to(torch.uint8)
