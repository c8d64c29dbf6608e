import errno
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from ssv.cli.main import main
from ssv.data.index import find_index
from ssv.data.prepared import PreparedReader
from ssv.data.preparing import run
from ssv.data.preparing.encode import QUANTIZER, Film, small_size
from ssv.data.preparing.journal import Done, Journal
from ssv.data.preparing.packets import VERSION
from ssv.data.preparing.run import prepare
from ssv.data.readers import pyav
from ssv.data.readers.base import VideoError
from ssv.data.readers.probe import probe
from ssv.data.readers.pyav import PyAVReader
from ssv.data.sets.folder import folder
from ssv.locks import hold
from tests import videos


@pytest.fixture
def pile(made, tmp_path) -> Path:
    """Five videos in two folders, and lists."""
    root = tmp_path / "pile"
    (root / "one").mkdir(parents=True)
    (root / "two").mkdir()
    for number, kind in enumerate((videos.b_frames, videos.avi, videos.variable_rate, videos.hevc, videos.rotated)):
        source = Path(made(kind))
        target = root / ("one", "two")[number % 2] / f"{number} é{source.suffix}"
        shutil.copyfile(source, target)
        os.utime(target, ns=(0, 10**18 + number))
    (root / "list.txt").write_text("one/0.mp4\n")
    (root / ".hidden.mp4").write_bytes(b"no")
    return root


def contents(root: Path) -> dict[str, bytes]:
    """All bytes below a folder by relative path; of an index its tables, whose folder is named at random."""
    found = {}
    for path in sorted(path for path in Path(root).rglob("*") if path.is_file()):
        parts = path.relative_to(root).parts
        name = "/".join("tables" if part.startswith("tables.") else part for part in parts)
        data = path.read_bytes()
        if path.name == "meta.json":
            data = data.replace(find_index(root).meta["tables"].encode(), b"tables")
        found[name] = data
    return found


def test_the_tree_is_mirrored(pile, tmp_path) -> None:
    done = []
    summary = prepare(str(pile), str(tmp_path / "out"), short_side=32, progress=lambda *now: done.append(now))
    assert (summary.videos, summary.made, summary.copied, summary.broken) == (5, 5, 1, {})
    assert done == [(count, 6) for count in range(1, 7)]
    before = [os.path.relpath(video.path, pile) for video in folder(str(pile), "train")]
    after = [os.path.relpath(video.path, tmp_path / "out") for video in folder(str(tmp_path / "out"), "train")]
    assert before == after and len(before) == 5
    assert (tmp_path / "out" / "list.txt").read_text() == "one/0.mp4\n"
    assert not (tmp_path / "out" / ".hidden.mp4").exists()
    index = find_index(tmp_path / "out")
    for path in before:
        status = os.stat(tmp_path / "out" / path)
        assert index.is_current(index.row(path), status)
        assert status.st_mtime_ns == os.stat(pile / path).st_mtime_ns
    assert summary.bytes_before == sum(os.path.getsize(pile / path) for path in before)
    assert summary.bytes_after == sum(os.path.getsize(tmp_path / "out" / path) for path in before)


def test_the_same_bytes_whatever_the_workers_and_nothing_done_twice(pile, tmp_path) -> None:
    outs = {workers: tmp_path / str(workers) for workers in (1, 2, 3)}
    for workers, out in outs.items():
        prepare(str(pile), str(out), short_side=32, workers=workers)
    first = contents(outs[1])
    assert len(first) > 12
    assert contents(outs[2]) == contents(outs[3]) == first
    inodes = {path: os.stat(path).st_ino for path in outs[1].rglob("*.mp4")}
    again = prepare(str(pile), str(outs[1]), short_side=32, workers=2)
    assert (again.made, again.copied, again.videos) == (0, 0, 5)
    assert contents(outs[1]) == first
    assert inodes == {path: os.stat(path).st_ino for path in outs[1].rglob("*.mp4")}


