"""Objects out of plain configuration; the library below never sees a configuration."""

from __future__ import annotations

import logging
import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssv.cli.errors import UserError

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from ssv.backbones.base import Backbone
    from ssv.data.datamodule import VideoDataModule
    from ssv.training.pretrain_module import MakeOptimizer


def instantiate_plain(node: dict[str, Any]) -> Any:
    """Hydra's instantiate on a plain dict, containers converted, nothing resolved any more."""
    from hydra.utils import instantiate

    return instantiate(node, _convert_="all")


def build_data(config: dict[str, Any]) -> VideoDataModule:
    """The data module, with its reader and seed."""
    data: VideoDataModule = instantiate_plain(config["data"])(
        reader=instantiate_plain(config["reader"]), seed=config["seed"] or 0
    )
    return data


def require_gpu(trainer: dict[str, Any]) -> None:
    """Refuse a GPU that is not there before anything is read or written; ``trainer`` is the group of that name.

    Raises:
        UserError: when a GPU is asked for and torch sees none.
    """
    import torch

    there = torch.cuda.is_available() or torch.backends.mps.is_available()
    if trainer["accelerator"] in ("gpu", "cuda", "mps") and not there:
        build = " (this torch was built without CUDA)" if torch.version.cuda is None else ""
        raise UserError(
            f"trainer.accelerator={trainer['accelerator']}, but torch sees no GPU here{build}; trainer=cpu takes the "
            f"processor, trainer=auto the best there is"
        )


def lightning_trainer(trainer: dict[str, Any], **options: Any) -> pl.Trainer:
    """Lightning's Trainer of the group ``trainer``, with the options that a verb sets itself.

    Raises:
        UserError: when Lightning refuses the settings: more devices than there are, an unknown precision or strategy.
    """
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    clip, each = trainer.get("gradient_clip_val"), trainer.get("accumulate_grad_batches", 1)
    if clip is not None and not 0 <= clip < float("inf"):
        raise UserError(f"trainer.gradient_clip_val is a finite number of at least 0, got {clip}")
    if each < 1:
        raise UserError(f"trainer.accumulate_grad_batches takes a whole number of at least 1, got {each}")
    try:
        built: pl.Trainer = instantiate_plain(trainer)(**options)
    except (MisconfigurationException, ValueError) as error:
        raise UserError(f"trainer: Lightning says {' '.join(str(error).split())}") from error
    return built


def build_optimizer(optimizer: dict[str, Any]) -> MakeOptimizer:
    """What makes an optimizer of the group ``optimizer``, once it has shown with one number that its settings are right.

    Raises:
        UserError: when torch refuses them, or one is not finite.
    """
    import torch

    make: MakeOptimizer = instantiate_plain(optimizer)
    try:
        made = make([{"params": [torch.nn.Parameter(torch.zeros(1))]}])
    except (ValueError, TypeError) as error:
        raise UserError(f"optimizer: torch says {' '.join(str(error).split())}") from error
    for key, value in made.defaults.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"optimizer.{key} is a finite number, got {value}")
    return make


def build_backbone(config: dict[str, Any]) -> Backbone:
    """A backbone at its random start; torch has been seeded by the caller."""
    backbone: Backbone = instantiate_plain(config["backbone"])
    return backbone


def quiet_lightning() -> None:
    """Lightning announces hardware and products on every start; its warnings and errors stay.

    torch warns of more reading processes than cores, twice for each loader; `ssv bench` says how many are worth it.
    """
    warnings.filterwarnings("ignore", message="This DataLoader will create", category=UserWarning)
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)


def weights_file(weights: str) -> Path:
    """The file behind ``weights=``: itself, or ``backbone.pt`` of a run folder.

    Raises:
        UserError: when there is none.
    """
    path = Path(weights)
    if path.is_dir():
        if not (path / "backbone.pt").exists():
            raise UserError(f"{path} holds no backbone.pt; is the run finished? (see {path / 'status.json'})")
        return path / "backbone.pt"
    if not path.exists():
        raise UserError(f"weights={weights}: no such file or run folder; weights=random measures a random start")
    return path
