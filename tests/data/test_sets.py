import logging
import os

import pytest

from ssv.data.sets.class_folders import class_folders
from ssv.data.sets.folder import folder
from ssv.data.sets.hmdb51 import hmdb51
from ssv.data.sets.kinetics import kinetics
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
    assert [video.group for video in videos] == [
        "a/deep/er/c.avi", "a/z.mkv", "b.MP4", "broken.mp4", "link/far.webm",
    ], "a link that leads nowhere is a broken video, not an absent one"  # fmt: skip
    assert all(video.label == -1 for video in videos)


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
        ("path,label\na.mp4,1\nb.mp4\n", "line 3 has 1 cells, needed are 2"),
        ("path,label\na.mp4,1,2\n", "line 2 has 3 cells, needed are 2"),
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


ACTIONS = ["brush_hair", "cartwheel", "shoot_ball", "swing_baseball"]
STRANGE = "it's_a[weird]#1 (50%)&;!+"


def clip_of(action, film, number):
    return f"{film}_{action}_u_nm_np1_ba_goo_{number}.avi"


@pytest.fixture
def hmdb_root(tmp_path):
    """Four classes, a film for each flag of fold 1; fold 2 turns the flags; names as hostile as the real ones."""
    for action in ACTIONS:
        for fold, flags in ((1, (1, 2, 0, 1)), (2, (2, 0, 1, 1)), (3, (0, 1, 1, 2))):
            lines = ""
            for film, flag in zip(("April_09", STRANGE, "Film", "caf\udce9"), flags, strict=True):
                clip = clip_of(action, film, 0)
                path = tmp_path / "hmdb51_org" / action / clip
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
                lines += f"{clip} {flag} \n"
            path = tmp_path / "testTrainMulti_7030_splits" / f"{action}_test_split{fold}.txt"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(lines.encode(errors="surrogateescape"))
    return tmp_path


@pytest.mark.parametrize(
    ("fold", "split", "films"),
    [
        (1, "train", ["April_09", "caf\udce9"]),
        (1, "test", [STRANGE]),
        (2, "train", ["Film", "caf\udce9"]),
        (3, "test", ["caf\udce9"]),
    ],
)
def test_hmdb51_takes_the_flagged_clips_of_every_class(hmdb_root, fold, split, films):
    videos = hmdb51(str(hmdb_root), split, fold=fold)
    assert [(video.label, video.group) for video in videos] == [(k, film) for k in range(4) for film in films]
    for video in videos:
        assert os.path.isfile(video.path)
        assert os.path.basename(video.path) == clip_of(ACTIONS[video.label], video.group, 0)


def test_hmdb51_lists_may_have_other_white_space_and_no_other_flags(hmdb_root):
    path = hmdb_root / "testTrainMulti_7030_splits" / "cartwheel_test_split1.txt"
    path.write_bytes(path.read_bytes().replace(b" \n", b"\r\n").replace(b" 2", b"\t2") + b"\r\n")
    assert len(hmdb51(str(hmdb_root), "train")) == 8 and len(hmdb51(str(hmdb_root), "test")) == 4
    for line in ("x.avi 3 \n", "x.avi\n", " 1\n"):
        path.write_text(clip_of("cartwheel", "Film", 0) + " 1 \n" + line)
        with pytest.raises(ValueError, match="cartwheel_test_split1.txt: line 2 must be a file name and 0, 1 or 2"):
            hmdb51(str(hmdb_root), "train")


def test_hmdb51_not_there(tmp_path, hmdb_root):
    with pytest.raises(DataNotFound, match=r"no folder hmdb51_org .*unpack twice.*data_root=/path"):
        hmdb51(str(tmp_path / "nowhere"), "train")
    for action in ("shoot_ball", "cartwheel"):
        (hmdb_root / "hmdb51_org" / action / clip_of(action, "April_09", 0)).unlink()
    with pytest.raises(
        DataNotFound, match="2 of the 8 train videos of fold 1 are missing: cartwheel/April_09"
    ) as caught:
        hmdb51(str(hmdb_root), "train")
    assert "\n" not in str(caught.value) and len(hmdb51(str(hmdb_root), "test")) == 4
    with pytest.raises(ValueError, match=r"data\.videos\.fold=0"):
        hmdb51(str(hmdb_root), "train", fold=0)
    with pytest.raises(ValueError, match="'val'"):
        hmdb51(str(hmdb_root), "val")
    for path in (hmdb_root / "testTrainMulti_7030_splits").iterdir():
        path.unlink()
    with pytest.raises(DataNotFound, match="no list ending in _test_split1.txt"):
        hmdb51(str(hmdb_root), "train")


