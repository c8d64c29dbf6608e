import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import av
import numpy as np
import pytest

from ssv.data.readers import decord as decord_module
from ssv.data.readers.auto import AutoReader
from ssv.data.readers.base import Reader, VideoError
from ssv.data.readers.decord import DecordReader, has_decord, why_not_decord
from ssv.data.readers.probe import count_decodable, look, probe
from ssv.data.readers.pyav import PyAVReader, _decode
from tests import videos

needs_decord = pytest.mark.skipif(not has_decord(), reason="decord is not installed")
READERS = [PyAVReader, AutoReader]


def plain_decode(path: str) -> np.ndarray:
    """All frames in the order the decoder gives them, upright: slow and obvious."""
    with av.open(path) as container:
        return np.stack(
            [np.rot90(f.to_ndarray(format="rgb24"), k=round(f.rotation / 90)) for f in container.decode(video=0)]
        )


def index_lists(frames: int) -> list[list[int]]:
    shuffled = np.random.default_rng(0).permutation(frames)[:20].tolist()
    strided = [list(range(start, frames, stride))[:16] for stride in (1, 2, 4, 8) for start in (0, 7, 13, 37 % frames)]
    return [*strided, [0], [frames - 1], list(range(frames - 8, frames)), shuffled, [5, 5, 3, 3, 29, 5]]


@pytest.mark.parametrize("reader_class", READERS)
@pytest.mark.parametrize("kind", videos.WHOLE, ids=lambda kind: kind.__name__)
def test_every_frame_is_the_one_asked_for(kind, reader_class, made) -> None:
    path, reader = made(kind), reader_class()
    frames = len(probe(path).seconds)
    sequence = reader.read(path, range(frames))
    assert [videos.read_number(frame) for frame in sequence] == list(range(frames))
    for indices in index_lists(frames):
        got = reader.read(path, indices)
        assert got.dtype == np.uint8
        assert (got == sequence[indices]).all(), indices


@pytest.mark.parametrize("kind", videos.WHOLE, ids=lambda kind: kind.__name__)
def test_readers_agree_with_a_plain_decode(kind, made) -> None:
    path = made(kind)
    expected = plain_decode(path)
    assert len(probe(path).seconds) == len(expected) == count_decodable(path)
    assert (PyAVReader().read(path, range(len(expected))) == expected).all()
    # Not the same FFmpeg behind decord: rounding from YUV to RGB may differ off x86.
    assert np.abs(AutoReader().read(path, range(len(expected))).astype(int) - expected).max() <= 3


@pytest.mark.parametrize("clockwise", [90, 180, 270])
@pytest.mark.parametrize("reader_class", READERS)
def test_frames_are_shown_upright(clockwise, reader_class, tmp_path) -> None:
    path = str(videos.rotated(tmp_path, clockwise=clockwise))
    frames = reader_class().read(path, [3, 20])
    info = probe(path)
    assert frames.shape == (2, info.height, info.width, 3) == (2, 48, 64, 3)
    assert info.rotation == 360 - clockwise
    assert [videos.read_number(frame) for frame in frames] == [3, 20]


@pytest.mark.parametrize("reader_class", READERS)
@pytest.mark.parametrize("kind", [videos.truncated, videos.damaged_avi], ids=lambda kind: kind.__name__)
def test_a_broken_file_gives_the_right_frame_or_an_error(kind, reader_class, made) -> None:
    assert_right_or_error(made(kind), reader_class())


def test_pyav_notices_damage_inside_a_picture(made) -> None:
    path = made(videos.damaged_mp4)
    read = assert_right_or_error(path, PyAVReader())
    assert set(range(22)) <= set(read), "what has left the decoder before the damage can be read"
    assert set(range(36, 60)) <= set(read), "and what needs nothing of it"
    assert not set(range(24, 36)) & set(read)
    assert len(read) <= count_decodable(path) < 60


def assert_right_or_error(path: str, reader: Reader) -> list[int]:
    read = []
    for index in range(60):
        try:
            frame = reader.read(path, [index])[0]
        except VideoError as error:
            assert len(str(error).splitlines()) == 1
            assert len(error.reason) < 200
        else:
            assert videos.read_number(frame) == index
            read.append(index)
    assert len(read) < 60
    return read


@needs_decord
@pytest.mark.parametrize(
    "kind", [videos.open_gop, videos.intra_refresh, videos.avi, videos.hevc], ids=lambda kind: kind.__name__
)
def test_decord_alone_would_be_wrong(kind, made) -> None:
    """Why there is `auto`: once this fails, decord has been mended and may be used for more."""
    path, indices = made(kind), list(range(37, 60, 4))
    frames = plain_decord(path).get_batch(indices).asnumpy()
    assert [number_or_none(frame) for frame in frames] != indices
    with pytest.raises(VideoError, match="set reader=auto"):
        DecordReader().read(path, indices)


@needs_decord
def test_decord_alone_would_show_what_an_edit_list_hides(made) -> None:
    path = made(videos.edit_list)
    assert len(plain_decord(path)) == 65 != len(probe(path).seconds)
    assert "edit list" in (why_not_decord(look(path)) or "")


