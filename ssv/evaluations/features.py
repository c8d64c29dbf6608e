"""What evaluations of whole videos share: labelled splits, one value per video, BatchNorm recalibration."""

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
from ssv.ops.photometric import normalise
from ssv.types import Clips, Video

if TYPE_CHECKING:
    from ssv.data.datamodule import VideoDataModule

T = TypeVar("T")
Module = TypeVar("Module", bound=nn.Module)


class LabelledSplits(NamedTuple):
    """Training and test videos, and the labels (K,) that occur, ascending; a class is a position in ``classes``."""

    train: list[Video]
    test: list[Video]
    classes: np.ndarray

    def class_of(self, videos: Sequence[Video]) -> np.ndarray:
        """Position of each video's label in ``classes``, int64 (M,)."""
        return np.searchsorted(self.classes, [video.label for video in videos])


def labelled_splits(data: VideoDataModule) -> LabelledSplits:
    """The official splits, checked.

    Raises:
        ValueError: if a split is empty or unlabelled, a video is on both sides, or there is but one class.
    """
    splits = {name: list(data.split(name)) for name in ("train", "test")}
    for name, videos in splits.items():
        if not videos:
            raise ValueError(
                f"this data set has no split '{name}', which the evaluation needs; choose another with data="
            )
        unlabelled = sum(video.label < 0 for video in videos)
        if unlabelled:
            raise ValueError(
                f"the evaluation needs labels, and {unlabelled} of {len(videos)} videos of split '{name}' have none; "
                "take a data set with labels (data=ucf101, data=toy, or data=folder with one folder per class)"
            )
    both = {video.path for video in splits["train"]} & {video.path for video in splits["test"]}
    if both:
        raise ValueError(f"{len(both)} videos are in split 'train' and in split 'test', for example {min(both)}")
    classes = np.unique([video.label for video in splits["train"]])
    if len(classes) < 2:
        raise ValueError(f"the evaluation needs two classes at least, split 'train' has only label {classes[0]}")
    untrained = sorted({video.label for video in splits["test"]} - set(classes.tolist()))
    if untrained:
        raise ValueError(f"split 'test' has labels without a training video: {untrained}")
    return LabelledSplits(splits["train"], splits["test"], classes)


def clip_features(
    backbone: Backbone, data: Iterable[Clips], videos: Sequence[Video], trainer: pl.Trainer, title: str
) -> np.ndarray:
    """One vector per video, float32 (M,D): the map's mean over space and time, then the mean over views.

    Works on a copy in eval mode, in the trainer's precision and on its device; ``backbone`` itself is not touched.
    Arguments and errors: see ``mean_over_views``.
    """
    frozen = on_device(copy.deepcopy(backbone), trainer).eval()
    return mean_over_views(
        lambda pixels: frozen(pixels).mean((2, 3, 4)), backbone, data, videos, trainer=trainer, title=title
    )


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
    if bool((views == 0).any()):
        missing = [videos[i].path for i in (views == 0).nonzero().flatten().tolist()]
        raise ValueError(
            f"{title}: {len(missing)} of {len(videos)} videos gave no clip (first: {missing[0]}), and all must be "
            "scored; set data.eval_sampler.short=loop, or repair the files"
        )
    if not bool(total.isfinite().all()):
        broken = [videos[i].path for i in (~total.isfinite().all(1)).nonzero().flatten().tolist()]
        raise ValueError(
            f"{title}: values of {len(broken)} of {len(videos)} videos are not finite (first: {broken[0]}); "
            "the weights are broken, or the precision too low (try trainer.precision=32-true)"
        )
    return (total / views[:, None]).float().numpy()


def prepared(clips: Clips, backbone: Backbone, trainer: pl.Trainer) -> Tensor:
    """All views of all clips on the trainer's device, normalised for the backbone: float (B*V,C,T,H,W)."""
    pixels = clips.pixels.to(trainer.strategy.root_device, non_blocking=True).flatten(0, 1)
    inputs: Tensor = trainer.precision_plugin.convert_input(normalise(pixels, backbone.mean, backbone.std))
    return inputs


def on_device(module: Module, trainer: pl.Trainer) -> Module:
    """``module`` moved to the trainer's device, in its precision.

    Raises:
        ValueError: if the trainer has several devices.
    """
    if trainer.world_size > 1:
        raise ValueError(f"evaluations run on one device, the trainer has {trainer.world_size}; set trainer.devices=1")
    trainer.precision_plugin.convert_module(module)  # in place, for the precisions of a single device
    return module.to(trainer.strategy.root_device)


def progress(items: Iterable[T], title: str, trainer: pl.Trainer, total: int | None = None) -> Iterator[T]:
    """Iterate with a progress bar, unless the trainer's bar is switched off."""
    silent = trainer.progress_bar_callback is None
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
