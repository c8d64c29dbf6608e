"""From looks and motion to pictures: flat layers under one camera and one light.

World coordinates are pixels, y down, the screen's centre is 0. The camera shows world point p at ``zoom * (p - centre)``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ssv.data.toy import textures
from ssv.data.toy.actions import Offsets
from ssv.data.toy.draws import Draw

ACTOR = 1
"""Object id of the actor; bystanders are 2, 3, ...; 0 is everything else."""
POINTS = ("centre", "front", "back", "limb1", "limb2")
SPLINTERS = 7
BODY = (9.5, 6.5)  # half-axes, pixels, of a body of scale 1
LIMB = (6.5, 2.6)


class Look(NamedTuple):
    """What a scene looks like; all clips of one group share it. Pictures as in ``textures.sprite``."""

    background: Tensor  # (3,side,side)
    reach: float  # half-width of the background, pixels
    tilt: float  # of the background, radians
    body: Tensor
    limbs: tuple[Tensor, Tensor]
    bystanders: list[tuple[Tensor, float]]  # picture, half-size in pixels
    bar: Tensor | None
    splinters: Tensor  # (SPLINTERS,3) colours


class Layer(NamedTuple):
    """A picture (C,side,side) of half-size ``half`` pixels that lies at ``x,y`` (T,), turned and scaled (T,)."""

    picture: Tensor
    half: tuple[float, float]
    x: Tensor
    y: Tensor
    angle: Tensor
    scale: Tensor
    id: int
    holes: Tensor | None = None  # (T,) share of the picture that is dissolved


class Scene(NamedTuple):
    """A video before it is drawn."""

    layers: list[Layer]  # back to front, background first
    splinters: tuple[Tensor, Tensor, Tensor]  # x, y (SPLINTERS,T) and opacity (T,)
    splinter_colours: Tensor
    points: Tensor  # (T,5,2) world positions of POINTS
    camera: Tensor  # (T,3): centre x, y and zoom
    gain: Tensor  # (3,T)
    offset: Tensor  # (T,)


def look(draw: Draw, *, bystanders: int | None = None, bar: bool | None = None) -> Look:
    """Draws how a scene looks; ``bystanders`` and ``bar`` are drawn too where None."""
    colours = textures.palette(draw)
    background = textures.texture(draw, colours, 96)
    body = textures.sprite(draw, colours, textures.superellipse(draw.uniform(1.6, 5)))
    limbs = tuple(textures.sprite(draw, colours, textures.superellipse(draw.uniform(1.6, 5)), 32) for _ in range(2))
    count = draw.pick((0, 1, 2)) if bystanders is None else bystanders
    barred = draw.chance(0.35) if bar is None else bar
    return Look(
        background=background,
        reach=draw.uniform(60, 95),
        tilt=draw.angle(),
        body=body,
        limbs=(limbs[0], limbs[1]),
        bystanders=[(_bystander(draw, colours, body), draw.uniform(5, 9)) for _ in range(count)],
        bar=textures.sprite(draw, colours, textures.superellipse(8)) if barred else None,
        splinters=torch.stack([textures.texture(draw, colours, 4)[:, 1, 1] for _ in range(SPLINTERS)]),
    )


def stage(
    looks: Look,
    motion: Offsets,
    seconds: Tensor,
    draw: Draw,
    *,
    size: float = 1.0,
    unrest: float = 1.0,
    roam: float = 0.0,
) -> Scene:
    """Puts the actor, with the offsets ``motion``, and everything around it into place for times ``seconds`` (T,).

    ``size`` enlarges the actor, ``unrest`` all wandering; actor and bystanders cross about twice ``roam`` pixels.
    """
    still = torch.zeros_like(seconds)
    # One number for all wandering: several would together betray the speed.
    restless = unrest * draw.log_uniform(0.03, 0.8)
    if roam:
        x, y, turn = _crossing(draw, len(seconds), roam)
        motion = {**motion, "x": motion["x"] + x, "y": motion["y"] + y, "angle": motion["angle"] + turn}
    actor, splinters, points = _actor(looks, motion, draw, size)
    layers = [
        Layer(looks.background, (looks.reach, looks.reach), still, still, still + looks.tilt, still + 1, 0),
    ]
    for number, (picture, half) in enumerate(looks.bystanders):
        x, y = 2 * restless * draw.wander(seconds, 2)
        x, y = x + draw.uniform(-26, 26), y + draw.uniform(-20, 20)
        angle = still + draw.angle()
        if roam:
            across, down, turn = _crossing(draw, len(seconds), roam)
            x, y, angle = x + across, y + down, angle + turn
        layers.append(Layer(picture, (half, half), x, y, angle, still + 1, ACTOR + 1 + number))
    layers += actor
    if looks.bar is not None:
        length = (draw.uniform(25, 45), draw.uniform(1.3, 2.5))
        place = still + draw.uniform(-12, 12), still + draw.uniform(-10, 10)
        layers.append(Layer(looks.bar, length, *place, still + draw.angle(), still + 1, 0))
    wander = restless * draw.wander(seconds, 8)
    return Scene(
        layers=layers,
        splinters=splinters,
        splinter_colours=looks.splinters,
        points=points,
        camera=torch.stack([0.6 * wander[0], 0.6 * wander[1], torch.exp(0.012 * wander[2])], dim=1),
        gain=torch.exp(0.05 * wander[3] + 0.03 * wander[4:7]),
        offset=0.03 * wander[7],
    )


def draw_frames(scene: Scene, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Frames uint8 (T,H,W,3) RGB and object ids uint8 (T,H,W).

    They have no grain: an encoder holds grain from one frame to the next, and for how many frames it was held
    would tell how fast a video is played.
    """
    frames, ids = _composite(scene, height, width)
    lit = frames * scene.gain.T[:, :, None, None] + scene.offset[:, None, None, None]
    pixels = lit.clamp_(0, 1).mul_(255).round_().to(torch.uint8).permute(0, 2, 3, 1)
    return pixels.contiguous(), ids


