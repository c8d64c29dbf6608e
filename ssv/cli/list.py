"""``ssv list``: what there is, read from the configuration files alone."""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path
from typing import Any

from ssv.cli.errors import UserError, nearest
from ssv.cli.job import config_path, own_folder

GROUPS = {
    "pretext": "pretext tasks",
    "backbone": "backbones",
    "data": "data sets",
    "evaluation": "evaluations",
    "experiment": "recipes, as +experiment=NAME",
    "study": "studies, as ssv study NAME",
    "optimizer": "optimizers",
    "trainer": "devices",
}
HELP = f"""ssv list [{"|".join(GROUPS)}]: what there is, with paper and code path

  ssv list
  ssv list pretext
  ssv list backbone
  ssv list evaluation
  ssv list experiment
  ssv list --config-dir my_conf      your own things too
"""


def run(arguments: list[str]) -> int:
    """Print one table a group."""
    from rich.console import Console
    from rich.table import Table

    if arguments and arguments[0] in ("-h", "--help"):
        print(HELP, end="")
        return 0
    own, arguments = own_folder(arguments)
    if own and not Path(own).is_dir():
        raise UserError(f"--config-dir {own}: there is no such folder")
    if len(arguments) > 1:
        raise UserError(f"`ssv list` takes one group at most (known: {', '.join(GROUPS)})")
    asked = arguments[0] if arguments else ""
    if asked and asked not in GROUPS and asked.rstrip("s") not in GROUPS:
        raise UserError(f"nothing to list under '{asked}'{nearest(asked, GROUPS)} (known: {', '.join(GROUPS)})")
    console = Console(width=None if sys.stdout.isatty() else 160)
    for group in [asked if asked in GROUPS else asked.rstrip("s")] if asked else GROUPS:
        table = Table(title=GROUPS[group], title_justify="left", box=None, pad_edge=False)
        for column in (f"{group}=", "what", "code"):
            table.add_column(column, overflow="fold")
        for name, what, code in sorted([*entries(group), *(entries(group, Path(own)) if own else [])]):
            table.add_row(name, what, code)
        if table.row_count:
            console.print(table, highlight=False)
            console.print()
    return 0


def entries(group: str, root: Path | None = None) -> list[tuple[str, str, str]]:
    """Name, first line of comment and target of every file of a group; ``root``: a folder of the user's."""
    ours: Any = resources.files("ssv.conf") if config_path().startswith("pkg:") else Path(config_path())
    folder = (root or ours) / group
    files = sorted(folder.iterdir(), key=lambda f: f.name) if folder.is_dir() else []
    return [(f.name[:-5], *header(f.read_text())) for f in files if f.name.endswith(".yaml")]


def header(text: str) -> tuple[str, str]:
    """First comment that is no directive, and first ``_target_``."""
    comments = [line[1:].strip() for line in text.splitlines() if line.startswith("#") and "@package" not in line]
    targets = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.strip().startswith("_target_:")]
    of_sets = [target for target in targets if ".sets." in target]  # a data set is known by its list of videos
    return comments[0] if comments else "", next(iter(of_sets or targets), "")
