"""Weights & Biases: on by default, offline without a key, never a prompt and never a reason to stop."""

from __future__ import annotations

import netrc
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from ssv.cli.run_folder import is_first_process
from ssv.files import read_json, write_json
from ssv.locks import hold
from ssv.training.recorder import Row, Sink

AXES = ("clips_seen", "frames_seen", "hours")
"""What curves are drawn over, the first one unless somebody chooses another: steps of pretexts are not equal."""

PATIENCE = {"init_timeout": 30, "finish_timeout": 300}
"""Seconds for a server to answer at the start, and to take the rest at the end; ``WANDB_INIT_TIMEOUT`` and
``WANDB_FINISH_TIMEOUT`` win."""


class Dashboard:
    """An open W&B run, or none; ``sinks`` is what a recorder writes to. Nothing here raises."""

    def __init__(self, run: Any = None) -> None:
        self.run = run
        self.sinks: list[Sink] = [self._log] if run is not None else []

    def _log(self, row: Row) -> None:
        # The number of the step: rows of one step become one, and steps that a resumed run does again count once.
        if not self._try("metrics; metrics.jsonl goes on", lambda run: run.log(dict(row), step=int(row["step"]))):
            self.sinks.clear()

    def summarise(self, values: Mapping[str, Any]) -> None:
        """Set figures of the run's summary."""
        self._try("its summary", lambda run: run.summary.update(dict(values)))

    def measured(self, scores: Mapping[str, float], seen: Mapping[str, Any], stem: Path) -> None:
        """Put an evaluation's scores, tables and films beside what its weights had seen.

        Args:
            scores: by the name they shall have.
            seen: the ``AXES`` of the weights; other keys are left out.
            stem: the evaluation's folder; its files are called ``<stem>-<name>.npz``.
        """
        from ssv.cli.dashboard_files import media, tables

        point = {axis: seen[axis] for axis in AXES if axis in seen}
        self._try("scores", lambda run: run.log({**point, **scores}))
        self._try("tables and films", lambda run: run.log({**point, **tables(stem), **media(stem)}))

    def made(self, file: Path, about: Mapping[str, Any]) -> None:
        """Keep a file of weights as an artifact that this run made; a summary key tells it apart offline, too."""
        from ssv.cli.dashboard_files import artifact

        self._try("weights", lambda run: run.log_artifact(artifact(file, about)))

    def used(self, file: Path, about: Mapping[str, Any]) -> None:
        """Draw the line from a file of weights to this run. The same bytes under the same name are the same artifact."""
        from ssv.cli.dashboard_files import artifact

        # `use_artifact` refuses offline, and online waits for ever on a server that is gone; what it calls does neither.
        self._try("weights", lambda run: run._log_artifact(artifact(file, about), use_after_commit=True))

    def _try(self, what: str, action: Callable[[Any], Any]) -> bool:
        if self.run is None:
            return False
        try:
            action(self.run)
        except Exception as error:  # noqa: BLE001 - a dashboard must not cost a training run
            print(f"W&B does not take {what} ({_one_line(error)})", flush=True)
            return False
        return True

    def close(self, error: BaseException | None = None) -> None:
        """Finish the run, marked as failed after an error; say how to upload what the server did not take."""
        if self.run is None:
            return
        command = f"wandb sync --no-skip-online {Path(self.run.dir).parent}"
        try:
            self.run.finish(exit_code=0 if error is None else 1)
        except Exception as reason:  # noqa: BLE001 - as above
            print(f"W&B did not take all ({_one_line(reason)}); `{command}` uploads it later", flush=True)


def open_dashboard(config: dict[str, Any], folder: Path, *, job_type: str, key: str | None = None) -> Dashboard:
    """Open a W&B run whose id lives in the run folder, so that a resumed run continues its curve.

    The group is the pretraining run: its evaluations stand beside it. Without a key, and where the server does not
    answer, all is written into the folder, to be uploaded later.

    Args:
        config: as composed; ``config["run"]`` says what the run is.
        folder: the run's folder.
        job_type: ``pretrain``, or the name of an evaluation.
        key: tells runs of one job type and folder apart.
    """
    settings = config["logger"]
    if settings["mode"] is None or not is_first_process():
        return Dashboard()
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # no telemetry; wandb sends its own unless told
    mode = wandb_mode(settings["mode"])
    if mode == "disabled":
        return Dashboard()
    why = "no key found"
    try:
        if mode == "online":
            try:
                return Dashboard(_init(config, folder, job_type, key, mode))
            except Exception as error:  # noqa: BLE001 - an unknown key, no server, no network
                why, mode = f"its server does not take this run ({_one_line(error)})", "offline"
                _forget()
        opened = _init(config, folder, job_type, key, mode)
    except Exception as error:  # noqa: BLE001 - see the first line of this module
        print(f"W&B could not start ({_one_line(error)}); going on without it, metrics.jsonl is written", flush=True)
        return Dashboard()
    if mode == "offline":
        command = f"wandb sync {folder}/wandb/offline-run-*"
        print(f"W&B: {why}, writing offline; `{command}` uploads it later", flush=True)
    return Dashboard(opened)


def _init(config: dict[str, Any], folder: Path, job_type: str, key: str | None, mode: str) -> Any:
    import wandb

    run = config["run"]
    patience = {name: value for name, value in PATIENCE.items() if f"WANDB_{name.upper()}" not in os.environ}
    # Ask on as long as the run lasts, and have on disk what `wandb sync` will need, should all be killed.
    lasting = {"x_file_stream_retry_max": 1_000_000, "x_transaction_log_flush_interval": 1.0}
    wanted = {**patience, "finish_timeout_raises": True, **lasting}
    known = {name: value for name, value in wanted.items() if name in wandb.Settings.model_fields}
    tags = [run.get(name) for name in ("pretext", "backbone", "data", "evaluation", "measured_on", "study")]
    opened = wandb.init(
        project=config["logger"]["project"],
        name="-".join([run["name"], *(run[name] for name in ("evaluation", "measured_on") if name in run)]),
        id=wandb_id(folder, key or job_type),
        group=run["name"][:128],
        job_type=job_type,
        tags=[str(tag)[:64] for tag in dict.fromkeys(tags) if tag],
        dir=str(folder),
        config=config,
        mode=mode,  # type: ignore[arg-type]
        resume="allow",
        settings=wandb.Settings(console="off", silent=True, disable_git=True, disable_code=True, **known),
    )
    keep_id(folder, key or job_type, opened.id)
    for axis in AXES:
        opened.define_metric(axis)
    opened.define_metric("*", step_metric=AXES[0])
    return opened


def _forget() -> None:
    """End what a failed start left behind: it would go on asking the server, and hold the run's id."""
    import wandb

    wandb.teardown()


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


def wandb_id(folder: Path, key: str) -> str:
    """The id kept in the folder, made on the first call."""
    return keep_id(folder, key, read_ids(folder).get(key) or secrets.token_hex(4))


def read_ids(folder: Path) -> dict[str, str]:
    """All ids kept in a run's folder, ``pretrain`` that of its training."""
    return read_json(folder / "wandb_ids.json")


def keep_id(folder: Path, key: str, value: str) -> str:
    """Keep an id in the folder, safe against two evaluations at once; a sweep's agent gives one of its own."""
    with hold(folder / ".wandb_ids.lock", wait=True):
        ids = read_ids(folder)
        if ids.get(key) != value:
            write_json(folder / "wandb_ids.json", {**ids, key: value})
    return value


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