HEADER = "label,youtube_id,time_start,time_end,split\r\n"


@pytest.fixture
def kinetics_root(tmp_path):
    """Three classes in lists; files named by time or not, directly or in folders; one of each list is gone."""
    write(
        tmp_path / "train.csv",
        HEADER
        + '"playing, guitar",-dash_Id_01,10,20,train\r\nabseiling,ab0,0,10,train\r\nabseiling,gone,3,13,train\r\n'
        + "zumba,zu0,5,15,train\r\n",
    )
    write(
        tmp_path / "annotations" / "validate.csv",
        HEADER + "zumba,zu1,1,11,val\r\nbowling,bo1,2,12,val\r\nzumba,off,7,17,\r\n",
    )
    for name in (
        "train/-dash_Id_01_000010_000020.mp4",
        "train/abseiling/ab0.mkv",
        "train/zu0_000006_000016.mp4",  # another ten seconds of the same film
        "train/zu0_000005_000015.mp4",
        "val/zumba/zu1_000001_000011.webm",
        "val/bo1.mp4",
        "val/zumba/notes.txt",
    ):
        write(tmp_path / name, "")
    return tmp_path


def test_kinetics_labels_are_places_among_the_sorted_names_of_all_lists(kinetics_root, caplog):
    root = str(kinetics_root)
    with caplog.at_level(logging.WARNING):
        train, test = (kinetics(root, split, missing="skip") for split in ("train", "test"))
    names = ["abseiling", "bowling", "playing, guitar", "zumba"]
    assert [(names[v.label], v.group) for v in train] == [
        ("playing, guitar", "-dash_Id_01"),
        ("abseiling", "ab0"),
        ("zumba", "zu0"),
    ]
    assert [os.path.relpath(v.path, root) for v in train] == [
        "train/-dash_Id_01_000010_000020.mp4",
        "train/abseiling/ab0.mkv",
        "train/zu0_000005_000015.mp4",
    ]
    assert [(names[v.label], os.path.relpath(v.path, root)) for v in test] == [
        ("zumba", "val/zumba/zu1_000001_000011.webm"),
        ("bowling", "val/bo1.mp4"),
    ]
    assert [record.getMessage() for record in caplog.records] == [
        "Kinetics: 1 of the 4 videos in train.csv are missing and left out: gone_000003_000013",
        "Kinetics: 1 of the 3 videos in validate.csv are missing and left out: off_000007_000017",
    ]


def test_kinetics_missing_videos_are_an_error_unless_allowed(kinetics_root):
    with pytest.raises(DataNotFound, match=r"1 of the 4 videos in train.csv are missing: gone_000003.*missing=skip"):
        kinetics(str(kinetics_root), "train")
    (kinetics_root / "val" / "bo1.mp4").unlink()
    (kinetics_root / "val" / "zumba" / "zu1_000001_000011.webm").unlink()
    with pytest.raises(DataNotFound, match="3 of the 3 videos in validate.csv are missing") as caught:
        kinetics(str(kinetics_root), "test", missing="skip")
    assert "missing=skip" not in str(caught.value)


def test_kinetics_a_file_is_one_video(kinetics_root):
    write(kinetics_root / "train.csv", HEADER + "a,ab0,0,10,train\r\nb,ab0,20,30,train\r\n")
    with pytest.raises(DataNotFound, match="1 of the 2 videos in train.csv are missing: ab0_000020_000030"):
        kinetics(str(kinetics_root), "train")


def test_kinetics_the_number_of_classes_is_checked_if_asked(kinetics_root):
    assert kinetics(str(kinetics_root), "train", classes=4, missing="skip")
    with pytest.raises(ValueError, match=r"found 4 classes where data.videos.classes=400.*classes=null"):
        kinetics(str(kinetics_root), "train", classes=400)


