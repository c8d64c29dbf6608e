"""``scores.jsonl``: rows that replace themselves, safe against two evaluations at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssv.cli.run_folder import MACHINE, flat
from ssv.files import read_json_lines, replacing, write_text
from ssv.locks import hold

if TYPE_CHECKING:
    import numpy as np

KEY = ("weights", "weights_file", "evaluation", "data", "protocol", "seed")
"""The file counts too: the weights of a run's best probe are a row of their own, also where they are its last."""


def put_row(path: Path, row: dict[str, Any]) -> None:
    """Add a row, in place of one with the same key (weights digest and file, evaluation, data, protocol, seed).

    The file is replaced as a whole under a lock: a reader sees the old rows or the new ones. Lines that hold no row are
    moved to ``scores.jsonl.damaged``, and one line says so.
    """
    with hold(path.with_name(".scores.lock"), wait=True):
        rows, damaged = read_json_lines(path)
        if damaged:
            aside = path.with_name(f"{path.name}.damaged")
            with aside.open("a", encoding="utf-8") as file:
                file.writelines(line + "\n" for line in damaged)
            print(f"{path}: {len(damaged)} damaged line{'s' * (len(damaged) > 1)} moved to {aside}", flush=True)
        kept = [old for old in rows if any(old.get(key) != row[key] for key in KEY)]
        write_text(path, "".join(json.dumps(value) + "\n" for value in [*kept, row]))


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an ``.npz`` atomically."""
    import numpy as np

    with replacing(path) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def config_digest(config: dict[str, Any]) -> str:
    """Tells evaluations apart by all that was configured, save which weights, which seed, and what a machine decides."""
    left_out = MACHINE | {"weights", "run", "seed", "evaluation.seed", "evaluation.cache", "evaluation.cache_gb"}
    values = {
        key: value
        for key, value in flat(config).items()
        if key not in left_out and key.partition(".")[0] not in left_out and (key, value) != ("entry", None)
    }
    return hashlib.blake2b(json.dumps(values, sort_keys=True, default=str).encode(), digest_size=8).hexdigest()


def file_digest(path: Path) -> str:
    """Tells files of weights apart by their bytes."""
    return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
