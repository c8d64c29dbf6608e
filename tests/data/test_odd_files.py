"""Kinds of files that were read wrong, or refused for a reason that was not theirs; small ones are made here."""

import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from ssv.data.preparing.run import prepare
from ssv.data.readers.auto import AutoReader
from ssv.data.readers.base import VideoError
from ssv.data.readers.decord import why_not_decord
from ssv.data.readers.headers import Carried
from ssv.data.readers.probe import demuxed, look
from ssv.data.readers.pyav import PyAVReader, every_frame
from ssv.data.scanning.examine import examine
from ssv.data.sets.lookup import is_video
from tests import videos
from tests.numbered import numbered_frame, read_number, write_numbered, x264

FAULTS = Path(__file__).resolve().parents[3] / "shared" / "data" / "faults"
needs_faults = pytest.mark.skipif(not FAULTS.is_dir(), reason="the collected files are not here")
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no ffmpeg to make the file with")


def numbers(path, indices):
    return [read_number(frame) for frame in PyAVReader().read(str(path), indices)]


def ffmpeg(*words):
    subprocess.run(["ffmpeg", "-y", "-v", "error", *map(str, words)], check=True)


def sequential(path):
    """All frames, one decoder from the first packet on, uint8 (n,H,W,3)."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "NONE"
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


# State of a decoder that no keyframe repeats


def as_of_build(path, build):
    """The same file, saying that another build of x264 wrote it."""
    data = path.read_bytes()
    at = data.index(b"x264 - core ") + len(b"x264 - core ")
    path.write_bytes(data[:at] + f"{build:03}".encode() + data[at + 3 :])
    return path


BUILDS = [(164, "yuv444p", 4), (142, "yuv420p", 4), (33, "yuv420p", 1)]


@pytest.mark.parametrize(("build", "pix_fmt", "entries"), BUILDS)
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_files_of_old_encoders_have_one_entry_and_no_decord(tmp_path, build, pix_fmt, entries, ending):
    made = write_numbered(tmp_path / f"a.{ending}", frames=48, pix_fmt=pix_fmt, options=x264(keyint=12, bframes=0))
    known = look(str(as_of_build(made, build)))
    assert len(known.table.entries) == entries
    assert (why_not_decord(known) is None) == (entries > 1)


@pytest.mark.parametrize(
    ("build", "full_chroma", "leans"), [(142, True, True), (151, True, False), (142, False, False)]
)
def test_old_444_leans_on_its_first_packet(build, full_chroma, leans):
    told = b"\x06\x05\xff" + b"x264 - core %d r2" % build
    packet = len(told).to_bytes(4, "big") + told + b"\x00\x00\x00\x02\x65\x99"
    is_carried = Carried("h264", b"\x01\x64\x00\x0a\xff\xe1", full_chroma=full_chroma)
    assert not is_carried(packet)
    assert is_carried(packet[-6:]) == leans


@needs_faults
@pytest.mark.parametrize("path", sorted(FAULTS.glob("x264_old_444/*.mp4")), ids=lambda path: path.name)
def test_every_frame_of_old_444_is_that_of_a_sequential_decode(path):
    truth = sequential(path)
    for index in range(len(truth) - 1, 0, -7):
        for reader in (PyAVReader(), AutoReader()):
            assert np.abs(reader.read(str(path), [index])[0].astype(int) - truth[index]).mean() < 1


def test_whatever_was_told_once_is_leaned_on():
    set_7, set_7b, set_8, picture = b"\x67\x01", b"\x67\x02", b"\x68\x05", b"\x65\x99"

    def packet(*units):
        return b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)

    extradata = b"\x01\x64\x00\x0a\xff\xe1" + b"\x00\x02" + set_7 + b"\x01\x00\x02" + set_8
    leans = Carried("h264", extradata, full_chroma=False)
    assert [leans(packet(picture)), leans(packet(set_7, set_8, picture))] == [False, False]
    assert not leans(packet(set_7b, picture)), "it brings its own"
    assert leans(packet(picture)), "the set in its header is not the one in force"
    layer, user = b"\x00\x00\x01\x20\x08\x86", b"\x00\x00\x01\xb2XviD0050"
    leans = Carried("mpeg4", layer, full_chroma=False)
    assert not leans(layer + user + b"\x00\x00\x01\xb6\x10") and leans(layer + b"\x00\x00\x01\xb6\x10")
    leans = Carried("mjpeg", None, full_chroma=False)
    assert not leans(b"\xff\xd8\xff\xdb\xff\xc4") and leans(b"\xff\xd8\xff\xdb")


# Frames of several sizes


def two_sizes(path, *, codec="libx264", options=None):
    """A file whose second half has frames of another size; each half from an encoder of its own."""
    with av.open(str(path), "w") as container:
        stream, count = None, 0
        for size in ((64, 48), (96, 64)):
            encoder = av.CodecContext.create(codec, "w")
            encoder.width, encoder.height, encoder.time_base, encoder.pix_fmt = *size, Fraction(1, 25), "yuv420p"
            encoder.framerate, encoder.options = Fraction(25), options or {}
            if codec == "mjpeg":
                encoder.pix_fmt = "yuvj420p"
            for number in range(20):
                frame = av.VideoFrame.from_ndarray(numbered_frame(count + number, size), format="rgb24")
                frame.pts, frame.time_base = count + number, Fraction(1, 25)
                packets = encoder.encode(frame.reformat(format=encoder.pix_fmt))
                packets += encoder.encode(None) if number == 19 else []
                if stream is None:
                    stream = container.add_stream(codec, rate=25)
                    stream.width, stream.height, stream.pix_fmt = *size, encoder.pix_fmt
                for packet in packets:
                    packet.stream = stream
                    container.mux(packet)
            count += 20
    return str(path)


SIZES = [
    ("a.mkv", "libx264", {"x264-params": "keyint=10:bframes=0:repeat-headers=1:annexb=1"}),
    ("a.ts", "libx264", {"x264-params": "keyint=10:bframes=0:repeat-headers=1:annexb=1"}),
    ("a.webm", "libvpx", {"lag-in-frames": "0"}),
    ("a.avi", "mjpeg", None),
    ("a.mpg", "mpeg2video", None),
]


@pytest.mark.parametrize(("name", "codec", "options"), SIZES)
def test_two_sizes_are_refused_for_one_reason_everywhere(tmp_path, name, codec, options):
    (tmp_path / "in").mkdir()
    path = two_sizes(tmp_path / "in" / name, codec=codec, options=options)
    reasons = []
    for attempt in (
        lambda: look(path),
        lambda: PyAVReader().read(path, [0]),
        lambda: AutoReader().read(path, [30]),
        lambda: examine(path, lambda: None, decode=True),
        lambda: list(every_frame(path)),
    ):
        with pytest.raises(VideoError) as caught:
            attempt()
        reasons.append(caught.value.reason)
    assert set(reasons) == {"its frames change size from 64x48 to 96x64; re-encode it to one size"}
    summary = prepare(str(tmp_path / "in"), str(tmp_path / "out"))
    assert list(summary.broken.values()) == reasons[:1]


# Read as FFmpeg reads them


def stream_of(folder, name, first, frames=40):
    return write_numbered(folder / name, frames=frames, first=first, options=x264(keyint=10, bframes=2)).read_bytes()


def test_transport_streams_written_one_after_the_other(tmp_path):
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(stream_of(tmp_path, f"{first}.ts", first) for first in (0, 40, 80)))
    assert len(look(str(path)).info.seconds) == 120
    assert numbers(path, [0, 39, 40, 79, 80, 119]) == [0, 39, 40, 79, 80, 119]
    assert not examine(str(path), lambda: None, decode=True).reason
    seconds = look(str(path)).info.seconds
    assert np.allclose(np.diff(seconds), 0.04, atol=1e-3), "each begins a frame after the one before it"


@pytest.mark.parametrize("bframes", [(2, 0), (0, 2), (2, 2, 0)], ids=str)
def test_joined_recordings_may_begin_at_other_times(tmp_path, bframes):
    parts = [
        write_numbered(
            tmp_path / f"{n}.ts", frames=60, first=60 * n, options=x264(keyint=10, bframes=count)
        ).read_bytes()
        for n, count in enumerate(bframes)
    ]
    (tmp_path / "joined.ts").write_bytes(b"".join(parts))
    last = 60 * len(parts) - 1
    assert len(look(str(tmp_path / "joined.ts")).info.seconds) == last + 1
    assert numbers(tmp_path / "joined.ts", [0, 59, 60, 61, last]) == [0, 59, 60, 61, last]
    assert not examine(str(tmp_path / "joined.ts"), lambda: None, decode=True).reason


def with_sound(path, frames, first):
    """A transport stream with a sound stream beside the numbered pictures."""
    with av.open(str(path), "w") as container:
        film = container.add_stream("libx264", rate=25, options=x264(keyint=10, bframes=0))
        film.width, film.height, film.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("mp2", rate=48000)
        for number in range(frames):
            picture = av.VideoFrame.from_ndarray(numbered_frame(first + number), format="rgb24")
            container.mux(film.encode(picture))
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1920 * 2), np.int16), format="s16", layout="stereo")
            silence.rate, silence.pts = 48000, number * 1920
            container.mux(sound.encode(silence))
        container.mux(film.encode(None))
        container.mux(sound.encode(None))
    return path.read_bytes()


def test_sound_that_begins_in_mid_file_is_passed_over(tmp_path):
    path = tmp_path / "late_sound.ts"
    film = write_numbered(tmp_path / "a.ts", frames=200, options=x264(keyint=10, bframes=0)).read_bytes()
    path.write_bytes(film + with_sound(tmp_path / "b.ts", 30, 200))
    assert len(look(str(path)).info.seconds) == 230
    assert numbers(path, [0, 199, 200, 229]) == [0, 199, 200, 229]


def test_packets_of_a_stream_that_pyav_does_not_know_are_passed_over():
    class Container:
        """Fails as PyAV does on each packet of a stream that was not there when the file was opened."""

        left = ["a", None, "b", None, None, "c"]

        def demux(self, stream):
            while self.left:
                packet = self.left.pop(0)
                if packet is None:
                    raise IndexError("list index out of range")
                yield packet

    assert list(demuxed(Container(), "film")) == ["a", "b", "c"]


def test_damage_in_a_transport_stream_is_still_damage(tmp_path):
    data = stream_of(tmp_path, "a.ts", 0, frames=60)
    flagged = 0
    for packet in range(4, len(data) // 188 - 2, 3):
        path = tmp_path / f"{packet}.ts"
        path.write_bytes(data[: 188 * packet] + data[188 * (packet + 2) :])
        with av.open(str(path)) as container:
            is_flagged = any(each.is_corrupt for each in container.demux(video=0))
        flagged += is_flagged
        if is_flagged:  # FFmpeg itself does not notice all of them
            with pytest.raises(VideoError, match="damaged"):
                look(str(path))
    assert flagged > 10


@needs_faults
@pytest.mark.parametrize(
    ("name", "frames"), [("fate_field_pictures.mpg", 7), ("joined_segments.ts", 120), ("fate_screen_repeats.avi", 64)]
)
def test_files_that_were_called_damaged(name, frames):
    path, truth = str(FAULTS / "not_damaged" / name), sequential(FAULTS / "not_damaged" / name)
    assert len(truth) == len(look(path).info.seconds) == frames
    found = PyAVReader().read(path, range(frames))
    assert np.abs(found.astype(int) - truth).mean() < 1
    assert not examine(path, lambda: None, decode=True).reason
    assert sum(1 for _ in every_frame(path)) == frames
    if name.endswith("avi"):
        assert look(path).info.seconds[1] == pytest.approx(3 / 15)


@needs_faults
def test_an_order_learnt_late_is_no_damage():
    path, reasons = str(FAULTS / "not_damaged" / "fate_growing_delay.flv"), set()
    reasons.add(examine(path, lambda: None, decode=True).reason)
    for attempt in (lambda: list(every_frame(path)), lambda: PyAVReader().read(path, [2])):
        with pytest.raises(VideoError) as caught:
            attempt()
        reasons.add(caught.value.reason)
    assert reasons == {"its times contradict the order of its frames after frame 3; re-encode it"}


@needs_ffmpeg
def test_field_pictures_with_a_damaged_slice_are_damaged(tmp_path):
    if not FAULTS.is_dir():
        pytest.skip("no encoder here writes field pictures, and the collected files are not here")
    data = bytearray((FAULTS / "not_damaged" / "fate_field_pictures.mpg").read_bytes())
    (tmp_path / "cut.mpg").write_bytes(data[:100000])
    assert "damaged" in examine(str(tmp_path / "cut.mpg"), lambda: None, decode=True).reason


@needs_ffmpeg
@pytest.mark.parametrize(
    ("codec", "ending"), [("zmbv", "avi"), ("qtrle", "mov"), ("msvideo1", "avi"), ("flashsv", "flv")]
)
def test_screen_recordings_are_counted_by_decoding(tmp_path, codec, ending):
    source = write_numbered(tmp_path / "a.mp4", frames=20)
    path = tmp_path / f"b.{ending}"
    ffmpeg("-i", source, "-vf", "fps=50", "-c:v", codec, path)
    truth = sequential(path)
    assert len(look(str(path)).info.seconds) == len(truth)
    found = PyAVReader().read(str(path), [len(truth) - 1, 0, 7])
    assert np.array_equal(found, truth[[len(truth) - 1, 0, 7]])


# Endings, covers, shapes


def cover(path, *, film=False):
    """A song with a cover; or a film with one."""
    with av.open(str(path), "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=16000)
        if film:
            video = container.add_stream("libx264", rate=25)
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        picture = container.add_stream("mjpeg", rate=1)
        picture.width, picture.height, picture.pix_fmt = 96, 96, "yuvj420p"
        picture.disposition = av.stream.Disposition.attached_pic
        if film:
            for number in range(10):
                frame = av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        art = av.VideoFrame.from_ndarray(np.full((96, 96, 3), 90, np.uint8), format="rgb24").reformat(format="yuvj420p")
        art.pts, art.time_base = 0, Fraction(1, 1)
        container.mux(picture.encode(art))
        container.mux(picture.encode(None))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 16000
        container.mux(sound.encode(silence))
        container.mux(sound.encode(None))
    return str(path)


def test_a_song_with_a_cover_is_no_video_and_a_film_with_one_is(tmp_path):
    with pytest.raises(VideoError, match="holds no video, only a cover, audio"):
        look(cover(tmp_path / "song.m4v"))
    assert numbers(cover(tmp_path / "film.mp4", film=True), [0, 9]) == [0, 9]


@needs_ffmpeg
@pytest.mark.parametrize("ending", ["f4v", "3g2", "qt", "nut", "mxf", "m2v", "m1v", "h264", "y4m", "gif"])
def test_files_of_rare_endings_are_found_and_read(tmp_path, ending):
    source, path = (
        write_numbered(tmp_path / "a.mp4", frames=30, options=x264(keyint=10, bframes=2)),
        tmp_path / f"b.{ending}",
    )
    words = {"mxf": ["-c:v", "mpeg2video", "-q:v", "2"], "m2v": ["-c:v", "mpeg2video", "-q:v", "2"]}
    words |= {
        "m1v": ["-c:v", "mpeg1video", "-q:v", "2"],
        "y4m": ["-pix_fmt", "yuv420p"],
        "gif": [],
        "qt": ["-c", "copy", "-f", "mov"],
    }
    ffmpeg("-i", source, *words.get(ending, ["-c", "copy"]), path)
    assert is_video(path.name)
    assert len(look(str(path)).info.seconds) == 30
    assert numbers(path, [0, 13, 29]) == [0, 13, 29]
    assert not examine(str(path), lambda: None, decode=True).reason


def test_scan_notes_pixels_that_are_not_square(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)
        for number in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24")))
        container.mux(stream.encode(None))
    found = examine(str(path), lambda: None, decode=True)
    assert (found.pixel, found.width, found.interlaced) == ("16/11", 64, False)


def test_matroska_without_a_duration_is_read(tmp_path):
    path = tmp_path / "live.mkv"
    write_numbered(tmp_path / "a.mkv", frames=40, options=x264(keyint=10, bframes=0))
    options = {"live": "1"}
    with av.open(str(tmp_path / "a.mkv")) as source, av.open(str(path), "w", options=options) as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    frames = AutoReader().read(str(path), [0, 17, 39])
    assert [read_number(frame) for frame in frames] == [0, 17, 39]


def test_names_that_are_no_text_are_read(tmp_path):
    made = videos.b_frames(tmp_path)
    path = str(tmp_path / "caf\udce9 \udcff.mp4")
    made.rename(path)
    assert [read_number(frame) for frame in AutoReader().read(path, [3, 50])] == [3, 50]
