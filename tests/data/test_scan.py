"""Scanning a pile: whatever a file does, it is one row with one reason, and the others are found as they are."""

import errno
import os
import shutil
import signal
import time
from functools import partial
from itertools import combinations

import av
import numpy as np
import pytest

from ssv.data.crops import CenterCrop, RandomResizedCrop
from ssv.data.datamodule import VideoDataModule
from ssv.data.grids import Grid
from ssv.data.index import NAME, find_index
from ssv.data.preparing.pile import walk
from ssv.data.readers.base import VideoError
from ssv.data.readers.probe import count_decodable, probe
from ssv.data.readers.pyav import PyAVReader
from ssv.data.sampling import RandomClips, UniformClips
from ssv.data.scanning.duplicates import across, are_alike, near_duplicates
from ssv.data.scanning.examine import Contents, Finding, difference_hash, examine, thumbnail
from ssv.data.scanning.journal import from_line, read_journal
from ssv.data.scanning.parts import known_parts, read_list
from ssv.data.scanning.prediction import frames_decoded, predict
from ssv.data.scanning.scan import find_files, scan_files, write_findings
from ssv.data.scanning.summary import count_clips, summarise
from ssv.data.scanning.workers import in_children
from ssv.data.sets.folder import folder
from ssv.types import Video
from tests import videos

LOOK = partial(examine, decode=True)


