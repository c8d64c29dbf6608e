"""A picture of the world: each class over time, and DAVIS-like frames with their masks."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont

from ssv.data.sequences.masks import mask_palette
from ssv.data.toy.actions import IRREVERSIBLE, LAWS
from ssv.data.toy.clips import Action, Masked

PAPER, INK, FAINT = (250, 249, 245), (32, 33, 36), (120, 122, 126)
FRAMES = 9  # shown of every clip
EVERY = 0.12  # seconds between them
HEIGHT, WIDTH, ZOOM, GAP = 64, 80, 2, 6  # pixels
LEFT, TOP = 150, 74


def contact_sheet(seed: int, masked: int, *, frozen_actor: bool = False) -> Image.Image:
    """The classes of the world ``seed``, and up to 4 of its ``masked`` DAVIS-like clips."""
    masked = min(masked, 4)
    line = HEIGHT * ZOOM + GAP
    size = LEFT + FRAMES * (WIDTH * ZOOM + GAP) + 14, 2 * TOP + (len(LAWS) + masked) * line + 14
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    _title(pen, 0, f"The toy world, seed {seed}", f"each class over time, {EVERY:g} s between two frames")
    for row, name in enumerate(LAWS):
        action = Action(seed, name, 1, 1, frozen_actor)
        step = round(EVERY * action.kind().rate)
        frames = action.draw().frames[step::step][:FRAMES]
        note = "has an arrow of time" if name in IRREVERSIBLE else ""
        _row(sheet, pen, TOP + row * line, name, note, frames.numpy())
    below = TOP + len(LAWS) * line
    _title(pen, below, "DAVIS-like clips", "objects outlined in the colours of their ids")
    for row in range(masked):
        clip = Masked(seed, row).draw()
        outlined = _outlined(clip.frames[::4], clip.ids[::4])[:FRAMES]
        _row(
            sheet,
            pen,
            below + TOP + row * line,
            f"clip {row}",
            "1 object" if clip.ids.max() == 1 else f"{clip.ids.max()} objects",
            outlined,
        )
    return sheet


def _title(pen: ImageDraw.ImageDraw, top: int, title: str, note: str) -> None:
    pen.text((14, top + 14), title, INK, ImageFont.load_default(26))
    pen.text((14, top + 47), note, FAINT, ImageFont.load_default(15))


def _row(sheet: Image.Image, pen: ImageDraw.ImageDraw, top: int, name: str, note: str, frames: np.ndarray) -> None:
    pen.text((14, top + 44), name, INK, ImageFont.load_default(21))
    pen.text((14, top + 72), note, FAINT, ImageFont.load_default(12))
    for column, frame in enumerate(frames):
        picture = Image.fromarray(frame[: HEIGHT * ZOOM, : WIDTH * ZOOM])
        if picture.height < HEIGHT * ZOOM:
            picture = picture.crop((0, 0, WIDTH, HEIGHT)).resize(
                (WIDTH * ZOOM, HEIGHT * ZOOM), Image.Resampling.BICUBIC
            )
        sheet.paste(picture, (LEFT + column * (WIDTH * ZOOM + GAP), top))


def _outlined(frames: torch.Tensor, ids: torch.Tensor) -> np.ndarray:
    """Frames uint8 (T,H,W,3) enlarged to (T,ZOOM*H,ZOOM*W,3), the objects of ``ids`` (T,H,W) tinted and outlined."""
    large = F.interpolate(frames.permute(0, 3, 1, 2).float(), scale_factor=ZOOM, mode="bilinear", align_corners=False)
    labels = ids.repeat_interleave(ZOOM, 1).repeat_interleave(ZOOM, 2).long()
    colours = torch.from_numpy(mask_palette()).float()[labels].permute(0, 3, 1, 2)
    inside = (labels > 0)[:, None]
    wide = F.pad(labels[:, None].float(), (1, 1, 1, 1), mode="replicate")
    edge = inside & (F.max_pool2d(wide, 3, 1) != -F.max_pool2d(-wide, 3, 1))
    share = torch.where(edge, 1.0, 0.35 * inside)
    return torch.lerp(large, colours, share).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
