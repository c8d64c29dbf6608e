"""A backbone with a linear classifier on it, and what of it is trained how fast."""

from __future__ import annotations

from torch import Tensor, nn

from ssv.backbones.base import Backbone
from ssv.training.schedules import decay_groups


class Classifier(nn.Module):
    """Backbone, mean over space and time, dropout, linear layer: float (N,C,T,H,W) -> logits (N,K).

    Stages are counted as ``last_stage`` of the backbones counts them, from 1; what comes before them is stage 0.
    Stages before ``train_from`` are frozen: no gradient, and their BatchNorm stays in eval mode.

    Args:
        backbone: is changed.
        classes: K.
        dropout: probability.
        train_from: 1 to the number of stages, or one more to train the linear layer alone; None trains all.

    Raises:
        ValueError: if ``train_from`` is another number, or the backbone has no stages to count.
    """

    def __init__(self, backbone: Backbone, classes: int, dropout: float, train_from: int | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(backbone.out_channels, classes)
        self._frozen: list[nn.Module] = []  # a plain list: they belong to the backbone
        if train_from is not None:
            self._freeze(train_from)

    def _freeze(self, train_from: int) -> None:
        most = stage_count(self.backbone, "evaluation.train_from") + 1
        if not 1 <= train_from <= most:
            raise ValueError(f"evaluation.train_from must be 1 to {most} for this backbone, got {train_from}")
        for name, parameter in self.backbone.named_parameters():
            parameter.requires_grad_(stage_of(name) >= train_from)
        # The innermost ones: a frozen stage 0 would otherwise take the whole backbone along.
        self._frozen = [
            module
            for name, module in self.backbone.named_modules()
            if not any(module.children()) and stage_of(name) < train_from
        ]

    def train(self, mode: bool = True) -> Classifier:
        """As every module's, but what is frozen stays in eval mode."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.head(self.dropout(self.backbone(pixels).mean((2, 3, 4))))
        return logits

    def groups(
        self, lr: float, backbone_lr_scale: float, layer_decay: float, weight_decay: float
    ) -> list[dict[str, object]]:
        """Parameter groups of an optimizer: what is trained, with its rate; biases and norms do not decay.

        The rate is ``lr`` for the linear layer and ``lr * backbone_lr_scale`` for the backbone, times ``layer_decay``
        for the last stage, its square for the one before, and so on (Clark et al., ELECTRA, ICLR 2020, appendix A).

        Raises:
            ValueError: if rates differ by stage and the backbone has no stages to count.
        """
        rates = {stage: lr * backbone_lr_scale for stage in {stage_of(n) for n, _ in self.backbone.named_parameters()}}
        if layer_decay != 1.0:
            last = stage_count(self.backbone, "evaluation.layer_decay")
            rates = {stage: rate * layer_decay ** (last - stage + 1) for stage, rate in rates.items()}
        parts: list[tuple[float, nn.ParameterList]] = []
        for rate in dict.fromkeys(rates.values()):
            named = self.backbone.named_parameters()
            parts.append((rate, nn.ParameterList(p for name, p in named if rates[stage_of(name)] == rate)))
        parts.append((lr, nn.ParameterList(self.head.parameters())))
        return [
            {**group, "lr": rate}
            for rate, parameters in parts
            for group in decay_groups(parameters, weight_decay)
            if group["params"]
        ]


def stage_of(name: str) -> int:
    """The stage of a tensor or module of a backbone by its name: ``stages.0.1.weight`` is of stage 1."""
    words = name.split(".")
    return int(words[1]) + 1 if words[0] == "stages" and len(words) > 1 else 0


def stage_count(backbone: Backbone, key: str) -> int:
    """How many stages ``backbone`` has. ValueError naming ``key`` if it has none."""
    stages = getattr(backbone, "stages", None)
    if not isinstance(stages, nn.Sequential):
        raise ValueError(
            f"{key} counts the stages of a backbone, and {type(backbone).__name__} has no nn.Sequential 'stages'"
        )
    return len(stages)
