"""What evaluations of whole videos share: features of clips, values per video, BatchNorm recalibration."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import pytorch_lightning as pl
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ssv.backbones.base import Backbone
from ssv.data.crops import Crop
from ssv.data.sampling import Sampler
from ssv.evaluations.feature_cache import FeatureCache, features_of
from ssv.evaluations.labelled import LabelledSplits
from ssv.ops.photometric import normalise
from ssv.processes import all_or_none, joined
from ssv.types import Clips, Video

if TYPE_CHECKING:
    from ssv.data.datamodule import VideoDataModule

T = TypeVar("T")
Module = TypeVar("Module", bound=nn.Module)


class ClipFeatures(NamedTuple):
    """One vector per view of the training and of the test videos, both float32 (M,V,D)."""

    train: np.ndarray
    test: np.ndarray


def extract(
    backbone: Backbone,
    data: VideoDataModule,
    splits: LabelledSplits,
    sampler: Sampler,
    crop: Crop,
    *,
    batch_size: int,
    trainer: pl.Trainer,
    cache: FeatureCache | None = None,
) -> ClipFeatures:
    """The features that every frozen evaluation reads, computed once for all of them.

    Several processes share the batches out among themselves; all of them get all features, those of one process alone.

    Args:
        backbone: see ``clip_features``.
        data: gives the loader.
        splits: the videos.
        sampler: the views of each; every video must give some.
        crop: their pixels.
        batch_size: videos at a time.
        trainer: see ``clip_features``.
        cache: keeps the features, float32, all views: 0.5 GB for UCF101 by 10 views of 1024 channels; None keeps none.

    Raises:
        ValueError: see ``clip_features``.
    """

    def of(videos: list[Video], name: str) -> np.ndarray:
        def compute() -> np.ndarray:
            loader = data.loader(videos, sampler, crop, batch_size=batch_size, dealt=True)
            return clip_features(backbone, loader, videos, trainer, f"features of {name} videos")

        return kept.array(identity, [video.path for video in videos], compute)

    kept = cache or FeatureCache()
    cut = ("views", describe(sampler), describe(crop))
    identity = cut if kept.folder is None else (*features_of(backbone, trainer, data.reader), *cut)
    return ClipFeatures(of(splits.train, "train"), of(splits.test, "test"))


@torch.no_grad()
def clip_features(
    backbone: Backbone, data: Iterable[Clips], videos: Sequence[Video], trainer: pl.Trainer, title: str
) -> np.ndarray:
    """One vector per view, float32 (M,V,D): the mean of the map over space and time.

    Works on a copy in eval mode, in the trainer's precision and on its device; ``backbone`` itself is not touched.
    All views of a video come in one batch, and a video in one process; other arguments and errors: see
    ``mean_over_views``.
    """
    frozen = moved(copy.deepcopy(backbone), trainer).eval()

    def measured() -> tuple[np.ndarray, np.ndarray]:
        features, seen = np.empty((len(videos), 0, 0), dtype=np.float32), np.zeros(len(videos), dtype=bool)
        for clips in progress(data, title, trainer):
            with trainer.precision_plugin.forward_context():
                values = frozen(prepared(clips, backbone, trainer)).mean((2, 3, 4)).float().cpu().numpy()
            values = values.reshape(len(clips.label), -1, values.shape[1])
            if not features.size:
                features = np.zeros((len(videos), *values.shape[1:]), dtype=np.float32)
            features[clips.video.cpu().numpy()] = values
            seen[clips.video.cpu().numpy()] = True
        return features, seen

    features, seen = joined(*all_or_none(measured), trainer.strategy.root_device)
    _check(seen, np.array([np.isfinite(each).all() for each in features], dtype=bool), videos, title)
    return features


def over_views(features: np.ndarray) -> np.ndarray:
    """One vector per video, float32 (M,D): the mean of float32 (M,V,D) over views, summed in float64."""
    mean: np.ndarray = features.mean(1, dtype=np.float64).astype(np.float32)
    return mean


@torch.no_grad()
def mean_over_views(
    measure: Callable[[Tensor], Tensor],
    backbone: Backbone,
    data: Iterable[Clips],
    videos: Sequence[Video],
    *,
    trainer: pl.Trainer,
    title: str,
) -> np.ndarray:
    """Mean of ``measure`` over all views of each video, joined by ``clips.video``; float32 (M,...).

    Args:
        measure: float (N,C,T,H,W), normalised for the backbone -> float (N,D), on the trainer's device.
        backbone: gives the normalisation.
        data: batches whose ``video`` counts rows of ``videos``; the views of a video may come in several of them.
        videos: M videos.
        trainer: its device, precision and choice of a progress bar are taken.
        title: for the progress bar.

    Raises:
        ValueError: if a value is not finite, or a video gave no clip.
    """
    total, views = torch.zeros(len(videos), 1, dtype=torch.float64), torch.zeros(len(videos), dtype=torch.float64)
    for clips in progress(data, title, trainer):
        with trainer.precision_plugin.forward_context():
            values = measure(prepared(clips, backbone, trainer)).float().cpu().double()
        row = clips.video.cpu().repeat_interleave(clips.pixels.shape[1])
        if total.shape[1] != values.shape[1]:
            total = total.new_zeros(len(videos), values.shape[1])
        # float64: the mean is then the same to all float32 digits in whatever order batches arrive.
        total.index_add_(0, row, values)
        views.index_add_(0, row, views.new_ones(len(row)))
    _check((views > 0).numpy(), total.isfinite().all(1).numpy(), videos, title)
    return (total / views[:, None]).float().numpy()


def _check(seen: np.ndarray, finite: np.ndarray, videos: Sequence[Video], title: str) -> None:
    """ValueError unless every video was seen and has finite values, both bool (M,)."""
    if not seen.all():
        missing = [videos[i].path for i in np.flatnonzero(~seen).tolist()]
        raise ValueError(
            f"{title}: {len(missing)} of {len(videos)} videos gave no clip (first: {missing[0]}), and all must be "
            "scored; set data.eval_sampler.short=loop, or repair the files"
        )
    if not finite.all():
        broken = [videos[i].path for i in np.flatnonzero(~finite).tolist()]
        raise ValueError(
            f"{title}: values of {len(broken)} of {len(videos)} videos are not finite (first: {broken[0]}); "
            "the weights are broken, or the precision too low (try trainer.precision=32-true)"
        )


def prepared(clips: Clips, backbone: Backbone, trainer: pl.Trainer) -> Tensor:
    """All views of all clips on the trainer's device, normalised for the backbone: float (B*V,C,T,H,W)."""
    pixels = clips.pixels.to(trainer.strategy.root_device, non_blocking=True).flatten(0, 1)
    inputs: Tensor = trainer.precision_plugin.convert_input(normalise(pixels, backbone.mean, backbone.std))
    return inputs


