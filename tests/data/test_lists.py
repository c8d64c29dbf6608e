"""Lists are read as they were meant, or refused in one line; whatever wrote them."""

import csv
import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssv.data.lists import read_lines, read_table
from ssv.data.sequences.one import one
from ssv.data.sets.hmdb51 import hmdb51
from ssv.data.sets.table import table
from ssv.data.sets.ucf101 import ucf101

FAULTS = Path(__file__).resolve().parents[3] / "shared" / "data" / "faults"
quick = settings(max_examples=60, deadline=None, derandomize=True)
thorough = settings(max_examples=3000, deadline=None)
CELLS = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufeff"), max_size=8).map(str.strip)
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be")


def encoded(text, encoding):
    mark = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(encoding, b"")
    return mark + text.encode(encoding)


def check_round_trip(folder, cells, encoding, delimiter, end):
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator=end).writerows([("path", "label"), *cells])
    path = folder / "list.csv"
    path.write_bytes(encoded(out.getvalue(), encoding))
    found = [(row.cells["path"], row.cells["label"]) for row in read_table(str(path), ("path", "label"))]
    assert found == cells


TABLES = (st.lists(st.tuples(CELLS.filter(bool), CELLS), max_size=5), st.sampled_from(ENCODINGS))
STYLES = (st.sampled_from(",;\t"), st.sampled_from(["\n", "\r\n"]))


@quick
@given(*TABLES, *STYLES)
def test_tables_of_any_text_read_back(tmp_path_factory, cells, encoding, delimiter, end):
    check_round_trip(tmp_path_factory.mktemp("t"), cells, encoding, delimiter, end)


@pytest.mark.slow
@thorough
@given(*TABLES, *STYLES)
def test_many_tables_of_any_text_read_back(tmp_path_factory, cells, encoding, delimiter, end):
    check_round_trip(tmp_path_factory.mktemp("t"), cells, encoding, delimiter, end)


def check_any_bytes(folder, data):
    path = folder / "any"
    path.write_bytes(data)
    for read in (
        lambda: read_lines(str(path)),
        lambda: read_lines(str(path), file_names=True),
        lambda: read_table(str(path), ("point", "x", "y"), ("frame",)),
    ):
        try:
            read()
        except ValueError as error:
            assert not isinstance(error, UnicodeError) and str(path) in str(error) and "\n" not in str(error)


@quick
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory, data):
    check_any_bytes(tmp_path_factory.mktemp("t"), data)


@pytest.mark.slow
@thorough
@given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(lambda data: b"frame,point,x,y\n" + data)))
def test_many_bytes_are_read_or_refused(tmp_path_factory, data):
    check_any_bytes(tmp_path_factory.mktemp("t"), data)


POINTS = "frame,point,x,y\n0,a,60,50\n0,b,100,90\n1,a,61,50\n1,b,101,90\n"


def points(folder, data):
    (folder / "frames").mkdir(exist_ok=True)
    (folder / "frames" / "0.png").write_bytes(b"")
    (folder / "points.csv").write_bytes(data)
    return one(str(folder), frames="frames", labels="points.csv")[0].points


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_points_are_those_of_their_frames(tmp_path, encoding, delimiter):
    found = points(tmp_path, encoded(POINTS.replace(",", delimiter), encoding))
    assert found.tolist() == [[[60, 50], [100, 90]], [[61, 50], [101, 90]]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("frame,", "Frame,"), "'Frame' is unknown, did you mean 'frame'"),
        (("frame,", "frame_id,"), "'frame_id' is unknown, did you mean 'frame'"),
        (("frame,", "frame,frame,"), "names the column 'frame' twice"),
        (("1,b,", "-1,b,"), "line 5 has frame '-1'; needed is a whole number from 0"),
        (("1,b,", "1.5,b,"), "line 5 has frame '1.5'"),
        (("1,b,", ",b,"), "line 5 has frame ''"),
        (("1,b,", "1,a,"), "line 5 repeats point 'a' of frame 1 in line 4"),
        (("0,b,", "1,c,"), "the first frame lacks point 'c'"),
        (("101,90", "nan,90"), "line 5 has x 'nan'"),
        (("101,90", '"101,5",90'), "line 5 has x '101,5'"),
        (("101,90", "101"), "line 5 has 3 cells, needed are 4"),
        (("101,90", '101,"90'), "is no row of a CSV file"),
        (("1,b,", "99999999999,b,"), "frames are counted from 0"),
        ((POINTS, "frame,point,x,y\n"), "has no row"),
        ((POINTS, ""), "must name the columns"),
    ],
)
def test_points_that_cannot_be_meant_are_one_line(tmp_path, change, message):
    with pytest.raises(ValueError, match=".") as caught:
        points(tmp_path, POINTS.replace(*change).encode())
    assert message in str(caught.value)


def test_windows_1252_and_utf_16_without_a_mark_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"line 3 has byte 0xe9 \(Windows-1252, perhaps\); save it as UTF-8"):
        points(tmp_path, POINTS.replace("0,b", "0,é").encode("cp1252"))
    with pytest.raises(ValueError, match="zero bytes: UTF-16 without a mark"):
        points(tmp_path, POINTS.encode("utf-16-le"))


