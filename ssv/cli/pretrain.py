"""``ssv pretrain``: one pretext, one backbone, one run folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssv.cli.errors import UserError
from ssv.cli.run_folder import claim, digest_tag, is_finished, is_first_process, read_status, run_name, set_state
from ssv.files import write_json

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from ssv.backbones.base import Backbone
    from ssv.cli.dashboard import Dashboard
    from ssv.data.datamodule import VideoDataModule
    from ssv.training.recorder import Recorder

REQUEUE = signal.SIGUSR1  # what SLURM's users ask it to send before the time is over: --signal=USR1@120
KEYS = {
    "steps", "seed", "tag", "outputs", "data_root", "threads", "log_every", "checkpoint_every",
    "held_out_every", "probe_every", "probe_videos", "activation_checkpointing",
}  # fmt: skip

WHOLE = {
    "steps": 1, "seed": 0, "log_every": 1, "checkpoint_every": 1, "held_out_every": 0, "probe_every": 0, "probe_videos": 2,
    "threads": 1,
}  # fmt: skip


def identity(config: dict[str, Any], choices: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """What the run is called, and the parts of its name; whether its pretext is told what videos show, if it is."""
    from ssv.cli.checks import target_of

    tag = digest_tag(overrides) if config["tag"] in (None, "") else str(config["tag"])
    parts = {group: str(choices[group]) for group in ("pretext", "backbone", "data")}
    name = run_name(*parts.values(), tag, seed=config["seed"])
    pretext = target_of(config, "pretext")  # a class, or a function that makes one
    labels = {"uses_labels": True} if getattr(pretext, "uses_labels", False) else {}
    return {"name": name, **parts, "tag": tag, "seed": config["seed"], **labels}


def refuse(config: dict[str, Any], choices: dict[str, Any]) -> None:
    """Data sets that are there to be measured on have no clips to train on."""
    from ssv.cli.checks import target_of

    if not hasattr(target_of(config, "data"), "train_dataloader"):
        raise UserError(
            f"data={choices['data']} is for evaluations and has no clips to train on; choose a set of videos, "
            "such as data=ucf101, data=toy or data=folder"
        )


def run(config: dict[str, Any]) -> int:
    """Train, resume, or say that it is done; returns the exit code."""
    from ssv.cli.build import require_gpu
    from ssv.cli.checks import check_whole

    check_whole(config, WHOLE, optional=("threads",))
    if not isinstance(config["activation_checkpointing"], bool):
        raise UserError(f"activation_checkpointing is true or false, got {config['activation_checkpointing']!r}")

    name = config["run"]["name"]
    folder = Path(config["outputs"]) / name
    if not is_finished(folder):
        require_gpu(config["trainer"])
    with claim(folder, config):
        if is_finished(folder):
            print(f"{name}: finished already ({config['steps']} steps); {folder / 'backbone.pt'} holds its weights")
            return 0
        from ssv.cli.processes import repeatable
        from ssv.training.checkpoints import Interrupted

        try:
            with repeatable("pretrain", folder / "config.yaml", config):
                train(config, folder)
        except Interrupted as stop:
            set_state(folder, "stopped", str(stop))
            say(f"{name}: {stop}")
            if stop.signum == REQUEUE:
                requeue(name)
            return 128 + stop.signum
        except BaseException as error:
            set_state(folder, "failed", f"{type(error).__name__}: {' '.join(str(error).split())}")
            raise
    return 0


def requeue(name: str) -> None:
    """Put the SLURM job of this process back into the queue, where the same command goes on."""
    job = os.environ["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    if is_first_process():
        try:
            answer = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=60)
            trouble = answer.stderr.strip() if answer.returncode else ""
        except (OSError, subprocess.TimeoutExpired) as error:
            trouble = str(error)
        say(
            f"{name}: SLURM job {job} " + (f"is not requeued: {trouble}; submit it again" if trouble else "is requeued")
        )


def say(text: str) -> None:
    """Print from the first process only."""
    if is_first_process():
        print(text, flush=True)


def train(config: dict[str, Any], folder: Path) -> None:
    """Build everything from plain values, and fit."""
    import torch

    from ssv.cli.build import build_backbone, build_data, build_optimizer, instantiate_plain, quiet_lightning
    from ssv.cli.dashboard import open_dashboard
    from ssv.training.checkpoints import choose_checkpoint
    from ssv.training.pretrain_module import PretrainModule
    from ssv.training.recompute import recompute
    from ssv.training.recorder import Recorder
    from ssv.training.seeding import derive_seed

    quiet_lightning()
    if config["threads"]:
        torch.set_num_threads(config["threads"])
    name, steps = config["run"]["name"], config["steps"]
    optimizer = build_optimizer(config["optimizer"])
    data = build_data(config)
    data.setup("fit")
    summary = data.summary()
    say(describe(name, summary))
    if is_first_process():
        write_json(folder / "data.json", summary)  # every name that is left out, where a line has room for a few
    torch.manual_seed(derive_seed(config["seed"], "weights"))
    backbone = build_backbone(config)
    if config["activation_checkpointing"]:
        recompute(backbone)
    pretext = instantiate_plain(config["pretext"])(backbone)
    module = PretrainModule(pretext, optimizer, instantiate_plain(config["schedule"]), steps=steps)
    dashboard = open_dashboard(config, folder, job_type="pretrain")
    try:
        recorder = Recorder(folder, dashboard.sinks, every=config["log_every"], steps=steps)
        trainer = build_trainer(config, folder, make_callbacks(config, folder, backbone, data, recorder))
        last, damaged = choose_checkpoint(folder / "checkpoints")
        if damaged:
            then = f"the run resumes from {last}" if last else "the run starts again from its first step"
            say(f"{name}: damaged: {', '.join(map(str, damaged))}; {then}")
        if last:
            tell_resumed(name, read_status(folder), trainer.world_size)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="pytorch_lightning")
            trainer.fit(module, datamodule=data, ckpt_path=str(last) if last else None, weights_only=True)
        show_weights(dashboard, config, folder / "backbone.pt", backbone)
    finally:
        dashboard.summarise({"data/broken_videos": len(data.broken), "data/lost_samples": data.lost})
        dashboard.close(sys.exc_info()[1])
    say(f"{name}: done; weights in {folder / 'backbone.pt'}")
    if data.broken:
        lost = f" ({data.lost} samples missing from their batches)" if data.lost else ""
        say(f"{name}: {len(data.broken)} broken videos were left out{lost}: {', '.join(sorted(data.broken))}")
    if data.lost and is_first_process():
        write_json(folder / "data.json", data.summary())


def show_weights(dashboard: Dashboard, config: dict[str, Any], file: Path, backbone: Backbone) -> None:
    """Tell the dashboard what was made: the weights' digest, which evaluations name, and the file if it is wanted."""
    from ssv.training.weights import weights_digest

    if dashboard.run is None:
        return
    digest = weights_digest(backbone)
    dashboard.summarise({"weights_digest": digest})
    if config["logger"].get("weights"):
        dashboard.made(file, {**config["run"], "weights_digest": digest})


