import os

import pytest

from ssv.data.sets.folder import folder
from ssv.data.sets.lookup import DataNotFound
from ssv.data.sets.table import table
from ssv.data.sets.ucf101 import ucf101

CLASSES = ["ApplyEyeMakeup", "Hammering", "HammerThrow", "HandstandPushups"]  # the official order ignores case


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


@pytest.fixture
def ucf_root(tmp_path):
    """Four classes, groups g01 (test in fold 1) to g03, CRLF lists, as distributed."""
    lists = tmp_path / "ucfTrainTestlist"
    write(lists / "classInd.txt", "".join(f"{i} {name}\r\n" for i, name in enumerate(CLASSES, start=1)))
    for fold in (1, 2, 3):
        lines = {"train": "", "test": ""}
        for i, name in enumerate(CLASSES, start=1):
            for group in (1, 2, 3):
                clip = f"{name}/v_{name.replace('Handstand', 'HandStand')}_g{group:02d}_c01.avi"
                write(tmp_path / "UCF-101" / clip, "")
                is_test = group == fold
                lines["test" if is_test else "train"] += f"{clip}\r\n" if is_test else f"{clip} {i}\r\n"
        write(lists / f"trainlist{fold:02d}.txt", lines["train"])
        write(lists / f"testlist{fold:02d}.txt", lines["test"])
    return tmp_path


@pytest.mark.parametrize("split", ["train", "test"])
def test_ucf101_labels_come_from_the_folder(ucf_root, split):
    videos = ucf101(str(ucf_root), split)
    assert len(videos) == (8 if split == "train" else 4)
    for video in videos:
        assert os.path.isfile(video.path)
        assert CLASSES[video.label] == os.path.basename(os.path.dirname(video.path))
    assert any("v_HandStandPushups" in video.path and video.label == 3 for video in videos)


def test_ucf101_folds_and_groups(ucf_root):
    assert {video.group for video in ucf101(str(ucf_root), "test", fold=1)} == {"g01"}
    assert {video.group for video in ucf101(str(ucf_root), "test", fold=3)} == {"g03"}
    assert {video.group for video in ucf101(str(ucf_root), "train", fold=3)} == {"g01", "g02"}
    with pytest.raises(ValueError, match=r"data\.videos\.fold=4"):
        ucf101(str(ucf_root), "train", fold=4)
    with pytest.raises(ValueError, match="'val'"):
        ucf101(str(ucf_root), "val")


def test_ucf101_class_names_match_without_regard_to_case(ucf_root):
    index = ucf_root / "ucfTrainTestlist" / "classInd.txt"
    index.write_text(index.read_text().replace("HandstandPushups", "HandStandPushups"))
    assert ucf101(str(ucf_root), "test")[-1].label == 3


def test_ucf101_not_there(tmp_path, ucf_root):
    with pytest.raises(DataNotFound, match=r"no folder UCF-101 .*Central Florida.*ucfTrainTestlist.*data_root=/path"):
        ucf101(str(tmp_path / "nowhere"), "train")
    gone = [*(ucf_root / "UCF-101" / "Hammering").iterdir(), *(ucf_root / "UCF-101" / "HammerThrow").iterdir()]
    for path in gone:
        path.unlink()
    (ucf_root / "UCF-101" / "HammerThrow").rmdir()
    with pytest.raises(
        DataNotFound, match=r"4 of the 8 videos in trainlist01.txt are missing: .*_g02_c01.avi,.* and 1 more"
    ):
        ucf101(str(ucf_root), "train")
    (ucf_root / "ucfTrainTestlist" / "trainlist01.txt").unlink()
    with pytest.raises(DataNotFound, match="no trainlist01.txt"):
        ucf101(str(ucf_root), "train")


def test_ucf101_a_list_that_makes_no_sense(ucf_root):
    write(ucf_root / "UCF-101" / "Juggling" / "v_Juggling_g01_c01.avi", "")
    write(ucf_root / "ucfTrainTestlist" / "testlist01.txt", "Juggling/v_Juggling_g01_c01.avi\r\n")
    with pytest.raises(ValueError, match="Juggling.*not a class of classInd.txt"):
        ucf101(str(ucf_root), "test")


