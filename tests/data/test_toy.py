import csv
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.ensemble import RandomForestClassifier

from ssv.data.toy.actions import CHANNELS, IRREVERSIBLE, LAWS, move
from ssv.data.toy.clips import Action, Masked
from ssv.data.toy.draws import HURST, Draw
from ssv.data.toy.world import write_world


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("toy") / "world"
    write_world(root, size="tiny", workers=1)
    return root


def decoded(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def files(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_two_workers_write_the_same_bytes_as_one(world, tmp_path):
    calls = []
    left = tmp_path / ".twin.unfinished-killed"
    left.mkdir()
    (left / ".lock").touch()
    summary = write_world(tmp_path / "twin", size="tiny", workers=2, progress=lambda *done: calls.append(done))
    assert files(tmp_path / "twin") == files(world)
    assert calls[-1] == (45, 45) and [done for done, _ in calls] == list(range(1, 46))
    assert summary.counts == {"classes": 12, "videos": 36, "masked_clips": 3, "process_videos": 6}
    assert summary.contact_sheet.is_file()
    assert not left.exists(), "its writer was killed"


def test_another_seed_gives_other_pictures():
    assert not torch.equal(
        Action(0, "Spin", 1, 1).draw().frames[:5, :64, :80], Action(1, "Spin", 1, 1).draw().frames[:5, :64, :80]
    )


def test_lists_agree_with_the_files_and_with_each_other(world):
    lists = world / "ucfTrainTestlist"
    for path in lists.iterdir():
        lines = path.read_bytes().split(b"\n")
        assert lines.pop() == b"" and all(line.endswith(b"\r") for line in lines)
    labels = {name: int(label) for label, name in map(str.split, (lists / "classInd.txt").read_text().splitlines())}
    assert labels == {name: i for i, name in enumerate(sorted(LAWS), 1)}
    videos = {str(path.relative_to(world / "UCF-101")) for path in (world / "UCF-101").glob("*/*")}
    tested = set()
    for fold in ("01", "02", "03"):
        train = dict(line.split() for line in (lists / f"trainlist{fold}.txt").read_text().splitlines())
        test = set((lists / f"testlist{fold}.txt").read_text().splitlines())
        assert train.keys() | test == videos and not train.keys() & test
        assert all(int(label) == labels[video.split("/")[0]] for video, label in train.items())
        groups = [{video.split("_")[2] for video in split} for split in (train, test)]
        assert groups[0] and groups[1] and not groups[0] & groups[1]
        assert not tested & test
        tested |= test


def test_videos_last_as_long_at_every_rate_and_show_what_was_drawn(world):
    for path in (world / "UCF-101").glob("*/*"):
        with av.open(str(path)) as container:
            times = [frame.time for frame in container.decode(video=0)]
            rate = container.streams.video[0].average_rate
        assert len(times) / rate == pytest.approx(2.88, abs=0.5 / rate)
        assert np.allclose(np.diff(times), 1 / float(rate), atol=1e-3)
    action = Action(0, "Wave", 2, 1)
    drawn = action.draw().frames.numpy().astype(int)
    assert np.abs(decoded(world / "UCF-101" / action.path()) - drawn).mean() < 4


def test_kinds_of_files_are_mixed_and_tell_neither_class_nor_group():
    actions = [Action(0, name, group, clip) for name in LAWS for group in range(1, 21) for clip in (1, 2, 3)]
    kinds = [action.kind() for action in actions]
    assert {kind.rate for kind in kinds} == {24, 25, 30}
    share = {suffix: sum(kind.suffix == suffix for kind in kinds) / len(kinds) for suffix in (".avi", ".mp4")}
    assert 0.6 < share[".avi"] < 0.8
    assert 0.05 < sum(kind.b_frames > 0 for kind in kinds) / len(kinds) < 0.2
    assert 0.05 < sum(kind.width == 82 for kind in kinds) / len(kinds) < 0.15
    for name in LAWS:
        own = [kind.suffix == ".avi" for action, kind in zip(actions, kinds) if action.name == name]
        assert abs(np.mean(own) - share[".avi"]) < 0.25


def test_all_files_bear_one_date(world):
    assert len({path.stat().st_mtime for path in world.rglob("*") if path.is_file()}) == 1


def test_masks_are_palette_images_of_the_object_ids(world):
    names = (world / "DAVIS/ImageSets/2017/val.txt").read_text().split()
    for kind in ("JPEGImages", "Annotations"):
        assert sorted(path.name for path in (world / f"DAVIS/{kind}/480p").iterdir()) == names
    for number, name in enumerate(names):
        clip = Masked(0, number).draw()
        images = [Image.open(path) for path in sorted((world / "DAVIS/Annotations/480p" / name).iterdir())]
        assert {image.mode for image in images} == {"P"}
        assert images[0].getpalette()[:12] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]  # as in DAVIS
        ids = np.stack([np.asarray(image) for image in images])
        assert np.array_equal(ids, clip.ids.numpy())
        assert set(np.unique(ids[0])) == set(np.unique(ids)) == set(range(number % 3 + 2))
        frames = [np.asarray(Image.open(path)) for path in sorted((world / "DAVIS/JPEGImages/480p" / name).iterdir())]
        assert np.abs(np.stack(frames).astype(int) - clip.frames.numpy()).mean() < 4


def test_key_points_lie_on_the_actor():
    on = total = 0
    for number in (0, 2, 3, 4, 6, 7):  # without Dissolve and Bounce, whose bodies vanish or leave
        clip = Masked(0, number).draw()
        for ids, points in zip(clip.ids, clip.points.round().long()):
            for x, y in points.tolist():
                if 0 <= x < 80 and 0 <= y < 64:
                    on, total = on + int(ids[y, x] == 1), total + 1
    assert total > 800 and on / total > 0.85  # a bar may lie in front


def test_key_point_table_has_five_points_a_frame(world):
    with (world / "DAVIS/KeyPoints/480p/toy001.csv").open() as file:
        rows = list(csv.DictReader(file))
    points = Masked(0, 1).draw().points.flatten(0, 1)
    assert len(rows) == 40 * 5 and [row["point"] for row in rows[:5]] == ["centre", "front", "back", "limb1", "limb2"]
    assert np.allclose([[float(row["x"]), float(row["y"])] for row in rows], points, atol=0.006)


def test_phases_rise_from_0_to_1_and_belong_to_frames(world):
    phases, splits = {}, {}
    with (world / "phases/phases.csv").open() as file:
        for row in csv.DictReader(file):
            phases.setdefault(row["video"], []).append(float(row["phase"]))
            splits[row["video"]] = row["split"]
    assert sorted(splits.values()) == ["test"] * 2 + ["train"] * 4
    for video, phase in phases.items():
        assert len(phase) == len(decoded(world / "phases" / video))
        assert phase[0] == 0 and phase[-1] == 1 and all(a < b for a, b in pairwise(phase))


def poses(count, times):
    """Poses (classes * count, channels, times) and classes; whole turns of the body look alike."""
    rows, classes = [], []
    for label, name in enumerate(LAWS):
        for number in range(count):
            motion = move(name, times, Draw("pose", name, number))
            angle = motion.pop("angle")
            rows.append(torch.stack([*motion.values(), angle.sin(), angle.cos()]))
            classes.append(label)
    return torch.stack(rows).numpy(), np.array(classes)


def test_one_pose_does_not_tell_the_class_but_a_trajectory_does():
    poses_, classes = poses(60, torch.arange(0, 2.88, 0.08))
    moves = np.abs(np.diff(poses_)).mean(-1)
    fit = np.arange(len(classes)) % 60 < 40
    for features, least, most in ((poses_[..., 7], 0.0, 1 / 12 + 0.055), (moves, 0.7, 1.0)):
        forest = RandomForestClassifier(100, random_state=0).fit(features[fit], classes[fit])
        assert least <= forest.score(features[~fit], classes[~fit]) <= most  # 240 poses: chance is 0.083 +- 0.018


@pytest.mark.parametrize("name", LAWS)
def test_laws_are_stationary(name):
    times = torch.arange(72) / 25
    drawn = [LAWS[name](times, Draw("law", name, number)) for number in range(300)]
    for channel in drawn[0]:
        tracks = torch.stack([offsets.get(channel, torch.zeros(72)) for offsets in drawn])
        tracks = tracks.sin() if channel == "angle" else tracks  # whole turns look alike
        start, end = tracks[:, 0].sort().values, tracks[:, 71].sort().values
        ranks = [torch.searchsorted(side, tracks[:, [0, 71]].flatten(), right=True) for side in (start, end)]
        assert (ranks[0] - ranks[1]).abs().max() / 300 < 0.16  # Kolmogorov-Smirnov; by chance 1 in 1000


@pytest.mark.parametrize("name", LAWS)
def test_only_irreversible_laws_differ_from_their_reverse(name):
    """Third-order moments that any process equal in law to its reverse has at zero."""
    times = torch.arange(100, dtype=torch.float64) / 25
    moments = []
    for number in range(60):
        motion = move(name, times, Draw("law", name, number))
        steps = torch.stack([motion[channel] for channel in CHANNELS]).diff().double()
        steps = steps / steps.std()
        energy = steps.square().sum(0)
        before, after = energy[:-2], energy[2:]
        moments.append(torch.stack([(steps**3).mean(), (before**2 * after - before * after**2).mean()]))
    drawn = torch.stack(moments)
    t = (drawn.mean(0) / drawn.std(0).clamp(min=1e-9) * len(drawn) ** 0.5).abs().max()
    assert (t > 8) if name in IRREVERSIBLE else (t < 4.5)


def test_wandering_has_no_time_scale():
    paths = Draw(0).wander(torch.arange(72) / 25, 4000)
    spread = [float((paths[:, lag:] - paths[:, :-lag]).std()) for lag in (1, 2, 4, 8, 16, 25)]
    for lag, measured in zip((1, 2, 4, 8, 16, 25), spread):
        assert measured == pytest.approx((lag / 25) ** HURST, rel=0.03)


def test_frozen_actor_stands_still_while_camera_and_light_do_not():
    action = Action(0, "Spin", 1, 1)
    still = action._replace(frozen_actor=True).scene()
    assert torch.equal(still.points, still.points[:1].expand_as(still.points))
    for layer in still.layers:
        if layer.id == 1:
            assert all(
                len(track.unique()) == 1
                for track in (
                    layer.x,
                    layer.y,
                    layer.angle,
                    layer.scale,
                    layer.holes if layer.holes is not None else layer.x,
                )
            )
    assert all(len(track.unique()) == 1 for track in (*still.splinters[0], *still.splinters[1], still.splinters[2]))
    assert (still.camera.std(0) > 0).all() and (still.gain.std(1) > 0).all()
    moving = action.scene()
    assert torch.equal(still.camera, moving.camera) and torch.equal(still.gain, moving.gain)
    assert moving.points.std(0).max() > 3


def stamp(path):
    """What changes where a file is written; the time of reading may."""
    known = path.stat()
    return known.st_ino, known.st_size, known.st_mtime_ns


def test_complete_world_is_kept_and_anything_else_is_refused(world, tmp_path):
    before = stamp(world / "world.json")
    summary = write_world(world, size="tiny")
    assert summary.seconds == 0 and summary.counts["videos"] == 36
    assert stamp(world / "world.json") == before
    with pytest.raises(
        ValueError, match=r"seed=0 size=tiny .*, not seed=1 size=tiny .*name another folder or remove it"
    ):
        write_world(world, size="tiny", seed=1)
    (tmp_path / "mine.txt").write_text("dear")
    with pytest.raises(ValueError, match="is no toy world; name another folder or remove it"):
        write_world(tmp_path, size="tiny")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(ValueError, match="unknown size 'small' of the toy world; choose one of tiny, default, large"):
        write_world(tmp_path / "new", size="small")


def test_interrupted_writing_leaves_nothing(tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_world(tmp_path / "toy", size="tiny", workers=1, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_read_me_says_which_world_it_is(world):
    text = (Path(world) / "README.md").read_text()
    assert "Size `tiny`, seed 0, version" in text and "{" not in text