def test_only_what_is_missing_or_changed_is_made_again(pile, tmp_path, made) -> None:
    out = tmp_path / "out"
    prepare(str(pile), str(out), short_side=32)
    whole = contents(out)
    (out / "one" / "0 é.mp4").unlink()
    shutil.rmtree(out / "ssv_index")
    with open(out / ".ssv_prepare" / "journal.jsonl", "ab") as journal:
        journal.write(b'{"path": "two/1 ')  # killed while it wrote
    assert prepare(str(pile), str(out), short_side=32).made == 1
    assert contents(out) == whole
    shutil.copyfile(made(videos.one_gop), pile / "one" / "0 é.mp4")
    assert prepare(str(pile), str(out), short_side=32).made == 1
    changed = {path for path, data in contents(out).items() if data != whole[path]}
    assert "one/0 é.mp4" in changed and "two/1 é.avi" not in changed
    os.utime(pile / "two" / "1 é.avi", ns=(0, 10**18 + 77))  # as large as before
    assert prepare(str(pile), str(out), short_side=32).made == 1
    (pile / "one" / "0 é.mp4").unlink()
    assert prepare(str(pile), str(out), short_side=32).videos == 5, "what was prepared needs its source no longer"


def test_a_line_cut_short_spoils_no_later_one(tmp_path) -> None:
    path, settings = tmp_path / "place" / "journal.jsonl", {"gop": 8}
    path.parent.mkdir()
    for number, name in enumerate(("b", "a", "c")):
        journal = Journal(path, settings)
        assert journal.paths() == sorted(("b", "a", "c")[:number])
        journal.append(Done(name, number, 0, reason="none"))
        journal.close()
        with open(path, "ab") as file:
            file.write(b'{"path": "torn')
    journal = Journal(path, settings)
    assert [(done.path, done.source_size) for done in journal.all()] == [("a", 1), ("b", 0), ("c", 2)]
    journal.close()


@pytest.mark.parametrize(("first", "last", "expected"), [(0, 59, "frame 59 does not"), (1, 60, "frame 0 does not")])
def test_a_video_with_fewer_frames_than_announced_is_broken(made, monkeypatch, first, last, expected) -> None:
    decode = pyav._decode
    monkeypatch.setattr(pyav, "_decode", lambda *asked: islice(decode(*asked), first, last))
    with pytest.raises(VideoError, match=f"{expected} come out of the decoder"):
        list(pyav.every_frame(made(videos.b_frames)))


def test_broken_videos_are_named_and_nothing_of_them_is_kept(pile, tmp_path, made, capsys) -> None:
    names = []
    videos.constant_rate(pile, frames=70)
    for kind in videos.BROKEN:
        names.append(f"two/{Path(made(kind)).name}")
        shutil.copyfile(made(kind), pile / names[-1])
    out = tmp_path / "out"
    words = ["prepare", str(pile), f"out={out}", "short_side=32", "workers=2"]
    assert main(words) == 1
    said = capsys.readouterr()
    assert "6 videos (6 made now)" in said.out and "ms saved a clip" in said.out
    assert all(f"broken: {name}: " in said.err for name in names) and "3 broken videos" in said.err
    assert main([*words, "max_broken=3"]) == 0
    assert "(0 made now)" in capsys.readouterr().out
    index, reader = find_index(out), PreparedReader(str(out))
    for name in names:
        assert index.reason(index.row(name)) and os.path.getsize(out / name) == 0
        assert index.is_current(index.row(name), os.stat(out / name))
        with pytest.raises(VideoError) as caught:
            reader.read(str(out / name), [0])
        assert caught.value.reason == index.reason(index.row(name))


def test_links_that_lead_nowhere_are_broken_videos(pile, tmp_path, capsys) -> None:
    for name, target in (("gone.mp4", "nowhere.mp4"), ("round.mp4", "round.mp4")):
        (pile / name).symlink_to(target)
    assert main(["prepare", str(pile), f"out={tmp_path / 'out'}"]) == 1
    output = capsys.readouterr()
    assert "broken: gone.mp4: no such file" in output.out + output.err
    assert "broken: round.mp4: " in output.out + output.err and "Traceback" not in output.err
    index = find_index(str(tmp_path / "out"))
    assert (
        index is not None and [bool(index.reason(index.row(name))) for name in ("gone.mp4", "round.mp4")] == [True] * 2
    )