def test_folder_finds_every_video_once(tmp_path):
    for name in ("b.MP4", "a/deep/er/c.avi", "a/z.mkv", "notes.txt", ".hidden.mp4", ".cache/d.mp4", "a/._c.avi"):
        write(tmp_path / name, "x")
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a" / "deep", target_is_directory=True)
    write(tmp_path.parent / "elsewhere" / "far.webm", "x")
    (tmp_path / "link").symlink_to(tmp_path.parent / "elsewhere", target_is_directory=True)
    (tmp_path / "broken.mp4").symlink_to(tmp_path / "not there")
    videos = folder(str(tmp_path), "train")
    assert [video.group for video in videos] == ["a/deep/er/c.avi", "a/z.mkv", "b.MP4", "link/far.webm"]
    assert all(video.label == -1 and os.path.isfile(video.path) for video in videos)


def test_folder_errors(tmp_path):
    with pytest.raises(DataNotFound, match=r"no videos in this folder.*\.mp4.*data.root=/path"):
        folder(str(tmp_path), "train")
    with pytest.raises(DataNotFound, match="no such folder"):
        folder(str(tmp_path / "nowhere"), "train")
    with pytest.raises(ValueError, match="only the split 'train', got 'test'"):
        folder(str(tmp_path), "test")


def videos_csv(root, text, names=("a.mp4", "b.mp4", "sub/c.mp4", "d.mp4")):
    for name in names:
        write(root / name, "x")
    write(root / "videos.csv", text)
    return str(root)


def test_table_with_names_splits_and_groups(tmp_path):
    root = videos_csv(
        tmp_path,
        "\ufeffpath, label, split, group\r\na.mp4,run,train,p1\r\nb.mp4,walk,test,p2\r\n"
        "sub/c.mp4,climb,train,\r\nd.mp4,,train,p1\r\n\r\n",
    )
    train = table(root, "train")
    assert [(v.label, v.group) for v in train] == [(1, "p1"), (0, "sub/c.mp4"), (-1, "p1")]
    assert [os.path.relpath(v.path, root) for v in train] == ["a.mp4", "sub/c.mp4", "d.mp4"]
    assert [v.label for v in table(root, "test")] == [2]  # the same numbers in both splits


def test_table_with_numbers_and_no_split(tmp_path):
    root = videos_csv(tmp_path, "label,path\n10,a.mp4\n2,b.mp4\n,d.mp4\n")
    assert [v.label for v in table(root, "train")] == [10, 2, -1]
    with pytest.raises(ValueError, match="no row with split 'test'; 3 rows"):
        table(root, "test")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("path,label\na.mp4,1\nb.mp4\n", "line 3 needs 2 columns"),
        ("path,label\na.mp4,1,2\n", "line 2 needs 2 columns"),
        ("path,label\n,1\n", "line 2 has no path"),
        ("path,label,split\na.mp4,1,train\nb.mp4,1,valid\n", "line 3 has split 'valid'"),
        ("path,label\na.mp4,1\nb.mp4,1\na.mp4,2\n", "line 4 repeats the video of line 2"),
        ("path,label\na.mp4,1\nb.mp4,walk\n", "line 3 has 'walk'"),
        ("path,label\na.mp4,1\nb.mp4,-1\n", "line 3 has '-1'"),
        ("path,label\na.mp4,1\nx.mp4,2\n", "1 of the 2 train videos in videos.csv are missing: line 3: x.mp4"),
        ("a.mp4,1\n", "line 1 must name the columns"),
        ("path,class\na.mp4,1\n", "line 1 must name the columns"),
        ("", "line 1 must name the columns"),
    ],
)
def test_table_names_the_line(tmp_path, rows, message):
    with pytest.raises((ValueError, DataNotFound), match=message):
        table(videos_csv(tmp_path, rows), "train")


def test_table_not_there(tmp_path):
    with pytest.raises(DataNotFound, match=r"no list list.csv \(data.videos.file\).*path,label"):
        table(str(tmp_path), "train", file="list.csv")
