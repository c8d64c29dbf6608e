"""The contract of every evaluation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import pytorch_lightning as pl

from ssv.backbones.base import Backbone
from ssv.types import Scores

if TYPE_CHECKING:
    from ssv.data.datamodule import VideoDataModule


class Evaluation(ABC):
    """One measurement of one backbone.

    ``protocol`` says in one line how the scores came about (views, crop, fold, selection rule); it is
    stored beside every score, and numbers of different protocols never share a column.
    ``run`` leaves the backbone as it was.

    ``artifacts`` holds, after ``run``, the arrays worth a file, a mapping per file; the caller saves them. The one
    named ``per_video`` has a row for each test video: ``path``, ``label``, ``prediction``, ``group``. Text is of a
    fixed-width dtype, so that ``numpy.load`` needs no pickle.
    """

    artifacts: Mapping[str, Mapping[str, np.ndarray]] = MappingProxyType({})

    @property
    @abstractmethod
    def protocol(self) -> str:
        """The protocol as one line, a function of the constructor's values alone."""

    @abstractmethod
    def run(self, backbone: Backbone, data: VideoDataModule, trainer: pl.Trainer) -> Scores:
        """Measure; scores are plain floats by name, the first the one to compare by, ``chance`` what guessing gives it."""