def points_on_screen(scene: Scene, height: int, width: int) -> Tensor:
    """Where POINTS are shown, float32 (T,5,2): x, y in pixels; the centre of the top left pixel is (0,0)."""
    centre, zoom = scene.camera[:, None, :2], scene.camera[:, None, 2:]
    return zoom * (scene.points - centre) + torch.tensor([(width - 1) / 2, (height - 1) / 2])


def _crossing(draw: Draw, frames: int, reach: float) -> tuple[Tensor, Tensor, Tensor]:
    """A way through the scene on a bent line, and the turning on it: x, y, angle (T,); the middle lies near 0."""
    share = torch.linspace(-1, 1, frames)
    heading, bend, turn = draw.angle(), 0.4 * reach * draw.normal(), 0.5 * draw.normal()
    along, aside = draw.about(reach) * share, bend * (1 - share**2 - 0.5)
    return (
        along * math.cos(heading) - aside * math.sin(heading),
        0.8 * (along * math.sin(heading) + aside * math.cos(heading)),  # a screen is wider than high
        turn * share,
    )


def _bystander(draw: Draw, colours: Tensor, body: Tensor) -> Tensor:
    outline = (
        textures.superellipse(draw.uniform(1.6, 5)) if draw.chance(0.5) else textures.star(5, draw.uniform(0.2, 0.5))
    )
    picture = textures.sprite(draw, colours, outline)
    if draw.chance(0.4):  # covered like the actor
        picture = torch.cat([body[:3].flip(draw.pick((1, 2))), picture[3:]])
    return picture


def _actor(
    looks: Look, motion: Offsets, draw: Draw, size: float
) -> tuple[list[Layer], tuple[Tensor, Tensor, Tensor], Tensor]:
    """The actor's layers, its splinters and its points in the world (T,5,2)."""
    scale = size * draw.log_uniform(1.2, 1.7) * torch.exp(motion["size"])
    x = draw.uniform(-5, 5) + motion["x"]
    y = draw.uniform(-4, 4) + motion["y"]
    angle = draw.angle() + motion["angle"]
    cos, sin = torch.cos(angle), torch.sin(angle)

    def world(along: Tensor | float, across: Tensor | float) -> tuple[Tensor, Tensor]:
        return x + scale * (along * cos - across * sin), y + scale * (along * sin + across * cos)

    layers = [Layer(looks.body, BODY, x, y, angle, scale, ACTOR, motion["holes"])]
    points = [world(0, 0), world(0.85 * BODY[0], 0), world(-0.85 * BODY[0], 0)]
    for picture, side, limb in zip(looks.limbs, (1, -1), ("limb1", "limb2")):
        turn = side * math.pi / 2 + draw.uniform(-0.9, 0.9) + motion[limb]  # 0 is along the body
        joint = side * 0.35 * BODY[0], side * 0.7 * BODY[1]
        middle, tip = (
            world(joint[0] + reach * LIMB[0] * torch.cos(turn), joint[1] + reach * LIMB[0] * torch.sin(turn))
            for reach in (0.85, 1.7)
        )
        layers.append(Layer(picture, LIMB, *middle, angle + turn, scale, ACTOR))
        points.append(tip)
    return layers, _splinters(motion["burst"], x, y, draw), torch.stack([torch.stack(p, -1) for p in points], 1)


