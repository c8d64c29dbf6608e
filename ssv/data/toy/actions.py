"""The classes: laws of motion in seconds, one function each.

A law maps times (T,) to offsets of some of the actor's ``CHANNELS``, (T,) each. Each is stationary: its
random phase makes every moment look like every other, so that one frame does not tell where in the video
it was taken. And an actor carries the offsets of ALL laws, every one frozen at a moment of its own except
the one of its class, which runs: one frame of any class has exactly the same distribution.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ssv.data.toy.draws import Draw

Offsets = dict[str, Tensor]
Law = Callable[[Tensor, Draw], Offsets]

CHANNELS = ("x", "y", "angle", "size", "limb1", "limb2", "holes", "burst")
"""Pixels (y down), pixels, radians, logarithm of the scale, radians, radians, share dissolved, share of a burst gone by."""


def sway(t: Tensor, draw: Draw) -> Offsets:
    """To and fro along a line, slow and wide."""
    return _along(draw.angle(), draw.about(9) * _wave(t, draw, 1.6))


def shake(t: Tensor, draw: Draw) -> Offsets:
    """To and fro along a line, fast and narrow."""
    return _along(draw.angle(), draw.about(3.2) * _wave(t, draw, 3.6))


def spin(t: Tensor, draw: Draw) -> Offsets:
    """Turning at constant speed, either way."""
    turns = draw.pick((-1, 1)) * draw.about(1.3) * t
    return {"angle": 2 * math.pi * turns + draw.angle()}


def rock(t: Tensor, draw: Draw) -> Offsets:
    """Tilting left and right."""
    return {"angle": math.radians(draw.about(38)) * _wave(t, draw, 2.0)}


def pulse(t: Tensor, draw: Draw) -> Offsets:
    """Growing and shrinking."""
    return {"size": draw.about(0.3) * _wave(t, draw, 1.9)}


def wave(t: Tensor, draw: Draw) -> Offsets:
    """One limb beats, the other rests."""
    limb = draw.pick(("limb1", "limb2"))
    return {limb: math.radians(draw.about(60)) * _wave(t, draw, 2.4)}


def walk(t: Tensor, draw: Draw) -> Offsets:
    """Both limbs stride while the actor patrols a line and bobs."""
    rate, phase = draw.about(2.0), draw.uniform(0, 1)
    stride = math.radians(draw.about(40)) * torch.sin(2 * math.pi * (rate * t + phase))
    reach = 10.0
    leg = (draw.about(20) * t / reach + draw.uniform(0, 4)) % 4  # four quarters of a triangle wave
    offsets = _along(draw.angle(), reach * (1 - (leg - 2).abs()))
    bob = draw.about(1.8) * torch.sin(2 * math.pi * (rate * t + phase)).abs()
    return {**offsets, "y": offsets["y"] - bob, "limb1": stride, "limb2": stride}


def bounce(t: Tensor, draw: Draw) -> Offsets:
    """Dropped, bouncing ever lower, lifted again."""
    gravity, height, lift = draw.about(420), draw.about(17), 0.25
    flights = []  # (start, rising speed)
    start, speed = -math.sqrt(2 * height / gravity), math.sqrt(2 * height * gravity)
    while speed > 0.3 * math.sqrt(2 * height * gravity):
        flights.append((start, speed))
        start, speed = start + 2 * speed / gravity, 0.62 * speed
    age = _age(t, draw, start + lift)
    above = height * (3 - 2 * ((age - start) / lift)) * ((age - start) / lift) ** 2  # eased lift back to the top
    for begin, rising in reversed(flights):
        flying = rising * (age - begin) - gravity * (age - begin) ** 2 / 2
        above = torch.where(age < begin + 2 * rising / gravity, flying, above)
    return {"y": height / 2 - above}


def skid(t: Tensor, draw: Draw) -> Offsets:
    """Kicked across a circle again and again, each time slowed down by friction."""
    period = draw.about(0.5)
    clock = t / period + draw.uniform(0, 1) - t.min() / period
    kick = clock.floor().long()
    turns = math.pi + 0.7 * draw.normals(20)
    heading = draw.angle() + torch.cumsum(turns, 0)
    place = draw.about(9) * torch.stack([torch.cos(heading), torch.sin(heading)])
    slid = 1 - torch.exp(-(clock - kick) * period / 0.12)
    x, y = place[:, kick] + (place[:, kick + 1] - place[:, kick]) * slid
    return {"x": x, "y": y}


def twang(t: Tensor, draw: Draw) -> Offsets:
    """A spring: struck, it swings out; struck again before it rests."""
    age = _age(t, draw, draw.about(0.6))
    swing = torch.exp(-age / 0.2) * torch.sin(2 * math.pi * draw.about(3.4) * age)
    return {"angle": draw.pick((-1, 1)) * math.radians(draw.about(65)) * swing}


def dissolve(t: Tensor, draw: Draw) -> Offsets:
    """Holes eat the body; it is made whole within a moment."""
    period, heal = draw.about(0.55), 0.08
    age = _age(t, draw, period)
    eaten = torch.where(age < period - heal, age / (period - heal), (period - age) / heal)
    return {"holes": 0.6 * eaten}


def shatter(t: Tensor, draw: Draw) -> Offsets:
    """Splinters burst out of the actor, fall and fade."""
    period = draw.about(0.55)
    return {"burst": _age(t, draw, period) / period}


LAWS: dict[str, Law] = {
    "Bounce": bounce,
    "Dissolve": dissolve,
    "Pulse": pulse,
    "Rock": rock,
    "Shake": shake,
    "Shatter": shatter,
    "Skid": skid,
    "Spin": spin,
    "Sway": sway,
    "Twang": twang,
    "Walk": walk,
    "Wave": wave,
}
"""Class name -> law, in the order of the labels."""

IRREVERSIBLE = frozenset({"Bounce", "Dissolve", "Shatter", "Skid", "Twang"})
"""Classes whose videos look wrong when played backwards."""


def move(action: str | None, seconds: Tensor, draw: Draw) -> Offsets:
    """The actor's motion when ``action`` runs (None: nothing does), each channel (T,)."""
    total = {channel: torch.zeros_like(seconds) for channel in CHANNELS}
    frozen = seconds[len(seconds) // 2].expand_as(seconds)
    for name, law in LAWS.items():
        for channel, offset in law(seconds if name == action else frozen, draw).items():
            total[channel] = total[channel] + offset
    return total


def _wave(t: Tensor, draw: Draw, hertz: float) -> Tensor:
    return torch.sin(2 * math.pi * draw.about(hertz) * t + draw.angle())


def _age(t: Tensor, draw: Draw, period: float) -> Tensor:
    """Seconds since the last of events that repeat every ``period`` seconds, the first at a random time."""
    return (t + draw.uniform(0, period)) % period


def _along(heading: float, distance: Tensor) -> Offsets:
    return {"x": math.cos(heading) * distance, "y": math.sin(heading) * distance}
