"""Retrieval: is a training video of the same class among the nearest ones of a test video?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import pytorch_lightning as pl

from ssv.backbones.base import Backbone
from ssv.data.crops import Crop
from ssv.data.sampling import Sampler
from ssv.evaluations.base import Evaluation
from ssv.evaluations.contact_sheet import write_contact_sheet
from ssv.evaluations.feature_cache import DEFAULT_GB, FeatureCache
from ssv.evaluations.features import ClipFeatures, describe, extract, over_views
from ssv.evaluations.labelled import LabelledSplits, labelled_splits
from ssv.evaluations.metrics.classification import per_video
from ssv.evaluations.metrics.ranking import chance_recall, nearest, recalls
from ssv.types import Scores

if TYPE_CHECKING:
    from ssv.data.datamodule import VideoDataModule

QUERIES, SHOWN = 8, 5
"""Rows of the picture, and the nearest videos shown in each."""

Level = Literal["video", "clip"]
Centre = Literal["none", "separate", "train"]


class Retrieval(Evaluation):
    """Test videos are queries in the gallery of training videos; nothing is trained.

    Xu et al., Self-supervised Spatiotemporal Learning via Video Clip Order Prediction, CVPR 2019, section 4.4, with
    the pooled map in place of its cells. A query is right at k if one at least of the k nearest by cosine has its
    label: any hit, not a vote and not a share.

    Args:
        sampler: the views of a video; every video must give some, so ``short`` is ``loop`` or ``hold``.
        crop: the views' pixels.
        batch_size: videos read at a time; times the views that is the clips.
        level: ``video`` compares means over views, ``clip`` every view of a test video with every view of every
            training video. At clip level UCF101 by 10 views takes minutes.
        centre: what is taken off before cosines: nothing (``none``), the mean of the training vectors (``train``), or
            from each split its own (``separate``; Han, Xie, Zisserman, CoCLR, NeurIPS 2020), which looks at all
            queries together.
        topk: the k; those above the size of the gallery are left out of the scores.
        cache: a folder where features are kept for other evaluations of the same clips; None keeps none.
        cache_gb: what that folder may hold, in 1e9 bytes; beyond it the least recently used is removed.

    Artifacts of a run:
        recall: ``k``, ``recall`` and ``chance`` at each, all (n,): what a gallery in random order gives, by the
            frequencies of the labels.
        neighbours: ``row`` int64 (Q,n), of queries in order: places of the nearest vectors in the gallery;
            ``similarity`` float64 (Q,n); ``path`` of the training videos. At clip level vector i of the gallery is
            view i % V of video i // V.
        per_video: path, label, prediction (of the nearest), group of each test video; at video level only.

    At video level ``run`` also writes ``retrieved.png`` into the trainer's ``default_root_dir``: test videos spread
    over the split, and beside each the nearest training videos.
    """

    def __init__(
        self,
        *,
        sampler: Sampler,
        crop: Crop,
        batch_size: int = 8,
        level: Level = "video",
        centre: Centre = "none",
        topk: Sequence[int] = (1, 5, 10, 20, 50),
        cache: str | None = None,
        cache_gb: float = DEFAULT_GB,
    ) -> None:
        for key, value, known in (("level", level, get_args(Level)), ("centre", centre, get_args(Centre))):
            if value not in known:
                raise ValueError(f"evaluation.{key} must be one of {', '.join(known)}, got {value!r}")
        if not topk or min(topk) < 1:
            raise ValueError(f"evaluation.topk must be numbers from 1, got {list(topk)}")
        self.sampler, self.crop, self.batch_size = sampler, crop, batch_size
        self.level, self.centre, self.topk, self.cache = level, centre, sorted(set(topk)), FeatureCache(cache, cache_gb)

    @property
    def protocol(self) -> str:
        """The protocol as one line."""
        off = {"none": "not centred", "train": "less the mean of train", "separate": "each split less its own mean"}
        unit = "each view a query and a row of the gallery" if self.level == "clip" else "mean over views"
        return (
            f"frozen backbone in eval mode; {describe(self.sampler)}; {describe(self.crop)}; mean over space and time; "
            f"{unit}; {off[self.centre]}; test queries in the gallery train by cosine, one of the k nearest of the same "
            f"label; k in {{{', '.join(map(str, self.topk))}}}"
        )

    def run(self, backbone: Backbone, data: VideoDataModule, trainer: pl.Trainer) -> Scores:
        """Measure: ``r@k`` of every k up to the size of the gallery; ``chance``, the expected ``r@`` of the first k.

        Raises:
            ValueError: if the data set has no labels, no test split, one class or a gallery below every k, or
                features are not finite.
        """
        splits = labelled_splits(data)
        features = extract(
            backbone,
            data,
            splits,
            self.sampler,
            self.crop,
            batch_size=self.batch_size,
            trainer=trainer,
            cache=self.cache,
        )
        scores = self._scores(features, splits)
        if self.level == "video" and trainer.is_global_zero:
            queries = np.linspace(0, len(splits.test) - 1, min(QUERIES, len(splits.test))).round().astype(int).tolist()
            found = self.artifacts["neighbours"]["row"][:, :SHOWN]
            write_contact_sheet(
                Path(trainer.default_root_dir) / "retrieved.png",
                data,
                [[splits.test[query], *(splits.train[row] for row in found[query].tolist())] for query in queries],
                sampler=self.sampler,
                crop=self.crop,
                batch_size=self.batch_size,
            )
        return scores

    def _scores(self, features: ClipFeatures, splits: LabelledSplits) -> Scores:
        wanted = np.array([video.label for video in splits.test], dtype=np.int64)
        known = np.array([video.label for video in splits.train], dtype=np.int64)
        if self.level == "video":
            query, gallery = over_views(features.test), over_views(features.train)
        else:
            wanted, known = wanted.repeat(features.test.shape[1]), known.repeat(features.train.shape[1])
            query, gallery = (each.reshape(-1, each.shape[2]) for each in (features.test, features.train))
        ks = [k for k in self.topk if k <= len(gallery)]
        if not ks:
            raise ValueError(
                f"evaluation.topk starts at {self.topk[0]}, and the gallery has {len(gallery)} rows; set a smaller one"
            )
        query, gallery = centred(query, gallery, self.centre)
        found = nearest(query, gallery, ks[-1])
        answer = known[found.row]
        scores = recalls(wanted, answer, ks)
        chance = [chance_recall(wanted, known, k) for k in ks]
        self.artifacts = {
            "recall": {"k": np.array(ks), "recall": np.array(list(scores.values())), "chance": np.array(chance)},
            "neighbours": {**found._asdict(), "path": np.array([video.path for video in splits.train], dtype=str)},
        }
        if self.level == "video":
            self.artifacts = {**self.artifacts, "per_video": per_video(splits.test, answer[:, 0])}
        return {**scores, "chance": chance[0]}


def centred(query: np.ndarray, gallery: np.ndarray, centre: Centre) -> tuple[np.ndarray, np.ndarray]:
    """Queries (Q,D) and gallery (M,D) less a mean, float64; see ``Retrieval``."""
    query, gallery = query.astype(np.float64), gallery.astype(np.float64)
    if centre == "none":
        return query, gallery
    mean = gallery.mean(0)
    return query - (mean if centre == "train" else query.mean(0)), gallery - mean