def make_callbacks(
    config: dict[str, Any], folder: Path, backbone: Backbone, data: VideoDataModule, recorder: Recorder
) -> list[pl.Callback]:
    """What happens around the steps. Checkpoints come last: what the others counted is in them."""
    from ssv.training.checkpoints import Checkpoints
    from ssv.training.export import ExportBackbone
    from ssv.training.held_out import HeldOut
    from ssv.training.online_probe import OnlineProbe
    from ssv.training.progress import ShowProgress
    from ssv.training.seeding import SeedSteps

    seed, steps, run = config["seed"], config["steps"], config["run"]
    signals = (signal.SIGTERM, signal.SIGINT, *((REQUEUE,) if "SLURM_JOB_ID" in os.environ else ()))
    provenance = {key: run[key] for key in ("name", "pretext", "backbone", "data", "tag", "seed")}
    return [
        SeedSteps(seed),
        recorder,
        HeldOut(data, recorder, every=config["held_out_every"], steps=steps, seed=seed),
        OnlineProbe(backbone, data, recorder, every=config["probe_every"], steps=steps, videos=config["probe_videos"]),
        ShowProgress(recorder, name=run["name"], steps=steps),
        ExportBackbone(folder, backbone, {**provenance, "config": config}, recorder),
        Checkpoints(folder / "checkpoints", every=config["checkpoint_every"], signals=signals),
    ]


def build_trainer(config: dict[str, Any], folder: Path, callbacks: list[pl.Callback]) -> pl.Trainer:
    """Lightning's Trainer, with its own progress, validation, logging and checkpoints off: ours stand in for them.

    Raises:
        UserError: for less than single precision on a CPU.
    """
    from ssv.cli.build import lightning_trainer
    from ssv.training.checkpoints import AtomicCheckpointIO

    trainer = lightning_trainer(
        config["trainer"],
        max_steps=config["steps"],
        max_epochs=-1,
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        default_root_dir=str(folder),
    )
    if trainer.strategy.root_device.type == "cpu" and trainer.precision != "32-true":
        raise UserError(
            f"trainer.precision={trainer.precision} on a CPU gives wrong gradients now and then (torch 2.13); "
            f"set trainer.precision=32-true"
        )
    return trainer


def tell_resumed(name: str, status: dict[str, Any], processes: int) -> None:
    """Say where a run goes on, and when its bits may differ from there."""
    say(f"{name}: goes on from step {status.get('step', '?')} or the checkpoint before it")
    before = status.get("processes")
    if before not in (None, processes):
        say(f"{name}: {before} processes before, {processes} now: bits may differ from here")


def describe(name: str, summary: dict[str, Any]) -> str:
    """What a run trains on, in one line."""
    fit, held_out, hours = summary["fit"], summary["held_out"], summary["fit_hours"]
    left_out = f", {len(summary['left_out'])} left out (data.json names them)" if summary["left_out"] else ""
    return f"{name}: {fit} videos ({hours:.2f} hours) to train on, {held_out} held out{left_out}"
