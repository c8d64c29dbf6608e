"""``ssv audit``: can a run's pretext be solved by a shortcut?"""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssv.cli.errors import UserError, nearest
from ssv.cli.run_folder import commit, now
from ssv.files import is_whole_archive, write_json

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from ssv.data.datamodule import VideoDataModule
    from ssv.pretexts.base import Pretext
    from ssv.training.audit import Audit, Grade, Looks, Reading

FIRST = "run"  # `ssv audit FOLDER` is short for `ssv audit run=FOLDER`
KEYS = {
    "run", "only", "steps", "seed", "videos", "looks", "other", "batch_size", "root", "workers", "threads", "audits", "allow",
}  # fmt: skip
WHOLE = {"steps": 0, "seed": 0, "videos": 1, "looks": 1, "threads": 1, "batch_size": 1, "workers": 0}
OPTIONAL = ("threads", "batch_size", "workers")
FOLDER = {"_target_": "ssv.data.sets.folder.folder", "_partial_": True}


def identity(config: dict[str, Any], choices: dict[str, Any], overrides: list[str]) -> Any:
    """The run that is audited has its name already."""
    return config["run"]


def run(config: dict[str, Any]) -> int:
    """Rebuild, ask, print, write."""
    import torch

    from ssv.cli.build import lightning_trainer, quiet_lightning, require_gpu
    from ssv.cli.checks import check_whole
    from ssv.training.weights import weights_digest

    check_whole(config, WHOLE, OPTIONAL)
    require_gpu(config["trainer"])
    folder = Path(config["run"])
    trained_as = read_config(folder, named_by_user(config))
    if config["other"] is not None and not Path(config["other"]).is_dir():
        raise UserError(f"other={config['other']}: no such folder; give one with videos of another source")
    audits = choose(config["audits"], config["only"])
    quiet_lightning()
    if config["threads"]:
        torch.set_num_threads(config["threads"])
    data = build_source(config, trained_as)
    trained = load_trained(folder, trained_as)
    trainer = lightning_trainer(
        config["trainer"],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=True,  # audits draw their own; this is how they know that they may
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=str(folder),
    )
    rows = measure(config, trained_as, trained, audits, data, trainer)
    show(folder.name, config["steps"], rows)
    kept = ("steps", "seed", "videos", "looks", "other", "command")
    result = {key: config[key] for key in kept} | {"is_temporal": trained.is_temporal, "rows": rows}
    result |= {"weights": weights_digest(trained.backbone), "commit": commit(), "time": now()}
    write_json(folder / "audit.json", result)
    print(f"{folder.name}: {folder / 'audit.json'} holds the figures")
    return 0


def named_by_user(config: dict[str, Any]) -> set[str]:
    """What a stored configuration may name besides ssv's own: ``allow=[...]``, and the files of ``--config-dir``."""
    from hydra.core.global_hydra import GlobalHydra

    from ssv.cli.job import own_folders
    from ssv.cli.trust import named_in

    allowed = config.get("allow") or []
    folders = own_folders(GlobalHydra.instance().hydra)
    return {*([allowed] if isinstance(allowed, str) else allowed)}.union(*(named_in(Path(path)) for path in folders))


def read_config(folder: Path, named: Collection[str] = ()) -> dict[str, Any]:
    """What the run was made of; only classes of ssv and those that are ``named`` by the user.

    Raises:
        UserError: when there is no run, no pretext in it, another class, or a key this version of ssv does not have.
    """
    from ssv.cli.checks import check_node
    from ssv.cli.trust import read_trusted

    if not folder.is_dir():
        others = [path.parent.name for path in folder.parent.glob("*/config.yaml")]
        raise UserError(f"run={folder}: no such folder{nearest(folder.name, others)}")
    file = folder / "config.yaml"
    if not file.exists():
        raise UserError(f"{folder} is no run: it holds no config.yaml")
    found = read_trusted(file, named)
    groups = ("pretext", "backbone", "data", "reader", "optimizer", "schedule")
    if not all(isinstance(found.get(group), dict) for group in groups):
        raise UserError(f"{folder} was not pretrained by ssv, so there is no pretext to audit")
    for group in groups:
        check_node(found[group], f"{group}.")
    return found


def choose(known: dict[str, Any], only: Any) -> list[Audit]:
    """The audits asked for, in the order of the configuration."""
    from ssv.cli.build import instantiate_plain

    names = [only] if isinstance(only, str) else only or list(known)
    for name in names:
        if name not in known:
            raise UserError(f"unknown audit '{name}'{nearest(str(name), known)} (known: {', '.join(known)})")
    return [instantiate_plain(node)(name=name) for name, node in known.items() if name in names]


