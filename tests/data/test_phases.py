"""Lists of videos with key events, and reading them frame by frame: files and folders of pictures."""

import csv

import cv2
import numpy as np
import pytest
import torch

from ssv.data.crops import CenterCrop
from ssv.data.readers.base import VideoError
from ssv.data.readers.pyav import PyAVReader
from ssv.data.sampling import RandomClips
from ssv.data.sequences.phases import CHUNK, PhasedVideos
from ssv.data.sets.lookup import DataNotFound
from ssv.data.sets.phases import by_action, phases, toy_phases
from ssv.data.toy.clips import Process
from ssv.types import PhasedVideo, Video
from tests.videos import read_number, write_numbered


def pictures(folder, count, *, height=12, width=16):
    """A folder whose picture i is grey level 2 i (and red in the first column)."""
    folder.mkdir(parents=True)
    for i in range(count):
        pixels = np.full((height, width, 3), 2 * i, dtype=np.uint8)
        pixels[:, 0] = (255, 0, 0)
        cv2.imwrite(str(folder / f"{i + 1:06d}.png"), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    return str(folder)


def data(lists, **changes):
    settings = {
        "sampler": RandomClips(frames=4, stride=1, short="loop"),
        "crop": CenterCrop(8, short_side=12),
        "batch_size": 2,
        **changes,
    }
    return PhasedVideos("root", lambda root, split: lists[split], **settings, reader=PyAVReader())


def write_list(root, *rows, header="video,split,action,events"):
    (root / "phases.csv").write_text("\n".join([header, *rows]) + "\n")
    return str(root)


def test_a_list_of_ones_own(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    root = write_list(tmp_path, "b,train,squat,3;7", "a,test,squat,2;9", "c,train,bowl,4")
    assert phases(root, "train") == [
        PhasedVideo(str(tmp_path / "b"), (3, 7), "squat"),
        PhasedVideo(str(tmp_path / "c"), (4,), "bowl"),
    ]
    assert phases(root, "test") == [PhasedVideo(str(tmp_path / "a"), (2, 9), "squat")]


@pytest.mark.parametrize(
    ("rows", "header", "error", "message"),
    [
        (["a,train,x,3-7"], "video,split,action,events", ValueError, "line 2 has events '3-7', not frames as in"),
        (["a,val,x,3"], "video,split,action,events", ValueError, "line 2 has split 'val'"),
        (["a,train,x"], "video,split,action,events", ValueError, "line 2 has 3 cells, needed are 4"),
        (["a,train,x,3"], "path,split,action,events", ValueError, "must name the columns video,split,action,events"),
        (["a,test,x,3"], "video,split,action,events", ValueError, "no row with split 'train'"),
        (["gone,train,x,3"], "video,split,action,events", DataNotFound, "1 of the 1 train videos.*line 2: gone"),
    ],
)
def test_a_bad_list_says_which_line(tmp_path, rows, header, error, message):
    (tmp_path / "a").mkdir()
    with pytest.raises(error, match=message):
        phases(write_list(tmp_path, *rows, header=header), "train")


def test_a_missing_list_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(DataNotFound, match=r"no list phases.csv \(looked in"):
        phases(str(tmp_path), "train")
    with pytest.raises(DataNotFound, match="`ssv toy` writes it"):
        toy_phases(str(tmp_path), "test")
    with pytest.raises(ValueError, match="'train' and 'test', got 'held_out'"):
        phases(str(tmp_path), "held_out")


def test_actions_become_labels_to_train_on(tmp_path):
    def listed(root, split):
        names = {"train": ["squat", "bowl", "squat"], "test": ["squat"], "odd": ["jump", "bowl"]}[split]
        return [PhasedVideo(f"{root}/{split}/{i}.avi", (3,), name) for i, name in enumerate(names)]

    assert by_action("r", "train", videos=listed) == [
        Video("r/train/0.avi", 1, "train/0.avi"),
        Video("r/train/1.avi", 0, "train/1.avi"),
        Video("r/train/2.avi", 1, "train/2.avi"),
    ]
    assert by_action("r", "test", videos=listed) == [Video("r/test/0.avi", 1, "test/0.avi")]
    with pytest.raises(ValueError, match="no training video of the action jump"):
        by_action("r", "odd", videos=listed)


def test_toy_events_are_the_first_frames_past_a_fraction(tmp_path):
    (tmp_path / "phases").mkdir()
    with (tmp_path / "phases" / "phases.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("video", "split", "frame", "phase"))
        for number, split in enumerate(["train", "train", "test"]):
            for frame, phase in enumerate(Process(0, number).phase().tolist()):
                rows.writerow((f"videos/p{number}.avi", split, frame, f"{phase:.5f}"))
    found = toy_phases(str(tmp_path), "train", fractions=(0.2, 0.9))
    assert [video.path for video in found] == [str(tmp_path / f"phases/videos/p{i}.avi") for i in (0, 1)]
    for number, video in enumerate(found):
        phase = Process(0, number).phase().numpy()
        for event, fraction in zip(video.events, (0.2, 0.9), strict=True):
            assert phase[event] >= fraction - 1e-5 > phase[event - 1] - 1e-5
    assert len(toy_phases(str(tmp_path), "test")[0].events) == 3
    for wrong in ((), (0.5, 0.4), (0.0, 0.5), (0.5, 1.0)):
        with pytest.raises(ValueError, match="data.videos.fractions must be between 0 and 1, ascending"):
            toy_phases(str(tmp_path), "test", fractions=wrong)


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ((5, 3), r"ascending frames from 1 to 9 .*got \[5, 3\]"),
        ((3, 3), "ascending"),
        ((0, 4), "ascending"),
        ((4, 10), "ascending"),
        ((), "ascending"),
    ],
)
def test_events_out_of_order_or_outside_are_refused(tmp_path, events, message):
    video = PhasedVideo(pictures(tmp_path / "a", 10), events, "x")
    with pytest.raises(ValueError, match=message):
        data({"test": [video]}).split("test")


def test_a_video_of_one_frame_and_unequal_events_are_refused(tmp_path):
    short, a, b = (pictures(tmp_path / name, count) for name, count in (("short", 1), ("a", 9), ("b", 9)))
    with pytest.raises(ValueError, match="two frames at least, this video has 1; leave it out"):
        data({"test": [PhasedVideo(short, (1,), "x")]}).split("test")
    with pytest.raises(ValueError, match="has 2 key events and .* 1, both of action 'x'"):
        data({"test": [PhasedVideo(a, (3,), "x"), PhasedVideo(b, (3, 4), "x")]}).split("test")
    assert len(data({"test": [PhasedVideo(a, (3,), "x"), PhasedVideo(b, (3, 4), "y")]}).split("test")) == 2


def test_frames_of_a_folder_come_in_order_and_whole(tmp_path):
    count = CHUNK + 5
    videos = [PhasedVideo(pictures(tmp_path / "a", count), (3,), "x")]
    read = data({"train": videos})
    assert read.split("train") is read.split("train") and read.length(videos[0]) == count
    frames = list(read.frames(videos[0]))
    assert [int(frame[0, 5, 5]) for frame in frames] == [2 * i for i in range(count)]
    assert frames[1].shape == (3, 12, 16) and frames[1].dtype == torch.uint8
    assert frames[1][:, 0, 0].tolist() == [255, 0, 0], "RGB"
    some = read.frames(videos[0], [7, 2, 2, count - 1])
    assert [int(frame[0, 5, 5]) for frame in some] == [14, 4, 4, 2 * (count - 1)]


def test_frames_of_a_file_are_the_readers(tmp_path):
    video = PhasedVideo(str(write_numbered(tmp_path / "a.mp4", frames=70)), (3,), "x")
    read = data({"train": [video]})
    read.split("train")
    assert [read_number(frame.permute(1, 2, 0).numpy()) for frame in read.frames(video)] == list(range(70))


@pytest.mark.parametrize(
    ("height", "width", "short", "size"),
    [(12, 16, 6, (6, 8)), (16, 12, 6, (8, 6)), (12, 16, 24, (24, 32)), (12, 16, None, (12, 16)), (9, 16, 5, (5, 9))],
)
def test_the_short_side_is_as_asked_and_the_shape_is_kept(tmp_path, height, width, short, size):
    video = PhasedVideo(pictures(tmp_path / "a", 3, height=height, width=width), (1,), "x")
    read = data({"train": [video]})
    read.split("train")
    frame = list(read.frames(video, short_side=short))[2]
    assert frame.shape == (3, *size)
    assert int(frame[0, 3, -1]) == 4


def test_calibration_clips_are_the_training_videos_in_order(tmp_path):
    videos = [PhasedVideo(pictures(tmp_path / f"v{i}", 10 + i), (3,), "x") for i in range(5)]
    read = data({"train": videos, "test": []})
    batches = list(read.calibration(0))
    assert [batch.video.tolist() for batch in batches] == [[0, 1], [2, 3], [4]]
    assert batches[0].pixels.shape == (2, 1, 3, 4, 8, 8) and batches[0].pixels.dtype == torch.uint8
    assert all((batch.pixels[:, :, 0].diff(dim=2) == 2).all() for batch in batches), "frames are neighbours"
    again = list(read.calibration(0))
    assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(batches, again, strict=True))
    others = [list(read.calibration(seed))[0].pixels for seed in range(1, 5)]
    assert any(not torch.equal(batches[0].pixels, other) for other in others)


def test_broken_pictures_are_named(tmp_path):
    video = PhasedVideo(pictures(tmp_path / "a", 5), (3,), "x")
    read = data({"train": [video]})
    read.split("train")
    (tmp_path / "a" / "000003.png").write_bytes(b"no picture")
    with pytest.raises(VideoError, match="000003.png: this is no picture"):
        list(read.frames(video))
    cv2.imwrite(str(tmp_path / "a" / "000003.png"), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(VideoError, match="several sizes"):
        list(read.frames(video))
    with pytest.raises(VideoError, match="asked for frame 5"):
        list(read.frames(video, [5]))