def on_device(module: Module, trainer: pl.Trainer) -> Module:
    """``module`` moved to the trainer's only device, in its precision.

    Raises:
        ValueError: if the trainer has several devices.
    """
    if trainer.world_size > 1:
        raise ValueError(
            f"this evaluation runs on one device, the trainer has {trainer.world_size}; set trainer.devices=1 (several "
            "share the work of linear_probe, knn and retrieval)"
        )
    return moved(module, trainer)


def moved(module: Module, trainer: pl.Trainer) -> Module:
    """``module`` moved to the trainer's device in this process, in its precision."""
    trainer.precision_plugin.convert_module(module)  # in place, for the precisions of a single device
    return module.to(trainer.strategy.root_device)


def progress(items: Iterable[T], title: str, trainer: pl.Trainer, total: int | None = None) -> Iterator[T]:
    """Iterate with a progress bar, unless the trainer's bar is switched off or another process shows one."""
    silent = trainer.progress_bar_callback is None or not trainer.is_global_zero
    return iter(track(items, title, total, console=Console(stderr=True), disable=silent))


@torch.no_grad()
def recalibrate(backbone: Backbone, data: Iterable[Clips], batches: int) -> None:
    """Changes ``backbone`` in place: BatchNorm statistics become the mean over ``batches`` batches of training clips.

    A randomly initialised backbone has statistics (0, 1) that fit no data, so that its features in eval mode shrink
    or explode with depth; as a reference it deserves its own. No weight changes. Without BatchNorm nothing happens.
    Give it shuffled clips cut as in pretraining; fewer batches than asked for are taken as they are. Runs where the
    backbone is.

    Raises:
        ValueError: if there is no batch.
    """
    norms = [module for module in backbone.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not norms:
        return
    modes = {module: module.training for module in backbone.modules()}
    momenta = {norm: norm.momentum for norm in norms}
    device = next(backbone.parameters()).device
    backbone.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over batches, every batch weighing the same
        norm.train()
    try:
        for clips in islice(data, batches):
            backbone(normalise(clips.pixels.to(device).flatten(0, 1), backbone.mean, backbone.std))
        if not int(norms[0].num_batches_tracked or 0):
            raise ValueError(
                f"recalibration of BatchNorm needs a batch of training clips at least, got none of {batches}"
            )
    finally:
        for norm, momentum in momenta.items():
            norm.momentum = momentum
        for module, training in modes.items():
            module.training = training


def describe(value: object) -> str:
    """A sampler or crop by its constructor's values, for protocols: ``UniformClips(views=4, frames=16)``.

    Values that are None are left out. Raises TypeError if a value is not kept under its own name.
    """
    names = list(inspect.signature(type(value)).parameters)
    absent = [name for name in names if not hasattr(value, name)]
    if absent:
        raise TypeError(
            f"{type(value).__name__} must keep its constructor's {absent[0]} as an attribute: protocols name it"
        )
    values = {name: getattr(value, name) for name in names}
    listed = ", ".join(f"{name}={value}" for name, value in values.items() if value is not None)
    return f"{type(value).__name__}({listed})"
