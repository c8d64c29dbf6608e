"""Cost of reading one clip by each reader, as a ratio to reading the same frames by decord.

usage: python benchmarks/read_clips.py [FOLDER_OF_VIDEOS]      (default: a toy world made in a temporary folder)

Both readers get the same random requests, interleaved, on one thread; CPU time, medians over rounds.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from ssv.data.readers.auto import AutoReader
from ssv.data.readers.base import VideoError
from ssv.data.readers.decord import DecordReader
from ssv.data.readers.probe import probe
from ssv.data.readers.pyav import PyAVReader
from ssv.data.sets.folder import folder
from ssv.data.toy.world import write_world

FRAMES, ROUNDS, VIDEOS = 16, 9, 20


def cost(reader: object, requests: list[tuple[str, list[int]]]) -> float:
    """CPU seconds for all requests."""
    started = time.process_time()
    for path, indices in requests:
        reader.read(path, indices)  # type: ignore[attr-defined]
    return time.process_time() - started


def main() -> None:
    """Print one line per stride."""
    if len(sys.argv) > 1:
        root = Path(sys.argv[1])
    else:
        root = Path(tempfile.mkdtemp()) / "toy"
        write_world(root, size="tiny")
    readers = {"decord": DecordReader(), "pyav": PyAVReader(), "auto": AutoReader()}
    lengths = {}
    for video in folder(str(root), "train"):
        try:
            readers["decord"].read(video.path, [0])  # only files that decord reads at all can be compared
            lengths[video.path] = len(probe(video.path).seconds)
        except VideoError:
            continue
    paths = sorted(lengths)[:VIDEOS]
    print(f"{len(paths)} videos below {root} that decord reads right; CPU time / decord, medians of {ROUNDS} rounds")
    generator = torch.Generator().manual_seed(0)
    for stride in (1, 4):
        span = FRAMES * stride
        ratios: dict[str, list[float]] = {name: [] for name in readers}
        for _ in range(ROUNDS):
            requests = []
            for path in (path for path in paths if lengths[path] > span):
                start = int(torch.randint(lengths[path] - span, (), generator=generator))
                requests.append((path, (start + stride * np.arange(FRAMES)).tolist()))
            costs = {name: cost(reader, requests) for name, reader in readers.items()}
            for name in readers:
                ratios[name].append(costs[name] / costs["decord"])
        shown = "  ".join(
            f"{name} {statistics.median(r):.2f} [{min(r):.2f}-{max(r):.2f}]" for name, r in ratios.items()
        )
        print(f"stride {stride}: {shown}")


if __name__ == "__main__":
    main()
