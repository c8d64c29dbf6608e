"""Can it be seen where a prepared video's groups of pictures begin? If so, playback speed can be told from it.

    python benchmarks/gop_phase.py [SOURCE ...] [--encoder mpeg4 mjpeg] [--videos 100]

Prepares each folder of videos (default: a small toy world, rendered for it), measures in every frame what a network might
see of the coding (sharpness, block borders, differences to its four neighbours, all relative to the video's own mean),
and fits a logistic regression on two thirds of the videos. On the others it is asked for the place of a frame in its
group, and for the number of the frame modulo the group's length. The second must be at chance for any encoder, since
groups begin at a random phase in each video; the first is at chance where every frame is coded alike.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import track
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from ssv.data.crops import Box
from ssv.data.index import find_index
from ssv.data.prepared import PreparedReader
from ssv.data.preparing.packets import first_group
from ssv.data.preparing.run import prepare
from ssv.data.toy.world import write_world

GOP, SHORT_SIDE, LONGEST, SHORTEST, NEIGHBOURS = 8, 64, 200, 32, (-2, -1, 1, 2)


class Frames(NamedTuple):
    """What was measured in frames: features (N,D), number in the video, place in the group, and the video, int (N,)."""

    features: np.ndarray
    number: np.ndarray
    place: np.ndarray
    video: np.ndarray


def main() -> None:
    """Print a row for each folder and encoder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="*", type=Path)
    parser.add_argument("--encoder", nargs="+", choices=["mpeg4", "mjpeg"], default=["mpeg4", "mjpeg"])
    parser.add_argument("--videos", type=int, default=100, help="at most so many of each folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if not given.source:
            given.source = [Path(name) / "toy"]
            write_world(given.source[0], size="tiny", workers=2)
        print(f"{'videos of':24}{'encoder':>9}{'videos':>8}{'frames':>8}{'number mod 8':>14}{'place':>8}{'chance':>8}")
        for at, source in enumerate(given.source):
            for encoder in given.encoder:
                root = str(Path(name) / f"{at}-{encoder}")
                prepare(str(source), root, encoder=encoder, short_side=SHORT_SIDE, workers=2)
                videos_of = list(measured(root, given.videos, f"{source.name}, {encoder}"))
                if len(videos_of) < 3:
                    print(
                        f"{source.name:24}{encoder:>9}  skipped: {len(videos_of)} videos have {SHORTEST} frames or more, 3 are needed"
                    )
                    continue
                frames = join(videos_of)
                number, place = told(frames, frames.number % GOP), told(frames, frames.place)
                videos = len(np.unique(frames.video))
                print(
                    f"{source.name:24}{encoder:>9}{videos:8}{len(frames.number):8}{number:14.1%}{place:8.1%}{1 / GOP:8.1%}"
                )


def measured(root: str, most: int, title: str) -> Iterator[Frames]:
    """The frames of each video."""
    reader, index = PreparedReader(root), find_index(root)
    assert index is not None, "ssv prepare writes one"
    rows = [row for row in range(len(index)) if not index.reason(row) and index.grid(row).frames >= SHORTEST]
    drawn = np.random.default_rng(0).permutation(rows)[:most].tolist()
    for video, row in enumerate(track(drawn, title, console=Console(stderr=True))):
        path = str(Path(root) / index.path(row))
        count = min(index.grid(row).frames, LONGEST)
        height, width = reader.size(path)
        luma = reader.read_planes(path, range(count), Box(0, 0, height, width)).y.astype(np.float32)
        features = looks(luma)
        number = np.arange(count)
        inner = slice(-min(NEIGHBOURS), count - max(NEIGHBOURS))
        place = (number - first_group(index.path(row), GOP)) % GOP
        yield Frames(features[inner], number[inner], place[inner], np.full(count, video)[inner])


def looks(luma: np.ndarray) -> np.ndarray:
    """Statistics of frames float32 (T,H,W) and of their neighbours, relative to the video's own, (T,D)."""
    across, down = np.abs(np.diff(luma, axis=2)), np.abs(np.diff(luma, axis=1))
    middle = 4 * luma[:, 1:-1, 1:-1]
    bent = np.abs(middle - luma[:, :-2, 1:-1] - luma[:, 2:, 1:-1] - luma[:, 1:-1, :-2] - luma[:, 1:-1, 2:])
    border, within = across[:, :, 7::8].mean((1, 2)), across[:, :, 3::8].mean((1, 2))  # of blocks of 8 pixels
    still = [across.mean((1, 2)), down.mean((1, 2)), bent.mean((1, 2)), (bent**2).mean((1, 2)), border]
    still += [border - within, (bent < 2).mean((1, 2)), luma.std((1, 2))]
    step = np.diff(luma, axis=0)
    moving = [np.abs(step).mean((1, 2)), (step**2).mean((1, 2)), (step == 0).mean((1, 2))]
    values = np.stack([*still, *(np.pad(each, (1, 0), "edge") for each in moving)], 1)
    values = np.sign(values) * np.log1p(np.abs(values))
    with_neighbours = np.concatenate([values, *(values - np.roll(values, step, 0) for step in NEIGHBOURS)], 1)
    centred: np.ndarray = with_neighbours - with_neighbours.mean(0)
    return centred / (centred.std(0) + 1e-6)


def join(videos: list[Frames]) -> Frames:
    """All frames in one."""
    return Frames(*map(np.concatenate, zip(*videos)))


def told(frames: Frames, answer: np.ndarray) -> float:
    """How often a logistic regression is right in every third video, fitted on the others."""
    test = frames.video % 3 == 0
    scaler = StandardScaler().fit(frames.features[~test])
    probe = LogisticRegression(max_iter=300).fit(scaler.transform(frames.features[~test]), answer[~test])
    return float(probe.score(scaler.transform(frames.features[test]), answer[test]))


if __name__ == "__main__":
    main()
