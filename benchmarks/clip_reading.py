"""What reading a clip of 16 frames costs, before and after `ssv prepare`, beside libavcodec's own cost and beside decord.

usage: python benchmarks/clip_reading.py [FOLDER ...] [--rounds N] [--small]

Without folders on generated files: like Kinetics (340x256, H.264, 10 s, few keyframes) and like UCF101 (320x240, MPEG-4
in AVI, B-frames, one keyframe). With folders on their videos, those that decord reads right and the AVI files.

One process, one thread; all methods get the same random requests, one after the other in each round. CPU time; what is
printed are medians over rounds of the ratio within a round, with the least and the greatest. The floor decodes the
fewest packets that lead to the frames, from memory, and throws the frames away.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import torch
from av.video.reformatter import Interpolation, VideoReformatter
from torch.utils.data import DataLoader

from ssv.data.batches import EpochBatches
from ssv.data.crops import Box, RandomResizedCrop
from ssv.data.dataset import VideoDataset
from ssv.data.loading import ResumableLoader
from ssv.data.prepared import PreparedReader
from ssv.data.preparing.encode import encode, film_of, small_size
from ssv.data.preparing.packets import group_start
from ssv.data.preparing.run import prepare
from ssv.data.probing import Times
from ssv.data.readers.decord import DecordReader, has_decord, why_not_decord
from ssv.data.readers.probe import look
from ssv.data.readers.pyav import PyAVReader
from ssv.data.sampling import RandomClips
from ssv.data.sets.folder import folder
from ssv.types import Video

FRAMES, STRIDES = 16, (1, 2, 4, 8)
SHORT_SIDE, CROP = 128, 112
CROPPED = RandomResizedCrop(CROP)
VIDEOS = 8  # of a folder
DENSE = {"g": "16", "preset": "medium", "crf": "23"}  # what others make: H.264 with a keyframe every 16 frames
SOURCE = {"flags": "+qscale", "qmin": "3", "qmax": "3", "sc_threshold": "1000000000"}  # a keyframe only at "g"

Request = tuple[str, list[int]]
Method = Callable[[str, list[int]], object]


class Row(NamedTuple):
    """One line of the table."""

    corpus: str
    what: str
    stride: str
    ratios: list[float]
    target: float | None


def texture(generator: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A picture uint8 (height,width,3) with detail of all sizes, the finer the fainter."""
    down, right = np.meshgrid(np.fft.fftfreq(height), np.fft.fftfreq(width), indexing="ij")
    weight = 1 / np.maximum(np.hypot(down, right), 1 / max(height, width)) ** 1.6
    noise = np.fft.fft2(generator.normal(size=(3, height, width)))
    fields = np.fft.ifft2(noise * weight).real
    fields = fields[:1] + 0.4 * fields[1:].mean(axis=0, keepdims=True) + 0.3 * fields
    fields = (fields - fields.mean()) / fields.std()
    return np.clip(128 + 48 * fields, 0, 255).astype(np.uint8).transpose(1, 2, 0)


def film(seed: int, frames: int, height: int, width: int) -> list[np.ndarray]:
    """A camera that moves over a scene, two things that move in it, and a little noise; uint8 (height,width,3) each."""
    generator = np.random.default_rng(seed)
    scene = texture(generator, height + 120, width + 120)
    things = [texture(generator, 60, 60) for _ in range(2)]
    speed = generator.uniform(0.02, 0.06, size=(3, 2))
    shown = []
    for number in range(frames):
        top, left = (60 + 55 * np.sin(number * speed[0])).astype(int)
        frame = scene[top : top + height, left : left + width].copy()
        for thing, pace in zip(things, speed[1:]):
            y, x = ((0.5 + 0.45 * np.sin(number * pace + pace * 99)) * (height - 60, width - 60)).astype(int)
            frame[y : y + 60, x : x + 60] = thing
        noise = generator.normal(0, 1.5, size=frame.shape[:2])[..., None]
        shown.append(np.clip(frame + noise, 0, 255).astype(np.uint8))
    return shown


