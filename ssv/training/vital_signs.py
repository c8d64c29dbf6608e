"""Signs of life that compare across tasks, and an alarm when features die while the loss looks well."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ssv.backbones.base import Backbone
from ssv.ops.photometric import normalise
from ssv.ops.spread import effective_rank, feature_std, order_sensitivity, same_video
from ssv.types import Clips

FRAMES = 16  # of a clip, evenly spread: a pretext's window can be ten times as long
ROWS = 1024  # clips at most: the singular values of more are costly and say the same


@torch.no_grad()
def looks(backbone: Backbone, clips: Clips) -> Tensor:
    """The backbone's features of the first view as filmed, of its frames shuffled, and of its two halves.

    Of honest clips and not of the pretext's questions, so that tasks compare. At most ``FRAMES`` of the frames, which
    all videos have shuffled alike; nothing is drawn. On the device of ``clips``; the backbone's mode is the caller's
    business.

    Returns:
        float32 (B,4,D) on the CPU, means over the map; (B,1,D) for clips of one frame.
    """
    count = clips.pixels.shape[3]
    frames = torch.linspace(0, count - 1, min(count, FRAMES), device=clips.pixels.device).round().long()
    shown = len(frames)
    shuffled = torch.randperm(shown, generator=torch.Generator().manual_seed(0)).to(frames.device)
    half = shown // 2
    parts = [frames, frames[shuffled], frames[:half], frames[shown - half :]] if half else [frames]
    return torch.stack([_pooled(backbone, clips.pixels[:, 0, :, part]) for part in parts], dim=1)


def _pooled(backbone: Backbone, pixels: Tensor) -> Tensor:
    features: Tensor = backbone(normalise(pixels, backbone.mean, backbone.std))
    return features.mean((2, 3, 4)).float().cpu()


def vital_signs(features: Tensor) -> dict[str, float]:
    """``std``, ``effective_rank``, ``order_sensitivity`` and ``same_video`` of ``looks`` (M,4,D), all without labels.

    The first two alone of clips of one frame; nothing for fewer than two clips, or for features that are not finite.
    """
    features = features[:ROWS]
    if len(features) < 2 or not bool(features.isfinite().all()):
        return {}
    signs = {"std": feature_std(features[:, 0]), "effective_rank": effective_rank(features[:, 0])}
    if features.shape[1] > 1:
        signs["order_sensitivity"] = order_sensitivity(features[:, 0], features[:, 1])
        signs["same_video"] = same_video(features[:, 2], features[:, 3])
    return {name: float(value) for name, value in signs.items()}


class CollapseAlarm:
    """Tells, once, that features have collapsed while the training loss fell.

    Collapsed: ``std``, or what ``effective_rank`` has above 1, is below ``FRACTION`` of its highest value so
    far, the start included. Fallen: the mean training loss since the last look is below that of the first step.
    """

    FRACTION = 0.1

    def __init__(self) -> None:
        self.highest: dict[str, float] = {}
        self.first_loss: float | None = None
        self.has_rung = False
        self._sum, self._count = torch.zeros(()), 0  # of losses since the last look

    def step(self, loss: Tensor) -> None:
        """Take note of the detached loss of a training step; no wait for the device."""
        if self.first_loss is None:
            self.first_loss = float(loss)
        self._sum, self._count = self._sum + loss, self._count + 1

    def look(self, signs: dict[str, float]) -> str:
        """One line when it rings, an empty one otherwise; ``signs`` are of `vital_signs`."""
        loss, self._sum, self._count = float(self._sum) / max(1, self._count), torch.zeros(()), 0
        above = {"std": signs["std"], "effective_rank": signs["effective_rank"] - 1}
        for name, value in above.items():
            self.highest[name] = max(value, self.highest.get(name, 0.0))
        low = [name for name, value in above.items() if value < self.FRACTION * self.highest[name]]
        if self.has_rung or not low or self.first_loss is None or loss >= self.first_loss:
            return ""
        self.has_rung = True
        told = ", ".join(f"{name} {signs[name]:.3g}" for name in low)
        return f"features collapse ({told}) while the loss falls ({self.first_loss:.3g} to {loss:.3g})"

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        losses = {"sum": float(self._sum), "count": self._count, "first": self.first_loss}
        return {"highest": dict(self.highest), "losses": losses, "has_rung": self.has_rung}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on comparing."""
        self.highest, self.has_rung, losses = dict(state["highest"]), state["has_rung"], state["losses"]
        self._sum, self._count, self.first_loss = torch.tensor(losses["sum"]), losses["count"], losses["first"]
