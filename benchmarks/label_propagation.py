"""Label propagation at 480p: ours against forming all affinities of a frame at once.

usage: python benchmarks/label_propagation.py [--small]

The protocol of Jabri et al. 2020: first frame everywhere, 20 frames before within 12 cells, top 10 of all together. Each
variant runs in a process of its own, on the same frames, and its memory is the peak of that process above what it held
before it began. Features are smooth in space and time with some noise, so that neighbours are as close as in a video.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ssv.ops.propagation import propagate

CHANNELS, LABELS, CONTEXT, RADIUS, TOPK, TEMPERATURE = 256, 4, 20, 12, 10, 0.07


def now() -> np.ndarray:
    """Wall clock and CPU time of this process, seconds."""
    return np.array([time.perf_counter(), time.process_time()])


def frame(number: int, channels: int, height: int, width: int) -> Tensor:
    """Features (D,h,w) of one frame: two coarse patterns that turn into each other, and noise."""
    base = torch.randn(2, channels, 8, 14, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(channels, height, width, generator=torch.Generator().manual_seed(number + 1))
    angle = torch.tensor(0.05 * number)
    coarse = (base[0] * angle.cos() + base[1] * angle.sin())[None]
    return functional.interpolate(coarse, (height, width), mode="bicubic")[0] + 0.3 * noise


def first_labels(height: int, width: int) -> Tensor:
    """Rectangles, one-hot (L,h,w)."""
    ids = torch.zeros(height, width, dtype=torch.long)
    for label in range(1, LABELS):
        ids[height // 4 : height // 2, label * width // 5 : label * width // 5 + width // 8] = label
    return functional.one_hot(ids, LABELS).permute(2, 0, 1).float()


def straightforward(query: Tensor, keys: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """One frame by definition: all affinities, mask, top-k, softmax.

    ``query`` (D,h,w), ``keys`` (S,D,h,w) with the first frame in front, ``labels`` (S,L,h,w). Returns the labels
    (L,h,w) and how far apart the k-th and the next affinity of each cell are, (h,w).
    """
    height, width = query.shape[1:]
    query, keys = functional.normalize(query, dim=0), functional.normalize(keys, dim=1)
    scores = query.flatten(1).T @ keys.permute(1, 0, 2, 3).flatten(1)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = torch.stack([rows.flatten(), columns.flatten()], dim=1).float()
    far = (places[:, None] - places).norm(dim=2) >= RADIUS
    scores.view(height * width, len(keys), -1)[:, 1:].masked_fill_(far[:, None], -torch.inf)
    values, indices = scores.topk(TOPK + 1, dim=1)
    weights = (values[:, :TOPK] / TEMPERATURE).softmax(1)
    found = (weights[..., None] * labels.permute(0, 2, 3, 1).flatten(0, 2)[indices[:, :TOPK]]).sum(1)
    return found.T.reshape(-1, height, width), (values[:, TOPK - 1] - values[:, TOPK]).view(height, width)


def run_ours(send: Any, height: int, width: int, frames: int, folder: str) -> None:
    """Propagate through all frames; time the last ``frames`` of them, whose context is full."""
    total = CONTEXT + frames
    making: list[np.ndarray] = []
    seconds: list[np.ndarray] = []

    def features() -> Iterator[Tensor]:
        for number in range(total):
            started = now()
            made = frame(number, CHANNELS, height, width)
            making.append(now() - started)
            yield made

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    results = propagate(
        features(),
        first_labels(height, width),
        context=CONTEXT,
        radius=RADIUS,
        topk=TOPK,
        temperature=TEMPERATURE,
    )
    for number in range(total):
        started = now()
        found = next(results)
        seconds.append(now() - started - making[-1])
        torch.save(found, Path(folder) / f"{number}.pt")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    send.send((seconds[CONTEXT:], peak / 1024))


def run_straightforward(send: Any, height: int, width: int, frames: int, folder: str) -> None:
    """The same last frames, each from the labels that ours had carried so far; compare the outcome."""
    seconds: list[np.ndarray] = []
    worst, clear = 0.0, []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(CONTEXT, CONTEXT + frames):
        slots = [0, *range(number - CONTEXT, number)]
        keys = torch.stack([frame(slot, CHANNELS, height, width) for slot in slots])
        labels = torch.stack([torch.load(Path(folder) / f"{slot}.pt") for slot in slots])
        query = frame(number, CHANNELS, height, width)
        started = now()
        found, margin = straightforward(query, keys, labels)
        seconds.append(now() - started)
        differs = (found - torch.load(Path(folder) / f"{number}.pt")).abs().amax(0)
        worst = max(worst, float(differs[margin > 1e-6].max()))
        clear.append(float((margin > 1e-6).float().mean()))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    send.send((seconds, peak / 1024, worst, statistics.mean(clear)))


def run_long(send: Any, frames: int) -> None:
    """Resident memory, in MB, early and late in a long video of small frames."""
    resident = {}
    features = (frame(number, 64, 16, 28) for number in range(frames))
    results = propagate(features, first_labels(16, 28), context=CONTEXT, radius=RADIUS, topk=TOPK)
    for number, _ in enumerate(results, start=1):
        if number in (100, frames):
            status = Path("/proc/self/status").read_text()
            resident[number] = int(status.split("VmRSS:")[1].split()[0]) / 1024
    send.send(resident)


def in_child(work: Callable[..., None], *arguments: object) -> Any:
    """What ``work`` sends, from a fresh process."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    child = context.Process(target=work, args=(send, *arguments))
    child.start()
    send.close()
    try:
        return receive.recv()
    finally:
        child.join()


def main() -> None:
    """Print the table, the agreement, and the memory of a long video."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a quarter of the cells and fewer frames")
    small = parser.parse_args().small
    height, width, frames, length = (30, 54, 3, 400) if small else (60, 107, 5, 2000)
    with tempfile.TemporaryDirectory() as folder:
        own, own_peak = in_child(run_ours, height, width, frames, folder)
        plain, plain_peak, worst, clear = in_child(run_straightforward, height, width, frames, folder)
    cells = f"{height}x{width} cells, {CHANNELS} channels, 1 + {CONTEXT} key frames, radius {RADIUS}, k {TOPK}"
    print(f"{cells}; {frames} frames, {torch.get_num_threads()} threads, medians")
    print(f"{'':20}{'s / frame':>11}{'CPU s':>9}{'frames / s':>12}{'peak MB':>10}")
    fast, slow = np.median(own, axis=0), np.median(plain, axis=0)
    for name, seconds, peak in (("all at once", slow, plain_peak), ("ssv.ops.propagation", fast, own_peak)):
        print(f"{name:20}{seconds[0]:11.3f}{seconds[1]:9.3f}{1 / seconds[0]:12.3f}{peak:10.0f}")
    wall, cpu = slow / fast
    print(f"{'ratio':20}{wall:11.1f}{cpu:9.1f}{'':12}{plain_peak / own_peak:10.1f}")
    print(f"largest difference {worst:.1e} on the {clear:.2%} of cells whose 10th and 11th affinity differ by > 1e-6")
    assert worst < 1e-5, "the two do not agree"
    resident = in_child(run_long, length)
    print(
        "resident memory of a long video: " + ", ".join(f"{mb:.0f} MB after {n} frames" for n, mb in resident.items())
    )


if __name__ == "__main__":
    main()
