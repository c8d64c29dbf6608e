import gc
import multiprocessing
import os
import pickle
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest

from ssv.data import prepared
from ssv.data.crops import Box
from ssv.data.index import find_index
from ssv.data.prepared import PreparedReader
from ssv.data.preparing.packets import VERSION, first_group
from ssv.data.preparing.run import prepare
from ssv.data.readers import decord as decord_module
from ssv.data.readers.base import VideoError
from ssv.data.readers.decord import DecordReader, has_decord
from ssv.data.readers.probe import probe
from ssv.data.readers.pyav import PyAVReader
from tests import videos

ENCODERS = ["mpeg4", "mjpeg"]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """One file of each kind, in folders of their own."""
    root = tmp_path_factory.mktemp("source")
    for kind in videos.WHOLE:
        (root / kind.__name__).mkdir()
        made = kind(root / kind.__name__)
        for other in made.parent.iterdir():  # what it was made from
            if other != made:
                other.unlink()
    return root


@pytest.fixture(scope="module")
def roots(source, tmp_path_factory) -> dict[str, str]:
    """The prepared data set of each encoder."""
    folder = tmp_path_factory.mktemp("prepared")
    for encoder in ENCODERS:
        prepare(str(source), str(folder / encoder), encoder=encoder, short_side=32)
    return {encoder: str(folder / encoder) for encoder in ENCODERS}


def paths(root: str) -> list[str]:
    index = find_index(root)
    assert index is not None and len(index) == len(videos.WHOLE)
    return [os.path.join(root, index.path(row)) for row in range(len(index))]


