"""The batches of an epoch, in an order that is a function of (seed, epoch)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import Sampler

from ssv.data.dataset import generator_for
from ssv.data.pairing import pair_count, pair_up

Key = tuple[int, int]  # (epoch, row)


class EpochBatches(Sampler[list[Key]]):
    """The batches of an epoch, as lists of (epoch, row): this process's share of each global batch.

    Process r of w takes every w-th entry of each global batch, from the r-th on. So the processes together see
    what one process would, and a run may continue on another number of them. With ``shuffle`` the order is a
    permutation drawn from (seed, epoch); without it, order and epoch stay the same for ever (fixed draws).

    With ``labels`` batches hold pairs of videos of one label, each pair in one process. Of a label with an odd number
    of videos one is in two pairs of the epoch, another one each time; a single one would be its own partner.
    """

    def __init__(
        self,
        rows: Sequence[int] | np.ndarray,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = True,
        labels: Sequence[int] | np.ndarray | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """``batch_size`` counts over all ``world`` processes; ``drop_last`` drops the incomplete batch at the end.

        ``labels`` belong to ``rows``, one each.
        """
        self.rows = torch.as_tensor(np.asarray(rows, dtype=np.int64))
        self.labels = None if labels is None else torch.as_tensor(np.asarray(labels, dtype=np.int64))
        if batch_size < 1 or batch_size % world:
            raise ValueError(
                f"data.batch_size={batch_size} counts over all processes and must be a multiple of their number, {world}"
            )
        if self.labels is not None and batch_size // world % 2:
            raise ValueError(
                f"data.batch_size={batch_size} gives each of {world} processes {batch_size // world} videos, which are no "
                f"pairs (data.pairs=true); set it to a multiple of {2 * world}"
            )
        if drop_last and len(self.rows) < batch_size:
            raise ValueError(
                f"data.batch_size={batch_size} is more than the {len(self.rows)} videos there are to train on; lower it"
            )
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.rank = rank
        self.world = world
        self.epoch = 0
        self.start = 0  # the first batch of the next iteration
        self.is_complete = False  # all of this epoch was handed out: the next iteration is the next epoch

    @property
    def sampler(self) -> EpochBatches:
        """Itself: where Lightning looks for ``set_epoch``."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Moves on to another epoch; without ``shuffle`` order and draws stay as they are."""
        self.is_complete = False
        if self.shuffle:
            self.epoch = epoch

    def __len__(self) -> int:
        """Batches of a whole epoch, wherever the next iteration starts (Lightning counts from there itself)."""
        entries, together = self._entries()
        whole, rest = divmod(entries, self.batch_size // together)
        return whole + (not self.drop_last and rest > self.rank)

    def __iter__(self) -> Iterator[list[Key]]:
        # Fixed now: the loader asks for batches while the training loop may already move the epoch on.
        epoch, order = self.epoch, self._order()
        return iter([self._batch(order, epoch, batch) for batch in range(self.start, len(self))])

    def batch(self, number: int) -> list[Key]:
        """One batch of the current epoch."""
        return self._batch(self._order(), self.epoch, number)

    def _entries(self) -> tuple[int, int]:
        """How many entries an epoch has, and the videos of each: single ones, or pairs."""
        if self.labels is None:
            return len(self.rows), 1
        return pair_count(self.labels), 2

    def _order(self) -> torch.Tensor:
        """The rows of each entry of the epoch, (entries, 1) or (entries, 2)."""
        generator = generator_for(self.seed, self.epoch)
        places = torch.randperm(len(self.rows), generator=generator) if self.shuffle else torch.arange(len(self.rows))
        if self.labels is None:
            return self.rows[places, None]
        pairs = pair_up(places, self.labels[places])
        if self.shuffle:  # they come label by label
            pairs = pairs[torch.randperm(len(pairs), generator=generator)]
        return self.rows[pairs]

    def _batch(self, order: torch.Tensor, epoch: int, number: int) -> list[Key]:
        entries = self.batch_size // order.shape[1]
        whole = order[number * entries : (number + 1) * entries]
        return [(epoch, row) for row in whole[self.rank :: self.world].flatten().tolist()]