def _splinters(age: Tensor, x: Tensor, y: Tensor, draw: Draw) -> tuple[Tensor, Tensor, Tensor]:
    """x, y (SPLINTERS,T) and opacity (T,) at ``age`` (T,), the share in [0,1) of a burst gone by."""
    heading = draw.angle() + 2 * math.pi * (torch.arange(SPLINTERS) + 0.5 * draw.uniforms(SPLINTERS)) / SPLINTERS
    far = (15 + 9 * draw.uniforms(SPLINTERS))[:, None] * (1 - torch.exp(-age / 0.3))
    fall = 12 * age**2
    return (
        x + torch.cos(heading)[:, None] * far,
        y + torch.sin(heading)[:, None] * far + fall,
        (1 - age**4) * (age / 0.05).clamp(max=1),
    )


def _composite(scene: Scene, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Unlit frames float32 (T,3,H,W) and ids uint8 (T,H,W), painted back to front."""
    u, v = torch.arange(width) - (width - 1) / 2, (torch.arange(height) - (height - 1) / 2)[:, None]
    frames = _sample(scene.layers[0], scene.camera, u, v, "reflection")
    ids = torch.zeros(len(frames), height, width, dtype=torch.uint8)
    front = [layer for layer in scene.layers if layer.id == ACTOR][-1]
    for layer in scene.layers[1:]:
        picture = _sample(layer, scene.camera, u, v, "zeros")
        opacity = picture[:, 3]
        if layer.holes is not None:
            left = picture[:, 4] - (1.1 * layer.holes[:, None, None] - 0.1)
            opacity = opacity * torch.sigmoid(20 * left)
        frames.lerp_(picture[:, :3], opacity[:, None])
        ids.masked_fill_(opacity > 0.5, layer.id)
        if layer is front:
            _paint_splinters(scene, frames, ids, u, v)
    return frames, ids


def _paint_splinters(scene: Scene, frames: Tensor, ids: Tensor, u: Tensor, v: Tensor) -> None:
    centre, zoom = scene.camera[:, :2], scene.camera[:, 2]
    x, y, opacity = scene.splinters
    for number, colour in enumerate(scene.splinter_colours):
        left = (zoom * (x[number] - centre[:, 0]))[:, None, None]
        top = (zoom * (y[number] - centre[:, 1]))[:, None, None]
        cover = torch.sigmoid(5.3 - (u - left) ** 2 - (v - top) ** 2) * opacity[:, None, None]
        frames.lerp_(colour[:, None, None].expand_as(frames), cover[:, None])
        ids.masked_fill_(cover > 0.5, ACTOR)


def _sample(layer: Layer, camera: Tensor, u: Tensor, v: Tensor, padding: str) -> Tensor:
    """The layer as seen at columns ``u`` (W,) and rows ``v`` (H,1) of the screen: float32 (T,C,H,W)."""
    cos, sin = torch.cos(layer.angle), torch.sin(layer.angle)
    half_u, half_v = layer.half
    margin = 1.1 if padding == "zeros" else 1.0  # sprites leave a margin around their outline
    turn = torch.stack([cos, sin, -sin, cos], -1).view(-1, 2, 2) / layer.scale[:, None, None]
    turn = turn / (margin * torch.tensor([[half_u], [half_v]]))
    shift = (turn @ (camera[:, :2] - torch.stack([layer.x, layer.y], -1))[..., None])[..., 0]
    across, down = (turn / camera[:, 2, None, None])[:, None, None].unbind(-1)  # (T,1,1,2) each
    grid = (u[:, None] * across) + (v[..., None] * down + shift[:, None, None])
    picture = layer.picture.expand(len(cos), -1, -1, -1)
    return F.grid_sample(picture, grid, padding_mode=padding, align_corners=True)
