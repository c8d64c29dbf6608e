import pytest

from ssv.cli import dashboard
from ssv.cli.dashboard import open_dashboard, wandb_id, wandb_mode

RUN = {"name": "a-b-c-base-s0", "pretext": "a", "backbone": "b", "data": "c"}
CONFIG = {"logger": {"project": "ssv", "mode": "auto"}, "run": RUN, "seed": 0}


@pytest.fixture
def no_key(monkeypatch, tmp_path):
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "no_netrc"))


def test_offline_without_a_key_online_with_one(no_key, monkeypatch):
    assert wandb_mode("auto") == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert wandb_mode("auto") == "online"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert wandb_mode("auto") == "disabled"


def test_the_id_lives_in_the_folder(tmp_path):
    first = wandb_id(tmp_path, "pretrain")
    assert wandb_id(tmp_path, "pretrain") == first != wandb_id(tmp_path, "linear_probe")


@pytest.mark.slow
def test_an_offline_run_is_written_and_said_once(no_key, tmp_path, capsys):
    opened = open_dashboard(CONFIG, tmp_path, job_type="pretrain")
    for step in range(3):
        for sink in opened.sinks:
            sink({"step": step, "clips_seen": 8 * step, "pretext/loss": 0.5})
    opened.close()
    files = list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert len(files) == 1 and files[0].stat().st_size > 0
    assert capsys.readouterr().out.count("no key found") == 1


def test_a_dashboard_that_fails_costs_nothing(no_key, tmp_path, monkeypatch, capsys):
    import wandb

    def broken(**_):
        raise RuntimeError("no such thing\nas a server")

    monkeypatch.setattr(wandb, "init", broken)
    assert open_dashboard(CONFIG, tmp_path, job_type="pretrain").sinks == []
    assert "going on without it" in capsys.readouterr().out


def test_other_processes_open_none(no_key, tmp_path, monkeypatch):
    monkeypatch.setattr(dashboard, "is_first_process", lambda: False)
    assert open_dashboard(CONFIG, tmp_path, job_type="pretrain").sinks == []
