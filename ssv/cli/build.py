"""Objects out of plain configuration; the library below never sees a configuration."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssv.cli.errors import UserError

if TYPE_CHECKING:
    from ssv.backbones.base import Backbone
    from ssv.data.datamodule import VideoDataModule


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


def build_backbone(config: dict[str, Any]) -> Backbone:
    """A backbone at its random start; torch has been seeded by the caller."""
    backbone: Backbone = instantiate_plain(config["backbone"])
    return backbone


def quiet_lightning() -> None:
    """Lightning announces hardware and products on every start; its warnings and errors stay."""
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
