"""``ssv toy``: writes the embedded data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

KEYS = {"root", "size", "seed", "workers"}


def run(config: dict[str, Any]) -> int:
    """Render, encode and say where it lies."""
    from rich.console import Console
    from rich.progress import Progress

    from ssv.cli.errors import UserError
    from ssv.data.toy.world import SIZES, write_world

    if config["size"] not in SIZES:
        raise UserError(f"unknown size '{config['size']}' (known: {', '.join(SIZES)})")
    console = Console()
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("rendering videos", total=None)
        summary = write_world(
            Path(config["root"]),
            size=config["size"],
            seed=config["seed"],
            workers=config["workers"],
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    counts = ", ".join(f"{number} {what.replace('_', ' ')}" for what, number in summary.counts.items())
    print(
        f"{summary.folder}: {counts} (world seed {config['seed']}, version {summary.version}, {summary.seconds:.0f} s)"
    )
    print(f"look at {summary.contact_sheet}, then: ssv pretrain data=toy data.root={summary.folder} backbone=r3d_tiny")
    return 0
