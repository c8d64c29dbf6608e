"""A thousand files with one bit turned over: each is read as ffmpeg's decoder shows it in sequence, or is one line."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
import pytest

from ssv.data.readers.auto import AutoReader
from ssv.data.readers.base import VideoError
from ssv.data.readers.probe import look
from tests.numbered import read_number, write_numbered, x264

pytestmark = pytest.mark.slow
CONTAINERS = {
    "mp4": {"options": x264(keyint=12, bframes=2)},
    "mkv": {"options": x264(keyint=12, bframes=2)},
    "ts": {"options": x264(keyint=12, bframes=0)},
    "avi": {"codec": "mpeg4", "options": {"g": "12"}},
    "flv": {"options": x264(keyint=12, bframes=0)},
}
FLIPS, FRAMES, ENTRIES = 200, 36, (35, 0, 13, 24, 5)


def number(frame):
    """The number a frame shows, or None where it is damaged."""
    try:
        return read_number(frame)
    except ValueError:
        return None


def in_sequence(path):
    """Numbers of all frames that come out of a decoder which conceals damage, from the first packet on."""
    shown = []
    with av.open(path) as container:
        for packet in container.demux(container.streams.best("video")):
            try:
                shown += [number(frame.to_ndarray(format="rgb24")) for frame in packet.decode()]
            except av.FFmpegError:
                continue
    return shown


def verdict(path):
    """``read``, ``refused: ...``, or what is wrong."""
    try:
        count = len(look(path).info.seconds)
        found = {}
        for entry in ENTRIES:
            if entry < count:
                found[entry] = number(AutoReader().read(path, [entry])[0])
    except VideoError as error:
        return "refused" if "\n" not in str(error) else f"two lines: {error}"
    wrong = {entry: shown for entry, shown in found.items() if shown not in (entry, None)}
    if not wrong:
        return "read"
    truth = in_sequence(path)
    wrong = {entry: shown for entry, shown in wrong.items() if entry >= len(truth) or shown != truth[entry]}
    return f"frame: shown {wrong}, in sequence {truth}" if wrong else "read"


@pytest.mark.parametrize("ending", CONTAINERS)
def test_no_flipped_bit_gives_a_wrong_frame_a_crash_or_a_hang(tmp_path, ending):
    whole = write_numbered(tmp_path / f"whole.{ending}", frames=FRAMES, **CONTAINERS[ending]).read_bytes()
    rng, paths = np.random.default_rng(len(ending) + ord(ending[0])), []
    for flip in range(FLIPS):
        # Half of them in the first and last twentieth, where headers and tables lie.
        edge = len(whole) // 20
        place = int(rng.integers(len(whole)) if flip % 2 else rng.integers(-edge, edge))
        data = bytearray(whole)
        data[place] ^= 1 << int(rng.integers(8))
        paths.append(str(tmp_path / f"{flip}-{place}.{ending}"))
        Path(paths[-1]).write_bytes(data)
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        answers = [pool.submit(verdict, path) for path in paths]
        found = {path: answer.result(timeout=60) for path, answer in zip(paths, answers)}
    wrong = {Path(path).name: answer for path, answer in found.items() if answer not in ("read", "refused")}
    assert not wrong
    assert {"read", "refused"} == set(found.values())