def test_kinetics_without_lists_are_folders_of_classes(tmp_path):
    for name in (
        "train/b c/xy_z_000001_000011.mp4",
        "train/a/2.MKV",
        "train/a/1.mp4",
        "val/b c/3.mp4",
        "val/only val/4.mp4",
        "val/a/.5.mp4",
        "val/.cache/6.mp4",
    ):
        write(tmp_path / name, "")
    train, test = (kinetics(str(tmp_path), split) for split in ("train", "test"))
    assert [(v.label, v.group, os.path.basename(v.path)) for v in train] == [
        (0, "1", "1.mp4"),
        (0, "2", "2.MKV"),
        (1, "xy_z", "xy_z_000001_000011.mp4"),
    ]
    assert [(v.label, v.group) for v in test] == [(1, "3"), (2, "4")] and all(
        os.path.isfile(v.path) for v in train + test
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label,id\na,b\n", "line 1 must name the columns label,youtube_id,time_start,time_end, got 'label,id'"),
        (HEADER + "a,b,0,10,train\n,c,0,10,train\n", "train.csv: a row needs .* line 3"),
        (HEADER + "a,b,x,10,train\n", "line 2"),
        (HEADER + "a,b\n", "line 2"),
        (HEADER + "a,b,inf,10,train\n", "line 2"),
    ],
)
def test_kinetics_lists_that_make_no_sense(kinetics_root, text, message):
    write(kinetics_root / "train.csv", text)
    with pytest.raises(ValueError, match=message):
        kinetics(str(kinetics_root), "train")


def test_kinetics_not_there(tmp_path, kinetics_root):
    with pytest.raises(DataNotFound, match=r"no folder train .*cvdfoundation.*data_root=/path"):
        kinetics(str(tmp_path / "nowhere"), "train")
    with pytest.raises(ValueError, match="'val'"):
        kinetics(str(kinetics_root), "val")
    with pytest.raises(ValueError, match=r"data.videos.missing must be error or skip"):
        kinetics(str(kinetics_root), "train", missing="ignore")
    (kinetics_root / "train.csv").unlink()
    with pytest.raises(DataNotFound, match="no list train.csv"):
        kinetics(str(kinetics_root), "train")
    empty = tmp_path / "empty"
    (empty / "train").mkdir(parents=True)
    with pytest.raises(DataNotFound, match="no videos in folders of classes"):
        kinetics(str(empty), "train")


def touch(root, *names):
    for name in names:
        write(root / name, "")
    return str(root)


def rows(videos, root):
    return [(os.path.relpath(path, root), label) for path, label, _ in videos]


@pytest.mark.parametrize("test", ["test", "val", "validation"])
def test_class_folders_with_train_and_test(tmp_path, test):
    root = touch(tmp_path, "train/run/b.mp4", "train/Jump/deep/a.avi", f"{test}/run/c.mkv", "train/run/notes.txt")
    assert rows(class_folders(root, "train"), root) == [("train/Jump/deep/a.avi", 0), ("train/run/b.mp4", 1)]
    assert rows(class_folders(root, "test"), root) == [(f"{test}/run/c.mkv", 1)]


def test_class_folders_with_a_list_of_test_videos(tmp_path):
    root = touch(tmp_path, "run/a.mp4", "run/b.mp4", "walk/c.mp4")
    write(tmp_path / "test.txt", "run/b.mp4\r\n\r\n")
    assert rows(class_folders(root, "test", test="test.txt"), root) == [("run/b.mp4", 0)]
    assert rows(class_folders(root, "train", test="test.txt"), root) == [("run/a.mp4", 0), ("walk/c.mp4", 1)]
    assert len(class_folders(root, "train")) == 3, "to pretrain on, no list is needed"
    with pytest.raises(ValueError, match="data.videos.test"):
        class_folders(root, "test")
    write(tmp_path / "test.txt", "run/x.mp4\n")
    with pytest.raises(DataNotFound, match="1 of the 1 videos in test.txt are missing: run/x.mp4"):
        class_folders(root, "test", test="test.txt")


def test_class_folders_refuse_what_has_no_class(tmp_path):
    with pytest.raises(DataNotFound, match="no videos in the folders"):
        class_folders(str(tmp_path), "train")
    root = touch(tmp_path, "train/run/b.mp4", "test/walk/c.mkv")
    with pytest.raises(ValueError, match="classes that train has not: walk"):
        class_folders(root, "test")
    with pytest.raises(DataNotFound, match="no folder"):
        class_folders(root, "test", test="tset")
    touch(tmp_path, "train/loose.mp4")
    with pytest.raises(ValueError, match="1 videos are in no class folder: loose.mp4"):
        class_folders(root, "train")
