"""The front door: ``import ssv`` and the page about it."""

import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import ssv
from ssv.data.crops import CenterCrop
from ssv.data.dataset import VideoDataset
from ssv.data.readers.pyav import PyAVReader
from ssv.data.sampling import UniformClips
from ssv.ops.photometric import normalise
from tests.compose import ROOT
from tests.numbered import write_numbered


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    return [str(write_numbered(folder / f"{name}.mp4", frames=frames)) for name, frames in (("a", 60), ("b", 70))]


def test_every_name_of_the_front_door_is_there():
    assert sorted(ssv.__all__) == ssv.__all__
    for name in ssv.__all__:
        assert getattr(ssv, name).__module__.startswith("ssv")
        assert name in dir(ssv)
    with pytest.raises(AttributeError, match="no attribute 'featurs'"):
        ssv.featurs  # noqa: B018


def test_presets_are_those_of_the_command_line_with_arguments_changed():
    assert {"r3d50", "s3dg", "r3d_tiny"} <= set(ssv.list_backbones())
    changed = ssv.create_backbone("r3d_tiny", time_local=True)
    assert changed.time_local and changed.kwargs["widths"] == ssv.create_backbone("r3d_tiny").kwargs["widths"]
    with pytest.raises(ValueError, match="unknown backbone 'r3d51'.*r3d50"):
        ssv.create_backbone("r3d51")


def test_features_are_the_mean_of_the_map_of_the_middle_clip(films):
    torch.manual_seed(0)
    backbone = ssv.create_backbone("r3d_tiny").eval()
    found = ssv.features(
        backbone, films, clip=8, seconds=0.04, size=56, batch_size=1, accelerator="cpu", progress=False
    )
    for row, film in zip(found, films):
        clips = ssv.clips(film, frames=8, seconds=0.04, size=56)
        assert clips.pixels.shape == (1, 1, 3, 8, 56, 56) and clips.pixels.dtype == torch.uint8
        with torch.no_grad():
            maps = backbone(normalise(clips.pixels[:, 0], backbone.mean, backbone.std))
        np.testing.assert_allclose(row, maps.mean((0, 2, 3, 4)).numpy(), rtol=1e-5, atol=1e-6)
    assert found.shape == (2, backbone.out_channels) and not np.allclose(found[0], found[1])


def test_maps_of_every_frame_are_those_of_the_frame_alone(films):
    backbone = ssv.create_backbone("r3d_tiny", time_local=True).eval()
    (maps,) = ssv.features(backbone, films[0], frames=True, accelerator="cpu", progress=False)
    pixels = torch.from_numpy(PyAVReader().read(films[0], [37])).permute(3, 0, 1, 2)[None]
    with torch.no_grad():
        alone = backbone(normalise(pixels, backbone.mean, backbone.std))[0, :, 0].numpy()
    assert len(maps) == 60
    np.testing.assert_allclose(maps[37], alone, rtol=1e-4, atol=1e-5)


def test_a_short_video_is_an_error_of_clips_unless_said_otherwise(films):
    with pytest.raises(ValueError, match="frames"):
        ssv.clips(films[0], frames=300, seconds=0.04)
    assert ssv.clips(films[0], frames=300, seconds=0.04, short="loop", size=8).pixels.shape[3] == 300


def test_a_data_set_is_a_map_for_a_plain_loader(films):
    sampler = UniformClips(views=1, frames=4, stride=1)
    data = VideoDataset([ssv.Video(film, 3) for film in films], sampler, CenterCrop(16, short_side=18), PyAVReader())
    batch = next(iter(DataLoader(data, batch_size=2)))
    assert isinstance(batch, ssv.Clips) and batch.pixels.shape == (2, 1, 3, 4, 16, 16)
    assert torch.equal(batch.pixels[1], data[0, 1].pixels) and torch.equal(data[-1].pixels, data[1].pixels)
    with pytest.raises(IndexError):
        data[2]


def test_the_page_runs_as_printed(films, tmp_path, monkeypatch):
    from ssv.data.toy.world import write_world

    write_world(tmp_path / "data" / "toy", size="tiny", workers=2)
    for film in films:
        (tmp_path / film.rsplit("/", 1)[1]).symlink_to(film)
    page = (ROOT / "docs" / "python.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.S)
    assert len(blocks) == 5
    program = "import sys\nsys.modules['hydra'] = sys.modules['wandb'] = None\n" + "\n".join(blocks)
    program += "\nassert rows.shape == (2, 128), rows.shape\nassert len(history) == 3 and len(maps) == 60\n"
    (tmp_path / "page.py").write_text(program)
    found = subprocess.run([sys.executable, "page.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stderr[-2000:]
    assert "'top1'" in found.stdout


@pytest.mark.slow
def test_the_reference_has_every_name(tmp_path):
    found = subprocess.run([sys.executable, "docs/make_api.py", tmp_path], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0 and not found.stderr, found.stderr
    page = (tmp_path / "ssv.html").read_text()
    assert all(f'id="{name}"' in page for name in ssv.__all__)
    assert (tmp_path / "ssv" / "pretexts" / "speed_prediction.html").exists()