@needs_decord
def test_decord_paints_over_damage(made) -> None:
    """The limit that `DecordReader` states: its check of repeated frames does not see this."""
    numbers = [number_or_none(frame) for frame in DecordReader().read(made(videos.damaged_mp4), range(60))]
    assert numbers[:22] == list(range(22))
    assert numbers != list(range(60))


def plain_decord(path: str):
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    return decord.VideoReader(path, num_threads=1)


def number_or_none(frame: np.ndarray) -> int | None:
    try:
        return videos.read_number(frame)
    except ValueError:
        return None


@needs_decord
def test_decord_takes_plain_files_only(made) -> None:
    chosen = {kind.__name__ for kind in videos.WHOLE if why_not_decord(look(made(kind))) is None}
    assert chosen == {"constant_rate", "one_gop", "b_frames", "variable_rate"}


@needs_decord
def test_decord_reads_short_gops_as_a_range(tmp_path) -> None:
    path = str(videos.write_numbered(tmp_path / "short.mp4", options={"g": "4", "bf": "0"}))
    for indices in ([3, 7, 11, 15], [50, 2, 2, 30], list(range(0, 60, 2)), []):
        frames = DecordReader().read(path, indices)
        assert [videos.read_number(frame) for frame in frames] == indices


@needs_decord
def test_decord_reports_repeated_frames(made, monkeypatch) -> None:
    monkeypatch.setattr(decord_module, "why_not_decord", lambda known: None)
    with pytest.raises(VideoError, match="decord cannot read it: frames are damaged$"):
        DecordReader().read(made(videos.damaged_avi), range(58))
    with pytest.raises(VideoError, match="counts 65 frames"):
        DecordReader().read(made(videos.edit_list), [0])


def test_without_decord_auto_reads_with_pyav(made, monkeypatch) -> None:
    monkeypatch.setattr(decord_module, "has_decord", lambda: False)
    with pytest.raises(ValueError, match="set reader=pyav"):
        DecordReader()
    frames = AutoReader().read(made(videos.b_frames), [9, 4])
    assert [videos.read_number(frame) for frame in frames] == [9, 4]


def test_a_seek_that_goes_elsewhere_is_noticed(made) -> None:
    path = made(videos.b_frames)
    known = look(path)
    assert known.table.entries.tolist() == [0, 12, 24, 36, 48]
    assert next(_decode(path, known, 24))[0] == 24
    assert next(_decode(path, known, 25))[0] == 0, "25 is no keyframe: decode from the start"


def test_only_needed_groups_are_decoded(made, monkeypatch) -> None:
    entries = []
    original = _decode

    def recording(path, known, entry):
        entries.append(entry)
        return original(path, known, entry)

    monkeypatch.setattr("ssv.data.readers.pyav._decode", recording)
    PyAVReader().read(made(videos.b_frames), [50, 6, 14, 15])
    assert entries == [0, 48], "12 follows closely on 6 and is reached by decoding on"


@pytest.mark.parametrize("reader_class", READERS)
def test_indices_outside_are_named(reader_class, made) -> None:
    path = made(videos.constant_rate)
    for index in (60, -1):
        with pytest.raises(VideoError, match=f"has frames 0 to 59, asked for frame {index}"):
            reader_class().read(path, [0, index])
    assert reader_class().read(path, []).shape == (0, 48, 64, 3)


def test_odd_file_names(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = "12:30 #1 100%d é 動画.mp4"
    videos.write_numbered(tmp_path / "plain.mp4", frames=8).rename(name)
    for reader in (PyAVReader(), AutoReader()):
        assert videos.read_number(reader.read(name, [5])[0]) == 5


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("reader_class", READERS)
def test_reading_in_a_forked_child(reader_class, made) -> None:
    path, reader = made(videos.b_frames), reader_class()
    here = reader.read(path, [7, 31])
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        there = pool.submit(reader.read, path, [7, 31]).result(timeout=60)
        assert (here == there).all()
        with pytest.raises(VideoError, match="asked for frame 99"):
            pool.submit(reader.read, path, [99]).result(timeout=60)


def test_broken_files_leave_the_terminal_alone(made, capfd) -> None:
    for kind in videos.BROKEN:
        with pytest.raises(VideoError):
            PyAVReader().read(made(kind), range(60))
    assert capfd.readouterr().err == ""


def test_real_clips(real_data) -> None:
    clips = sorted((real_data / "clips").iterdir())
    assert clips
    for clip in clips:
        path = str(clip)
        with av.open(path) as container:
            frames = list(container.decode(container.streams.best("video")))
        count = len(probe(path).seconds)
        assert count == len(frames) == count_decodable(path)
        generator = np.random.default_rng(0)
        for stride in (1, 2, 4, 8):
            start = int(generator.integers(max(1, count - 15 * stride)))
            indices = list(range(start, count, stride))[:16]
            expected = np.stack(
                [np.rot90(frames[i].to_ndarray(format="rgb24"), frames[i].rotation // 90) for i in indices]
            )
            assert (PyAVReader().read(path, indices) == expected).all(), (path, indices)
            assert np.abs(AutoReader().read(path, indices).astype(int) - expected).max() <= 3, (path, indices)
