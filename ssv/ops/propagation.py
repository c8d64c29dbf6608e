"""Labels of the first frame of a video carried to all others by the affinity of features.

Shapes: ``N = h*w`` cells of a frame, ``S`` key frames, ``q`` query cells looked up together, ``n`` key cells they may
reach, ``k`` neighbours, ``L`` label channels (classes or joints, background among them).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

SIDE = 8
"""Query cells are looked up in squares of this many cells. The keys that a square reaches within a radius r fill a
disc-like patch of about (SIDE + 2r) squared: a larger square multiplies more pairs that the radius then forbids, a
smaller one makes products too thin to be fast."""


def propagate(
    features: Iterable[Tensor],
    first: Tensor,
    *,
    context: int,
    long_term: Sequence[int] = (0,),
    pad: bool = True,
    radius: float = math.inf,
    shape: str = "circle",
    radius_on_long_term: bool = False,
    topk: int = 10,
    per_frame: bool = False,
    temperature: float = 0.07,
    normalise: bool = True,
) -> Iterator[Tensor]:
    """Carry the labels ``first`` of frame 0 through a video, frame by frame (Jabri et al. 2020, section 4.1).

    A cell of frame t looks among the cells of its key frames: the ``long_term`` frames and the ``context`` frames before
    t. It takes the ``topk`` most similar ones, and the softmax of similarity / ``temperature`` over them weighs the
    labels that they carry, which are soft and were themselves propagated. Where the radius allows fewer than ``topk``
    cells, it takes those.

    Only the key frames are kept, so that memory does not grow with the video, and ``features`` is read one frame at a
    time, never ahead of the result. No gradient is kept.

    Args:
        features: a map float (D,h,w) for each frame, on the device of ``first``.
        first: float (L,h,w), the labels of frame 0, one-hot or soft.
        context: how many preceding frames are keys.
        long_term: numbers of frames that stay keys. Frame m > 0 joins when it is about to leave the context, for frame
            m + context; until then frame 0 stands in its place.
        pad: repeat frame 0 in front of the video, so that there are always ``context`` preceding frames and its copies
            compete for the k places; otherwise only the frames that exist are keys.
        radius: how far, in cells, a key may lie from the query's own place.
        shape: ``circle``: Euclidean distance < radius; ``square``: rows and columns both differ by <= radius.
        radius_on_long_term: whether the radius holds for the long-term frames too.
        topk: neighbours taken over all key frames together.
        per_frame: take ``topk`` and the softmax within each key frame, then the mean over the key frames (as Wang et al.
            2019 describe their evaluation; not compared with their code).
        temperature: of the softmax.
        normalise: scale features to unit length, so that similarity is the cosine; otherwise the dot product.

    Yields:
        float (L,h,w), of the dtype of ``first``, for every frame; ``first`` itself for frame 0.

    Raises:
        ValueError: at the call if an argument is out of range, later if a map does not have the cells of ``first``.
    """
    _check(first, context, long_term, radius, shape, topk, temperature)
    choice = _Choice(topk, per_frame, temperature)
    height, width = first.shape[1:]
    squares = _squares(height, width, first.device)
    near = None if math.isinf(radius) else [_reach(square, height, width, radius, shape) for square in squares]

    def run() -> Iterator[Tensor]:
        maps = _flattened(features, first, normalise)
        keys = next(maps, None)
        if keys is None:
            return
        recent = _Bank(keys, first, slots=context, used=context if pad else 1, near=near)
        kept = _Bank(keys, first, slots=len(long_term), near=near if radius_on_long_term else None)
        banks = [kept, recent] if long_term else [recent]
        yield first
        for number, queries in enumerate(maps, start=1):
            found = _look_up(queries, squares, banks, choice)
            recent.write(number % context, queries, found)
            for slot, frame in enumerate(long_term):
                if frame == number + 1 - context:
                    kept.write(slot, recent.features[:, frame % context], recent.labels[:, frame % context])
            yield found.T.reshape(first.shape)

    return run()


class _Choice(NamedTuple):
    """How neighbours become weights."""

    topk: int
    per_frame: bool
    temperature: float


class _Reach(NamedTuple):
    """What one square of queries may look at: ``cells`` int64 (n,), and ``allowed`` bool (q,n) among them."""

    cells: Tensor
    allowed: Tensor


class _Bank:
    """Key frames: features (N,S,D) and labels (N,S,L); the S versions of a cell lie together.

    Every slot starts with frame 0; the first ``used`` ones are looked at. Without ``near`` all cells are allowed.
    """

    def __init__(
        self, keys: Tensor, first: Tensor, *, slots: int, near: list[_Reach] | None, used: int | None = None
    ) -> None:
        self.features = keys[:, None].repeat(1, slots, 1)
        self.labels = first.detach().flatten(1).T[:, None].repeat(1, slots, 1)
        self.used = slots if used is None else used
        self.near = near

    def write(self, slot: int, features: Tensor, labels: Tensor) -> None:
        """Put a frame (N,D), (N,L) into a slot, in place of what was there."""
        self.features[:, slot] = features
        self.labels[:, slot] = labels
        self.used = max(self.used, slot + 1)

    def neighbours(self, queries: Tensor, square: int, choice: _Choice) -> tuple[Tensor, Tensor]:
        """The best keys for queries (q,D): scores (q,R,k), labels (q,R,k,L); R is 1, or S where each frame chooses."""
        reach = None if self.near is None else self.near[square]
        keys = self.features if reach is None else self.features.index_select(0, reach.cells)
        # Slots not yet used are multiplied too, for a short while: leaving them out would copy what is not a slice.
        scores = (keys.flatten(0, 1) @ queries.T).view(*keys.shape[:2], -1)[:, : self.used]
        select = _best_of_each if choice.per_frame else _best_of_all
        values, cells, slots = select(scores, None if reach is None else reach.allowed, choice.topk)
        return values, self.labels[cells if reach is None else reach.cells[cells], slots]


def _look_up(queries: Tensor, squares: list[Tensor], banks: list[_Bank], choice: _Choice) -> Tensor:
    """The labels (N,L) of a frame with features (N,D)."""
    result = banks[0].labels.new_empty(len(queries), banks[0].labels.shape[-1])
    for number, square in enumerate(squares):
        found = [bank.neighbours(queries[square], number, choice) for bank in banks]
        labels = torch.cat([labels.flatten(1, 2) for _, labels in found], dim=1)
        if choice.per_frame:
            parts = [(scores / choice.temperature).softmax(dim=2).flatten(1) for scores, _ in found]
            weights = torch.cat(parts, dim=1) / sum(bank.used for bank in banks)
        else:
            scores = torch.cat([scores.flatten(1) for scores, _ in found], dim=1)
            scores, order = scores.topk(min(choice.topk, scores.shape[1]), sorted=False)
            labels = labels.take_along_dim(order[..., None], dim=1)
            weights = (scores / choice.temperature).softmax(dim=1)
        result[square] = (weights[..., None] * labels).sum(1)
    return result


def _best_of_all(scores: Tensor, allowed: Tensor | None, topk: int) -> tuple[Tensor, Tensor, Tensor]:
    """The best over all key frames of ``scores`` (n,S,q): values, cells and slots, each (q,1,k).

    A place whose best over the frames is not among the k best such places holds none of the k best keys. So the
    frames are first reduced to their maximum, which is cheap, and the long rows that a sort would have to read are
    S times shorter; the radius, too, only forbids places.
    """
    _, frames, queries = scores.shape
    best = scores.amax(1).T.contiguous()
    if allowed is not None:
        best = best.masked_fill_(~allowed, -math.inf)
    values, places = best.topk(min(topk, best.shape[1]), sorted=False)
    rows = torch.arange(queries, device=scores.device)[:, None]
    found = scores[places, :, rows].masked_fill_(values.isneginf()[..., None], -math.inf).flatten(1)
    values, order = found.topk(min(topk, found.shape[1]), sorted=False)
    cells = places.gather(1, order.div(frames, rounding_mode="floor"))
    return values[:, None], cells[:, None], (order % frames)[:, None]


def _best_of_each(scores: Tensor, allowed: Tensor | None, topk: int) -> tuple[Tensor, Tensor, Tensor]:
    """The best within each key frame of ``scores`` (n,S,q): values, cells and slots, each (q,S,k)."""
    scores = scores.permute(2, 1, 0).contiguous()
    if allowed is not None:
        scores = scores.masked_fill_(~allowed[:, None], -math.inf)
    values, cells = scores.topk(min(topk, scores.shape[2]), sorted=False)
    return values, cells, torch.arange(scores.shape[1], device=scores.device)[:, None].expand_as(cells)


def _flattened(features: Iterable[Tensor], first: Tensor, normalise: bool) -> Iterator[Tensor]:
    """Maps (D,h,w) as rows (N,D) of unit length where ``normalise``."""
    for number, frame in enumerate(features):
        if frame.ndim != 3 or frame.shape[1:] != first.shape[1:]:
            raise ValueError(
                f"features of frame {number} are {tuple(frame.shape)}, the first labels {tuple(first.shape)}: "
                f"the rows and columns of both must be the same cells"
            )
        rows = frame.detach().flatten(1).T.contiguous()
        # The smallest number of the dtype keeps an all-zero cell zero, in half precision too.
        yield functional.normalize(rows, dim=1, eps=torch.finfo(rows.dtype).tiny) if normalise else rows


def _squares(height: int, width: int, device: torch.device) -> list[Tensor]:
    """The cells 0..N-1 in squares of at most SIDE by SIDE, int64 (q,) each."""
    cells = torch.arange(height * width, device=device).view(height, width)
    return [block.flatten() for rows in torch.split(cells, SIDE) for block in torch.split(rows, SIDE, 1)]


def _reach(square: Tensor, height: int, width: int, radius: float, shape: str) -> _Reach:
    """The cells that any query of a square may look at, and which of them each one may."""
    y, x = square // width, square % width
    # Only the box around the disc: temporaries as large as the map would leave holes in memory, square after square.
    far = int(radius)
    box_y = torch.arange(max(int(y[0]) - far, 0), min(int(y[-1]) + far + 1, height), device=square.device)
    box_x = torch.arange(max(int(x[0]) - far, 0), min(int(x[-1]) + far + 1, width), device=square.device)
    cells = (box_y[:, None] * width + box_x).flatten()
    rows, columns = (y[:, None] - cells // width).abs(), (x[:, None] - cells % width).abs()
    allowed = rows**2 + columns**2 < radius**2 if shape == "circle" else torch.maximum(rows, columns) <= radius
    used = allowed.any(0).nonzero()[:, 0]
    return _Reach(cells[used], allowed[:, used])


def _check(
    first: Tensor,
    context: int,
    long_term: Sequence[int],
    radius: float,
    shape: str,
    topk: int,
    temperature: float,
) -> None:
    """One line for each argument out of range, in the words of the configuration."""
    if first.ndim != 3 or not first.is_floating_point() or 0 in first.shape:
        raise ValueError(
            f"the first labels must be float (labels, rows, columns), got {first.dtype} {tuple(first.shape)}"
        )
    if context < 1:
        raise ValueError(f"evaluation.context must be at least 1 preceding frame, got {context}")
    if topk < 1:
        raise ValueError(f"evaluation.topk must be at least 1 neighbour, got {topk}")
    if any(frame < 0 for frame in long_term):
        raise ValueError(f"evaluation.long_term must be frame numbers from 0 on, got {list(long_term)}")
    if shape not in ("circle", "square"):
        raise ValueError(f"evaluation.shape must be circle or square, got {shape!r}")
    if not radius > 0:
        raise ValueError(f"evaluation.radius must be more than 0 cells (.inf for no limit), got {radius}")
    if not temperature > 0:
        raise ValueError(f"evaluation.temperature must be more than 0, got {temperature}")