def build_source(config: dict[str, Any], trained_as: dict[str, Any], other: str | None = None) -> VideoDataModule:
    """The run's data set as it lies here and now, or with the videos of the folder ``other`` in place of its own."""
    from ssv.cli.build import build_data

    data = copy.deepcopy(trained_as["data"])
    here = {"root": config["root"], "workers": config["workers"], "batch_size": config["batch_size"]}
    data |= {key: value for key, value in here.items() if value is not None}
    if other is not None:
        data |= {"root": str(other), "videos": FOLDER}
        data["sampler"]["short"] = "skip"  # a pile: too short ones are left out and named
    return build_data({"data": data, "reader": trained_as["reader"], "seed": trained_as["seed"]})


def build_pretext(trained_as: dict[str, Any], *seed: object) -> Pretext:
    """The run's pretext around its backbone, at a random start of this seed."""
    import torch

    from ssv.cli.build import build_backbone, instantiate_plain
    from ssv.training.seeding import derive_seed

    torch.manual_seed(derive_seed(*seed))
    pretext: Pretext = instantiate_plain(trained_as["pretext"])(build_backbone(trained_as))
    return pretext


def load_trained(folder: Path, trained_as: dict[str, Any]) -> Pretext:
    """The pretext with the weights of the run's last checkpoint; ``backbone.pt`` alone lacks the head.

    Raises:
        UserError: when there is no whole checkpoint, or it holds other weights than ``backbone.pt``.
    """
    from ssv.training.weights import load_backbone, weights_digest
    from ssv.training.weights_file import read_weights_file

    file = folder / "checkpoints" / "last.ckpt"
    if not file.exists():
        raise UserError(f"{folder} has no checkpoint yet ({file}); the pretext's head is kept there")
    if not is_whole_archive(file):
        raise UserError(
            f"{file} is damaged; run the command of {folder / 'run.json'} again, which resumes from the checkpoint before it"
        )
    pretext = build_pretext(trained_as, "replaced")
    try:
        state = read_weights_file(file)["state_dict"]
        pretext.load_state_dict({name.removeprefix("pretext."): value for name, value in state.items()})
    except (RuntimeError, LookupError, TypeError, AttributeError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(f"{file} does not fill the pretext of {folder / 'config.yaml'}: {first}") from error
    if (folder / "backbone.pt").exists():
        exported, _ = load_backbone(folder, backbone_class=type(pretext.backbone))
        if weights_digest(exported) != weights_digest(pretext.backbone):
            raise UserError(
                f"{file} and {folder / 'backbone.pt'} hold different weights; which is the run's is unknown"
            )
    return pretext


def measure(
    config: dict[str, Any],
    trained_as: dict[str, Any],
    trained: Pretext,
    audits: list[Audit],
    data: VideoDataModule,
    trainer: pl.Trainer,
) -> list[dict[str, Any]]:
    """One row for whole clips, one an audit, one for another source; the trained network first, it takes no time."""
    from ssv.cli.build import instantiate_plain
    from ssv.ops.impoverish import whole
    from ssv.training.audit import Impoverished, grade, train

    ways = [whole, *(audit.impoverish for audit in audits)]
    batches = held_out(config, data, "held_out")
    seed, many = config["seed"], config["steps"] > 0
    questions = [Impoverished(trained, way) for way in ways]
    answered = grade(questions, batches, seed=seed, trainer=trainer, title="the trained network")
    elsewhere = None
    if config["other"] is not None:
        source = build_source(config, trained_as, config["other"])
        elsewhere = grade(
            [trained], held_out(config, source, "train"), seed=seed, trainer=trainer, title="another source"
        )[0]
    learned: list[Grade] | list[None] = [None] * len(ways)
    if many:
        fresh = [Impoverished(build_pretext(trained_as, seed, "audit", "weights"), way) for way in ways]
        train(
            fresh,
            data.train_dataloader(),
            optimizer=instantiate_plain(trained_as["optimizer"]),
            schedule=instantiate_plain(trained_as["schedule"]),
            steps=config["steps"],
            seed=seed,
            trainer=trainer,
        )
        learned = grade(fresh, batches, seed=seed, trainer=trainer, title="the fresh networks")
    rows = [yardstick(answered[0], learned[0], config["steps"])]
    rows += [
        describe(audit, trained.is_temporal, (was, is_fresh), (answered[0], learned[0]))
        for audit, was, is_fresh in zip(audits, answered[1:], learned[1:])
    ]
    return rows + ([] if elsewhere is None else [foreign(elsewhere, answered[0], config["other"])])


def held_out(config: dict[str, Any], data: VideoDataModule, split: str) -> Looks:
    """Clips of at most ``videos`` videos of a split, ``looks`` from each, the same every time."""
    from ssv.training.audit import Looks
    from ssv.training.online_probe import thin

    videos = thin(data.split(split), config["videos"])
    if not videos:
        raise UserError("the run held out no videos (data.held_out=0), so nothing can be audited on")
    return Looks(data, videos, config["looks"], config["seed"])


def yardstick(trained: Grade, fresh: Grade | None, steps: int) -> dict[str, Any]:
    """The row of whole clips."""
    if fresh is None:
        text = "what the rows below are held against"
    elif fresh.is_above_chance:
        text = f"what the rows below are held against; learnable in {steps} steps"
    else:
        text = f"not learned in {steps} steps: set more, or chance below says nothing"
    return {"audit": "none", "leaves": "whole clips", **figures(trained, fresh), "reading": text, "alarm": False}


def describe(
    audit: Audit, is_temporal: bool, row: tuple[Grade, Grade | None], whole: tuple[Grade, Grade | None]
) -> dict[str, Any]:
    """The row of an audit: the fresh network's answer counts, unless only the trained one gives cause for alarm."""
    from ssv.training.audit import read

    who = ("the trained network", "a fresh network")
    readings: list[Reading] = [
        read(audit, is_temporal=is_temporal, row=one, whole=other, who=name)
        for one, other, name in reversed(list(zip(row, whole, who)))
        if one is not None and other is not None
    ]
    said = next((reading for reading in readings if reading.alarm), readings[0])
    return {"audit": audit.name, "leaves": audit.leaves, **figures(*row), "reading": said.text, "alarm": said.alarm}


def foreign(row: Grade, own: Grade, folder: str) -> dict[str, Any]:
    """The row of another source."""
    if not own.is_above_chance:
        text, alarm = "nothing shown: the trained network is at chance with its own source too", False
    elif not row.is_above_chance:
        text, alarm = "the trained network: at chance there, what it learned belongs to its own source", True
    elif row.high < own.low:
        text, alarm = "the trained network: worse there, part of what it uses belongs to its own source", True
    else:
        text, alarm = "the trained network: what it learned holds there too", False
    return {
        "audit": "other",
        "leaves": f"whole clips of {folder}",
        **figures(row, None),
        "reading": text,
        "alarm": alarm,
    }


def figures(trained: Grade, fresh: Grade | None) -> dict[str, Any]:
    """Both grades as plain values."""
    return {"trained": asdict(trained), "fresh": None if fresh is None else asdict(fresh)}


def show(name: str, steps: int, rows: list[dict[str, Any]]) -> None:
    """The table."""
    from rich.console import Console
    from rich.table import Table

    def cell(found: dict[str, float] | None) -> str:
        if found is None:
            return ""
        return f"{100 * found['accuracy']:.1f} \\[{100 * found['low']:.0f}, {100 * found['high']:.0f}]"

    is_plain = not Console().is_terminal
    console = Console(width=160) if is_plain else Console()
    table = Table(title=f"{name}: held-out pretext accuracy, %", title_justify="left", box=None, pad_edge=False)
    for column in ("clips", "what is left", "trained", f"fresh, {steps} steps", "chance", "reading"):
        table.add_column(column, overflow="fold")
    for row in rows:
        chance = f"{100 * (row['fresh'] or row['trained'])['chance']:.1f}"
        style = "bold red" if row["alarm"] else ""
        table.add_row(
            row["audit"], row["leaves"], cell(row["trained"]), cell(row["fresh"]), chance, row["reading"], style=style
        )
    console.print(table, highlight=False)
    console.print(conclusion(rows), highlight=False)


def conclusion(rows: list[dict[str, Any]]) -> str:
    """The table in one line."""
    alarms = [row["audit"] for row in rows if row["alarm"]]
    if alarms:
        return f"to look into: {', '.join(alarms)}"
    grades = [grade for grade in (rows[0]["trained"], rows[0]["fresh"]) if grade is not None]
    if all(grade["low"] <= grade["chance"] for grade in grades):
        return "nothing is shown: not even whole clips are answered; train longer, or set steps= or videos= higher"
    return "these audits found no shortcut"
