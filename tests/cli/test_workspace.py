"""A W&B workspace as code, against a loopback server."""

import json
import os
import sys

import pytest

from ssv.cli.dashboard import AXES
from ssv.cli.main import main
from tests.cli.fake_wandb import FakeWandb
from tests.report.fake import write_study

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # wandb-workspaces' own, of pydantic


@pytest.fixture
def outputs(tmp_path, monkeypatch):
    """A study's folders, on a machine that W&B does not know."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("HOME", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "no_netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody there
    return write_study(tmp_path / "outputs")


def logged_by(outputs):
    return {
        key
        for file in outputs.glob("*/metrics.jsonl")
        for line in file.read_text().splitlines()
        for key in json.loads(line)
    }


def test_the_workspace_shows_what_was_logged(outputs, monkeypatch, capfd):
    with FakeWandb() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        assert main(["compare", f"outputs={outputs}", "--wandb-workspace"]) == 0
    (view,) = server.views
    assert (view["entityName"], view["projectName"], view["type"]) == ("me", "ssv", "project-view")
    assert f"W&B workspace: {server.url}/me/ssv?nw=" in capfd.readouterr().out
    sections = {
        section["name"]: section["panels"] for section in view["spec"]["section"]["panelBankConfig"]["sections"]
    }
    scores = [panel["config"]["metrics"] for panel in sections.pop("Scores, mean and deviation over seeds")]
    assert scores == [["linear_probe/toy/top1"], ["fine_tune/toy/top1"]]
    costs = [panel["config"]["metrics"] for panel in sections.pop("What pretraining saw and took")]
    assert costs == [[axis] for axis in AXES]
    curves = [panel for panels in sections.values() for panel in panels]
    assert curves and all(panel["config"]["xAxis"] == "clips_seen" for panel in curves)
    drawn = {key for panel in curves for key in panel["config"]["metrics"]}
    assert drawn == {key for key in logged_by(outputs) if "/" in key and not key.startswith("optimizer/")}
    assert all(panel["config"]["groupBy"] == "run.value.pretext" for panel in curves)
    grouped = view["spec"]["section"]["runSets"][0]["grouping"]
    assert [key["name"] for key in grouped] == ["run.value.pretext", "run.value.backbone", "run.value.data"]


def test_a_team_and_its_project_may_be_named(outputs, monkeypatch):
    with FakeWandb() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        assert main(["compare", f"outputs={outputs}", "wandb_workspace=team/videos"]) == 0
    assert [(view["entityName"], view["projectName"]) for view in server.views] == [("team", "videos")]


def test_without_a_key_or_the_package_or_a_server_it_is_one_line(outputs, monkeypatch, capfd):
    def refused(code):
        assert main(["compare", f"outputs={outputs}", "--wandb-workspace"]) == code
        (line,) = capfd.readouterr().err.strip().splitlines()
        return line

    assert "no key was found; `wandb login`, or set WANDB_API_KEY" in refused(2)
    with FakeWandb() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        server.on_UpsertView2 = lambda _: None
        assert "W&B does not take the workspace: " in refused(1)
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    assert "pip install 'ssv[workspace]'" in refused(2)
