"""What a network took each test video for, as an evaluation stored it."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Predictions(NamedTuple):
    """One row a test video, sorted by path: text (M,), ``label`` int64 (M,), ``right`` bool (M,)."""

    path: NDArray[np.str_]
    label: NDArray[np.int64]
    right: NDArray[np.bool_]
    group: NDArray[np.str_]

    @property
    def scenes(self) -> list[str]:
        """What hangs together: g07 of one class is another scene than g07 of the next."""
        return [f"{label}/{group}" for label, group in zip(self.label, self.group, strict=True)]


def read_predictions(path: Path) -> Predictions | None:
    """The predictions in an ``.npz``; None for a file that is damaged, half written or of another kind."""
    try:
        # opened here: numpy leaves its own handle open when the archive is damaged
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            names = file["path"].astype(str)
            order = np.argsort(names, kind="stable")
            label, prediction, group = (file[key][order] for key in ("label", "prediction", "group"))
            return Predictions(names[order], label.astype(np.int64), prediction == label, group.astype(str))
    except (OSError, ValueError, EOFError, AttributeError, TypeError, KeyError, IndexError, zipfile.BadZipFile):
        return None