def sequential(path: str) -> list[av.VideoFrame]:
    """All frames of a prepared file: slow and obvious."""
    with av.open(path) as container:
        return list(container.decode(video=0))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_frame_is_the_one_asked_for(roots, encoder) -> None:
    reader = PreparedReader(roots[encoder])
    for path in paths(reader.root):
        frames = len(sequential(path))
        everything = reader.read(path, range(frames))
        assert [videos.read_number(frame) for frame in everything] == list(range(frames)), path
        shuffled = np.random.default_rng(0).permutation(frames)[:20].tolist()
        strided = [list(range(start, frames, stride))[:16] for stride in (1, 2, 4, 8) for start in (0, 7, 13, 29)]
        for indices in [*strided, [0], [frames - 1], shuffled, [5, 5, 3, 3, 29, 5], []]:
            got = reader.read(path, indices)
            assert got.dtype == np.uint8
            assert (got == everything[indices]).all(), (path, indices)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_pixels_are_those_of_a_sequential_decoding(roots, encoder) -> None:
    reader, box = PreparedReader(roots[encoder]), Box(3, 5, 10, 20)
    for path in paths(reader.root):
        plain = sequential(path)
        rgb = np.stack([frame.to_ndarray(format="rgb24") for frame in plain])
        assert (reader.read(path, range(len(plain))) == rgb).all()
        assert (PyAVReader().read(path, range(len(plain))) == rgb).all()
        assert reader.size(path) == rgb.shape[1:3]
        indices = [9, 2, 2, 28]
        planes = reader.read_planes(path, indices, box)
        assert planes.full_range == (encoder == "mjpeg")
        assert planes.box == Box(1, 1, 10, 20)
        assert planes.y.shape == (4, 12, 22) and planes.uv.shape == (4, 2, 6, 11)
        for at, index in enumerate(indices):
            y, u, v = np.split(plain[index].to_ndarray().reshape(-1), [32 * 42, 32 * 42 * 5 // 4])
            assert (planes.y[at] == y.reshape(32, 42)[2:14, 4:26]).all()
            assert (planes.uv[at, 0] == u.reshape(16, 21)[1:7, 2:13]).all()
            assert (planes.uv[at, 1] == v.reshape(16, 21)[1:7, 2:13]).all()


def test_colour_planes_are_not_mistaken_for_each_other(tmp_path) -> None:
    (tmp_path / "source").mkdir()
    with av.open(str(tmp_path / "source" / "red.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.thread_count = 1
        red = np.zeros((48, 64, 3), dtype=np.uint8) + np.uint8([200, 10, 10])
        for frame in (red, red):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    prepare(str(tmp_path / "source"), str(tmp_path / "out"))
    reader = PreparedReader(str(tmp_path / "out"))
    planes = reader.read_planes(str(tmp_path / "out" / "red.mp4"), [1], Box(0, 0, 48, 64))
    blue, red = planes.uv[0].mean(axis=(1, 2))
    assert blue < 120 and red > 200


@pytest.mark.skipif(not has_decord(), reason="decord is not installed")
@pytest.mark.parametrize("encoder", ENCODERS)
def test_decord_reads_the_same(roots, encoder, monkeypatch) -> None:
    monkeypatch.setattr(decord_module, "why_not_decord", lambda known: None)
    reader = PreparedReader(roots[encoder])
    for path in paths(reader.root):
        # Another FFmpeg: off x86 its inverse transform may round otherwise.
        difference = DecordReader().read(path, range(20)).astype(int) - reader.read(path, range(20))
        assert np.abs(difference).max() <= 3, path


@pytest.mark.parametrize("encoder", ENCODERS)
def test_times_are_those_of_the_source(source, roots, encoder) -> None:
    index = find_index(roots[encoder])
    for path in paths(roots[encoder]):
        relative = os.path.relpath(path, roots[encoder])
        before = probe(str(source / relative)).seconds
        assert (index.seconds(index.row(relative)) == before).all(), relative
        assert np.abs(probe(path).seconds - before).max() < 1e-9, relative


def test_groups_begin_elsewhere_in_each_video_as_its_name_says(roots) -> None:
    phases = []
    for path in paths(roots["mpeg4"]):
        keyframes = [number for number, frame in enumerate(sequential(path)) if frame.key_frame]
        phase = first_group(os.path.relpath(path, roots["mpeg4"]), 8)
        assert keyframes == [0, *range(phase, 60, 8)][: len(keyframes)] and keyframes[-1] > 20, path
        phases.append(phase)
    assert len(set(phases)) >= 4
    drawn = np.bincount([first_group(f"{number}.mp4", 8) for number in range(8000)], minlength=9)
    assert drawn[0] == 0 and (np.abs(drawn[1:] - 1000) < 150).all()
    assert all(frame.key_frame for frame in sequential(paths(roots["mjpeg"])[0]))


def test_only_groups_with_wanted_frames_are_decoded_up_to_the_last(roots, monkeypatch) -> None:
    reader = PreparedReader(roots["mpeg4"])
    path = paths(reader.root)[0]
    groups, original = [], reader._groups
    monkeypatch.setattr(reader, "_groups", lambda *a: (groups.append((g[0], len(g[1]))) or g for g in original(*a)))
    phase = first_group(os.path.relpath(path, reader.root), 8)
    reader.read(path, [phase + 17, phase + 2, phase + 18])
    assert groups == [(phase, 3), (phase + 16, 3)]


def test_groups_near_each_other_are_read_at_once(roots, monkeypatch) -> None:
    reader = PreparedReader(roots["mpeg4"])
    path = paths(reader.root)[0]
    reads, original = [], os.preadv
    monkeypatch.setattr(os, "preadv", lambda *a: reads.append(a) or original(*a))
    indices = [58, 3, 4, 5, 6, 7, 8, 9, 40]
    frames = reader.read(path, indices)
    assert len(reads) == 1
    for constant, value, most in ("NEAR", 0, 99), ("_PIECES", 9, 9):
        with monkeypatch.context() as patch:
            patch.setattr(prepared, constant, value)
            reads.clear()
            assert (reader.read(path, indices) == frames).all()
        assert len(reads) > 2
        assert all(len(pieces) <= most for _, pieces, _ in reads)
        assert sum(memoryview(piece).nbytes for _, pieces, _ in reads for piece in pieces) < os.path.getsize(path)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_changed_byte_is_noticed_and_other_frames_still_read(roots, encoder, tmp_path) -> None:
    reader = PreparedReader(roots[encoder])
    path = paths(reader.root)[3]
    before = reader.read(path, range(20))
    row = reader._file(path)
    packet = reader._packets[row.start + 10]
    data = bytearray(Path(path).read_bytes())
    data[packet["position"] + packet["size"] // 2] ^= 1
    copy = _with_bytes(reader, path, bytes(data), tmp_path)
    with pytest.raises(VideoError, match=r"is damaged in frames \d+ to 10") as caught:
        copy[0].read(copy[1], [10])
    assert caught.value.path == copy[1]
    assert (copy[0].read(copy[1], range(9)) == before[:9]).all()
    short = _with_bytes(reader, path, bytes(data[: packet["position"] + 3]), tmp_path)
    with pytest.raises(VideoError, match="shorter than when it was prepared"):
        short[0].read(short[1], [10])


def _with_bytes(reader: PreparedReader, path: str, data: bytes, folder: Path) -> tuple[PreparedReader, str]:
    """The same data set with other bytes in one file; the others are not there."""
    copy = folder / str(len(data))
    target = copy / os.path.relpath(path, reader.root)
    target.parent.mkdir(parents=True)
    target.write_bytes(data)
    os.symlink(os.path.join(reader.root, "ssv_index"), copy / "ssv_index")
    return PreparedReader(str(copy)), str(target)


def test_what_is_asked_wrongly_is_said(roots, tmp_path) -> None:
    reader = PreparedReader(roots["mpeg4"])
    path = paths(reader.root)[0]
    frames = len(sequential(path))
    for index in (frames, -1):
        with pytest.raises(VideoError, match=f"has frames 0 to {frames - 1}, asked for frame {index}"):
            reader.read(path, [0, index])
    with pytest.raises(VideoError, match="is not in the index"):
        reader.read(os.path.join(reader.root, "other.mp4"), [0])
    with pytest.raises(ValueError, match="ssv prepare"):
        PreparedReader(str(tmp_path))


def test_a_data_set_of_another_version_is_refused_in_one_line(roots, tmp_path) -> None:
    copy = shutil.copytree(roots["mpeg4"], tmp_path / "old")
    meta = copy / "ssv_index" / "meta.json"
    meta.write_text(meta.read_text().replace(f'"prepare": {VERSION}', '"prepare": 1'))
    with pytest.raises(ValueError, match=r"old was prepared by another version of ssv; prepare it again") as caught:
        PreparedReader(str(copy))
    assert "\n" not in str(caught.value)


def test_a_path_is_found_however_it_is_written(roots, monkeypatch) -> None:
    path = paths(roots["mpeg4"])[0]
    frame = PreparedReader(roots["mpeg4"]).read(path, [7])
    monkeypatch.chdir(roots["mpeg4"])
    assert (PreparedReader(".").read(os.path.relpath(path), [7]) == frame).all()
    assert (PreparedReader(roots["mpeg4"] + "/").read(path, [7]) == frame).all()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs a list of open files")
def test_few_files_stay_open(roots, monkeypatch) -> None:
    monkeypatch.setattr(prepared, "OPEN_FILES", 4)
    gc.collect()  # files that other tests left to it
    unread = len(os.listdir("/proc/self/fd"))
    reader = PreparedReader(roots["mpeg4"])
    before = len(os.listdir("/proc/self/fd"))
    for path in paths(roots["mpeg4"]) * 2:
        reader.read(path, [3])
    assert len(os.listdir("/proc/self/fd")) == before + 4
    del reader
    assert len(os.listdir("/proc/self/fd")) == unread


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_reading_in_other_processes(roots, method) -> None:
    reader = PreparedReader(roots["mpeg4"])
    asked = [(path, [7, 22, 8]) for path in paths(reader.root)] * 3
    here = [reader.read(*request) for request in asked]
    assert (pickle.loads(pickle.dumps(reader)).read(*asked[0]) == here[0]).all()
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context(method)) as pool:
        there = list(pool.map(reader.read, *zip(*asked)))
        assert all((a == b).all() for a, b in zip(here, there))
        # A fork that inherits open files and a decoder in use, while this process reads on.
        busy = [pool.submit(reader.read, *request) for request in asked]
        for request, expected in zip(asked, here):
            assert (reader.read(*request) == expected).all()
        assert all((future.result() == expected).all() for future, expected in zip(busy, here))