def write(path, frames, rate=25, codec="mpeg4"):
    """A video of these frames, uint8 (n,h,w,3)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options={"qscale": "2", "flags": "+qscale"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def scan(root, work=LOOK, *, limit=20.0, **more):
    (root / NAME).mkdir(exist_ok=True)
    journal = root / NAME / "scan.jsonl"
    found = find_files(str(root)).videos
    return scan_files(str(root), found, work, journal_path=journal, processes=2, limit_seconds=limit, **more)


def ill_behaved(path, beat):
    """Work that does what decoders do to their process."""
    if "hangs" in path:
        time.sleep(60)
    if "kills" in path:
        os.kill(os.getpid(), signal.SIGKILL)
    if "leaves" in path:
        os._exit(3)
    if "raises" in path:
        raise ZeroDivisionError("in a\nlibrary")
    if "slow" in path:
        for _ in range(12):
            time.sleep(0.1)
            beat()
    if "none" in path:
        raise VideoError(path, "no such file")
    return path.upper()


def test_children_that_hang_or_die_are_replaced(monkeypatch):
    monkeypatch.setattr("ssv.data.scanning.workers.BEAT_SECONDS", 0.05)
    paths = ["a", "hangs", "b", "kills", "c", "leaves", "slow", "raises", "none", "d", "hangs too", "e"]
    started = time.monotonic()
    answers = dict(in_children(paths, ill_behaved, processes=2, limit_seconds=0.8))
    assert time.monotonic() - started < 10
    assert sorted(answers) == sorted(paths)
    for path in ("a", "b", "c", "d", "e", "slow"):
        assert answers[path] == path.upper()
    reasons = {path: answer.reason for path, answer in answers.items() if isinstance(answer, VideoError)}
    assert reasons == {
        "hangs": "hangs its decoder: no frame within 0.8 s",
        "hangs too": "hangs its decoder: no frame within 0.8 s",
        "kills": "kills the process that decodes it (SIGKILL)",
        "leaves": "kills the process that decodes it (exit code 3)",
        "raises": "cannot be examined: ZeroDivisionError: in a",
        "none": "no such file",
    }
    assert all(answers[path].path == path for path in reasons)


def test_children_end_when_nobody_asks_any_more(tmp_path):
    def note(path, beat):
        (tmp_path / str(os.getpid())).touch()
        return path

    answers = in_children(map(str, range(100)), note, processes=3, limit_seconds=20)
    next(answers)
    answers.close()
    for made in tmp_path.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(made.name), 0)


@pytest.mark.parametrize("kind", [*videos.WHOLE, videos.hidden_reference, videos.open_start])
def test_every_frame_of_a_sound_file_is_decoded(tmp_path, kind):
    path = str(kind(tmp_path))
    found, info = examine(path, lambda: None, decode=True), probe(path)
    assert found.reason == "" and found.contents.decoded == len(info.seconds)
    assert (found.grid.seconds() == info.seconds).all()
    assert (found.height, found.width, found.rotation, found.codec) == (
        info.height,
        info.width,
        info.rotation,
        info.codec,
    )
    assert examine(path, lambda: None, decode=False) == found._replace(contents=None)


@pytest.mark.parametrize("kind", [videos.damaged_avi, videos.damaged_mp4])
def test_damage_inside_is_counted(tmp_path, kind):
    path = str(kind(tmp_path))
    found = examine(path, lambda: None, decode=True)
    decoded, frames = count_decodable(path), len(probe(path).seconds)
    assert decoded < frames
    assert found.reason == f"damaged: {decoded} of {frames} frames can be read"


def test_what_a_file_shows(tmp_path):
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 2, (12, 16, 3)).repeat(8, 0).repeat(8, 1) * 200
    moving = np.stack([np.roll(texture, 3 * i, axis=1) for i in range(25)])
    other = np.zeros((96, 128, 3), dtype=np.int64) + [250, 20, 20]
    red = np.stack([np.roll(np.where(texture > 0, 255, other), 3 * i, axis=1) for i in range(20)])
    still, black = texture[None].repeat(50, 0), np.zeros((30, 96, 128, 3))
    path = write(tmp_path / "film.mp4", np.concatenate([moving, still, red, black]).astype(np.uint8))
    contents = examine(str(path), lambda: None, decode=True).contents
    assert contents.decoded == 125
    assert contents.still_seconds == pytest.approx(49 / 25, abs=2 / 25)
    assert contents.black == pytest.approx(30 / 125, abs=0.01)
    assert contents.cuts == 2
    assert [value is None for value in contents.hashes] == [False, False, False, False, True]
    assert thumbnail(str(path), lambda: None)[:2] == b"\xff\xd8"


def test_stillness_across_chunks(tmp_path, monkeypatch):
    path = str(write(tmp_path / "still.mp4", np.full((40, 48, 64, 3), 90, dtype=np.uint8)))
    whole = examine(path, lambda: None, decode=True)
    monkeypatch.setattr("ssv.data.scanning.examine.CHUNK", 7)
    assert examine(path, lambda: None, decode=True) == whole
    assert whole.contents.still_seconds == pytest.approx(39 / 25)


def test_what_creeps_is_not_still(tmp_path):
    frames = np.stack([np.full((48, 64, 3), 60 + 2 * i, dtype=np.uint8) for i in range(50)])
    contents = examine(str(write(tmp_path / "dawn.mp4", frames)), lambda: None, decode=True).contents
    assert contents.still_seconds < 0.3 and contents.cuts == 0


def test_signs_of_life_come_all_the_time(tmp_path):
    beats = []
    examine(str(videos.b_frames(tmp_path)), lambda: beats.append(1), decode=False)
    assert len(beats) >= 60
    examine(str(videos.b_frames(tmp_path)), lambda: beats.append(1), decode=True)
    assert len(beats) >= 3 * 60


def test_a_hash_is_64_comparisons():
    grey = np.random.default_rng(1).integers(0, 256, (8, 9, 1), dtype=np.uint8).repeat(3, 2)
    bits = [int(grey[y, x + 1, 0] > grey[y, x, 0]) for y in range(8) for x in range(8)]
    assert difference_hash(grey) == int("".join(map(str, bits)), 2)
    assert difference_hash(np.full((24, 32, 3), 130, np.uint8)) is None


def test_walking(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / NAME).mkdir()
    names = ["a.mp4", "B.AVI", "deep/c.mkv", "deep/er/no.txt", "folder.mp4/d.webm", ".hidden.mp4", f"{NAME}/x.mp4"]
    names.append(os.fsdecode(b"deep/\xff\xfe.mp4"))
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "deep" / "loop").symlink_to(tmp_path)
    (tmp_path / "deep" / "loop.mp4").symlink_to(tmp_path)
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere")
    for name in ("round.mp4", "circle"):
        (tmp_path / name).symlink_to(name)
    os.mkfifo(tmp_path / "pipe.mp4")
    found = find_files(str(tmp_path))
    files = ["B.AVI", "a.mp4", "deep/c.mkv", os.fsdecode(b"deep/\xff\xfe.mp4"), "folder.mp4/d.webm"]
    lost = ["gone.mp4", "round.mp4"]
    assert found.videos == sorted([*files, *lost, "folder.mp4", "deep/loop.mp4"])
    assert found.others == 3 and not found.unreadable
    # Links that lead nowhere are broken videos everywhere, and never absent ones.
    listed = [os.path.relpath(video.path, tmp_path) for video in folder(str(tmp_path), "train")]
    assert listed == sorted([*files, *lost])
    assert [item.path for item in walk(str(tmp_path), pictures=False) if item.kind == "video"] == listed


def test_folders_that_cannot_be_listed(tmp_path, monkeypatch):
    (tmp_path / "shut").mkdir()
    (tmp_path / "a.mp4").touch()
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = find_files(str(tmp_path))
    assert found.videos == ["a.mp4"] and found.unreadable == {"shut": "Permission denied"}
    with pytest.raises(PermissionError):
        folder(str(tmp_path), "train")


def damaged_pile(root):
    """Forty sound files and everything that can be wrong with one: reasons by name."""
    one = videos.write_numbered(root / "good_00.mp4", frames=40)
    for n in range(1, 40):
        shutil.copy(one, root / f"good_{n:02}.mp4")
    shutil.copy(one, root / "really_mp4.avi")
    shutil.copy(one, root / os.fsdecode(b"latin_\xe9t\xe9.mp4"))
    shutil.copy(one, root / "12:30 [x] & y.mp4")
    wrong = {"empty.mp4": "the file is empty", "folder.mp4": "is a folder", "gone.mp4": "no such file"}
    (root / "empty.mp4").touch()
    (root / "folder.mp4").mkdir()
    (root / "gone.mp4").symlink_to(root / "nowhere.mp4")
    (root / "round.mp4").symlink_to("round.mp4")
    (root / "zeros.mp4").write_bytes(bytes(20_000))
    videos.truncated(root)
    videos.audio_only(root)
    videos.damaged_avi(root)
    data = bytearray(one.read_bytes())
    data[4:40] = b"\xaa" * 36
    (root / "header.mp4").write_bytes(data)
    (root / "text.mkv").write_text("no film\n" * 100)
    (root / "hangs.mp4").write_bytes(one.read_bytes())
    (root / "kills.mp4").write_bytes(one.read_bytes())
    return wrong | {
        "truncated.mp4": "cut short",
        "audio_only.mp4": "holds no video, only audio",
        "damaged.avi": "damaged: ",
        "header.mp4": "not a video that FFmpeg can read",
        "zeros.mp4": "not a video that FFmpeg can read",
        "round.mp4": os.strerror(errno.ELOOP),
        "text.mkv": "not a video that FFmpeg can read",
        "hangs.mp4": "hangs its decoder",
        "kills.mp4": r"kills the process that decodes it \(SIGKILL\)",
    }


def rough(path, beat):
    """Examines, but for the two files that do worse."""
    if path.endswith(("hangs.mp4", "kills.mp4")):
        ill_behaved(path, beat)
    return examine(path, beat, decode=True)


def module(root, **changes):
    values = {"held_out": 0.0, "max_broken": 0, "workers": 0, "reader": PyAVReader(), "seed": 0}
    measured = UniformClips(frames=4), CenterCrop(16, short_side=16)
    values = {"sampler": RandomClips(frames=4, stride=2), "batch_size": 8} | values | changes
    return VideoDataModule(
        str(root), folder, crop=RandomResizedCrop(16), eval_sampler=measured[0], eval_crop=measured[1], **values
    )


def test_the_damage_matrix(tmp_path):
    wrong = damaged_pile(tmp_path)
    findings = {finding.path: finding for finding in scan(tmp_path, rough, limit=4)}
    assert {path for path, finding in findings.items() if finding.reason} == set(wrong)
    for path, reason in wrong.items():
        assert findings[path].reason.startswith(reason.replace("\\", "")), findings[path]
        assert "\n" not in findings[path].reason
    assert len(findings) == 43 + len(wrong)
    write_findings(tmp_path / NAME, findings.values())
    index = find_index(tmp_path)
    assert {index.path(row): index.reason(row) for row in range(len(index)) if index.reason(row)} == {
        path: findings[path].reason for path in wrong
    }
    # What the scan found is what training leaves out; a folder is no file of the set.
    files = set(wrong) - {"folder.mp4"}
    with pytest.raises(VideoError, match=f"data.max_broken={len(files)} "):
        module(tmp_path, max_broken=len(files) - 1).setup()
    data = module(tmp_path, max_broken=len(files))
    summary = data.summary()
    assert {os.path.basename(path) for path in summary["broken"]} == files
    assert summary["fit"] == 43
    rows = [row for clips in data.train_dataloader() for row in clips.video.tolist()]
    assert len(rows) == len(set(rows)) == 40  # five whole batches


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_that_may_not_be_read(tmp_path):
    videos.write_numbered(tmp_path / "a.mp4", frames=10).chmod(0)
    assert "Permission denied" in scan(tmp_path)[0].reason


def test_a_scan_goes_on_where_it_was(tmp_path):
    one = videos.write_numbered(tmp_path / "0.mp4", frames=10)
    for n in range(1, 6):
        shutil.copy(one, tmp_path / f"{n}.mp4")
    (tmp_path / "empty.mp4").touch()
    log = tmp_path / "looked"

    def work(path, beat):
        with log.open("a") as lines:
            lines.write(os.path.basename(path) + "\n")
        return examine(path, beat, decode=True)

    def looked():
        names = sorted(log.read_text().split()) if log.exists() else []
        log.unlink(missing_ok=True)
        return names

    class Stop(Exception):
        pass

    def stop(done, total):
        if done == 3:
            raise Stop

    with pytest.raises(Stop):
        scan(tmp_path, work, progress=stop)
    looked()
    journal = tmp_path / NAME / "scan.jsonl"
    done = set(read_journal(journal))
    assert len(done) == 3
    journal.write_text(journal.read_text() + '{"path": "cut sho')  # killed in the middle of a line
    first = scan(tmp_path, work)
    assert not {name for name in looked()} & done
    assert scan(tmp_path, work) == first and looked() == []
    shutil.copy(one, tmp_path / "6.mp4")
    os.utime(tmp_path / "2.mp4", ns=(5, 5))
    (tmp_path / "4.mp4").unlink()
    again = scan(tmp_path, work)
    assert looked() == ["2.mp4", "6.mp4"]
    assert [finding.path for finding in again] == [f"{n}.mp4" for n in (0, 1, 2, 3, 5, 6)] + ["empty.mp4"]
    assert sorted(read_journal(journal)) == [finding.path for finding in again]
    scan(tmp_path, work, again=True)
    assert looked() == ["empty.mp4"]


def test_a_quick_scan_is_completed_by_a_whole_one(tmp_path):
    videos.variable_rate(tmp_path)
    quick = scan(tmp_path, partial(examine, decode=False), decode=False)
    assert quick[0].contents is None
    whole = scan(tmp_path)
    assert whole[0].contents.decoded == 60 and whole[0]._replace(contents=None, grid=None) == quick[0]._replace(
        grid=None
    )
    assert scan(tmp_path, ill_behaved, decode=False)[0].contents.decoded == 60, "known well enough"


def test_a_journal_keeps_everything(tmp_path):
    names = [os.fsdecode(b"no\xffutf.mkv"), "a b.mp4"]
    shutil.copy(videos.one_gop(tmp_path), tmp_path / names[0])
    shutil.copy(videos.variable_rate(tmp_path), tmp_path / names[1])
    scan(tmp_path)
    book = read_journal(tmp_path / NAME / "scan.jsonl")
    for name in names:
        found = examine(str(tmp_path / name), lambda: None, decode=True)
        assert book[name] == found._replace(path=name)
    assert len(found.grid.off)  # of the last one
    assert from_line('{"version":0}') is None and from_line("[]") is None and from_line('{"version":1}') is None


def finding(path, frames=100, rate=25, hashes=(None,) * 5, **changes):
    contents = Contents(frames, 0.0, 0.0, 0, hashes)
    values = {"size": 1000, "mtime_ns": 1, "grid": Grid(frames, frames - 1, (1, rate)), "contents": contents}
    values |= {"codec": "h264", "container": "mov,mp4", "gop": 12, "height": 48, "width": 64}
    return Finding(path, **(values | changes))


def test_copies_are_found_recoded_and_resized(tmp_path):
    rng = np.random.default_rng(3)

    def film(seed, n=40):
        blobs = rng.random((6, 8, 3)).repeat(16, 0).repeat(16, 1) * 255
        return np.stack([np.roll(blobs, 2 * i, axis=1) for i in range(n)]).astype(np.uint8)

    films = [film(seed) for seed in range(4)]
    for n, frames in enumerate(films):
        write(tmp_path / f"film{n}.mp4", frames)
    write(tmp_path / "recoded.mkv", films[1], codec="libx264")
    write(tmp_path / "small.mp4", np.ascontiguousarray(films[1][:, ::2, ::2]))
    write(tmp_path / "part.mp4", films[1][:20])
    findings = scan(tmp_path)
    groups = near_duplicates(findings)
    assert groups == [["film1.mp4", "recoded.mkv", "small.mp4"]]
    assert across(groups, {"film1.mp4": "train", "small.mp4": "test"}) == groups
    assert across(groups, {"film1.mp4": "train", "small.mp4": "train"}) == across(groups, {}) == []


def test_groups_are_those_of_all_pairs():
    rng = np.random.default_rng(0)
    findings = []
    for n in range(60):
        origin = rng.integers(0, 2**63, 5).tolist() if n % 3 == 0 else origin  # noqa: F821
        noisy = [value ^ (1 << int(rng.integers(0, 60))) for value in origin]
        findings.append(finding(f"{n:02}", frames=100 + int(rng.integers(0, 2)), hashes=tuple(noisy)))
    pairs = {frozenset((a.path, b.path)) for a, b in combinations(findings, 2) if are_alike(a, b)}
    groups = near_duplicates(findings)
    assert len(groups) == 20
    assert {frozenset(pair) for group in groups for pair in combinations(group, 2)} == pairs
    same = [finding(f"{n:03}", hashes=(2**40 + 7,) * 5) for n in range(250)]
    assert near_duplicates(same) == [[one.path for one in same]]
    flat = [finding(str(n), hashes=(7, None, None, 7, None)) for n in range(3)]
    assert near_duplicates(flat) == [] and near_duplicates([flat[0]._replace(contents=None)] * 2) == []


def test_decoded_frames_of_a_group():
    def slow(offsets, gop):
        counts = []
        for phase in range(gop):
            needed = set()
            for offset in offsets:
                place = offset + phase
                needed |= set(range(place - place % gop, place + 1))
            counts.append(len(needed))
        return sum(counts) / gop

    for offsets in (range(16), range(0, 64, 4), [3, 4, 11, 40], [5]):
        for gop in (1, 4, 8):
            assert frames_decoded(list(offsets), gop) == slow([one - offsets[0] for one in offsets], gop)


def test_a_prediction_is_measured_on_files(tmp_path):
    paths = [str(videos.b_frames(tmp_path)), str(videos.truncated(tmp_path)), str(tmp_path / "none.mp4")]
    cost = predict(paths, frames=8, stride=2, seconds=None, processes=2, limit=20)
    assert cost.files == 1 and 0 < cost.prepared_clip < 1 and 0 < cost.clip < 1
    assert predict(paths[1:], frames=8, stride=2, seconds=None, processes=2, limit=20) is None


def test_sums():
    findings = [
        finding("a", frames=250, header_frames=250),
        finding("b", frames=250, header_frames=260, size=500),
        finding("c", frames=75, rate=30, width=80),
        finding("d", contents=Contents(100, 3.5, 0.25, 2, (None,) * 5)),
        finding("e", reason="the file is empty", grid=Grid(0, 0, (1, 1)), contents=None),
        finding("f", grid=Grid.of_ticks(np.array([0, 10, 50, 60, 70]), (1, 100))),
    ]
    found = summarise(findings)
    assert found.videos == 6 and found.broken == {"e": "the file is empty"}
    assert found.hours == pytest.approx((10 + 10 + 2.5 + 4 + 0.875) / 3600)
    assert (found.frames, found.bytes, found.decoded, found.cuts, found.gop) == (680, 4500, 5, 1, 12)
    assert found.miscounted == {"b": (260, 250)} and found.varying == ["f"]
    assert found.rates == {"25": 3, "30": 1, "varying, about 6": 1}
    assert found.durations == {"under 1 s": 1, "2 to 5 s": 2, "10 to 20 s": 2}
    assert found.sizes == {"64x48": 4, "80x48": 1} and found.codecs == {"h264 in mov": 5}
    assert found.still == {"d": 3.5} and found.black == {"d": 0.25}
    clips = count_clips(findings, RandomClips(frames=16, stride=None, seconds=0.08, short="skip"), 1.28, 0)
    assert (clips.videos, clips.disjoint) == (4, 7 + 7 + 1 + 3) and list(clips.refused) == ["f"]
    counted = count_clips(findings, RandomClips(frames=16, stride=4, short="skip"), None, 61)
    assert (counted.videos, counted.disjoint) == (4, 4 + 4 + 1 + 1)


def test_parts_of_known_layouts(tmp_path):
    assert known_parts(str(tmp_path)) == ("folder", {})
    (tmp_path / "videos.csv").write_text("path,label,split\nx/a.mp4,0,train\nb.mp4,1,test\n")
    assert known_parts(str(tmp_path)) == ("folder", {}), "the files are missing"
    (tmp_path / "x").mkdir()
    for name in ("x/a.mp4", "b.mp4"):
        (tmp_path / name).touch()
    assert known_parts(str(tmp_path)) == ("csv", {"x/a.mp4": "train", "b.mp4": "test"})
    (tmp_path / "list.txt").write_text("x/a.mp4 3\n\nb.mp4\nnone 7.mp4\nx/a.mp4\n")
    assert read_list(str(tmp_path / "list.txt"), str(tmp_path)) == ["x/a.mp4", "b.mp4", "none 7.mp4"]
    for text in ("", None):
        (tmp_path / "list.txt").write_text(text) if text is not None else (tmp_path / "list.txt").unlink()
        with pytest.raises(ValueError, match="list"):
            read_list(str(tmp_path / "list.txt"), str(tmp_path))


@pytest.mark.slow
def test_random_bit_flips_neither_crash_nor_hang(tmp_path):
    kinds = [videos.b_frames, videos.one_gop, videos.avi]
    rng = np.random.default_rng(0)
    for kind in kinds:
        (tmp_path / "origin").mkdir(exist_ok=True)
        origin = kind(tmp_path / "origin")
        for n in range(67):
            data = bytearray(origin.read_bytes())
            for place in rng.integers(0, len(data), 1 + n % 5):
                data[place] ^= 1 << int(rng.integers(0, 8))
            (tmp_path / f"{kind.__name__}_{n:02}{origin.suffix}").write_bytes(data)
    shutil.rmtree(tmp_path / "origin")
    started = time.monotonic()
    findings = scan(tmp_path, limit=10)
    assert time.monotonic() - started < 60 and len(findings) == 201
    broken = {found.path for found in findings if found.reason}
    assert 20 < len(broken) < 180
    assert not [found for found in findings if "cannot be examined" in found.reason], "FFmpeg's errors are known"
    write_findings(tmp_path / NAME, findings)
    data = module(tmp_path, max_broken=201, sampler=RandomClips(frames=4, stride=2, short="skip"), batch_size=4)
    summary = data.summary()
    assert {os.path.basename(path) for path in summary["broken"]} == broken
    assert summary["fit"] + len(summary["left_out"]) == 201 - len(broken)
    before = len(data.broken)
    assert len(list(data.train_dataloader())) == summary["fit"] // 4
    assert len(data.broken) == before, "what the scan found sound can be read"


def test_a_video_of_the_list_is_the_same_whether_indexed_or_not(tmp_path):
    """A scan's index and a probe give the same training list."""
    wrong = damaged_pile(tmp_path)
    for name in ("hangs.mp4", "kills.mp4", "damaged.avi"):  # these only a scan finds
        (tmp_path / name).unlink()
        wrong.pop(name)
    plain = module(tmp_path, max_broken=20)
    wanted = plain.split("fit")
    write_findings(tmp_path / NAME, scan(tmp_path))
    indexed = module(tmp_path, max_broken=20)
    assert indexed.split("fit") == wanted and isinstance(wanted[0], Video)
    assert indexed.broken == plain.broken
    assert indexed.summary() == plain.summary()
