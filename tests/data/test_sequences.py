"""Lists of tracking sequences as the data sets come, and the masks and frames they name."""

import csv
import os
import re
from functools import partial

import numpy as np
import pytest
from PIL import Image

from ssv.data.preparing.pile import walk
from ssv.data.readers.base import VideoError
from ssv.data.readers.pyav import PyAVReader
from ssv.data.sequences.davis import davis
from ssv.data.sequences.jhmdb import jhmdb
from ssv.data.sequences.masks import write_mask
from ssv.data.sequences.one import one
from ssv.data.sequences.pictures import pictures
from ssv.data.sequences.sequences import Sequences
from ssv.data.sequences.vip import vip
from ssv.data.sets.lookup import DataNotFound
from ssv.data.toy.files import Kind, write_video


def data(root, sequences):
    return Sequences(str(root), sequences, None, reader=PyAVReader(), seed=0)


def test_davis_lists_of_both_years(tmp_path):
    for name in ("b", "a"):
        for folder in ("JPEGImages", "Annotations"):
            (tmp_path / folder / "480p" / name).mkdir(parents=True)
        for t in range(3):
            Image.new("RGB", (4, 3)).save(tmp_path / f"JPEGImages/480p/{name}/{t:05d}.jpg")
            write_mask(tmp_path / f"Annotations/480p/{name}/{t:05d}.png", np.eye(3, 4, dtype=np.uint8))
    for folder in ("2017", "480p"):
        (tmp_path / "ImageSets" / folder).mkdir(parents=True)
    (tmp_path / "ImageSets/2017/val.txt").write_text("b\na\n")
    lines = [f"/JPEGImages/480p/{n}/{t:05d}.jpg /Annotations/480p/{n}/{t:05d}.png\n" for n in "ba" for t in range(3)]
    (tmp_path / "ImageSets/480p/val.txt").write_text("".join(lines))
    for year in (2016, 2017):
        found = davis(str(tmp_path), year=year)
        assert [(s.name, len(s.frames), len(s.masks), s.merged) for s in found] == [
            ("b", 3, 3, year == 2016),
            ("a", 3, 3, year == 2016),
        ]
    with pytest.raises(DataNotFound, match=r"no list .*test-dev.txt \(there are: val; set data.sequences.split\)"):
        davis(str(tmp_path), split="test-dev")
    (tmp_path / "ImageSets/2017/val.txt").write_text("c\n")
    with pytest.raises(DataNotFound, match="no frames of the sequence c"):
        davis(str(tmp_path))


def test_frames_of_a_video_file_and_a_first_mask(tmp_path):
    shown = np.random.default_rng(0).integers(0, 255, (20, 16, 16, 3)).repeat(2, 1).repeat(2, 2).astype(np.uint8)
    write_video(tmp_path / "clip.mp4", shown, Kind(24, 32, 32, "libx264", 0, 250))
    write_mask(tmp_path / "mask.png", np.ones((32, 32), np.uint8))
    whole = data(tmp_path, partial(one, frames="clip.mp4", labels="mask.png"))
    (sequence,) = whole.sequences()
    frames = [frame.permute(1, 2, 0).numpy() for frame in whole.frames(sequence)]
    assert np.array_equal(frames, PyAVReader().read(str(tmp_path / "clip.mp4"), range(20)))
    assert whole.count(sequence) == 20 and whole.rate(sequence) == pytest.approx(24)
    (clips,) = whole.calibration(0)
    assert clips.pixels.shape == (1, 1, 3, 8, 160, 160)


def test_points_of_all_frames(tmp_path):
    (tmp_path / "frames").mkdir()
    for t in range(2):
        Image.new("RGB", (4, 3)).save(tmp_path / f"frames/{t}.png")
    with (tmp_path / "points.csv").open("w") as file:
        csv.writer(file).writerows([("frame", "point", "x", "y"), (0, "a", 1, 2), (1, "a", 2, 2), (0, "b", 0, 0.5)])
    (sequence,) = one(str(tmp_path), frames="frames", labels="points.csv")
    assert sequence.points[:, 0].tolist() == [[1, 2], [2, 2]]
    assert sequence.points[0, 1].tolist() == [0, 0.5] and np.isnan(sequence.points[1, 1]).all()
    (tmp_path / "points.csv").write_text("name,x,y\na,1,1\n")
    with pytest.raises(ValueError, match=r"must name the columns point,x,y,\[frame\], got 'name,x,y'"):
        one(str(tmp_path), frames="frames", labels="points.csv")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ({"frames": "gone.mp4"}, "data.sequences.frames: there is no"),
        ({"labels": "gone.png"}, "data.sequences.labels: there is no"),
        ({"frames": "mask.png"}, "is neither a video nor a folder of pictures"),
        ({"labels": "masks"}, "holds 2 masks for 3 frames"),
    ],
)
def test_a_sequence_that_is_not_there_is_one_line(tmp_path, words, error):
    for folder, count in (("frames", 3), ("masks", 2)):
        (tmp_path / folder).mkdir()
        for t in range(count):
            Image.new("L", (4, 3), 1).save(tmp_path / f"{folder}/{t}.png")
    Image.new("L", (4, 3), 1).save(tmp_path / "mask.png")
    with pytest.raises(DataNotFound, match=error):
        one(str(tmp_path), **{"frames": "frames", "labels": "mask.png", **words})


def test_sets_that_are_missing_say_what_is_needed(tmp_path):
    for listing, word in ((davis, "ImageSets"), (vip, "lists"), (jhmdb, "splits")):
        with pytest.raises(DataNotFound, match=word):
            listing(str(tmp_path))


def test_joints_that_cannot_be_read_name_the_file(tmp_path):
    (tmp_path / "Rename_Images/wave/clip").mkdir(parents=True)
    (tmp_path / "joint_positions/wave/clip").mkdir(parents=True)
    (tmp_path / "joint_positions/wave/clip/joint_positions.mat").write_bytes(b"no matlab")
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits/wave_test_split1.txt").write_text("clip.avi 2\n")
    with pytest.raises(VideoError, match="joint_positions.mat: this file of joints cannot be read"):
        jhmdb(str(tmp_path))


@pytest.mark.parametrize(
    "names",
    [
        [f"{n}.jpg" for n in range(1, 13)],
        [f"frame_{n}.png" for n in (9997, 9998, 9999, 10000, 10001)],
        ["a1b2.png", "a1b10.png", "a2b1.png", "a10b1.png"],
        ["1.png", "01.jpg", "2.png", "002.jpg"][::1],
    ],
    ids=["unpadded", "overflow", "two_numbers", "mixed"],
)
def test_pictures_come_in_the_order_of_their_numbers(tmp_path, names):
    folder = tmp_path / "pile" / "frames"
    folder.mkdir(parents=True)
    for name in names:
        Image.new("RGB", (2, 2)).save(folder / name)
    found = [os.path.basename(path) for path in pictures(str(folder))]
    assert found == sorted(names, key=lambda name: ([int(n) for n in re.findall(r"\d+", name)], name))
    films = [item.pictures for item in walk(str(folder.parent), pictures=True) if item.kind == "pictures"]
    assert films == [tuple(found)], "the same as ssv prepare has it"
