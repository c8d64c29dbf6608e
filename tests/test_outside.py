"""The documented example of a pretext that lives in a user's own folder, run as documented; and the wheel, elsewhere."""

import os
import subprocess
import sys
import zipfile

import pytest

from tests.compose import ROOT, files_to_write

pytestmark = pytest.mark.slow
RUN = ["steps=2", "data.batch_size=2", "data.workers=0", "trainer=cpu", "threads=1", "logger=none", "probe_every=0"]


def run(command, cwd, **environment):
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    env.update(WANDB_MODE="disabled", **environment)
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=500)


def test_a_pretext_of_ones_own_as_documented(world, tmp_path):
    blocks = files_to_write(ROOT / "docs" / "pretexts.md")
    assert [name for name, _ in blocks] == ["my_module.py", "my_conf/pretext/time_direction.yaml"]
    for name, content in blocks:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    words = ["--config-dir", "my_conf", "pretext=time_direction", "data=toy", "backbone=r3d_tiny", f"data.root={world}"]
    found = run([sys.executable, "-m", "ssv", "pretrain", *words, *RUN], tmp_path, PYTHONPATH=f"{ROOT}:{tmp_path}")
    assert found.returncode == 0, found.stdout + found.stderr
    assert (tmp_path / "outputs").exists()
    assert next((tmp_path / "outputs").glob("time_direction-*/backbone.pt"))


MINE = {
    "my_backbone.py": """
from torch import nn

from ssv.backbones.base import Backbone


class Plain(Backbone):
    def __init__(self, *, width=8):
        super().__init__()
        self.kwargs, self.out_channels, self.stride, self.time_local = {"width": width}, width, (2, 4, 4), False
        self.mean = self.std = (0.5, 0.5, 0.5)
        self.conv = nn.Conv3d(3, width, 3, self.stride, 1)

    def forward(self, pixels):
        return self.conv(pixels).relu()
""",
    "my_conf/backbone/plain.yaml": "# Mine.\n_target_: my_backbone.Plain\nwidth: 8\n",
    "my_data.py": """
from ssv.data.sets.ucf101 import ucf101


def few(root, split, *, fold):
    return ucf101(root, split, fold=fold)[1:]
""",
    "my_conf/data/few.yaml": "# All videos but one.\ndefaults: [toy]\nvideos: {_target_: my_data.few, _partial_: true}\n",
    "my_evaluation.py": """
from ssv.evaluations.base import Evaluation


class Weight(Evaluation):
    protocol = "the mean of the first weights"

    def run(self, backbone, data, trainer):
        return {"mean": float(next(backbone.parameters()).mean()), "chance": 0.0}
""",
    "my_conf/evaluation/weight.yaml": "# Mine.\n_target_: my_evaluation.Weight\n",
    "my_conf/study/mine.yaml": """
seeds: [0]
pretrain: ["pretext=time_direction backbone=plain data=few steps=2 data.batch_size=2 data.workers=0 data.held_out=0.5 probe_every=0"]
evaluate: ["evaluation=weight data=few data.workers=0 data.held_out=0.5"]
every: {pretrain: trainer=cpu, evaluate: trainer=cpu}
""",
}


def test_everything_of_ones_own_is_listed_studied_audited_and_reported(world, tmp_path):
    documented = dict(files_to_write(ROOT / "docs" / "pretexts.md"))
    for name, content in {**documented, **MINE}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "toy").symlink_to(world)

    def ssv(*words):
        found = run([sys.executable, "-m", "ssv", *words], tmp_path, PYTHONPATH=f"{ROOT}:{tmp_path}")
        assert found.returncode == 0, found.stdout + found.stderr
        return found.stdout

    own = ("--config-dir", "my_conf")
    listed = ssv("list", *own)
    assert all(name in listed for name in ("time_direction", "plain", "few", "weight", "mine"))
    ssv("study", "mine", *own, "logger=none", "threads=1", "slots=1")
    table = ssv("compare")
    assert "time_direction" in table and "weight" in table
    trained = next(tmp_path.glob("outputs/time_direction-plain-few-*"))
    ssv("audit", str(trained), *own, "trainer=cpu", "steps=0")


def test_the_wheel_runs_elsewhere(tmp_path):
    built = run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)], tmp_path
    )
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-2000:]
    wheel = next(tmp_path.glob("*.whl"))
    names = zipfile.ZipFile(wheel).namelist()
    assert "ssv/conf/pretrain.yaml" in names and "ssv/conf/pretext/speed_prediction.yaml" in names
    assert not [name for name in names if name.startswith(("tests", "experiments", "conf/"))]
    site, work = tmp_path / "site", tmp_path / "work"
    work.mkdir()
    installed = run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(site), str(wheel)],
        tmp_path,
    )
    assert installed.returncode == 0, installed.stderr
    ssv = [sys.executable, "-m", "ssv"]
    made = run([*ssv, "toy", "size=tiny", "root=data/toy"], work, PYTHONPATH=str(site))
    assert made.returncode == 0, made.stderr
    words = ["pretext.frames=4", "data.sampler.frames=12", "pretext.sizes=[24,32]", "pretext.test_size=32"]
    trained = run([*ssv, "pretrain", "data=toy", "backbone=r3d_tiny", *words, *RUN], work, PYTHONPATH=str(site))
    assert trained.returncode == 0, trained.stderr
    where = run([sys.executable, "-c", "import ssv; print(ssv.__file__)"], work, PYTHONPATH=str(site))
    assert str(site) in where.stdout, "it was the wheel that ran"
