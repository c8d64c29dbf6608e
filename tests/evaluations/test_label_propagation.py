"""Label propagation from files to scores: perfect and useless features, damaged input, what is written."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from ssv.backbones.pixels import Pixels
from ssv.backbones.resnet3d import ResNet3D
from ssv.data.readers.auto import AutoReader
from ssv.data.readers.base import VideoError
from ssv.data.sequences.jhmdb import jhmdb
from ssv.data.sequences.masks import write_mask
from ssv.data.sequences.one import one
from ssv.data.sequences.sequences import Sequences
from ssv.data.sequences.vip import vip
from ssv.data.sets.lookup import DataNotFound
from ssv.evaluations import feature_cache
from ssv.evaluations.feature_cache import FeatureCache
from ssv.evaluations.label_propagation import LabelPropagation, _size
from ssv.evaluations.tracking.presets import PRESETS
from ssv.training.weights import weights_digest
from tests.evaluations.fakes import trainer
from tests.evaluations.sequences import (
    CELL,
    COLOURS,
    HEIGHT,
    WIDTH,
    bands,
    davis_data,
    save_grey,
    save_rgb,
    write_davis,
)


def tracking(**changes):
    return LabelPropagation(**{"stage": 0, "context": 3, "topk": 3, "temperature": 0.01, "save": False, **changes})


def run(data, backbone=None, **changes):
    return tracking(**changes).run(backbone or Pixels(detail=1), data, trainer())


class Seen(Pixels):
    """Counts the frames it is given; ``kind`` replaces its features."""

    def __init__(self, kind="pixels"):
        super().__init__(detail=1)
        self.frames, self.kind = 0, kind

    def __deepcopy__(self, memo):
        return self  # so that the frozen copy counts here

    def forward(self, pixels):
        self.frames += pixels.shape[2]
        maps = super().forward(pixels)
        if self.kind == "constant":
            return torch.ones_like(maps)
        if self.kind == "noise":
            return torch.randn(maps.shape, generator=torch.Generator().manual_seed(self.frames))
        return maps


def test_perfect_features_find_everything_again(tmp_path):
    scores = run(davis_data(write_davis(tmp_path, {"a": bands(), "b": bands(5, 1)})))
    assert scores["jf_mean"] == scores["j_mean"] == scores["f_mean"] == scores["j_recall"] == 1.0
    assert scores["copy_first"] < 0.5


@pytest.mark.parametrize("kind", ["constant", "noise"])
def test_features_without_content_find_nothing(tmp_path, kind):
    # Three labels of the same size: a guess is right a third of the time, an intersection over union of one fifth.
    ids = bands(12, 2)
    scores = run(davis_data(write_davis(tmp_path, {"a": ids})), Seen(kind), topk=5, temperature=1.0)
    assert scores["j_mean"] < 0.35


def test_the_same_digits_each_time_and_the_backbone_is_left_alone(tmp_path):
    data = davis_data(write_davis(tmp_path, {"a": bands()}))
    torch.manual_seed(0)
    backbone = ResNet3D(blocks=[1, 1, 1, 1], widths=[4, 4, 4, 4], time_local=True)
    before = weights_digest(backbone)
    first, second = (run(data, backbone, stage=3, stride=8) for _ in range(2))
    assert first == second
    assert weights_digest(backbone) == before and backbone.training


def test_one_that_mixes_frames_sees_the_window_around_each(tmp_path):
    data = davis_data(write_davis(tmp_path, {"a": bands()}))
    torch.manual_seed(0)
    backbone = ResNet3D(blocks=[1, 1, 1, 1], widths=[4, 4, 4, 4])
    scores = {window: run(data, backbone, stage=3, stride=8, window=window)["jf_mean"] for window in (4, 8)}
    assert scores[4] != scores[8]


def test_any_size_is_tracked(tmp_path):
    ids = bands()[:, :61, :43]
    scores = run(davis_data(write_davis(tmp_path, {"a": ids})))
    assert scores["jf_mean"] > 0.6  # 8 cells are spread over 61 rows, as the protocol has it
    for preset in ("crw", "timecycle", "vfs", "dino"):
        assert run(davis_data(tmp_path), preset=preset, size=[64, 64])["jf_mean"] > 0.3


@pytest.mark.parametrize(("save", "objects"), [(save_grey, 2), (save_rgb, 2)], ids=["grey", "rgb"])
def test_masks_of_all_kinds_mean_the_same(tmp_path, save, objects):
    palette = run(davis_data(write_davis(tmp_path / "palette", {"a": bands(6, objects)})))
    assert run(davis_data(write_davis(tmp_path / "other", {"a": bands(6, objects)}, save=save))) == palette


def test_davis_2016_merges_objects_and_reads_0_and_255(tmp_path):
    def save(path, ids):
        Image.fromarray(((ids > 0) * 255).astype(np.uint8)).save(path)

    scores = run(davis_data(write_davis(tmp_path, {"a": bands(6, 2)}, year=2016, save=save), year=2016))
    assert scores["jf_mean"] == 1.0


def test_a_late_object_is_not_scored_and_a_number_left_out_is_refused_or_renumbered(tmp_path):
    late = bands(6, 1)
    late[3:, :CELL] = 2
    scores = run(davis_data(write_davis(tmp_path / "late", {"a": late})))
    assert scores["j_mean"] > 0.9
    gap = write_davis(tmp_path / "gap", {"a": bands(6, 1) * 2})  # object 1 is empty from beginning to end
    with pytest.raises(VideoError, match="the objects of this first mask must be 1, got 2"):
        run(davis_data(gap))
    assert run(davis_data(gap, renumber=True)) == run(davis_data(write_davis(tmp_path / "one", {"a": bands(6, 1)})))


def davis_with(tmp_path, change):
    root = write_davis(tmp_path, {"a": bands()})
    change(root / "Annotations/480p/a", root / "JPEGImages/480p/a")
    return davis_data(root)


def odd_mask(masks, frames):
    write_mask(masks / "00003.png", np.ones((10, 12), np.uint8))


def odd_frame(masks, frames):
    Image.new("RGB", (WIDTH, HEIGHT + 2)).save(frames / "00002.png")


def no_object(masks, frames):
    save_grey(masks / "00000.png", np.zeros((HEIGHT, WIDTH), np.uint8))


def smooth(masks, frames):
    save_grey(masks / "00000.png", np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint8))


def half(masks, frames):
    (masks / "00004.png").write_bytes((masks / "00004.png").read_bytes()[:60])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (odd_mask, "00003.png: this mask has 12x10 pixels, its frame 48x64"),
        (odd_frame, "00002.png: 48x66 pixels, the frames before it 48x64"),
        (no_object, "00000.png: the first mask shows no object"),
        (smooth, "00000.png: this mask has 254 grey values, most of them on edges"),
        (half, "00004.png: this mask is no picture that can be read, or a damaged one"),
    ],
)
def test_damaged_input_is_one_line(tmp_path, change, words):
    with pytest.raises(VideoError) as caught:
        run(davis_with(tmp_path, change))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_mask_and_too_few_frames_are_one_line(tmp_path):
    data = davis_with(tmp_path / "gone", lambda masks, frames: (masks / "00002.png").unlink())
    with pytest.raises(DataNotFound, match="1 masks of a are missing: .*00002.png"):
        run(data)
    data = davis_data(write_davis(tmp_path / "single", {"a": bands(1)}))
    with pytest.raises(VideoError, match="00000.png: 1 frame: there is none to carry its labels to"):
        run(data)
    data = davis_data(write_davis(tmp_path / "short", {"a": bands(2)}))
    with pytest.raises(VideoError, match="2 frames: the first and the last are not scored, needed are three or more"):
        run(data)


def test_a_first_mask_alone_is_tracked_and_not_scored(tmp_path):
    def only_first(masks, frames):
        for path in sorted(masks.iterdir())[1:]:
            path.unlink()

    assert run(davis_with(tmp_path, only_first)) == {"frames": 6.0}


def test_a_sequence_that_cannot_be_scored_is_not_left_out_in_silence(tmp_path):
    root = write_davis(tmp_path, {"a": bands(), "b": bands()})
    for path in sorted((root / "Annotations/480p/b").iterdir())[1:]:
        path.unlink()
    with pytest.raises(ValueError, match=r"1 of 2 sequences have labels in their first frame only \(first: b\)"):
        run(davis_data(root))


def test_masks_and_a_film_are_written(tmp_path):
    root = write_davis(tmp_path / "data", {"a": bands()})
    watched = trainer(default_root_dir=tmp_path / "out")
    tracking(save=True).run(Pixels(detail=1), davis_data(root), watched)
    for t, ids in enumerate(bands()):
        with Image.open(tmp_path / f"out/labels/a/{t:05d}.png") as image:
            assert image.mode == "P" and image.getpalette()[3:6] == [128, 0, 0]
            assert np.array_equal(np.asarray(image), ids)
    with av.open(str(tmp_path / "out/films/a.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 6 and frames[0].shape == (HEIGHT, WIDTH, 3)


def test_features_are_computed_once_for_all_settings(tmp_path):
    root = write_davis(tmp_path / "data", {"a": bands()})
    cache = str(tmp_path / "features")
    counting = Seen()
    scores = run(davis_data(root), counting, cache=cache)
    assert counting.frames == 6
    assert run(davis_data(root), counting, cache=cache) == scores
    run(davis_data(root), counting, cache=cache, topk=1, radius=4, context=2)
    assert counting.frames == 6
    run(davis_data(root), counting, cache=cache, size=[32, 32])
    assert counting.frames == 12
    Image.fromarray(COLOURS[bands(6, 1)[5]]).save(root / "JPEGImages/480p/a/00005.png")
    run(davis_data(root), counting, cache=cache)
    assert counting.frames == 18
    assert not list((tmp_path / "features").glob(".*"))


@pytest.mark.parametrize("what", ["version", "reader", "precision", "nothing"])
def test_features_of_another_version_reader_or_precision_are_other_features(tmp_path, monkeypatch, what):
    root = write_davis(tmp_path / "data", {"a": bands()})
    cache, counting, data, watched = str(tmp_path / "features"), Seen(), davis_data(root), trainer()
    tracking(cache=cache).run(counting, data, watched)
    if what == "version":
        monkeypatch.setattr(feature_cache, "__version__", "0.0.0")
    elif what == "reader":
        data.reader = AutoReader()
    elif what == "precision":
        watched = trainer(precision="bf16-mixed")
    tracking(cache=cache).run(counting, data, watched)
    assert counting.frames == (6 if what == "nothing" else 12)


def test_a_folder_that_cannot_be_written_costs_the_cache_and_nothing_else(tmp_path, caplog):
    data = davis_data(write_davis(tmp_path / "data", {"a": bands()}))
    (tmp_path / "file").touch()
    assert run(data, cache=str(tmp_path / "file" / "features"))["jf_mean"] == 1.0
    assert "features are not kept in" in caplog.text


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_full_disk_costs_the_cache_and_nothing_else(tmp_path, caplog, monkeypatch):
    def begin(cache, partial, shape):
        partial.parent.mkdir()
        partial.touch()
        return Path("/dev/full").open("wb")

    monkeypatch.setattr(FeatureCache, "_begin", begin)
    data = davis_data(write_davis(tmp_path / "data", {"a": bands()}))
    assert run(data, cache=str(tmp_path / "features"))["jf_mean"] == 1.0
    assert caplog.text.count("features are not kept in") == 1 and "No space left" in caplog.text


def test_vip_counts_classes_over_all_videos(tmp_path):
    write_davis(tmp_path / "davis", {"v": bands()}, save=save_grey)
    root = tmp_path / "vip"
    (root / "lists").mkdir(parents=True)
    (root / "lists/val_videos.txt").write_text("v\n")
    (root / "Images").mkdir()
    (root / "Annotations/Category_ids").mkdir(parents=True)
    (tmp_path / "davis/JPEGImages/480p/v").rename(root / "Images/v")
    (tmp_path / "davis/Annotations/480p/v").rename(root / "Annotations/Category_ids/v")
    data = Sequences(str(root), vip, None, reader=None, seed=0)
    scores = run(data)
    assert scores["mean_iou"] == 1.0 and scores["copy_first"] < 0.7


def test_jhmdb_finds_joints_again(tmp_path):
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)  # no two cells alike
    pictures = [np.roll(ground, 8 * (t // 2), axis=1) for t in range(5)]
    # Joints at the upper left corners of cells: the field counts in cells from there. MATLAB counts from 1.
    cells = np.stack(
        [2 + np.arange(15) % 3, 2 + np.arange(15) // 3]
    )  # nearer to the edge the field draws them elsewhere
    joints = np.stack([cells * 8.0 + 1 + [[8 * (t // 2)], [0]] for t in range(5)], 2)
    folder = tmp_path / "Rename_Images/wave/clip"
    folder.mkdir(parents=True)
    for t, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{t + 1:05d}.png")
    (tmp_path / "joint_positions/wave/clip").mkdir(parents=True)
    savemat(tmp_path / "joint_positions/wave/clip/joint_positions.mat", {"pos_img": joints})
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits/wave_test_split1.txt").write_text("other.avi 1\nclip.avi 2 \n")
    data = Sequences(str(tmp_path), jhmdb, None, reader=None, seed=0)
    assert np.array_equal(data.sequences()[0].points[0], cells.T * 8), "counted from 0"
    scores = run(data, topk=1)
    # The Gaussian of half a cell reaches the neighbours, so that a place is off by up to a fifth of a cell, 2 pixels.
    assert scores["pck_0.2"] == 1.0 and scores["copy_first"] < scores["pck_0.1"]


def test_points_of_ones_own_in_a_folder_of_frames(tmp_path):
    write_davis(tmp_path / "davis", {"v": bands()})
    (tmp_path / "points.csv").write_text("point,x,y\nnose,10,4\n")
    data = Sequences(
        str(tmp_path),
        lambda root: one(root, frames="davis/JPEGImages/480p/v", labels="points.csv"),
        None,
        reader=None,
        seed=0,
    )
    assert run(data) == {"frames": 6.0}
    (tmp_path / "points.csv").write_text("point,x,y\nnose,500,4\n")
    again = Sequences(str(tmp_path), data._sequences, None, reader=None, seed=0)
    with pytest.raises(VideoError, match="x=500, y=4 lies outside 48x64"):
        run(again)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"preset": "crf"}, "evaluation.preset must be one of crw, timecycle, vfs, dino"),
        ({"topk": 0}, "evaluation.topk must be 1 or more"),
        ({"radius": 0}, "evaluation.radius must be above 0"),
        ({"size": [3]}, r"evaluation.size must be the short side or \[rows, columns\]"),
    ],
)
def test_bad_settings_are_one_line(change, words):
    with pytest.raises(ValueError, match=words):
        LabelPropagation(**change)


def test_other_data_are_refused():
    with pytest.raises(ValueError, match="label propagation needs sequences .* data=davis2017"):
        tracking().run(Pixels(), object(), trainer())


def test_presets_are_those_of_the_papers():
    """The table of settings in the papers' code, once more and written out."""
    short = {name: (r.context, r.pad, r.radius, r.shape, r.radius_on_first, r.topk) for name, r in PRESETS.items()}
    assert short == {
        "crw": (20, True, 12, "circle", False, 10),
        "timecycle": (7, True, float("inf"), "circle", False, 5),
        "vfs": (20, True, 12, "circle", True, 10),
        "dino": (7, False, 12, "square", True, 5),
    }
    rest = {name: (r.per_frame, round(r.temperature, 4), r.minmax, r.size, r.multiple) for name, r in PRESETS.items()}
    assert rest == {
        "crw": (False, 0.05, False, None, 1),
        "timecycle": (True, 0.0442, True, [480, 480], 1),
        "vfs": (False, 0.07, True, None, 1),
        "dino": (False, 0.1, True, 480, 64),
    }
    assert all(r.first and (r.stage, r.stride) == (3, 8) for r in PRESETS.values())


