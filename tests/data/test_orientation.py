"""Every display matrix is applied, or refused: by both readers, by scan and its thumbnails, and by prepare, alike."""

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from ssv.data.prepared import PreparedReader
from ssv.data.preparing.run import prepare
from ssv.data.readers.auto import AutoReader
from ssv.data.readers.base import VideoError
from ssv.data.readers.decord import DecordReader, has_decord, why_not_decord
from ssv.data.readers.probe import look
from ssv.data.readers.pyav import PyAVReader
from ssv.data.scanning.examine import examine, thumbnail

WIDTH, HEIGHT = 64, 48
ONE = 1 << 16
EIGHT = [(a, 0, 0, d) for a in (1, -1) for d in (1, -1)] + [(0, b, c, 0) for b in (1, -1) for c in (1, -1)]


def stored():
    """Four areas of different grey, uint8 (H,W,3)."""
    frame = np.empty((HEIGHT, WIDTH, 3), dtype=np.uint8)
    frame[: HEIGHT // 2, : WIDTH // 2], frame[: HEIGHT // 2, WIDTH // 2 :] = 20, 80
    frame[HEIGHT // 2 :, : WIDTH // 2], frame[HEIGHT // 2 :, WIDTH // 2 :] = 150, 230
    return frame


def write(path, matrix, *, scale=ONE, frames=10):
    """A small H.264 file with the display matrix x' = a x + c y, y' = b x + d y; no matrix for None."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        if matrix is not None:
            a, b, c, d = (round(value * scale) for value in matrix)
            stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(stored(), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return str(path)


def shown(matrix):
    """Where the matrix puts each pixel, one after the other."""
    a, b, c, d = matrix
    frame = stored()
    places = {(a * x + c * y, b * x + d * y): frame[y, x] for y in range(HEIGHT) for x in range(WIDTH)}
    left, top = min(x for x, _ in places), min(y for _, y in places)
    width, height = max(x for x, _ in places) - left + 1, max(y for _, y in places) - top + 1
    out = np.empty((height, width, 3), dtype=np.uint8)
    for (x, y), value in places.items():
        out[y - top, x - left] = value
    return out


def same(found, expected, *, within=6):
    assert found.shape == expected.shape
    rows, columns = expected.shape[0] // 4, expected.shape[1] // 4
    for y in (rows, 3 * rows):
        for x in (columns, 3 * columns):
            assert np.abs(found[y, x].astype(int) - expected[y, x]).max() <= within, (y, x)


def readers():
    return [PyAVReader(), AutoReader(), *([DecordReader()] if has_decord() else [])]


@pytest.mark.parametrize("matrix", EIGHT)
@pytest.mark.parametrize("scale", [ONE, ONE // 2])
def test_every_reader_shows_what_the_matrix_says(tmp_path, matrix, scale):
    path, expected = write(tmp_path / "a.mp4", matrix, scale=scale), shown(matrix)
    for reader in readers():
        if isinstance(reader, DecordReader) and why_not_decord(look(path)) is not None:
            continue
        for frame in reader.read(path, [0, 7]):
            same(frame, expected)
    assert (look(path).info.height, look(path).info.width) == expected.shape[:2]


@pytest.mark.parametrize("matrix", EIGHT)
def test_scan_and_its_thumbnail_agree(tmp_path, matrix):
    path, expected = write(tmp_path / "a.mp4", matrix), shown(matrix)
    found = examine(path, lambda: None, decode=True)
    assert not found.reason and (found.height, found.width) == expected.shape[:2]
    small = cv2.imdecode(np.frombuffer(thumbnail(path, lambda: None, side=48), np.uint8), cv2.IMREAD_COLOR)
    same(small, cv2.resize(expected, small.shape[1::-1], interpolation=cv2.INTER_NEAREST), within=12)


def test_prepared_copies_are_upright(tmp_path):
    (tmp_path / "in").mkdir()
    for number, matrix in enumerate(EIGHT):
        write(tmp_path / "in" / f"{number}.mp4", matrix)
    prepare(str(tmp_path / "in"), str(tmp_path / "out"))
    for number, matrix in enumerate(EIGHT):
        reader = PreparedReader(str(tmp_path / "out"))
        same(reader.read(str(tmp_path / "out" / f"{number}.mp4"), [3])[0], shown(matrix), within=12)


@pytest.mark.parametrize("matrix", [(0, 0, 0, 0), (1, 0, 0, 0), (1, 1, 1, 1)])
def test_a_matrix_that_leaves_no_picture_is_none(tmp_path, matrix):
    path = write(tmp_path / "a.mp4", matrix)
    for reader in (PyAVReader(), AutoReader()):
        same(reader.read(path, [4])[0], stored())
    assert not examine(path, lambda: None, decode=True).reason


@pytest.mark.parametrize("matrix", [(0.7, 0.7, -0.7, 0.7), (0.98, 0.17, -0.17, 0.98), (1, 0, 0.5, 1)])
def test_any_other_matrix_is_refused_for_one_reason(tmp_path, matrix):
    path = write(tmp_path / "a.mp4", matrix)
    reasons = set()
    for attempt in (
        lambda: PyAVReader().read(path, [0]),
        lambda: AutoReader().read(path, [0]),
        lambda: examine(path, lambda: None, decode=True),
        lambda: thumbnail(path, lambda: None),
    ):
        with pytest.raises(VideoError) as caught:
            attempt()
        reasons.add(caught.value.reason)
    assert len(reasons) == 1 and "display matrix" in reasons.pop()