def ucf_lists(root, classes):
    folder = root / "ucfTrainTestlist"
    folder.mkdir(parents=True)
    (root / "UCF-101" / "Walk").mkdir(parents=True)
    (root / "UCF-101" / "Walk" / "v_Walk_g01_c01.avi").write_bytes(b"")
    (folder / "classInd.txt").write_bytes(classes)
    (folder / "trainlist01.txt").write_bytes(b"\xef\xbb\xbfWalk/v_Walk_g01_c01.avi 2\r\n")
    return str(root)


def test_ucf101_lists_with_marks(tmp_path):
    root = ucf_lists(tmp_path, b"\xef\xbb\xbf1 Run\n2 Walk\n")
    assert [video.label for video in ucf101(root, "train")] == [1]


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (b"Walk/v_Walk_g01_c01.avi 1\n", "but classInd.txt gives this class the number 2"),
        (b"Walk/v_Walk_g01_c01.avi 2\n" * 2, "lists a video twice"),
        (b"", "lists no video"),
    ],
)
def test_ucf101_lists_that_contradict_each_other_are_refused(tmp_path, train, message):
    root = ucf_lists(tmp_path, b"1 Run\n2 Walk\n")
    (tmp_path / "ucfTrainTestlist" / "trainlist01.txt").write_bytes(train)
    with pytest.raises(ValueError, match=message):
        ucf101(root, "train")


@pytest.mark.parametrize(
    "classes", [b"0 Run\n1 Walk\n", b"1 Run\n3 Walk\n", b"1 Run\n1 Walk\n", b"1 Walk\n2 walk\n", b""]
)
def test_ucf101_classes_not_numbered_from_one_are_refused(tmp_path, classes):
    with pytest.raises(ValueError, match=r"must number its 2 classes from 1 to 2|needs lines such as"):
        ucf101(ucf_lists(tmp_path, classes), "train")


def test_hmdb51_lists_with_marks_and_names_that_are_no_text(tmp_path):
    (tmp_path / "testTrainMulti_7030_splits").mkdir()
    folder = tmp_path / "hmdb51_org" / "run"
    folder.mkdir(parents=True)
    for name in (b"a.avi", b"caf\xe9.avi"):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(b"")
    lists = tmp_path / "testTrainMulti_7030_splits" / "run_test_split1.txt"
    lists.write_bytes(b"\xef\xbb\xbfa.avi 1\ncaf\xe9.avi 1\n")
    assert [os.path.basename(video.path) for video in hmdb51(str(tmp_path), "train")] == ["a.avi", "caf\udce9.avi"]
    lists.write_bytes(b"a.avi 1\na.avi 2\n")
    with pytest.raises(ValueError, match="line 2 repeats the clip of line 1"):
        hmdb51(str(tmp_path), "train")


@pytest.mark.skipif(not FAULTS.is_dir(), reason="the collected files are not here")
def test_the_collected_points_are_those_of_the_file_without_a_mark(tmp_path):
    with_mark, without = (
        points(tmp_path, (FAULTS / "points_csv" / name).read_bytes()) for name in ("excel_utf8_bom.csv", "ok.csv")
    )
    assert np.array_equal(with_mark, without)
    assert with_mark.shape[0] == 120
    assert with_mark[0].tolist() == [[60, 50], [100, 90]]


def test_a_list_of_videos_in_windows_1252_is_one_line(tmp_path):
    (tmp_path / "videos.csv").write_bytes("path,label\nété.mp4,1\n".encode("cp1252"))
    with pytest.raises(ValueError, match="line 2 has byte 0xe9"):
        table(str(tmp_path), "train")


def test_lines_end_where_files_have_them_end(tmp_path):
    """Other separators of text may be part of a name."""
    names = ["a\u2028b", "c\x85d", "e\x0bf", "g\x1ch"]
    (tmp_path / "list.txt").write_bytes("\r\n".join(names).encode() + b"\rlast\n")
    assert [name for _, name in read_lines(str(tmp_path / "list.txt"))] == [*names, "last"]


@pytest.mark.parametrize("labels", [("-1", "-1"), ("0.0", "1.0"), ("9" * 20, "1"), ("1e3", "2"), ("nan", "x")], ids=str)
def test_labels_that_are_no_whole_numbers_are_refused(tmp_path, labels):
    (tmp_path / "videos.csv").write_text("path,label\na.mp4,{}\nb.mp4,{}\n".format(*labels))
    for name in "ab":
        (tmp_path / f"{name}.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match="labels must be all whole numbers from 0 or all names"):
        table(str(tmp_path), "train")


def test_a_video_is_the_same_by_any_path(tmp_path):
    (tmp_path / "videos.csv").write_text("path,split\na/b.mp4,train\na/./b.mp4,test\n")
    with pytest.raises(ValueError, match="line 3 repeats the video of line 2"):
        table(str(tmp_path), "train")


def test_points_far_outside_of_anything_are_refused(tmp_path):
    with pytest.raises(ValueError, match="line 5 has x '1e300'"):
        points(tmp_path, POINTS.replace("101,90", "1e300,90").encode())
