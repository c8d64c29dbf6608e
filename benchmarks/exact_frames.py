"""Is the frame read the frame asked for? The command `ffmpeg` is the judge.

    python benchmarks/exact_frames.py [FOLDER_OR_FILE ...] [--entries 12] [--readers pyav decord auto mpeg4 mjpeg]

Each video is decoded by `ffmpeg` from its first frame to its last, without seeking. Every reader then reads single
frames at random entries in random order, and some of them at once. mpeg4 and mjpeg are copies
that `ssv prepare` made, of short side 128; they are compared at that size. A frame is right if its mean difference from
ffmpeg's is small (8 of 255 levels, because programs convert to RGB in different ways; 14 in a re-encoded copy) and its difference
from every other frame that was kept is larger. A video that a reader refuses is no error, and is
listed with the reason. Without folders, a small toy world is rendered and judged. Exit code 1: something differs.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from ssv.data.prepared import PreparedReader
from ssv.data.preparing.run import prepare
from ssv.data.readers.auto import AutoReader
from ssv.data.readers.base import Reader, VideoError
from ssv.data.readers.decord import DecordReader
from ssv.data.readers.probe import look
from ssv.data.readers.pyav import PyAVReader
from ssv.data.scanning.scan import find_files
from ssv.data.toy.world import write_world

READERS = {"pyav": PyAVReader, "decord": DecordReader, "auto": AutoReader}
ENCODERS = ("mpeg4", "mjpeg")
SHORT_SIDE = 128
NEAR, NEAR_CODED, TIE = 8.0, 14.0, 0.5
BYTES_KEPT = 2**30  # of frames of one video


class Judged(NamedTuple):
    """What ffmpeg decodes: the number of frames, those kept as uint8 (H,W,3) by number, and its first complaint."""

    count: int
    frames: dict[int, np.ndarray]
    complaint: str


Read = Callable[[str, Sequence[Sequence[int]]], tuple[int, list[np.ndarray]]]


class Apart:
    """Another process, so that a decoder that crashes or hangs is a verdict; restarted after one."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def call(self, read: Read, path: str, asked: Sequence[Sequence[int]]) -> tuple[int, list[np.ndarray]]:
        """What ``read`` gives, or raises."""
        self._pool = self._pool or ProcessPoolExecutor(1, get_context("spawn"))
        try:
            return self._pool.submit(read, path, asked).result(timeout=300)
        except (BrokenProcessPool, TimeoutError):
            for process in list(self._pool._processes.values()):
                process.kill()
            self._pool = None
            raise


