"""ssv: self-supervised pretraining on video, and what it is worth downstream.

The names below are what a notebook needs; they are imported when first used, so that ``import ssv`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ssv.api import clips, create_backbone, evaluate, features, fit, list_backbones, load_backbone, videos
    from ssv.backbones.base import Backbone
    from ssv.evaluations.base import Evaluation
    from ssv.pretexts.base import Pretext
    from ssv.types import Clips, PretextOutput, Video

_HOMES = {
    "ssv.api": "clips create_backbone evaluate features fit list_backbones load_backbone videos",
    "ssv.backbones.base": "Backbone",
    "ssv.evaluations.base": "Evaluation",
    "ssv.pretexts.base": "Pretext",
    "ssv.types": "Clips PretextOutput Video",
}
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = [
    "Backbone",
    "Clips",
    "Evaluation",
    "Pretext",
    "PretextOutput",
    "Video",
    "clips",
    "create_backbone",
    "evaluate",
    "features",
    "fit",
    "list_backbones",
    "load_backbone",
    "videos",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ssv' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOME]