def test_other_settings_are_refused_with_the_difference(pile, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    prepare(str(pile), str(out), short_side=32)
    before = contents(out)
    assert main(["prepare", str(pile), f"out={out}", "encoder=mpeg4", "short_side=48", "gop=4"]) == 2
    said = capsys.readouterr().err
    assert "encoder=mjpeg (now mpeg4), short_side=32 (now 48), gop=1 (now 4)" in said and len(said.splitlines()) == 1
    assert contents(out) == before


def test_what_another_version_prepared_is_not_mixed_with_new_files(pile, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    prepare(str(pile), str(out), short_side=32)
    journal = out / ".ssv_prepare" / "journal.jsonl"
    journal.write_text(journal.read_text().replace(f'"prepare": {VERSION}', '"version": 1', 1))
    before = contents(out)
    assert main(["prepare", str(pile), f"out={out}", "short_side=32"]) == 2
    assert capsys.readouterr().err.endswith(
        "was prepared by another version of ssv; name another folder for out, or remove that one\n"
    )
    assert contents(out) == before


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"encoder": "h264"}, "encoder must be one of mpeg4, mjpeg, got 'h264'"),
        ({"encoder": "mjpeg", "gop": 8}, "gop must be 1 to 1 frames with encoder=mjpeg, got 8"),
        ({"encoder": "mpeg4", "gop": 0}, "gop must be 1 to 300"),
        ({"short_side": 33}, "an even number of pixels, 16 at least, got 33"),
        ({"rate": 0}, "rate must be"),
        ({"limit": 0}, "leaves a decoder no time"),
        ({"root": "nowhere"}, "is no folder"),
        ({"out": "pile/out"}, "lie in one another"),
        ({"out": "."}, "lie in one another"),
        ({"root": "empty"}, "no videos below"),
    ],
)
def test_settings_that_cannot_be(pile, monkeypatch, words, expected) -> None:
    monkeypatch.chdir(pile.parent)
    (pile.parent / "empty").mkdir()
    with pytest.raises(ValueError, match=expected):
        prepare(**{"root": "pile", "out": "out", **words})
    assert not (pile.parent / "out" / "ssv_index").exists()


def test_two_at_once_are_refused(pile, tmp_path) -> None:
    command = "from ssv.data.preparing.run import prepare; import sys; prepare(*sys.argv[1:], short_side=32)"
    caught = []

    def another(done: int, total: int) -> None:
        if not caught:
            words = [sys.executable, "-c", command, str(pile), str(tmp_path / "out")]
            caught.append(subprocess.run(words, capture_output=True, text=True))

    prepare(str(pile), str(tmp_path / "out"), short_side=32, progress=another)
    assert caught[0].returncode == 1 and "is being written by another" in caught[0].stderr


def test_a_full_disk_leaves_whole_files_only_and_the_rest_follows(pile, tmp_path, monkeypatch) -> None:
    prepare(str(pile), str(tmp_path / "plain"), short_side=32)
    synced, original = [], run._sync

    def full(path: str) -> None:
        synced.append(path)
        if len(synced) == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(path)

    monkeypatch.setattr(run, "_sync", full)
    with pytest.raises(OSError, match=r"No space left on device.*out") as caught:
        prepare(str(pile), str(tmp_path / "out"), short_side=32)
    assert caught.value.errno == errno.ENOSPC
    kept, whole = contents(tmp_path / "out"), contents(tmp_path / "plain")
    files = {path for path in kept if not path.startswith(".ssv_prepare")}
    assert len(files) == 3 and all(kept[path] == whole[path] for path in files)
    assert {path for path in kept if path.startswith(".ssv_prepare")} == {
        ".ssv_prepare/.lock",
        ".ssv_prepare/journal.jsonl",
    }
    monkeypatch.undo()
    prepare(str(pile), str(tmp_path / "out"), short_side=32)
    assert contents(tmp_path / "out") == whole


@pytest.mark.slow
def test_a_file_that_may_not_grow_is_one_line_and_exit_code_1(pile, tmp_path) -> None:
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, resource.RLIM_INFINITY))

    words = [sys.executable, "-m", "ssv", "prepare", str(pile), f"out={tmp_path / 'out'}", "workers=2", "encoder=mpeg4"]
    found = subprocess.run(words, capture_output=True, text=True, preexec_fn=small_files)
    assert found.returncode == 1
    assert len(found.stderr.splitlines()) == 1 and "File too large" in found.stderr
    prepare(str(pile), str(tmp_path / "plain"), encoder="mpeg4")
    prepare(str(pile), str(tmp_path / "out"), encoder="mpeg4", workers=2)
    assert contents(tmp_path / "out") == contents(tmp_path / "plain")