def test_every_setting_changes_the_result_or_the_size_the_network_sees(tmp_path):
    shown = np.random.default_rng(0).integers(0, 255, (8, HEIGHT, WIDTH, 3), dtype=np.uint8)
    data = davis_data(write_davis(tmp_path, {"a": bands(8)}, pictures=shown))
    base = {"context": 2, "radius": 3, "topk": 2, "temperature": 0.1}
    scores = [run(data, **base)["j_mean"]]
    for change in ({"context": 4}, {"radius": 6}, {"topk": 6}, {"temperature": 2.0}, {"size": [128, 96]}):
        scores.append(run(data, **{**base, **change})["j_mean"])
    assert len(set(scores)) == len(scores)
    for size, multiple, expected in ((96, 64, (128, 64)), (10, 64, (64, 64)), (None, 1, (HEIGHT, WIDTH))):
        rules = PRESETS["dino"]._replace(size=size, multiple=multiple)
        assert _size(rules, HEIGHT, WIDTH) == expected


def test_features_of_another_window_are_other_features(tmp_path):
    data, cache = davis_data(write_davis(tmp_path / "data", {"a": bands()})), str(tmp_path / "features")
    torch.manual_seed(0)
    backbone = ResNet3D(blocks=[1, 1, 1, 1], widths=[4, 4, 4, 4])
    for window in (4, 8):
        run(data, backbone, stage=3, stride=8, window=window, cache=cache)
    assert len(list((tmp_path / "features").iterdir())) == 2


@pytest.mark.parametrize("change", [{"stage": 9}, {"stage": 3, "stride": 7}])
def test_a_stage_that_is_not_there_names_the_setting(tmp_path, change):
    data = davis_data(write_davis(tmp_path, {"a": bands()}))
    backbone = ResNet3D(blocks=[1, 1, 1, 1], widths=[4, 4, 4, 4], time_local=True)
    with pytest.raises(ValueError, match="evaluation.stage=. and evaluation.stride=. do not go with this backbone"):
        run(data, backbone, **change)
    with pytest.raises(ValueError, match="Pixels .* has no argument .*evaluation.stage=0 takes it as it is"):
        run(data, stage=3)
