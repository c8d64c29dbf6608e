"""``ssv compare``: a table here, a report to mail, and the figures for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

KEYS = {"outputs", "runs", "html", "markdown", "csv", "wandb_workspace"}
FLAGS = {"--wandb-workspace": "wandb_workspace=ssv"}


def run(config: dict[str, Any]) -> int:
    """Collect, print, write."""
    from rich.console import Console

    from ssv.cli.errors import UserError
    from ssv.report.collect import collect
    from ssv.report.export import write_csv, write_markdown
    from ssv.report.html import write_html
    from ssv.report.table import print_table

    outputs = Path(config["outputs"])
    patterns = config["runs"] if isinstance(config["runs"], list) else [config["runs"]]
    if not outputs.is_dir():
        raise UserError(f"outputs={outputs} is no folder; runs are looked for in its sub-folders")
    comparison = collect(outputs, patterns)
    if not comparison.runs and comparison.broken:
        name, reason = comparison.broken[0]
        raise UserError(f"no run in {outputs} can be read ({name}: {reason}); run the command of a run again")
    if not comparison.runs:
        raise UserError(f"no run in {outputs} matches {', '.join(patterns)}; `ssv pretrain` makes one")
    print_table(comparison, Console())
    html = Path(config["html"] or outputs / "compare.html")
    write_html(comparison, html)
    print(f"report: {html}")
    for key, write in (("markdown", write_markdown), ("csv", write_csv)):
        if config.get(key):
            write(comparison, Path(config[key]))
            print(f"{key}: {config[key]}")
    if config.get("wandb_workspace"):
        from ssv.cli.workspace import save_workspace

        print(f"W&B workspace: {save_workspace(comparison, config['wandb_workspace'])}")
    return 0