def test_a_source_that_kills_or_hangs_its_decoder_is_broken(pile, tmp_path, monkeypatch) -> None:
    original = run.film_of

    def film_of(path: str) -> Film:
        if path.endswith("two/1 é.avi"):
            os.kill(os.getpid(), signal.SIGKILL)
        if path.endswith("one/0 é.mp4"):
            time.sleep(60)
        return original(path)

    monkeypatch.setattr(run, "film_of", film_of)
    summary = prepare(str(pile), str(tmp_path / "out"), short_side=32, limit=1)
    assert summary.broken == {
        "one/0 é.mp4": "hangs its decoder: no frame within 1 s",
        "two/1 é.avi": "kills the process that decodes it (SIGKILL)",
    }
    assert (summary.videos, summary.made) == (3, 3)
    assert (tmp_path / "out" / "two" / "1 é.avi").stat().st_size == 0
    monkeypatch.undo()
    summary = prepare(str(pile), str(tmp_path / "out"), short_side=32)
    assert (summary.videos, summary.made, summary.broken) == (5, 2, {}), "broken videos are tried again"
    prepare(str(pile), str(tmp_path / "plain"), short_side=32)
    assert contents(tmp_path / "out") == contents(tmp_path / "plain")


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on(made, tmp_path) -> None:
    root, kinds = tmp_path / "pile", (videos.b_frames, videos.avi, videos.variable_rate, videos.damaged_avi)
    root.mkdir()
    for number in range(60):
        source = Path(made(kinds[number % len(kinds)]))
        shutil.copyfile(source, root / f"{number}{source.suffix}")
        os.utime(root / f"{number}{source.suffix}", ns=(0, 10**18))
    (root / "list.txt").write_text("0.mp4\n")
    prepare(str(root), str(tmp_path / "plain"), short_side=32)
    code = (
        "import sys; from ssv.data.preparing.run import prepare; print(flush=True); "
        "prepare(sys.argv[1], sys.argv[2], short_side=32, workers=2)"
    )
    command, draw = [sys.executable, "-c", code, str(root), str(tmp_path / "out")], random.Random(0)
    journal = tmp_path / "out" / ".ssv_prepare" / "journal.jsonl"

    def lines() -> int:
        return journal.read_bytes().count(b"\n") if journal.exists() else 0

    killed = 0
    for _ in range(5):
        enough = lines() + draw.randrange(9)  # of 60; not by the clock, which says little of where it is
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            process.stdout.readline()  # begins now
            while lines() < enough:
                time.sleep(0.001)
            time.sleep(draw.uniform(0, 0.01))
            process.send_signal(signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
    assert killed == 5
    if os.path.isdir("/proc/self"):
        time.sleep(2)  # for the frame they are at
        commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
        assert not any(os.fsencode(tmp_path) in words for words in commands), "workers of a killed run go on"
    assert subprocess.run(command, stdout=subprocess.DEVNULL).returncode == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "plain")


def test_a_folder_that_is_being_prepared_is_refused(pile, tmp_path, capsys) -> None:
    place = tmp_path / "out" / run.WORKPLACE
    place.mkdir(parents=True)
    with hold(place / ".lock"):
        assert main(["prepare", str(pile), f"out={tmp_path / 'out'}"]) == 2
    assert "is being written by another `ssv prepare`; wait for it, or set another out=" in capsys.readouterr().err


