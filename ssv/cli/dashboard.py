"""Weights & Biases: on by default, offline without a key, never a prompt and never a reason to stop."""

from __future__ import annotations

import json
import netrc
import os
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from ssv.cli.run_folder import is_first_process
from ssv.training.recorder import Row, Sink, write_json


class Dashboard:
    """An open W&B run, or none; ``sinks`` is what a recorder writes to."""

    def __init__(self, run: Any = None) -> None:
        self.run = run
        self.sinks: list[Sink] = [self._log] if run is not None else []

    def _log(self, row: Row) -> None:
        try:
            self.run.log(dict(row))
        except Exception as error:  # noqa: BLE001 - a dashboard must not cost a training run
            print(f"W&B stopped taking metrics ({error}); metrics.jsonl goes on", flush=True)
            self.sinks.clear()

    def summarise(self, values: dict[str, float | str]) -> None:
        """Set figures of the run's summary."""
        if self.run is not None:
            self.run.summary.update(values)

    def close(self, error: BaseException | None = None) -> None:
        """Finish the run; marked as failed after an error."""
        if self.run is not None:
            self.run.finish(exit_code=0 if error is None else 1)


def open_dashboard(config: dict[str, Any], folder: Path, *, job_type: str, group: str | None = None) -> Dashboard:
    """Open a W&B run whose id lives in the run folder, so that a resumed run continues its curve.

    x-axes are ``clips_seen`` by default; ``hours`` and ``frames_seen`` are logged beside it.
    """
    settings = config["logger"]
    if settings["mode"] is None or not is_first_process():
        return Dashboard()
    mode = wandb_mode(settings["mode"])
    if mode == "disabled":
        return Dashboard()
    run = config["run"]
    try:
        import wandb

        opened = wandb.init(
            project=settings["project"],
            name=run["name"] if job_type == "pretrain" else f"{run['name']}-{job_type}",
            id=wandb_id(folder, job_type),
            group=group or run["name"],
            job_type=job_type,
            tags=[run[key] for key in ("pretext", "backbone", "data")],
            dir=str(folder),
            config=config,
            mode=mode,  # type: ignore[arg-type]
            resume="allow",
            settings=wandb.Settings(console="off", silent=True, disable_git=True, disable_code=True),
        )
        opened.define_metric("clips_seen")
        opened.define_metric("*", step_metric="clips_seen")
    except Exception as error:  # noqa: BLE001 - see the first line of this module
        print(f"W&B could not start ({' '.join(str(error).split())}); going on without it, metrics.jsonl is written")
        return Dashboard()
    if mode == "offline":
        print(
            f"W&B: no key found, writing offline; `wandb sync {folder}/wandb/offline-run-*` uploads it later",
            flush=True,
        )
    return Dashboard(opened)


def wandb_mode(asked: str) -> str:
    """``online`` only with a key at hand; the environment's WANDB_MODE wins."""
    if os.environ.get("WANDB_MODE"):
        return os.environ["WANDB_MODE"]
    if asked != "auto":
        return asked
    if os.environ.get("WANDB_API_KEY"):
        return "online"
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return "online" if netrc.netrc().authenticators(host) else "offline"
    except (OSError, netrc.NetrcParseError):
        return "offline"


def wandb_id(folder: Path, job_type: str) -> str:
    """The id kept in the folder, made on the first call."""
    path = folder / "wandb_ids.json"
    ids = json.loads(path.read_text()) if path.exists() else {}
    if job_type not in ids:
        ids[job_type] = secrets.token_hex(4)
        write_json(path, ids)
    return str(ids[job_type])
