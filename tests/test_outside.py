"""The documented example of a pretext that lives in a user's own folder, run as documented; and the wheel, elsewhere."""

import os
import re
import subprocess
import sys
import zipfile

import pytest

from tests.compose import ROOT

pytestmark = pytest.mark.slow
RUN = ["steps=2", "data.batch_size=2", "data.workers=0", "trainer=cpu", "threads=1", "logger=none", "probe_every=0"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    from ssv.data.toy.world import write_world

    root = tmp_path_factory.mktemp("world") / "toy"
    write_world(root, size="tiny", workers=2)
    return root


def run(command, cwd, **environment):
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    env.update(WANDB_MODE="disabled", **environment)
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=500)


def test_a_pretext_of_ones_own_as_documented(world, tmp_path):
    text = (ROOT / "docs" / "pretexts.md").read_text()
    blocks = re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", text, re.S)
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


def test_the_notebook_path_as_documented_without_hydra(world, tmp_path):
    text = (ROOT / "docs" / "running.md").read_text()
    code = re.search(r"## From a notebook.*?```python\n(.*?)```", text, re.S).group(1)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "toy").symlink_to(world)
    blocked = "import sys\nsys.modules['hydra'] = sys.modules['wandb'] = None\n"
    (tmp_path / "notebook.py").write_text(blocked + code)
    found = run([sys.executable, "notebook.py"], tmp_path, PYTHONPATH=str(ROOT))
    assert found.returncode == 0, found.stderr[-3000:]
    assert "'top1'" in found.stdout and (tmp_path / "backbone.pt").exists()
