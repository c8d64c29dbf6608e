"""The three kinds of clips of the world: action videos, DAVIS-like clips with masks, and process videos with phases.

Each is a function of its identity alone, so that any process can make any clip.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ssv.data.toy.actions import CHANNELS, LAWS, Offsets, move
from ssv.data.toy.draws import Draw
from ssv.data.toy.files import SECONDS, Kind, file_kind
from ssv.data.toy.scene import Scene, draw_frames, look, points_on_screen, stage

MASKED_FRAMES = 40
PROCESS_FRAMES = 60
ROAM = 8.0
"""Pixels that what has a mask moves to either side, so that a mask which is merely held is soon wrong."""


class Clip(NamedTuple):
    """A drawn clip: frames uint8 (T,H,W,3), ids uint8 (T,H,W), points float32 (T,5,2) in pixels."""

    frames: Tensor
    ids: Tensor
    points: Tensor


class Action(NamedTuple):
    """Names one action video of a world."""

    seed: int
    name: str
    group: int  # from 1
    clip: int  # from 1
    frozen_actor: bool = False

    def kind(self) -> Kind:
        """The kind of file it is stored as."""
        return file_kind(Draw(self.seed, "file", *self[1:4]))

    def path(self) -> str:
        """As in the lists of UCF101: folder of the class and file name."""
        return f"{self.name}/v_{self.name}_g{self.group:02d}_c{self.clip:02d}{self.kind().suffix}"

    def scene(self) -> Scene:
        """The video before it is drawn, in particular for its true points."""
        draw = Draw(self.seed, "action", *self[1:4])
        seconds = torch.arange(round(SECONDS * self.kind().rate)) / self.kind().rate
        motion = move(None if self.frozen_actor else self.name, seconds, draw)
        return stage(look(Draw(self.seed, "look", self.name, self.group)), motion, seconds, draw)

    def draw(self) -> Clip:
        """Draws it."""
        return _draw(self.scene(), self.kind().height, self.kind().width)


class Masked(NamedTuple):
    """Names one DAVIS-like clip: larger actors that roam, less steady light, 0 to 2 bystanders, 25 frames per second."""

    seed: int
    number: int

    def draw(self) -> Clip:
        """Draws it; every object shows at least 30 pixels in the first frame."""
        name = list(LAWS)[self.number % len(LAWS)]
        seconds = torch.arange(MASKED_FRAMES) / 25
        for attempt in range(100):
            draw = Draw(self.seed, "masked", self.number, attempt)
            looks = look(draw, bystanders=self.number % 3, bar=self.number // 3 % 2 == 0)
            motion = move(name, seconds, draw)
            for channel, owner in (("holes", "Dissolve"), ("burst", "Shatter")):  # frozen, they only tatter the masks
                if name != owner:
                    motion[channel] = torch.zeros_like(seconds)
            clip = _draw(stage(looks, motion, seconds, draw, size=1.2, unrest=2.5, roam=ROAM), 64, 80)
            if all(int((clip.ids[0] == number).sum()) >= 30 for number in range(1, 2 + self.number % 3)):
                return clip
        raise RuntimeError(f"no first frame shows all objects of masked clip {self.number} of seed {self.seed}")


class Process(NamedTuple):
    """Names one process video: the same course of events, at a pace of its own in every video."""

    seed: int
    number: int

    def kind(self) -> Kind:
        """The kind of file it is stored as."""
        return file_kind(Draw(self.seed, "process file", self.number))

    def path(self) -> str:
        """Folder and file name."""
        return f"videos/p{self.number:03d}{self.kind().suffix}"

    def phase(self) -> Tensor:
        """How far the process has gone in each frame, float64 (T,) from 0 to 1."""
        draw = Draw(self.seed, "pace", self.number)
        knots = torch.exp(0.7 * draw.normals(draw.pick((4, 5, 6)))).double()
        place = torch.linspace(0, len(knots) - 1, PROCESS_FRAMES - 1, dtype=torch.float64)
        left = place.floor().long().clamp(max=len(knots) - 2)
        pace = knots[left] + (knots[left + 1] - knots[left]) * (place - left)
        gone = torch.cat([pace.new_zeros(1), pace.cumsum(0)])
        return gone / gone[-1]

    def draw(self) -> Clip:
        """Draws it."""
        draw = Draw(self.seed, "process", self.number)
        seconds = torch.arange(PROCESS_FRAMES) / self.kind().rate
        looks = look(draw, bystanders=0, bar=False)
        scene = stage(looks, _course(self.phase().float()), seconds, draw, size=1.5)
        return _draw(scene, self.kind().height, self.kind().width)


def _course(phase: Tensor) -> Offsets:
    """First one limb swings over, then the other, then the body tilts and grows; each overlaps the next."""

    def smooth(begin: float, end: float) -> Tensor:
        share = ((phase - begin) / (end - begin)).clamp(0, 1)
        return share * share * (3 - 2 * share)

    offsets = {channel: torch.zeros_like(phase) for channel in CHANNELS}
    offsets["limb1"] = 1.134 * (2 * smooth(0, 0.4) - 1)  # 65 degrees either way
    offsets["limb2"] = 1.134 * (1 - 2 * smooth(0.3, 0.7))
    offsets["angle"] = 1.396 * smooth(0.6, 1)  # 80 degrees
    offsets["size"] = 0.35 * smooth(0.6, 1)
    return offsets


def _draw(scene: Scene, height: int, width: int) -> Clip:
    return Clip(*draw_frames(scene, height, width), points_on_screen(scene, height, width))
