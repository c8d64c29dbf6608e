"""The front door for notebooks and scripts: what the command line does, as functions on plain values.

Everything here is importable from ``ssv``. The functions build the same objects as the command line; what they do not
offer is one import away (``ssv.data``, ``ssv.evaluations``, ``ssv.pretexts``).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib import import_module, resources
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from ssv.backbones.base import Backbone
from ssv.data.crops import CenterCrop, RandomResizedCrop
from ssv.data.datamodule import VideoDataModule
from ssv.data.dataset import VideoDataset
from ssv.data.readers.auto import AutoReader
from ssv.data.readers.probe import look
from ssv.data.sampling import RandomClips, Short, UniformClips
from ssv.data.sets.folder import folder
from ssv.evaluations.base import Evaluation
from ssv.evaluations.features import clip_features, over_views
from ssv.evaluations.frames import frame_encoder
from ssv.pretexts.base import Pretext
from ssv.training.pretrain_module import PretrainModule
from ssv.training.schedules import warmup_cosine
from ssv.training.seeding import SeedSteps, derive_seed, isolated_random
from ssv.training.weights import load_backbone as load_with_provenance
from ssv.types import Clips, Scores, Video

SECONDS = 0.08  # between two frames of a clip: every other frame of a film or a PAL file
WINDOW = 16  # frames around a frame that a backbone with temporal kernels reads
READ_AT_ONCE = 32  # frames of a file in memory


def list_backbones() -> list[str]:
    """The names that ``create_backbone`` accepts, sorted; ``ssv list backbone`` shows them with their papers."""
    return sorted(file.name[: -len(".yaml")] for file in _presets().iterdir() if file.name.endswith(".yaml"))


def create_backbone(name: str, **arguments: Any) -> Backbone:
    """A backbone with random weights, on the CPU, in training mode.

    Args:
        name: a published size, or a small one for the CPU (``r3d50``, ``s3dg``, ``r3d_tiny``); see ``list_backbones``.
        arguments: constructor arguments to change, such as ``time_local=True`` or ``temporal_stride=1``.

    Raises:
        ValueError: if there is no such name, or the constructor refuses an argument.
        TypeError: if the constructor has no argument of that name.
    """
    import yaml

    if name not in list_backbones():
        raise ValueError(f"unknown backbone {name!r}; known: {', '.join(list_backbones())}")
    preset = yaml.safe_load((_presets() / f"{name}.yaml").read_text(encoding="utf-8"))
    module, _, kind = preset.pop("_target_").rpartition(".")
    backbone: Backbone = getattr(import_module(module), kind)(**{**preset, **arguments})
    return backbone


def load_backbone(weights: str | Path, **overrides: Any) -> Backbone:
    """The trained backbone of a run, on the CPU, in eval mode.

    What a public file cannot tell, and what was therefore assumed, is printed to the error stream.

    Args:
        weights: the folder of a run, its ``backbone.pt``, or a public file that a converter knows.
        overrides: arguments to change, and ``entry`` for one of several networks in a public file; see
            ``ssv.training.weights.load_backbone``, which also returns where the weights come from.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds no weights, or they do not fill the backbone.
    """
    backbone, provenance = load_with_provenance(weights, **overrides)
    if provenance.get("receipt"):
        print(provenance["receipt"], file=sys.stderr)
    return backbone.eval()


def clips(
    path: str | Path,
    *,
    frames: int = 16,
    seconds: float = SECONDS,
    views: int = 1,
    size: int = 112,
    short: Short = "error",
) -> Clips:
    """Clips of one video file, spread evenly over it: pixels uint8 (1,V,3,T,size,size).

    Args:
        path: a video file.
        frames: T, frames of a clip.
        seconds: between two frames of a clip.
        views: V, clips; one is the middle of the video.
        size: pixels of the square cut out of the middle, after the short side became ``size * 8 / 7``.
        short: what to do with a video too short for a clip: "error", "hold" (its last frame) or "loop".

    Raises:
        VideoError: if the file cannot be read.
        ValueError: if it is too short.
    """
    sampler = UniformClips(views=views, frames=frames, stride=None, seconds=seconds, short=short)
    sample = VideoDataset([Video(str(path))], sampler, _crop(size), AutoReader())[0]
    return Clips(*(field[None] for field in sample))


def features(
    backbone: Backbone | str | Path,
    paths: str | Path | Sequence[str | Path],
    *,
    frames: bool = False,
    clip: int = 16,
    seconds: float = SECONDS,
    views: int = 1,
    size: int = 112,
    short: Short = "loop",
    batch_size: int = 8,
    workers: int = 0,
    accelerator: str = "auto",
    progress: bool = True,
) -> Any:
    """What a frozen backbone sees in video files.

    Args:
        backbone: any backbone, or what ``load_backbone`` accepts.
        paths: M video files, or one.
        frames: False for one vector a file; True for a map of every frame.
        clip: frames of a clip.
        seconds: between two frames of a clip.
        views: clips of a file, whose features are averaged.
        size: pixels of the square cut out of the middle of each clip; with ``frames`` the frames are not cut.
        short: see ``clips``.
        batch_size: files at a time.
        workers: reading processes.
        accelerator: Lightning's: "auto", "cpu", "gpu".
        progress: show a progress bar.

    Returns:
        float32 (M,D), the mean of the map over space, time and views. With ``frames`` a list of M arrays
        float32 (n,D,h,w), n the frames of the file; a backbone that is not time-local sees 16 frames around each frame.

    Raises:
        VideoError: if a file cannot be read.
        ValueError: if a file is too short and ``short="error"``.
    """
    network = backbone if isinstance(backbone, Backbone) else load_backbone(backbone)
    files = [str(paths)] if isinstance(paths, (str, Path)) else [str(path) for path in paths]
    trainer = _trainer(accelerator, progress)
    if frames:
        encode = frame_encoder(network, trainer, window=WINDOW)
        return [np.stack([cells.cpu().numpy() for cells in encode(_whole(file))]) for file in files]
    sampler = UniformClips(views=views, frames=clip, stride=None, seconds=seconds, short=short)
    rows = [Video(file) for file in files]
    data = videos(files, size=size, batch_size=batch_size, workers=workers)
    loader = data.loader(rows, sampler, _crop(size), batch_size=batch_size)
    return over_views(clip_features(network, loader, rows, trainer, "features"))


def videos(
    source: str | Path | Iterable[str | Path | Video],
    *,
    of: Callable[[str, str], list[Video]] | None = None,
    frames: int = 16,
    seconds: float = SECONDS,
    views: int = 1,
    size: int = 112,
    short: Short = "skip",
    batch_size: int = 8,
    workers: int = 0,
    held_out: float = 0.0,
    max_broken: int = 0,
    seed: int = 0,
) -> VideoDataModule:
    """Videos to train on: random clips, randomly cropped, in batches that follow ``seed``.

    Args:
        source: a folder, searched at any depth, or a list of files (or of ``Video``, with labels).
        of: the data set that lies in the folder ``source``, such as ``ssv.data.sets.ucf101.ucf101``: a function
            ``(root, split) -> list[Video]`` for the splits "train" and "test".
        frames: frames of a clip; each pretext says how many it needs.
        seconds: between two frames of a clip.
        views: clips cut from one video.
        size: pixels of the square that a random crop becomes.
        short: what to do with a video too short for a clip: "error", "skip", "hold" or "loop".
        batch_size: videos in a batch.
        workers: reading processes.
        held_out: share of the videos kept back.
        max_broken: broken videos that are skipped and counted; one more is an error.
        seed: of the order of the videos and of all draws.

    Raises:
        DataNotFound: if there is no such folder, or no video in it.
    """
    listing: Callable[[str, str], list[Video]]
    if isinstance(source, (str, Path)):
        root, listing = str(source), of or folder
    else:
        given = [row if isinstance(row, Video) else Video(str(row)) for row in source]
        root, listing = os.getcwd(), partial(_listed, given)
    return VideoDataModule(
        root,
        listing,
        sampler=RandomClips(views=views, frames=frames, stride=None, seconds=seconds, short=short),
        crop=RandomResizedCrop(size),
        eval_sampler=UniformClips(views=1, frames=frames, stride=None, seconds=seconds, short="loop"),
        eval_crop=_crop(size),
        batch_size=batch_size,
        workers=workers,
        held_out=held_out,
        max_broken=max_broken,
        reader=AutoReader(),
        seed=seed,
    )


def fit(
    pretext: Pretext,
    data: VideoDataModule,
    steps: int,
    *,
    lr: float = 1e-3,
    seed: int = 0,
    accelerator: str = "auto",
    progress: bool = True,
) -> list[dict[str, float]]:
    """Train a pretext, and the backbone inside it, in place.

    AdamW with a cosine schedule. No run folder is written: ``ssv pretrain`` also checkpoints, resumes and measures.

    Args:
        pretext: holds the backbone.
        data: what ``videos`` returns, or any data module of ssv.
        steps: optimizer steps.
        lr: the highest learning rate.
        seed: of what the pretext draws.
        accelerator: Lightning's: "auto", "cpu", "gpu".
        progress: show a progress bar.

    Returns:
        Loss and metrics of every step.
    """
    if steps < 1:
        raise ValueError(f"steps must be 1 or more, got {steps}")
    module = PretrainModule(pretext, partial(_adamw, lr), warmup_cosine, steps=steps)
    history = _History()
    callbacks = [SeedSteps(seed), history]
    trainer = _trainer(accelerator, progress, max_steps=steps, callbacks=callbacks, limit_val_batches=0)
    trainer.fit(module, datamodule=data)
    return history.rows


def evaluate(
    backbone: Backbone | str | Path,
    evaluation: Evaluation,
    data: VideoDataModule,
    *,
    seed: int = 0,
    accelerator: str = "auto",
    progress: bool = True,
) -> Scores:
    """The scores of one evaluation; ``evaluation.protocol`` says how they came about.

    Args:
        backbone: any backbone, or what ``load_backbone`` accepts; it is left as it was.
        evaluation: for example ``ssv.evaluations.knn.KNN(sampler=..., crop=...)``.
        data: a data module with the labels, masks or phases that the evaluation needs.
        seed: of what the evaluation draws.
        accelerator: Lightning's: "auto", "cpu", "gpu".
        progress: show a progress bar.
    """
    network = backbone if isinstance(backbone, Backbone) else load_backbone(backbone)
    with isolated_random(derive_seed(seed, "evaluate")):
        return evaluation.run(network, data, _trainer(accelerator, progress))


class _History(pl.Callback):
    """Loss and metrics of every step, as plain numbers."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: object) -> None:
        logged = trainer.callback_metrics.items()
        self.rows.append({name.removeprefix("pretext/"): float(value) for name, value in logged})


def _presets() -> Any:
    """``conf/backbone``: beside the package in a checkout, inside it once installed."""
    checkout = Path(__file__).resolve().parents[1] / "conf" / "backbone"
    return checkout if checkout.is_dir() else resources.files("ssv.conf") / "backbone"


def _trainer(accelerator: str, progress: bool, **options: Any) -> pl.Trainer:
    """Lightning's Trainer on one device, without files of its own."""
    return pl.Trainer(
        accelerator=accelerator,
        devices=1,
        enable_progress_bar=progress,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        **options,
    )


def _crop(size: int) -> CenterCrop:
    return CenterCrop(size, short_side=round(size * 8 / 7))


def _listed(given: list[Video], root: str, split: str) -> list[Video]:
    return given if split == "train" else []


def _adamw(lr: float, groups: list[dict[str, object]]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=lr)


def _whole(file: str) -> Iterator[torch.Tensor]:
    """All frames of a file, uint8 (3,H,W) each."""
    reader, count = AutoReader(), len(look(file).info.seconds)
    for start in range(0, count, READ_AT_ONCE):
        some = reader.read(file, range(start, min(start + READ_AT_ONCE, count)))
        yield from torch.from_numpy(some).permute(0, 3, 1, 2)