def main() -> int:
    """Print a row for each video; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="*", type=Path)
    parser.add_argument("--entries", type=int, default=12, help="frames of each video")
    parser.add_argument("--readers", nargs="+", choices=[*READERS, *ENCODERS], default=[*READERS, *ENCODERS])
    parser.add_argument("--videos", type=int, default=None, help="at most so many of each folder, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if shutil.which("ffmpeg") is None:
        print("there is no `ffmpeg` here; nothing is judged")
        return 0
    differing = refused = right = 0
    with tempfile.TemporaryDirectory() as name:
        if not given.source:
            given.source = [Path(name) / "toy"]
            write_world(given.source[0], size="tiny", workers=2)
        for number, source in enumerate(given.source):
            for row in judged(source, Path(name) / str(number), given):
                differing += row[0] == "DIFFERS"
                refused += row[0] == "refused"
                right += row[0] == "right"
                print(f"{row[0]:8} {row[1]:6} {row[2]}", flush=True)
    print(f"{right} right, {refused} refused, {differing} differ")
    return int(differing > 0)


def judged(source: Path, scratch: Path, given: argparse.Namespace) -> Iterator[tuple[str, str, str]]:
    """Verdict, reader and what was found, for each video and reader."""
    root, paths = (
        (source, [source / name for name in find_files(str(source)).videos])
        if source.is_dir()
        else (source.parent, [source])
    )
    if not paths:
        print(f"no videos below {source}")
        return
    rng = np.random.default_rng(given.seed)
    if given.videos is not None and given.videos < len(paths):
        paths = [paths[place] for place in sorted(rng.choice(len(paths), given.videos, replace=False))]
    pile = scratch / "pile"
    copies = {encoder: scratch / encoder for encoder in given.readers if encoder in ENCODERS}
    for path in paths:
        copy = pile / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    broken = {
        encoder: prepare(
            str(pile), str(folder), encoder=encoder, short_side=SHORT_SIDE, pictures=False, workers=2
        ).broken
        for encoder, folder in copies.items()
    }
    apart = Apart()
    for path in paths:
        truth = decoded(path, rng, given.entries)
        inside = path.relative_to(root)
        for reader in given.readers:
            if reader in ENCODERS:
                reason = broken[reader].get(str(inside), "")
                read, file = partial(_read_copy, str(copies[reader])), copies[reader] / inside
            else:
                reason, (read, file) = "", (partial(_read, reader), path)
            verdict, found = (
                ("refused", reason) if reason else compare(apart, read, str(file), truth, rng, coded=reader in ENCODERS)
            )
            note = f" (ffmpeg: {truth.complaint})" if truth.complaint else ""
            yield verdict, reader, f"{inside}: {found.replace(str(file), inside.name)}{note}"


def compare(
    apart: Apart, read: Read, path: str, truth: Judged, rng: np.random.Generator, *, coded: bool
) -> tuple[str, str]:
    """Verdict, and what was found."""
    entries = rng.permutation(list(truth.frames))
    orders = [[[int(entry)] for entry in entries], [[int(entry) for entry in np.repeat(entries, 2)]]]
    worst = 0.0
    for asked in orders:
        try:
            count, found = apart.call(read, path, asked)
        except VideoError as error:
            return "refused", str(error)
        except Exception as error:
            return "DIFFERS", f"{type(error).__name__}: {error}"
        if count != truth.count:
            return "DIFFERS", f"{count} frames, ffmpeg decodes {truth.count}"
        for indices, frames in zip(asked, found):
            for index, frame in zip(indices, frames):
                away = distance(frame, truth.frames[index], coded=coded)
                best, number = min(
                    (distance(frame, other, coded=coded), number) for number, other in truth.frames.items()
                )
                if away > (NEAR_CODED if coded else NEAR) or best < away - TIE:
                    return (
                        "DIFFERS",
                        f"frame {index} is {away:.1f} levels from ffmpeg's, its frame {number} is {best:.1f} away",
                    )
                worst = max(worst, away)
    return "right", f"{truth.count} frames, {len(entries)} read, within {worst:.2f} levels"


def distance(frame: np.ndarray, right: np.ndarray, *, coded: bool) -> float:
    """Mean difference in levels; of a copy, at its size. Infinite where the sizes do not fit."""
    if coded:
        right = cv2.resize(right, frame.shape[1::-1], interpolation=cv2.INTER_AREA)
    if frame.shape != right.shape:
        return float("inf")
    return float(np.abs(frame.astype(np.int16) - right).mean())


def decoded(path: Path, rng: np.random.Generator, entries: int) -> Judged:
    """What ffmpeg decodes in sequence; twice, as their number is known after the first time only."""
    count, height, width, complaint = 0, 0, 0, ""
    command = [
        "ffmpeg",
        "-nostdin",
        "-v",
        "error",
        "-i",
        f"file:{path}",
        "-an",
        "-sn",
        "-dn",
        "-fps_mode",
        "passthrough",
    ]
    first = subprocess.run(
        [*command, "-f", "framecrc", "-"], capture_output=True, text=True, errors="replace", check=False
    )
    complaint = next(iter(first.stderr.splitlines()), "")
    for line in first.stdout.splitlines():
        if size := re.match(r"#dimensions 0: (\d+)x(\d+)", line):
            width, height = int(size[1]), int(size[2])
        count += not line.startswith("#")
    if not count or not width:
        return Judged(0, {}, complaint)
    most = max(1, BYTES_KEPT // (height * width * 3))
    kept = {0, count - 1} | {int(k) for k in rng.choice(count, min(entries, count, most), replace=False)}
    frames: dict[int, np.ndarray] = {}
    pixels = ["-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    with subprocess.Popen([*command, *pixels], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        for number in range(count):
            data = process.stdout.read(height * width * 3)
            if number in kept and len(data) == height * width * 3:
                frames[number] = np.frombuffer(data, np.uint8).reshape(height, width, 3)
    return Judged(count, frames, complaint)


def _read(name: str, path: str, asked: Sequence[Sequence[int]]) -> tuple[int, list[np.ndarray]]:
    reader: Reader = READERS[name]()
    return len(look(path).info.seconds), [reader.read(path, indices) for indices in asked]


def _read_copy(root: str, path: str, asked: Sequence[Sequence[int]]) -> tuple[int, list[np.ndarray]]:
    return len(look(path).info.seconds), [PreparedReader(root).read(path, indices) for indices in asked]


if __name__ == "__main__":
    sys.exit(main())
