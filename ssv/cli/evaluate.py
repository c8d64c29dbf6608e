"""``ssv evaluate``: one evaluation of one set of weights makes one row."""

from __future__ import annotations

import hashlib
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssv.cli.errors import UserError
from ssv.cli.run_folder import claim, commit, digest_tag, is_first_process, network, now, refuse_links, run_name
from ssv.cli.stored import is_configuration
from ssv.files import is_whole_archive, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from ssv.backbones.base import Backbone
    from ssv.data.datamodule import VideoDataModule
    from ssv.evaluations.base import Evaluation

RECALIBRATION_BATCHES = 16  # of the training batch size; means of batch norms settle within a few
IDENTITY = {
    **dict.fromkeys(("name", "pretext", "backbone", "data", "tag"), str),
    "seed": int,
}  # what weights say of their run
KEYS = {"weights", "entry", "inflate", "seed", "tag", "outputs", "data_root", "threads"}


def identity(config: dict[str, Any], choices: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """What was chosen by name; the run folder itself is found from the weights."""
    chosen = {group: str(choices[group]) for group in ("data", "evaluation")}
    # Only what shapes the random network tells one random run from another.
    shaping = [word for word in overrides if word.lstrip("+~").startswith("backbone.")]
    tag = digest_tag(shaping) if config["tag"] in (None, "") else str(config["tag"])
    return {"backbone": choices.get("backbone"), **chosen, "tag": tag}


def run(config: dict[str, Any]) -> int:
    """Load, measure, write the row; in all processes of the trainer, of which the first one writes."""
    from ssv.cli.build import quiet_lightning, require_gpu
    from ssv.cli.checks import check_whole
    from ssv.cli.processes import together

    check_whole(config, {"seed": 0, "threads": 1}, optional=("seed", "threads"))
    if not isinstance(config["inflate"], bool):
        raise UserError(f"inflate is true or false, got {config['inflate']!r}")
    require_gpu(config["trainer"])
    quiet_lightning()
    if config["weights"] == "random" and not config.get("backbone"):
        raise UserError("weights=random needs to know of which network: backbone=NAME (`ssv list backbone`)")
    with together("evaluate", config):
        measure(config)
    return 0


def measure(config: dict[str, Any]) -> None:
    """The same, in one of the processes."""
    import torch

    from ssv.cli.build import build_data, instantiate_plain, lightning_trainer, weights_file
    from ssv.cli.scores import config_digest, file_digest
    from ssv.processes import first_alone
    from ssv.training.seeding import derive_seed, isolated_random
    from ssv.training.weights import weights_digest

    if config["threads"]:
        torch.set_num_threads(config["threads"])
    data = build_data({**config, "seed": config["seed"] or 0})
    if config["weights"] == "random":
        file = first_alone(lambda: make_random(config, data))
    else:
        file = weights_file(config["weights"])
    backbone, provenance = load(config, file)
    folder = first_alone(lambda: run_of(file, provenance, config))
    configured = config_digest(config)  # before the seed enters
    seed = config["seed"] if config["seed"] is not None else int(provenance.get("seed", 0))
    if "seed" in config["evaluation"]:
        config["evaluation"]["seed"] = seed  # known only now that the weights are
    evaluation: Evaluation = instantiate_plain(config["evaluation"])
    protocol = evaluation.protocol + listed(config["data"])
    digest = weights_digest(backbone)
    stem = evaluation_name(config["run"], digest, protocol, seed)
    trainer = lightning_trainer(
        config["trainer"],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=True,  # evaluations draw their own; this is how they know that they may
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=str(folder / "evaluations" / stem),  # where an evaluation writes what is to be looked at
    )
    started = time.perf_counter()
    with warnings.catch_warnings(), isolated_random(derive_seed(seed, "evaluate")):
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        scores = evaluation.run(backbone, data, trainer)
    seconds = time.perf_counter() - started
    if not trainer.is_global_zero:
        return
    row = {
        "evaluation": config["run"]["evaluation"],
        "data": config["run"]["data"],
        "protocol": protocol,
        "card": make_card(config, backbone, provenance, trainer),
        "seed": seed,
        "weights": digest,
        "weights_file": file.name,
        "config": configured,
        "file": file_digest(file),
        "scores": scores,
        "seconds": round(seconds, 2),
        "peak_gb": round(peak_gb(), 2),
    }
    write_row(folder, row, evaluation.artifacts, stem)
    label = f"{config['run']['evaluation']}/{config['run']['data']}"
    show(config, folder, file, row, stem)
    card_line = ", ".join(f"{name}: {value}" for name, value in row["card"].items())
    figures = "  ".join(f"{name} {value:.4f}" for name, value in scores.items())
    print(
        f"{folder.name}: {label}  {figures}  ({seconds:.0f} s, {row['peak_gb']:.1f} GB)"
        f"\n  protocol: {row['protocol']}\n  {card_line}\n  row in {folder / 'scores.jsonl'}"
    )
    if config["evaluation"].get("cache"):
        print(f"  {cache_line(config['evaluation'])}")


def cache_line(evaluation: dict[str, Any]) -> str:
    """Where features are kept, and how large that folder is."""
    from ssv.evaluations.feature_cache import DEFAULT_GB, kept

    limit = evaluation.get("cache_gb", DEFAULT_GB)
    size = sum(size for _, size, _ in kept(Path(evaluation["cache"])))
    return f"features in {evaluation['cache']}: {size / 1e9:.2f} of {limit:g} GB (evaluation.cache_gb)"


def make_random(config: dict[str, Any], data: VideoDataModule) -> Path:
    """The file of a random start, made on the first call: weights of the seed, batch norms measured on clips.

    It gets a run folder. The start is the one a pretraining run of the same backbone and seed sets out from. Batch norms
    are measured on training clips because statistics of zero and one would make the reference worse than it has to be.
    """
    import torch

    from ssv.cli.build import build_backbone
    from ssv.evaluations.features import recalibrate
    from ssv.training.seeding import derive_seed
    from ssv.training.weights import save_backbone

    seed = config["seed"] or 0
    parts = {"pretext": "random", "backbone": config["run"]["backbone"], "data": config["run"]["data"]}
    name = run_name(*parts.values(), config["run"]["tag"], seed=seed)
    folder = Path(config["outputs"]) / name
    described = {"name": name, **parts, "tag": config["run"]["tag"], "seed": seed}
    file = folder / "backbone.pt"
    clips = (
        () if is_whole_archive(file) else data.calibration(seed)
    )  # a data set that is not there leaves no folder behind
    with claim(folder, {"backbone": config["backbone"], "seed": seed, "run": described}, wait=True):
        if not is_whole_archive(file):
            torch.manual_seed(derive_seed(seed, "weights"))
            backbone = build_backbone(config)
            recalibrate(backbone, clips, RECALIBRATION_BATCHES)
            save_backbone(file, backbone, {**described, "steps": 0, "clips_seen": 0, "recalibrated": True})
            counts = {"step": 0, "steps": 0, "clips_seen": 0, "frames_seen": 0, "hours": 0.0}
            write_json(folder / "status.json", {"state": "finished", **counts, "message": ""})
    return file


def run_of(file: Path, provenance: dict[str, Any], config: dict[str, Any]) -> Path:
    """The folder of the run that weights belong to; public files get one of their own.

    A ``run.json`` that is damaged is rewritten from what the weights say they are.
    """
    born = file.parent / "run.json"
    if born.exists():
        refuse_links(file.parent)
        if not read_json(born):
            known = {key: provenance[key] for key in IDENTITY if type(provenance.get(key)) is IDENTITY[key]}
            made: Any = provenance.get("config")
            if len(known) < len(IDENTITY) or not is_configuration(made):
                raise UserError(f"{born} is damaged; run the command that made the run again, which rewrites it")
            labels = {"uses_labels": True} if made["run"].get("uses_labels") is True else {}
            write_json(
                born,
                {**known, **labels, "command": str(made.get("command", "")), "network": network(made.get("backbone"))},
            )
            print(f"{born} was damaged (empty or cut off, as after a power cut) and is rewritten", flush=True)
        return file.parent
    entry = config["entry"]
    parts = {"pretext": "public", "backbone": f"{file.stem}-{entry}" if entry else file.stem, "data": "none"}
    name = run_name(*parts.values(), config["run"]["tag"], seed=0)
    folder = Path(config["outputs"]) / name
    described = {"name": name, **parts, "tag": config["run"]["tag"], "seed": 0}
    source = {"weights": str(file.resolve()), **({"entry": entry} if entry else {})}
    with claim(folder, {**source, "run": described}, wait=True):
        return folder


def load(config: dict[str, Any], file: Path) -> tuple[Backbone, dict[str, Any]]:
    """The backbone, strictly loaded, of the class asked for if one was asked for, inflated if asked."""
    from ssv.backbones.inflate import inflate
    from ssv.cli.checks import locate
    from ssv.training.weights import load_backbone

    asked = locate(config["backbone"]["_target_"], "backbone.") if config.get("backbone") else None
    # A file's own word is enough for our classes only; one from elsewhere has to be named by the user.
    is_foreign = asked is not None and not asked.__module__.startswith("ssv.backbones.")
    backbone, provenance = load_backbone(
        file,
        backbone_class=asked if is_foreign else None,  # type: ignore[arg-type]
        entry=config["entry"],
    )
    if asked is not None and not isinstance(backbone, asked):  # type: ignore[arg-type]
        raise UserError(
            f"{file} holds a {type(backbone).__name__}, but backbone={config['run']['backbone']} is a {asked.__name__}; "
            f"leave backbone= out, the file knows its own"
        )
    if provenance.get("receipt") and is_first_process():
        print(provenance["receipt"])
    return (inflate(backbone) if config["inflate"] else backbone), provenance


def listed(data: dict[str, Any]) -> str:
    """What was taken of a data set, such as its fold, as the end of a protocol: the folds of a set are no seeds."""
    values = data.get("videos") or data.get("sequences") or {}
    named = [f"{key} {value}" for key, value in values.items() if not key.startswith("_") and value is not None]
    return f"; {', '.join(named)}" if named else ""


def evaluation_name(names: dict[str, Any], weights: str, protocol: str, seed: int) -> str:
    """What tells this evaluation's files from those of any other of the same run."""
    digest = hashlib.blake2b(protocol.encode(), digest_size=3).hexdigest()
    return f"{names['evaluation']}-{names['data']}-{weights}-s{seed}-{digest}"


def make_card(config: dict[str, Any], backbone: Backbone, provenance: dict[str, Any], trainer: Any) -> dict[str, Any]:
    """What a score depends on besides its protocol: the form of the backbone, its pixels, the precision."""
    form = "2D, each frame alone" if backbone.time_local else "3D"
    if config["inflate"] or provenance.get("inflated"):
        form += ", inflated"
    pixels = f"{'RGB' if len(backbone.mean) == 3 else 'grey'}, mean {list(backbone.mean)}, std {list(backbone.std)}"
    return {"backbone": form, "pixels": pixels, "precision": str(trainer.precision)}


def peak_gb() -> float:
    """The most memory this process and its reading processes have held so far."""
    import resource
    import sys

    unit = 1e9 if sys.platform == "darwin" else 1e6  # bytes there, kilobytes elsewhere
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / unit


def write_row(folder: Path, row: dict[str, Any], artifacts: Mapping[str, Mapping[str, np.ndarray]], stem: str) -> None:
    """Save what the evaluation leaves (features, predictions) and put its row into ``scores.jsonl``."""
    from ssv.cli.scores import put_row, save_arrays

    for name, arrays in artifacts.items():
        save_arrays(folder / "evaluations" / f"{stem}-{name}.npz", arrays)
    per_video = f"evaluations/{stem}-per_video.npz" if "per_video" in artifacts else None
    put_row(folder / "scores.jsonl", {**row, "per_video": per_video, "commit": commit(), "time": now()})


def show(config: dict[str, Any], folder: Path, file: Path, row: dict[str, Any], stem: str) -> None:
    """Put a row on the dashboard: a run of its own beside that of its weights, and the line between the two."""
    from ssv.cli.dashboard import open_dashboard, read_ids
    from ssv.cli.run_folder import read_status

    identity, digest = read_identity(folder), {"weights_digest": row["weights"]}
    run = {**identity, "evaluation": row["evaluation"], "measured_on": row["data"], "seed_of_evaluation": row["seed"]}
    upstream = {"run_id": read_ids(folder).get("pretrain"), "file": file.name, **digest}
    described = {**config, "run": run, "upstream": upstream, "protocol": row["protocol"]}
    dashboard = open_dashboard(described, folder, job_type=row["evaluation"], key=stem)
    if config["logger"].get("weights"):
        # As the pretraining run described it: what differs would be another artifact.
        dashboard.used(file, {**identity, **digest})
    label = f"{row['evaluation']}/{row['data']}"
    scores = {f"{label}/{name}": value for name, value in row["scores"].items()}
    dashboard.measured(scores, read_status(folder), folder / "evaluations" / stem)
    dashboard.summarise({**digest, "protocol": row["protocol"], "seconds": row["seconds"], "peak_gb": row["peak_gb"]})
    dashboard.close()


def read_identity(folder: Path) -> dict[str, Any]:
    """What ``run.json`` says the run is."""
    return read_json(folder / "run.json")
