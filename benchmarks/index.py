"""What an index of a pile of videos costs, and what it saves at the start of training.

    python benchmarks/index.py [--files 1000] [--workers 2] [--quick] [--folder FOLDER]

Writes a pile of small generated videos (every tenth in Matroska, whose rounded times need bytes of their own, every
hundredth broken), scans it as `ssv scan` does, and prepares training on it (`VideoDataModule.setup`) with and without
the index. Time is wall-clock and CPU time, all processes together, with a warm page cache; memory is what the main
process grows by at its peak. `--quick` leaves out the scan that decodes every frame.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import av
import numpy as np

from ssv.data.crops import CenterCrop, RandomResizedCrop
from ssv.data.datamodule import VideoDataModule
from ssv.data.index import NAME, find_index
from ssv.data.readers.pyav import PyAVReader
from ssv.data.sampling import RandomClips, UniformClips
from ssv.data.scanning.examine import examine
from ssv.data.scanning.journal import NAME as JOURNAL
from ssv.data.scanning.journal import read_journal
from ssv.data.scanning.scan import find_files, scan_files, write_findings
from ssv.data.sets.folder import folder

FRAMES, SIZE = 50, (48, 64)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="no scan of every frame")
    parser.add_argument("--folder", help="where the pile goes, removed afterwards; a temporary folder by default")
    given = parser.parse_args()
    logging.disable(logging.WARNING)  # the broken files are there on purpose
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        root = Path(name)
        write_pile(root, given.files)
        print(f"{given.files} videos of {FRAMES} frames, {SIZE[1]}x{SIZE[0]}, {given.workers} processes\n")
        print(f"{'':36}{'wall s':>9}{'CPU s':>9}{'CPU ms a file':>15}{'memory MB':>11}")
        row("setup without an index", given, partial(set_up, root, given.workers))
        row("scan, packets alone (quick=true)", given, partial(scan, root, given.workers, False))
        row("scan again, nothing changed", given, partial(scan, root, given.workers, False))
        if not given.quick:
            row("scan, every frame decoded", given, partial(scan, root, given.workers, True))
        row("setup with the index", given, partial(set_up, root, given.workers))
        index = find_index(root)
        assert index is not None
        size = sum(file.stat().st_size for file in Path(index.folder, index.meta["tables"]).iterdir())
        print(f"\nindex: {size / 1e6:.2f} MB, {size / len(index):.0f} bytes a video")
        print(f"journal: {(root / NAME / JOURNAL).stat().st_size / 1e6:.2f} MB")


def row(what: str, given: argparse.Namespace, work: Callable[[], None]) -> None:
    """Measure and print."""
    wall, cpu, memory = measured(work)
    print(f"{what:36}{wall:9.2f}{cpu:9.2f}{1000 * cpu / given.files:15.2f}{memory:11.1f}", flush=True)


def measured(work: Callable[[], None]) -> tuple[float, float, float]:
    """Wall and CPU seconds of ``work`` and all its processes, and MB of growth, in a process of its own."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()

    def child() -> None:
        before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        work()
        wall = time.perf_counter() - started
        after, others = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime + others.ru_utime + others.ru_stime - before.ru_utime - before.ru_stime
        theirs.send((wall, cpu, (after.ru_maxrss - before.ru_maxrss) / 1024))

    process = context.Process(target=child)
    process.start()
    theirs.close()
    try:
        found: tuple[float, float, float] = ours.recv()
    except EOFError:
        raise SystemExit("the measurement failed, see above") from None
    process.join()
    return found


def write_pile(root: Path, files: int) -> None:
    """Copies of a few encoded videos, a hundred to a folder."""
    originals = {ending: encode(root / f".original{ending}") for ending in (".mp4", ".mkv")}
    for number in range(files):
        into = root / f"class_{number // 100:04}"
        into.mkdir(exist_ok=True)
        ending = ".mkv" if number % 10 == 0 else ".mp4"
        target = into / f"some_longer_name_of_a_video_{number:07}{ending}"
        if number % 100 == 99:
            target.write_bytes(b"no video" * 50)
        else:
            shutil.copy(originals[ending], target)


def encode(path: Path) -> Path:
    """A small video of noise that moves."""
    texture = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"g": "25", "crf": "35"})
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuv420p"
        for number in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(np.roll(texture, number, axis=1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def scan(root: Path, workers: int, decode: bool) -> None:
    """As the command does it, without its page."""
    journal = root / NAME / JOURNAL
    journal.parent.mkdir(exist_ok=True)
    paths = find_files(str(root)).videos
    work = partial(examine, decode=decode)
    scan_files(str(root), paths, work, journal_path=journal, decode=decode, processes=workers)
    write_findings(journal.parent, read_journal(journal).values())


def set_up(root: Path, workers: int) -> None:
    """What training does before its first batch."""
    data = VideoDataModule(
        str(root),
        folder,
        RandomClips(frames=8, stride=2, short="skip"),
        RandomResizedCrop(32),
        UniformClips(frames=8),
        CenterCrop(32, short_side=32),
        batch_size=8,
        workers=workers,
        held_out=0.1,
        max_broken=10**9,
        reader=PyAVReader(),
        seed=0,
    )
    data.setup()
    data.train_dataloader()


if __name__ == "__main__":
    main()
