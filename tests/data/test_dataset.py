import pickle

import numpy as np
import pytest
import torch

from ssv.data.crops import CenterCrop, ThreeCrop
from ssv.data.dataset import VideoDataset, generator_for
from ssv.data.probing import Times, probe_times
from ssv.data.readers.auto import AutoReader
from ssv.data.readers.base import VideoError
from ssv.data.sampling import RandomClips, UniformClips
from ssv.types import Clips, Video
from tests import videos as files
from tests.data.fakes import FRAMES, NumberReader, numbered_dataset, numbered_videos


def same(a: Clips, b: Clips) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b))


def test_a_sample():
    clips = numbered_dataset()[(0, 7)]
    assert clips.pixels.shape == (2, 3, 4, 8, 8) and clips.pixels.dtype == torch.uint8
    assert clips.seconds.shape == (2, 4) and clips.seconds.dtype == torch.float32
    assert (clips.label, clips.video) == (7 % 3, 7)
    assert (clips.label.dtype, clips.label.shape, clips.video.dtype) == (torch.int64, (), torch.int64)
    assert (clips.pixels[:, 0] == 7).all()
    shown = clips.pixels[:, 1, :, 0, 0]  # (V,T) frame numbers
    assert (shown.diff(dim=1) == 2).all()
    assert torch.allclose(clips.seconds, shown / 25)


