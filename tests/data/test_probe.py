import os
import struct

import av
import numpy as np
import pytest

from ssv.data.readers import probe as probe_module
from ssv.data.readers.auto import AutoReader
from ssv.data.readers.base import VideoError
from ssv.data.readers.headers import resets_decoder
from ssv.data.readers.packets import Packet, Showing, make_table
from ssv.data.readers.probe import look, probe
from ssv.data.readers.pyav import PyAVReader
from tests import videos


def test_a_file_cut_short_is_refused_at_once(made) -> None:
    with pytest.raises(VideoError, match="cut short or damaged: packet 19 is incomplete"):
        probe(made(videos.truncated))


def test_times_are_those_of_the_frames(made) -> None:
    for kind in (videos.constant_rate, videos.open_gop, videos.avi, videos.edit_list, videos.transport_stream):
        assert np.allclose(probe(made(kind)).seconds, np.arange(60) / 25, atol=1e-3)
        assert probe(made(kind)).rate == pytest.approx(25)
    info = probe(made(videos.variable_rate))
    assert np.allclose(info.seconds, videos.variable_times(), atol=1e-4)
    assert info.rate == pytest.approx(59 / videos.variable_times()[-1])
    assert (info.height, info.width, info.codec) == (48, 64, "h264")


def test_times_of_an_avi_with_a_pause(tmp_path) -> None:
    times = [0.04 * i + (0.4 if i > 9 else 0) for i in range(20)]
    path = str(videos.write_numbered(tmp_path / "pause.avi", frames=20, codec="mpeg4", times=times))
    assert np.allclose(probe(path).seconds, times)
    assert videos.read_number(PyAVReader().read(path, [15])[0]) == 15


def test_empty_pictures_of_xvid_are_not_counted(made) -> None:
    path = made(videos.packed_avi)
    with av.open(path) as container:
        assert container.streams.video[0].frames == 63
    assert np.allclose(probe(path).seconds, np.arange(61) / 25)


def test_a_reference_never_shown_is_not_counted(tmp_path) -> None:
    path = str(videos.hidden_reference(tmp_path, hidden=20))
    numbers = [number for number in range(60) if number != 20]
    assert len(probe(path).seconds) == 59
    assert [videos.read_number(frame) for frame in PyAVReader().read(path, range(59))] == numbers
    assert not Showing("vp8")(b"\x01") and Showing("vp8")(b"\x11")


def test_frames_that_lean_on_what_was_cut_away_are_not_counted(tmp_path) -> None:
    path = str(videos.open_start(tmp_path))
    assert len(probe(path).seconds) == 60
    for reader in (PyAVReader(), AutoReader()):
        assert [videos.read_number(frame) for frame in reader.read(path, [0, 1, 30, 59])] == [12, 13, 42, 71]


def test_h265_may_start_at_keyframes_without_leading_frames(tmp_path) -> None:
    options = {"x265-params": "keyint=12:min-keyint=12:scenecut=0:bframes=0:log-level=none:pools=1"}
    path = str(videos.write_numbered(tmp_path / "closed.mp4", codec="libx265", options=options))
    assert look(path).table.entries.tolist() == [0, 12, 24, 36, 48]
    sequence = PyAVReader().read(path, range(60))
    assert (PyAVReader().read(path, [26, 59]) == sequence[[26, 59]]).all()
    assert resets_decoder("hevc", b"\0\0\1\x2a\1", None) and not resets_decoder("hevc", b"\0\0\1\x02\1", None)


def test_what_is_no_video_is_refused_in_one_line(tmp_path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("these are not\nthe frames\n" * 50)
    videos.audio_only(tmp_path)
    reasons = {
        "missing.mp4": "no such file",
        "empty.mp4": "the file is empty",
        "text.mp4": "not a video that FFmpeg can read",
        "audio_only.mp4": "holds no video, only audio",
        ".": "is a folder",
    }
    for name, reason in reasons.items():
        for call in (probe, lambda path: AutoReader().read(path, [0])):
            with pytest.raises(VideoError, match=reason) as caught:
                call(str(tmp_path / name))
            assert len(str(caught.value).splitlines()) == 1
            assert "these are" not in str(caught.value)


def test_a_file_that_changed_is_looked_at_again(tmp_path) -> None:
    path, other = tmp_path / "a.mp4", videos.write_numbered(tmp_path / "b.mp4", frames=20)
    videos.write_numbered(path, frames=10)
    missing = other.stat().st_size - path.stat().st_size
    path.write_bytes(path.read_bytes() + struct.pack(">I4s", missing, b"free").ljust(missing, b"\0"))
    probe(str(path)).seconds[:] = 7  # the caller's own copy
    assert probe(str(path)).seconds[0] == 0
    assert len(probe(str(path)).seconds) == 10
    os.utime(other, ns=(1, 1))
    other.replace(path)
    assert len(PyAVReader().read(str(path), [19])) == 1


def test_decoding_may_start_where_nothing_reaches_across() -> None:
    def entries(*stored: int, keyframes: tuple[int, ...]) -> tuple[list[int], bool]:
        packets = [Packet(pts, i, i in keyframes, i in keyframes, True) for i, pts in enumerate(stored)]
        table = make_table(packets, "matroska,webm", 1.0)
        return table.entries.tolist(), table.regular

    assert entries(0, 2, 1, 3, 4, keyframes=(0, 3)) == ([0, 3], True)
    assert entries(0, 3, 1, 2, 4, keyframes=(0, 1)) == ([0], False), "1 and 2 are stored after the keyframe 3"
    assert entries(0, 4, 1, 2, 3, keyframes=(0, 2)) == ([0], False), "4 is stored before the keyframe 1"


def test_a_file_without_packets_has_an_empty_table() -> None:
    for container in ("mov,mp4", "matroska,webm", "avi"):
        table = make_table([], container, 1.0)
        assert len(table.ticks) == len(table.entries) == 0 and not table.regular


def test_looks_are_forgotten_when_too_many(made) -> None:
    memory = probe_module._Memory(frames=130)
    found = look(made(videos.b_frames))
    for i in range(5):
        memory.put(("a", 0, i), found)
    assert [memory.get(("a", 0, i)) is not None for i in range(5)] == [False, False, False, True, True]
