"""A run is named by what it is, and its folder answers: new, go on, finished, or another one of the same name."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from ssv.cli.errors import UserError
from ssv.cli.stored import as_yaml, read_config
from ssv.files import is_whole_archive, read_json, write_json, write_text
from ssv.locks import hold

# Where and how fast a run happens is not part of what it is.
MACHINE = {
    "command",
    "outputs",
    "threads",
    "activation_checkpointing",
    "logger",
    "log_every",
    "run.study",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
    "data.workers",
}
LOCK = ".lock"
PARTIAL = re.compile(r"\.(?!wandb_ids|audit|scores).+\.\d+\.(partial|tmp)")
"""Unfinished files of a run, named by the process that writes them; evaluations and audits may be at it meanwhile."""
NAMED = {"pretext", "backbone", "data", "seed", "tag", "weights", "evaluation"}


def digest_tag(overrides: list[str]) -> str:
    """``base`` without value overrides, else a short digest of them, so that the jobs of a sweep never collide."""
    values = sorted(
        word.lstrip("+~") for word in overrides if word.lstrip("+~").partition("=")[0] not in NAMED | MACHINE
    )
    return hashlib.blake2b("\n".join(values).encode(), digest_size=3).hexdigest() if values else "base"


def run_name(*parts: str, seed: int) -> str:
    """``<pretext>-<backbone>-<data>-<tag>-s<seed>``, safe as a folder name."""
    return "-".join(re.sub(r"[^A-Za-z0-9_.]+", "_", part) for part in parts) + f"-s{seed}"


def flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """A nested dict as ``{"a.b": value}``."""
    if not isinstance(node, dict) or not node:
        return {prefix.rstrip("."): node}
    found: dict[str, Any] = {}
    for key, value in node.items():
        found.update(flat(value, f"{prefix}{key}."))
    return found


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What makes two configurations different runs, as ``key: old -> new``; machine settings do not count."""
    left, right = flat(old), flat(new)
    keys = sorted({*left, *right})
    is_machine = [key in MACHINE or key.partition(".")[0] in MACHINE for key in keys]
    gone = object()
    return [
        f"{key}: {left.get(key, 'absent')} -> {right.get(key, 'absent')}"
        for key, machine in zip(keys, is_machine)
        if not machine and left.get(key, gone) != right.get(key, gone)
    ]


def is_first_process() -> bool:
    """Whether this process speaks for the job: started by hand, or rank zero of a launcher (torchrun, SLURM)."""
    return all(int(os.environ.get(name, 0)) == 0 for name in ("LOCAL_RANK", "RANK", "SLURM_PROCID"))


def refuse_links(folder: Path) -> None:
    """Raises UserError where a file or folder of a run is a link: what is written there would change another file."""
    for place in (folder, *(folder / name for name in ("checkpoints", "evaluations", "pictures"))):
        for entry in place.iterdir() if place.is_dir() else ():
            if entry.is_symlink():
                raise UserError(f"{entry} is a link, which ssv does not write; put there what it leads to")


@contextmanager
def claim(folder: Path, config: dict[str, Any], *, wait: bool = False) -> Iterator[str]:
    """Hold a run's folder; gives the state it was in: ``new``, ``finished``, or another state to go on from.

    ``wait`` until another process has let go of it, instead of refusing.

    Raises:
        UserError: when the folder holds another configuration.
        Busy: when another process is at it.
    """
    if not is_first_process():
        yield read_status(folder).get("state", "new")
        return
    folder.mkdir(parents=True, exist_ok=True)
    refuse_links(folder)
    busy = f"{folder} is being worked on by another process; wait for it, or set another tag="
    with hold(folder / LOCK, busy, wait=wait):
        remove_partial(folder)
        tell_damaged(folder)
        changed = clash(folder, config)
        if changed and is_begun(folder):
            raise UserError(
                f"{folder} holds another configuration ({'; '.join(changed)}); set tag=NAME for a run of its own, "
                f"or remove the folder"
            )
        if changed:  # a try that failed before its first step does not stand in the way of the next
            for name in ("run.json", "status.json"):
                (folder / name).unlink(missing_ok=True)
        write_text(folder / "config.yaml", as_yaml(config))
        if not read_json(folder / "run.json"):
            birth = {"command": config.get("command", ""), "commit": commit(), "versions": versions(), "created": now()}
            birth["network"] = network(config.get("backbone"))
            write_json(folder / "run.json", {**config["run"], **birth})
        yield read_status(folder).get("state", "new")


def remove_partial(folder: Path) -> None:
    """Remove what a killed process was writing when it ended."""
    for path in (*folder.glob(".*"), *folder.glob("checkpoints/.*")):
        if PARTIAL.fullmatch(path.name):
            path.unlink(missing_ok=True)


def clash(folder: Path, config: dict[str, Any]) -> list[str]:
    """What makes the run in a folder another than that of ``config``, as ``differences`` says it.

    Nothing where its configuration is missing or damaged: the name, which the configuration makes, is the same.
    """
    try:
        return differences(read_config(folder / "config.yaml"), config)
    except UserError:
        return []


def tell_damaged(folder: Path) -> None:
    """Print one line about the files of a run that are there and cannot be read: they are rewritten."""

    def is_damaged(name: str) -> bool:
        if name != "config.yaml":
            return not read_json(folder / name)
        try:
            return not read_config(folder / name)
        except UserError:
            return True

    names = [
        name for name in ("config.yaml", "run.json", "status.json") if (folder / name).exists() and is_damaged(name)
    ]
    if names:
        print(
            f"{folder}: {', '.join(names)} damaged (empty or cut off, as after a power cut); the run continues without",
            flush=True,
        )


def is_begun(folder: Path) -> bool:
    """Whether a folder holds anything that would be lost with its run."""
    return any((folder / name).exists() for name in ("metrics.jsonl", "checkpoints", "backbone.pt", "scores.jsonl"))


def network(backbone: dict[str, Any] | None) -> str:
    """A digest of the constructor's arguments: runs of one network are compared with its own random start."""
    if not backbone:
        return ""
    return hashlib.blake2b(json.dumps(backbone, sort_keys=True, default=str).encode(), digest_size=4).hexdigest()


def read_status(folder: Path) -> dict[str, Any]:
    """``status.json`` of a run, empty where there is none or it is damaged."""
    return read_json(folder / "status.json")


def is_finished(folder: Path) -> bool:
    """Whether a run has ended and its weights are there, whole; its checkpoint may be gone, but not damaged."""
    last = folder / "checkpoints" / "last.ckpt"
    return (
        read_status(folder).get("state") == "finished"
        and is_whole_archive(folder / "backbone.pt")
        and (not last.exists() or is_whole_archive(last))
    )


def set_state(folder: Path, state: str, message: str) -> None:
    """Change the state in ``status.json``, keeping its counts; silent where the disk does not let us."""
    if is_first_process() and folder.exists():
        try:
            write_json(folder / "status.json", {**read_status(folder), "state": state, "message": message})
        except OSError:
            return


def now() -> str:
    """The time as ISO 8601 in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def commit() -> str:
    """Commit of the checkout ssv runs from, ``+`` added where files were changed; empty for an installed package."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--abbrev=10", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    names = ["ssv", "torch", "pytorch-lightning", "numpy", "av", "decord", "opencv-python-headless", "scikit-learn"]
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
