"""The same weights in an architecture that differs where no tensor does: another stage, stride or padding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ssv.backbones.base import Backbone
from ssv.backbones.inflate import inflated
from ssv.backbones.outline import fits, kind, outline, shape_of


class Refit(NamedTuple):
    """A backbone filled with given tensors, and what had to be done for that.

    backbone: on the CPU, in training mode.
    left_out: names of tensors of stages that are no longer built.
    inflated: whether kernels of one frame were spread over time.
    """

    backbone: Backbone
    left_out: tuple[str, ...]
    inflated: bool


def rebuilt(backbone: Backbone, overrides: Mapping[str, Any]) -> Backbone:
    """A copy of ``backbone`` with other arguments, the same weights, on its device, of its dtype and in its mode.

    What needs no new tensors may change: strides, padding, a smaller ``last_stage``; ``time_local=False`` inflates.
    Label propagation asks for ``{"last_stage": 3, "spatial_stride": 8}``. No random number is drawn from torch's
    global generator, and the argument is left as it is.

    Args:
        backbone: any; one that lives outside this package takes what its own constructor takes.
        overrides: arguments of its constructor by name; none gives a plain copy.

    Raises:
        ValueError: if the backbone has no such argument, or its weights do not fill what was asked for.
    """
    like = next(backbone.parameters(), torch.empty(0))  # one without weights is nowhere in particular
    with torch.random.fork_rng(devices=[]):
        refitted = refit(type(backbone), backbone.kwargs, backbone.state_dict(), overrides)
    return refitted.backbone.to(like.device, like.dtype).train(backbone.training)


def refit(
    backbone_class: type[Backbone],
    kwargs: Mapping[str, Any],
    state: Mapping[str, Tensor],
    overrides: Mapping[str, Any],
    *,
    source: str = "",
) -> Refit:
    """Build ``backbone_class`` with ``kwargs`` and ``overrides``, and fill it from ``state``, completely.

    Args:
        backbone_class: of the backbone that ``state`` comes from.
        kwargs: what that backbone was built with.
        state: its tensors.
        overrides: see `rebuilt`.
        source: the file it comes from, for messages; none if it was in memory.

    Raises:
        ValueError: see `rebuilt`.
    """
    asked = {**kwargs, **overrides}
    name, where = backbone_class.__name__, source or "memory"
    if unknown := sorted(set(overrides) - set(kwargs)):
        raise ValueError(f"{name} in {where} has no argument {', '.join(unknown)}; it has {', '.join(kwargs)}")
    try:
        planned = outline(backbone_class, asked, state)
    except Exception as error:
        if not source:
            raise
        cause = " ".join(str(error).split())  # whatever a file makes a constructor do is an error in that file
        raise ValueError(f"{where} holds {name} that cannot be built with its arguments: {cause}") from error
    wanted = planned.state_dict()
    inflate = bool(kwargs.get("time_local")) and not planned.time_local
    given = inflated(state, wanted) if inflate and not any(map(kind, state.values())) else dict(state)
    left_out = _dropped_stages(backbone_class, kwargs, asked, wanted, given) if "last_stage" in overrides else set()
    kept = {key: tensor for key, tensor in given.items() if key not in left_out}
    if misfit := _misfit(kept, wanted, "the file" if source else "memory"):
        if not overrides:
            raise ValueError(f"{where} does not fill the {name} it names: {misfit}")
        was = ", ".join(f"{key}={kwargs[key]}" for key in overrides)
        now = ", ".join(f"{key}={value}" for key, value in overrides.items())
        raise ValueError(f"{where} holds {name}({was}), needed for {name}({now}): {misfit}")
    backbone = backbone_class(**asked)
    backbone.load_state_dict({key: given[key] for key in wanted})
    return Refit(backbone, tuple(key for key in given if key in left_out), inflate)


def _dropped_stages(
    backbone_class: type[Backbone],
    kwargs: Mapping[str, Any],
    asked: Mapping[str, Any],
    wanted: Mapping[str, Tensor],
    state: Mapping[str, Any],
) -> set[str]:
    """Names that are gone for no other reason than a smaller ``last_stage``."""
    whole = outline(backbone_class, {**asked, "last_stage": kwargs["last_stage"]}, state)
    return set(whole.state_dict()) - set(wanted)


def _misfit(state: Mapping[str, Any], wanted: Mapping[str, Tensor], where: str) -> str:
    """What is wrong, unless ``state`` has exactly the names of ``wanted``, with tensors that fit."""
    wrong = [
        name
        for name in {**wanted, **state}
        if name not in wanted or name not in state or not fits(state[name], wanted[name])
    ]
    if not wrong:
        return ""
    first = wrong[0]
    here = kind(state[first]) or shape_of(state[first]) if first in state else "absent"
    there = shape_of(wanted[first]) if first in wanted else "absent"
    return f"{len(wrong)} tensors do not fit, the first is {first}, {here} in {where}, {there} needed"