def write(path: Path, frames: Sequence[Any], codec: str, options: dict[str, str]) -> None:
    """Encodes pictures uint8 (H,W,3), or decoded frames, at 30 a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30, options=options)
        first = frames[0]
        stream.height, stream.width = first.shape[:2] if isinstance(first, np.ndarray) else (first.height, first.width)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24") if isinstance(frame, np.ndarray) else frame
            picture.pts, picture.time_base, picture.pict_type = number, Fraction(1, 30), 0
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def generated(root: Path, *, videos: int, seconds: int) -> dict[str, str]:
    """Writes the generated videos; the folder of each kind."""
    kinds = {
        "Kinetics-like": ("mp4", 256, 340, "libx264", {"crf": "18", "preset": "medium", "g": "250"}),
        "UCF-like": ("avi", 240, 320, "mpeg4", SOURCE | {"g": "300", "bf": "1"}),
    }
    for name, (suffix, height, width, codec, options) in kinds.items():
        (root / name).mkdir()
        for seed in range(videos):
            write(root / name / f"{seed}.{suffix}", film(seed, 30 * seconds, height, width), codec, options)
    return {name: str(root / name) for name in kinds}


def made_dense(source: str, target: Path) -> None:
    """The same video, small, as others prepare it."""
    found = film_of(source)
    height, width = small_size(found.height, found.width, SHORT_SIDE)
    scale = VideoReformatter()
    frames = [scale.reformat(f, width, height, "yuv420p", interpolation=Interpolation.BICUBIC) for f in found.frames]
    write(target, frames, "libx264", DENSE)


class Floor:
    """libavcodec alone: all packets in memory, decoded from the last possible place to the last frame wanted."""

    def __init__(self, paths: Sequence[str], reader: PreparedReader | None = None) -> None:
        """``reader``: of prepared files; it knows where decoding may start."""
        self.files = {}
        for path in paths:
            known = look(path)
            with av.open(path) as container:
                stream = container.streams.video[0]
                name, header = stream.codec_context.name, stream.codec_context.extradata
                packets = [packet for packet in container.demux(stream) if packet.size]  # with FFmpeg's zeros behind
            decoder = av.CodecContext.create(name, "r")
            decoder.thread_count, decoder.extradata = 1, header
            times = [packet.pts for packet in packets]
            starts = {entry: times.index(known.table.ticks[entry]) for entry in known.table.entries[1:].tolist()}
            self.files[path] = decoder, packets, {0: 0, **starts}
        self.reader = reader

    def __call__(self, path: str, indices: list[int]) -> None:
        """Decode and forget."""
        decoder, packets, starts = self.files[path]
        for entry, last in self.runs(path, indices, list(starts)):
            decoder.flush_buffers()
            missing = last - entry + 1
            for packet in packets[starts[entry] :]:
                missing -= len(decoder.decode(packet))
                if missing <= 0:
                    break
            else:
                decoder.decode(None)

    def runs(self, path: str, indices: list[int], entries: list[int]) -> list[tuple[int, int]]:
        """Where to start and where to end, for each group that holds a frame."""
        if self.reader is not None:
            known = self.reader._file(path)
            starts = [group_start(index, known.first, self.reader._gop) for index in indices]
        else:
            starts = [entries[np.searchsorted(entries, index, side="right") - 1] for index in indices]
        lasts = dict(zip(starts, indices))
        return list(lasts.items())


def decord_batch(path: str, indices: list[int]) -> np.ndarray:
    """Decord as most use it, opened for the clip."""
    import decord

    frames: np.ndarray = decord.VideoReader(path, num_threads=1).get_batch(indices).asnumpy()
    return frames


def decord_crops(path: str, indices: list[int]) -> object:
    """The same, then a random box of each clip resized and mirrored on the CPU; ours leaves both to the device."""
    return CROPPED(decord_batch(path, indices), torch.Generator().manual_seed(indices[0]))


def torchcodec_frames(path: str, indices: list[int]) -> object:
    """torchcodec, exact, opened for the clip."""
    from torchcodec.decoders import VideoDecoder

    return VideoDecoder(path, num_ffmpeg_threads=1).get_frames_at(indices)


def compared(
    methods: dict[str, tuple[Method, dict[str, str]]], lengths: dict[str, int], stride: int, rounds: int
) -> dict[str, list[float]]:
    """CPU seconds of every method in every round, all on the same requests; each with its own copy of a video."""
    generator = np.random.default_rng(stride)
    costs: dict[str, list[float]] = {name: [] for name in methods}
    for number in range(rounds + 1):
        requests = []
        for path, frames in lengths.items():
            for _ in range(3):
                start = int(generator.integers(frames - FRAMES * stride + 1))
                requests.append((path, list(range(start, start + FRAMES * stride, stride))))
        for name, (method, copies) in methods.items():
            time.sleep(0.02)  # threads of the method before come to rest,
            method(copies[requests[0][0]], requests[0][1])  # and what it left in the caches goes
            started = time.process_time()
            for path, indices in requests:
                method(copies[path], indices)
            if number:  # the first round warms up
                costs[name].append(time.process_time() - started)
    return costs


def ratios(costs: dict[str, list[float]], one: str, other: str) -> list[float]:
    """Of two methods, round by round."""
    return [a / b for a, b in zip(costs[one], costs[other])]


def reading(
    corpus: str, root: str, paths: list[str], workplace: Path, rounds: int, strides: Sequence[int]
) -> list[Row]:
    """All rows about reading the videos ``paths`` below ``root``."""
    is_avi = paths[0].lower().endswith(".avi")
    same = {path: path for path in paths}
    dense = {path: str(workplace / f"dense{number}.mp4") for number, path in enumerate(paths)}
    prepared = {path: os.path.join(workplace, "mpeg4", os.path.relpath(path, root)) for path in paths}
    frames = {path: os.path.join(workplace, "mjpeg", os.path.relpath(path, root)) for path in paths}
    mpeg4, mjpeg = PreparedReader(str(workplace / "mpeg4")), PreparedReader(str(workplace / "mjpeg"))
    for path in paths:
        made_dense(path, Path(dense[path]))

    def planes(reader: PreparedReader) -> Method:
        def read(path: str, indices: list[int]) -> object:
            height, width = reader.size(path)
            side = min(CROP, height, width)
            return reader.read_planes(path, indices, Box((height - side) // 2, (width - side) // 2, side, side))

        return read

    methods: dict[str, tuple[Method, dict[str, str]]] = {
        "floor": (Floor(list(prepared.values()), mpeg4), prepared),
        "prepared": (planes(mpeg4), prepared),
        "prepared, RGB": (mpeg4.read, prepared),
        "mjpeg": (planes(mjpeg), frames),
        "source floor": (Floor(paths), same),
        "source, PyAV": (PyAVReader().read, same),
    }
    if has_decord():
        methods |= {"dense, decord": (decord_batch, dense), "dense, decord + crop": (decord_crops, dense)}
        methods["source, decord"] = decord_batch, same
        if not is_avi:
            methods["source, our decord"] = (DecordReader().read, same)
    if find_spec("torchcodec"):
        methods["dense, torchcodec"] = (torchcodec_frames, dense)
    pairs = [
        ("prepared", "floor", lambda stride: 1.2 if stride == 1 else 1.1),
        ("prepared, RGB", "floor", lambda stride: None),
        ("mjpeg", "floor", lambda stride: None),
        ("prepared", "dense, decord + crop", lambda stride: 1 / 7),
        ("mjpeg", "dense, decord + crop", lambda stride: 1 / 12 if stride == 8 else None),
        ("prepared", "dense, decord", lambda stride: None),
        ("prepared, RGB", "dense, decord", lambda stride: None),
        ("prepared", "dense, torchcodec", lambda stride: 1 / 5),
        ("mjpeg", "dense, torchcodec", lambda stride: None),
        ("prepared", "source, decord", lambda stride: 1 / 10 if is_avi else 1 / 15),
        ("mjpeg", "source, decord", lambda stride: None),
        ("source, PyAV", "source floor", lambda stride: 1.45 if is_avi else 1.15),
        ("source, our decord", "source floor", lambda stride: 1.4),
        ("source, PyAV", "source, decord", lambda stride: None),
        ("source, PyAV", "source, our decord", lambda stride: None),
    ]
    rows = []
    for stride in strides:
        lengths = {path: len(look(path).info.seconds) for path in paths}
        lengths = {path: length for path, length in lengths.items() if length >= FRAMES * stride}
        if not lengths:
            print(f"{corpus}, stride {stride}: skipped, no video has {FRAMES * stride} frames", flush=True)
            continue
        costs = compared(methods, lengths, stride, rounds)
        clip = 1000 * statistics.median(costs["floor"]) / (3 * len(lengths))
        print(f"{corpus}, stride {stride}: floor of the prepared files {clip:.2f} ms a clip", flush=True)
        for one, other, target in pairs:
            if one in methods and other in methods:
                rows.append(Row(corpus, f"{one} / {other}", str(stride), ratios(costs, one, other), target(stride)))
    return rows


def travelling(corpus: str, prepared: list[str], root: str, rounds: int, strides: Sequence[int]) -> list[Row]:
    """What it costs that another process reads: all CPU time of both, of batches that are ready to be made into clips."""
    rows = []
    for stride in strides:
        paths = 48 * [path for path in prepared if len(look(path).info.seconds) >= FRAMES * stride]
        if not paths:
            continue  # reported by `reading`
        videos, times = [Video(path) for path in paths], Times([look(path).info.seconds for path in paths])
        sampler, crop = RandomClips(frames=FRAMES, stride=stride), RandomResizedCrop(CROP)
        dataset = VideoDataset(videos, sampler, crop, PreparedReader(root), times=times)
        # For a GPU, which makes the clips itself; none is needed to get so far.
        loaders = [
            ResumableLoader(dataset, EpochBatches(range(len(dataset)), 8), workers=n, device="cuda") for n in (0, 1)
        ]
        costs: tuple[list[float], list[float]] = [], []
        for number in range(rounds + 1):
            for loader, spent in zip(loaders, costs):
                loader.batches.set_epoch(number)
                before = cpu_seconds()
                for sent, _ in DataLoader.__iter__(loader):
                    loader.passage.receive(sent)
                if number:  # the first round starts the other process
                    spent.append(cpu_seconds() - before)
        for loader in loaders:
            loader.end_workers()
        shares = [with_one / alone for alone, with_one in zip(*costs)]
        rows.append(Row(corpus, "prepared, one worker / in process", str(stride), shares, 1.1))
    return rows


def cpu_seconds() -> float:
    """Of this process and its children that are alive, all threads."""
    children = [str(child.pid) for child in multiprocessing.active_children()]
    tasks = [task for child in children for task in Path("/proc", child, "task").glob("*/schedstat")]
    return time.process_time() + sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def preparing(corpus: str, root: str, paths: list[str], workplace: Path, rounds: int) -> list[Row]:
    """Bytes before and after, and what preparation costs beside decoding and scaling alone."""
    target = str(workplace / "again.mp4")

    def small(path: str) -> Iterator[Any]:
        with av.open(path) as container:
            container.streams.video[0].thread_type = "NONE"
            known, scale = look(path), VideoReformatter()
            height, width = small_size(known.info.height, known.info.width, SHORT_SIDE)
            for frame in container.decode(video=0):
                yield scale.reformat(frame, width, height, "yuv420p", interpolation=Interpolation.AREA, threads=1)

    costs: dict[str, list[float]] = {"bare": [], "whole": [], "encoder": []}
    for _ in range(rounds):
        for name in costs:
            spent = 0.0
            for path in paths:
                film = film_of(path)
                if name == "encoder":  # the frames are small and in memory
                    film = film._replace(frames=list(small(path)))
                started = time.process_time()
                if name == "bare":
                    deque(small(path), maxlen=0)
                else:
                    encode(film, target, name=path, encoder="mpeg4", short_side=SHORT_SIDE, gop=8)
                spent += time.process_time() - started
            costs[name].append(spent)
    is_avi = paths[0].lower().endswith(".avi")
    rows = [
        Row(corpus, "preparation / decoding and scaling alone", "", ratios(costs, "whole", "bare"), 1.3),
        Row(
            corpus,
            "encoding and writing alone / decoding and scaling alone",
            "",
            ratios(costs, "encoder", "bare"),
            None,
        ),
    ]
    before = sum(map(os.path.getsize, paths))
    for encoder, most in (("mpeg4", 1.05 if is_avi else 1.0), ("mjpeg", None)):
        after = sum(os.path.getsize(workplace / encoder / os.path.relpath(path, root)) for path in paths)
        rows.append(Row(corpus, f"bytes, {encoder} / source", "", [after / before], most))
    return rows


def table(rows: list[Row]) -> str:
    """Markdown: target beside measured."""
    lines = ["| videos | what | stride | target | measured | |", "|---|---|---|---|---|---|"]
    for row in rows:
        middle = statistics.median(row.ratios)
        spread = f" [{min(row.ratios):.3f}, {max(row.ratios):.3f}]" if len(row.ratios) > 1 else ""
        target = "" if row.target is None else f"{row.target:.3f}"
        verdict = "" if row.target is None else "met" if middle <= row.target else "missed"
        lines.append(f"| {row.corpus} | {row.what} | {row.stride} | {target} | {middle:.3f}{spread} | {verdict} |")
    return "\n".join(lines)


def corpora(roots: list[str], workplace: Path, *, small: bool) -> list[tuple[str, str, list[str]]]:
    """What to measure: a name, a folder, videos in it."""
    if not roots:
        made = generated(workplace, videos=1 if small else 3, seconds=5 if small else 10)
        return [(name, root, [video.path for video in folder(root, "train")]) for name, root in made.items()]
    found = []
    for root in roots:
        paths = [video.path for video in folder(root, "train")]
        paths = [path for path in paths if len(look(path).info.seconds) >= FRAMES]
        plain = [path for path in paths if why_not_decord(look(path)) is None]
        avi = [path for path in paths if path.lower().endswith(".avi")]
        print(f"{root}: {len(plain)} videos that decord reads right, {len(avi)} AVI files, at most {VIDEOS} of each")
        for kind, some in (("mp4", plain[:VIDEOS]), ("avi", avi[:VIDEOS])):
            if some:
                found.append((f"{Path(root).name} ({kind})", root, some))
    return found


def linked(root: str, paths: list[str], target: Path) -> tuple[str, list[str]]:
    """A folder that holds these videos alone, as links."""
    links = [target / os.path.relpath(path, root) for path in paths]
    for path, link in zip(paths, links):
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.abspath(path))
    return str(target), [str(link) for link in links]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--small", action="store_true", help="few and short files, two strides: for a test")
    words = parser.parse_args()
    torch.set_num_threads(1)
    for name, there in (("decord", has_decord()), ("torchcodec", find_spec("torchcodec") is not None)):
        if not there:
            print(f"{name} is not installed: not measured")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        for number, (name, root, paths) in enumerate(corpora(words.folders, Path(temporary), small=words.small)):
            workplace = Path(temporary) / f"work{number}"
            root, paths = linked(root, paths, workplace / "source")
            for encoder in ("mpeg4", "mjpeg"):
                prepare(root, str(workplace / encoder), encoder=encoder, short_side=SHORT_SIDE, links=True)
            strides = STRIDES[::2] if words.small else STRIDES
            rows += reading(name, root, paths, workplace, words.rounds, strides)
            if os.path.isdir("/proc/self/task"):
                copies = [os.path.join(workplace, "mpeg4", os.path.relpath(path, root)) for path in paths]
                rows += travelling(name, copies, str(workplace / "mpeg4"), words.rounds, strides)
            rows += preparing(name, root, paths, workplace, max(1, words.rounds // 3))
    print(table(rows))


if __name__ == "__main__":
    main()