def test_a_crop_that_cuts_several_squares_multiplies_the_views():
    times = Times(np.arange(FRAMES) / 25 for _ in range(3))
    one, three = (
        VideoDataset(numbered_videos(3), UniformClips(views=2, frames=4, stride=2), crop, NumberReader(), times=times)[
            (0, 2)
        ]
        for crop in (CenterCrop(8, short_side=8), ThreeCrop(8, short_side=8))
    )
    assert three.pixels.shape == (6, 3, 4, 8, 8) and three.seconds.shape == (6, 4)
    assert torch.equal(three.pixels[1::3], one.pixels)
    for view in range(6):
        assert torch.equal(three.seconds[view], one.seconds[view // 3])
        assert torch.allclose(three.seconds[view], three.pixels[view, 1, :, 0, 0] / 25)  # green is the frame's number


def test_draws_follow_seed_epoch_and_row_alone():
    dataset = numbered_dataset()
    before = dataset[(3, 5)]
    torch.rand(7), dataset[(0, 1)]
    assert same(dataset[(3, 5)], before)
    assert same(pickle.loads(pickle.dumps(dataset))[(3, 5)], before)
    assert not same(dataset[(4, 5)], before)
    assert not same(numbered_dataset(seed=1)[(3, 5)], before)
    starts = {tuple(dataset[(epoch, 5)].seconds[:, 0].tolist()) for epoch in range(40)}
    assert len(starts) > 30


def test_a_sample_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    numbered_dataset()[(0, 0)]
    assert torch.equal(torch.get_rng_state(), state)


def test_generators_of_neighbours_differ():
    first = {generator_for(*i).initial_seed() for i in [(0, 1, 11), (0, 11, 1), (1, 0, 11), (0, 1, 1, 1), (0, 111)]}
    assert len(first) == 5


def test_a_broken_video_is_a_value_in_a_batch_and_an_error_alone():
    dataset = numbered_dataset(reader=NumberReader(broken=[4]))
    with pytest.raises(VideoError, match=r"videos/4.mp4: cut short"):
        dataset[(0, 4)]
    good, bad = dataset.__getitems__([(0, 3), (0, 4)])
    assert isinstance(good, Clips) and isinstance(bad, VideoError)


def test_paths_and_fingerprint():
    dataset = numbered_dataset(12)
    assert [dataset.path(row) for row in range(12)] == [video.path for video in numbered_videos(12)]

    def digest(videos, frames=30):
        times = Times([np.arange(frames) / 25] * len(videos))
        return VideoDataset(
            videos, RandomClips(), CenterCrop(8, short_side=8), NumberReader(), times=times
        ).fingerprint()

    videos = [Video("a/x ü.mp4", 0), Video("a/y.mp4", 1)]
    moved = [video._replace(path="/elsewhere/" + video.path) for video in videos]
    assert digest(videos) == digest(moved)
    others = [videos[::-1], videos[:1], [videos[0], videos[1]._replace(label=2)], [videos[0], Video("a/z.mp4", 1)]]
    assert len({digest(videos), digest(videos, 31), *map(digest, others)}) == 6


def test_times_are_two_arrays():
    times = Times([np.array([0.0, 1.0]), np.array([]), np.array([0.0, 0.5, 2.0])])
    assert [times[row].tolist() for row in range(3)] == [[0.0, 1.0], [], [0.0, 0.5, 2.0]]
    assert len(Times([])) == 0


def test_real_files_give_the_frames_they_show(tmp_path):
    paths = [files.constant_rate(tmp_path), files.avi(tmp_path), files.variable_rate(tmp_path)]
    sampler = UniformClips(views=2, frames=5, stride=3)
    dataset = VideoDataset([Video(str(p)) for p in paths], sampler, CenterCrop(48, short_side=48), AutoReader())
    for row in range(3):
        times = dataset.times[row]
        clips = dataset[(0, row)]
        indices = sampler(times)
        assert torch.allclose(clips.seconds, torch.from_numpy(times[indices.numpy()]).float())
        # Columns 8 to 56 of 64: blocks 1 to 6 of the eight bits.
        for view, clip in enumerate(clips.pixels):
            bits = (clip[0, :, 6, 4::8] > 120).long()
            assert (bits @ torch.tensor([2, 4, 8, 16, 32, 64]) == indices[view] // 2 * 2 % 128).all()


def test_files_of_different_rates_give_clips_of_equal_duration(tmp_path):
    rates = (24, 25, 30)
    paths = [files.write_numbered(tmp_path / f"{rate}.mp4", rate=rate) for rate in rates]
    sampler = RandomClips(views=40, frames=8, stride=None, seconds=0.1)
    dataset = VideoDataset([Video(str(p)) for p in paths], sampler, CenterCrop(8, short_side=8), AutoReader())
    for row, rate in enumerate(rates):
        seconds = dataset[(0, row)].seconds
        assert (seconds[:, -1] - seconds[:, 0] - 0.7).abs().max() <= 1 / rate + 1e-5
        assert (seconds.diff(dim=1) - 0.1).abs().max() <= 1 / rate + 1e-5
        assert float((seconds[:, -1] - seconds[:, 0]).mean()) == pytest.approx(0.7, abs=0.01)


def test_probing_in_processes_finds_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("ssv.data.probing.CHUNK", 1)
    paths = [str(files.constant_rate(tmp_path)), str(files.variable_rate(tmp_path)), str(tmp_path / "none.mp4")]
    alone, together = probe_times(paths), probe_times(paths, processes=2)
    assert list(alone) == list(together) == paths
    assert all(np.array_equal(alone[path], together[path]) for path in paths[:2])
    assert isinstance(alone[paths[2]], VideoError)
    assert str(alone[paths[2]]) == str(together[paths[2]])


def test_a_long_start_says_what_it_does(tmp_path, monkeypatch, capsys):
    paths = [str(tmp_path / f"{i}.mp4") for i in range(5)]
    assert list(probe_times(paths, announce=True)) == paths
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("ssv.data.probing.QUIET_SECONDS", 0.0)
    assert list(probe_times(paths, announce=True)) == paths
    assert "looking at 5 videos" in capsys.readouterr().err


def test_a_broken_file_is_named_at_once(tmp_path):
    with pytest.raises(VideoError, match="none.mp4"):
        VideoDataset([Video(str(tmp_path / "none.mp4"))], RandomClips(), CenterCrop(8, short_side=8), NumberReader())