def test_sizes_are_even_and_never_larger() -> None:
    assert small_size(240, 320, 128) == (128, 170)
    assert small_size(256, 340, 128) == (128, 170)
    assert small_size(1920, 1080, 128) == (226, 128)
    for height in (17, 48, 99, 100, 129, 480):
        for width in (16, 48, 101, 170, 641):
            new = small_size(height, width, 100)
            assert all(side % 2 == 0 for side in new) and new[0] <= height and new[1] <= width
            assert min(new) in (100, min(height, width) // 2 * 2)
            scale = min(1, 100 / min(height, width))
            assert all(abs(side - old * scale) < 2.01 for side, old in zip(new, (height, width)))


@pytest.mark.parametrize("encoder", ["mpeg4", "mjpeg"])
@pytest.mark.parametrize(("matrix", "full"), [(1, False), (1, True), (6, False), (6, True), (2, False)])
def test_colours_are_those_that_the_source_shows(tmp_path, encoder, matrix, full) -> None:
    (tmp_path / "source").mkdir()
    path = tmp_path / "source" / "film.mp4"
    patches = np.random.default_rng(0).integers(20, 236, (3, 4, 3), dtype=np.uint8)
    picture = np.kron(patches, np.ones((32, 32, 1), dtype=np.uint8))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "4"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, 2 if full else 1
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            space = {} if matrix == 2 else {"dst_colorspace": matrix}
            frame = frame.reformat(format="yuv420p", dst_color_range=2 if full else 1, **space)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    prepare(str(tmp_path / "source"), str(tmp_path / "out"), encoder=encoder)
    shown = PyAVReader().read(str(path), [1])[0].astype(int)
    prepared = PreparedReader(str(tmp_path / "out")).read(str(tmp_path / "out" / "film.mp4"), [1])[0]
    inner = np.s_[8::32], np.s_[8::32]
    assert np.abs(shown - picture).max(axis=2)[inner[0]][:, inner[1]].max() <= 6
    assert np.abs(shown - prepared).max(axis=2)[inner[0]][:, inner[1]].max() <= 6


def test_odd_times_and_lengths(tmp_path) -> None:
    (tmp_path / "source").mkdir()
    videos.write_numbered(tmp_path / "source" / "ntsc.avi", frames=20, rate=Fraction(30000, 1001), codec="mpeg4")
    videos.write_numbered(tmp_path / "source" / "one.mp4", frames=1)
    videos.write_numbered(tmp_path / "source" / "slow.mp4", frames=4, times=[0, 100, 5000, 90000])
    prepare(str(tmp_path / "source"), str(tmp_path / "out"), short_side=32)
    reader, index = PreparedReader(str(tmp_path / "out")), find_index(tmp_path / "out")
    for name, frames in (("ntsc.avi", 20), ("one.mp4", 1), ("slow.mp4", 4)):
        path = str(tmp_path / "out" / name)
        assert [videos.read_number(frame) for frame in reader.read(path, range(frames))] == list(range(frames))
        before = probe(str(tmp_path / "source" / name)).seconds
        assert (index.seconds(index.row(name)) == before).all()
        assert np.abs(probe(path).seconds - before).max() < 1e-9


def mpeg4_quantizer(packet: bytes) -> int:
    """What the head of an MPEG-4 picture says of it (ISO/IEC 14496-2, 6.2.5)."""
    head = packet.index(b"\0\0\1\xb6") + 4
    bits = "".join(f"{byte:08b}" for byte in packet[head : head + 8])
    is_predicted = bits[:2] == "01"
    seconds = bits.index("0", 2) + 1
    # Marker, time (25 ticks a second: 5 bits), marker, coded, rounding if predicted, 3 bits of DC threshold.
    place = seconds + 1 + 5 + 1 + 1 + is_predicted + 3
    return int(bits[place : place + 5], 2)


def jpeg_quantizer(packet: bytes) -> float:
    """The table's share of the one in MPEG-1 (ISO/IEC 11172-2, 2.4.3.2): its last, coarsest entry there is 83."""
    table = packet.index(b"\xff\xdb") + 5
    return packet[table + 63] / (83 / 8)


@pytest.mark.parametrize("encoder", ["mpeg4", "mjpeg"])
def test_the_quantizer_is_the_one_named(made, tmp_path, encoder) -> None:
    (tmp_path / "pile").mkdir()
    for kind in (videos.b_frames, videos.avi):  # MPEG-4 frames bear a quantizer of their own when they are decoded
        shutil.copy(made(kind), tmp_path / "pile")
    prepare(str(tmp_path / "pile"), str(tmp_path / "out"), encoder=encoder, short_side=32)
    for video in folder(str(tmp_path / "out"), "train"):
        with av.open(video.path) as container:
            packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
        found = {mpeg4_quantizer(packet) if encoder == "mpeg4" else round(jpeg_quantizer(packet)) for packet in packets}
        assert found == {QUANTIZER} and len(packets) > 30


def test_audio_is_dropped(tmp_path) -> None:
    (tmp_path / "source").mkdir()
    with av.open(str(tmp_path / "source" / "film.mp4"), "w") as container:
        sound, stream = container.add_stream("aac", rate=16000), container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.thread_count = 1
        noise = av.AudioFrame.from_ndarray(np.zeros((1, 4096), dtype=np.float32), format="fltp", layout="mono")
        noise.sample_rate = 16000
        container.mux(sound.encode(noise))
        for number in range(9):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(videos.numbered_frame(number), format="rgb24")))
        for part in (sound, stream):
            container.mux(part.encode(None))
    prepare(str(tmp_path / "source"), str(tmp_path / "out"))
    with av.open(str(tmp_path / "out" / "film.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]


def write_pictures(folder: Path, names: list[str], mode: str = "RGB") -> None:
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        Image.fromarray(videos.numbered_frame(number)).convert(mode).save(folder / name)


def test_folders_of_pictures_become_videos(tmp_path) -> None:
    root, out = tmp_path / "davis", tmp_path / "out"
    write_pictures(root / "JPEGImages" / "bear", [f"frame{number}.png" for number in range(12)])
    write_pictures(root / "Annotations" / "bear", [f"{number:05}.png" for number in range(12)], mode="P")
    write_pictures(root / "single", ["1.png"])
    write_pictures(root / "named", ["a.png", "b.png"])
    summary = prepare(str(root), str(out), rate=12)
    assert (summary.videos, summary.copied) == (1, 12 + 1 + 2)
    path = str(out / "JPEGImages" / "bear.mp4")
    frames = PreparedReader(str(out)).read(path, range(12))
    assert [videos.read_number(frame) for frame in frames] == list(range(12)), "frame10 follows frame9"
    assert np.allclose(probe(path).seconds, np.arange(12) / 12)
    assert not (out / "JPEGImages" / "bear").exists() and (out / "Annotations" / "bear" / "00003.png").exists()
    assert prepare(str(root), str(out), rate=12).made == 0
    with pytest.raises(ValueError, match="no videos below"):
        prepare(str(root), str(tmp_path / "none"), pictures=False)


def test_pictures_beside_videos_stay_pictures_unless_asked(pile, tmp_path) -> None:
    write_pictures(pile / "three", ["1.png", "2.png", "3.png"])
    (pile / "three" / "2.png").write_bytes(b"no picture")
    assert prepare(str(pile), str(tmp_path / "out")).copied == 4
    summary = prepare(str(pile), str(tmp_path / "films"), pictures=True)
    assert summary.videos == 5 and list(summary.broken) == ["three.mp4"]
    assert summary.broken["three.mp4"].startswith("2.png: this is no picture")
    shutil.copyfile(pile / "one" / "0 é.mp4", pile / "three.mp4")
    with pytest.raises(ValueError, match="two sources would become three.mp4"):
        prepare(str(pile), str(tmp_path / "films"), pictures=True)


def test_large_other_files_are_left_out_and_named(pile, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(run, "LARGEST_COPY", 1000)
    (pile / "videos.zip").write_bytes(bytes(1001))
    summary = prepare(str(pile), str(tmp_path / "out"), short_side=32)
    assert summary.left_out == ["videos.zip"] and summary.copied == 1
    assert not (tmp_path / "out" / "videos.zip").exists()


def test_links_that_lead_out_are_left_out_and_named_unless_asked_for(pile, tmp_path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("nobody's business")
    shutil.copyfile(pile / "one" / "0 é.mp4", outside / "film.mp4")
    (pile / "folder").symlink_to(outside)
    (pile / "film.mp4").symlink_to(outside / "film.mp4")
    (pile / "linked.txt").symlink_to(outside / "secret.txt")
    (pile / "inner.mp4").symlink_to(pile / "one" / "0 é.mp4")
    without = prepare(str(pile), str(tmp_path / "without"), short_side=32)
    assert sorted(without.outside) == ["film.mp4", "folder", "linked.txt"]
    assert not any((tmp_path / "without" / name).exists() for name in without.outside)
    assert (tmp_path / "without" / "inner.mp4").is_file()
    with_links = prepare(str(pile), str(tmp_path / "with"), short_side=32, links=True)
    assert with_links.videos == without.videos + 2
    assert not with_links.outside
    with pytest.raises(ValueError, match=r"no videos below .* \(1 links point outside it; links=true follows them\)"):
        (tmp_path / "farm").mkdir()
        (tmp_path / "farm" / "film.mp4").symlink_to(outside / "film.mp4")
        prepare(str(tmp_path / "farm"), str(tmp_path / "farmed"))
