"""What a W&B run shows besides curves: tables of what was answered, films, pictures, and files of weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

ROWS = 5000  # of a table; more are in the run's folder
FILES = 8  # films, and pictures, of one evaluation
MEGABYTES = 20  # of one film or picture


def tables(stem: Path) -> dict[str, Any]:
    """Every file of arrays that is a table (columns of one length): predictions of videos, recall over k."""
    import wandb

    found = {}
    for path in sorted(stem.parent.glob(f"{stem.name}-*.npz")):
        with np.load(path) as arrays:
            columns = {name: arrays[name] for name in arrays.files}
        lengths = {column.shape for column in columns.values()}
        if len(lengths) == 1 and len(shape := lengths.pop()) == 1 and 0 < shape[0] <= ROWS:
            if {"label", "prediction"} <= columns.keys():
                columns["correct"] = columns["label"] == columns["prediction"]
            rows = [list(row) for row in zip(*(column.tolist() for column in columns.values()))]
            found[f"table/{path.stem.removeprefix(stem.name + '-')}"] = wandb.Table(columns=list(columns), data=rows)
    return found


def media(stem: Path) -> dict[str, Any]:
    """Films and pictures that an evaluation left in its folder; a few, evenly spread over the names."""
    import wandb

    films = _few(path for suffix in ("mp4", "gif") for path in stem.rglob(f"*.{suffix}"))
    pictures = _few(path for suffix in ("png", "jpg") for path in stem.rglob(f"*.{suffix}"))
    name = {path: str(path.relative_to(stem)) for path in films + pictures}
    return {
        **{f"films/{name[path]}": wandb.Video(str(path), caption=name[path], format=path.suffix[1:]) for path in films},
        **{f"pictures/{name[path]}": wandb.Image(str(path), caption=name[path]) for path in pictures},
    }


def _few(paths: Any) -> list[Path]:
    found = sorted(path for path in paths if path.stat().st_size <= MEGABYTES * 1e6)
    return [found[i * len(found) // FILES] for i in range(FILES)] if len(found) > FILES else found


def artifact(file: Path, about: Mapping[str, Any]) -> Any:
    """A file of weights as W&B keeps it, called after its run: same bytes, same name, same version."""
    import wandb

    name = re.sub(r"[^A-Za-z0-9_.-]", "_", f"{file.stem}-{about['name']}")[:128]
    made = wandb.Artifact(name, type="model", metadata=dict(about))
    made.add_file(str(file), name=file.name)
    return made
