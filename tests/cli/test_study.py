"""A study's plan, its queue, and what it says; real jobs run in tests/test_studies.py."""

import io
import json
import zipfile
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from rich.console import Console

from ssv.cli.cells import Cell, plan, spelt, swept
from ssv.cli.errors import UserError
from ssv.cli.estimate import Estimate
from ssv.cli.run_folder import LOCK
from ssv.cli.scores import config_digest, file_digest
from ssv.cli.stored import as_yaml
from ssv.cli.study import Board, Queue, Refreshed, cause, rewrite
from ssv.locks import hold
from tests.compose import ROOT, stems

COMMON = ["outputs=runs", "data_root=data", "threads=1", "logger=none"]


def study(**changes):
    base = yaml.safe_load((ROOT / "conf" / "study" / "toy.yaml").read_text())
    return {**base, "seeds": [0, 1], **changes}


@pytest.fixture(scope="module")
def toy():
    return plan("x", study(), COMMON)


def test_every_combination_is_a_cell_once(toy):
    # 2 seeds x (5 pretexts and labels + 2 evaluations of each and of the random start of each of 3 forms of network)
    assert len(toy) == len({cell.name for cell in toy}) == 2 * (6 + 2 * (6 + 3))
    assert sum(cell.verb == "pretrain" for cell in toy) == 12
    assert {cell.config["seed"] for cell in toy if cell.verb == "pretrain"} == {0, 1}


def test_an_evaluation_comes_after_the_run_that_it_needs(toy):
    names = [cell.name for cell in toy]
    measured = [cell for cell in toy if cell.verb == "evaluate" and cell.needs]
    assert len(measured) == 24
    for cell in measured:
        assert names.index(cell.needs) < names.index(cell.name)
        assert cell.config["weights"] == str(cell.folder) == f"runs/{cell.needs}"


def test_every_form_of_network_has_a_random_start_of_its_own_form(toy):
    forms = {json.dumps(cell.config["backbone"], sort_keys=True) for cell in toy if cell.verb == "pretrain"}
    starts = [cell for cell in toy if cell.verb == "evaluate" and not cell.needs]
    assert {json.dumps(cell.config["backbone"], sort_keys=True) for cell in starts} == forms and len(forms) == 3


def test_the_best_probe_of_a_run_is_measured_beside_its_last_weights():
    words = study(seeds=[0], pretrain=["+experiment=fair_random_walk probe_every=2"], best_probe=True, random=False)
    run, *measured = plan("x", words, COMMON)
    assert [cell.weights.name for cell in measured] == ["backbone.pt"] * 2 + ["backbone_best_probe.pt"] * 2
    assert all(cell.needs == run.name and cell.folder == run.folder for cell in measured)


def test_most_of_a_study_may_be_left_out():
    words = study(seeds=[0], every={"pretrain": "steps=3"})
    least = {key: words[key] for key in ("seeds", "pretrain", "evaluate", "every")}
    assert plan("x", least, COMMON) == plan("x", words, COMMON)


def test_a_line_is_swept_in_hydras_grammar():
    assert list(swept("pretext=a,b +x=1 data.sampler.sizes=[1,2] y=3,4")) == [
        ["pretext=a", "+x=1", "data.sampler.sizes=[1,2]", "y=3"],
        ["pretext=a", "+x=1", "data.sampler.sizes=[1,2]", "y=4"],
        ["pretext=b", "+x=1", "data.sampler.sizes=[1,2]", "y=3"],
        ["pretext=b", "+x=1", "data.sampler.sizes=[1,2]", "y=4"],
    ]


def test_values_are_spelt_as_hydra_reads_them():
    values = [True, False, None, 1, 0, 0.5, "reflect", [1, 0.5, True, None]]
    words = [f"x={spelt(value)}" for value in values]
    assert [override.value() for override in OverridesParser.create().parse_overrides(words)] == values
    assert spelt(1) == "1", "and not true, though Python calls them equal"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seeds": 3}, "study.seeds is a list"),
        ({"seeds": []}, "at least one"),
        ({"seeds": ["a"]}, "whole numbers"),
        ({"pretrain": []}, "nothing to measure"),
        ({"sed": [0]}, "study.sed is no key of a study; did you mean 'seeds'"),
        ({"pretrain": ["pretext=sped"]}, "did you mean 'speed_prediction'"),
        ({"pretrain": ["+experiment=fair_random_walk optimiser.lr=1"]}, "optimizer"),
        ({"pretrain": ["+experiment=fair_random_walk steps=5,6"]}, "same run random_walk-r3d_tiny-toy-fair-s0"),
    ],
)
def test_a_mistake_in_a_study_is_one_line(changes, said):
    with pytest.raises(UserError, match=said):
        plan("x", study(seeds=[0], evaluate=[], **{k: v for k, v in changes.items() if k != "seeds"}) | changes, COMMON)


@pytest.mark.parametrize("name", stems("study"))
def test_every_study_says_what_it_is(name):
    text = (ROOT / "conf" / "study" / f"{name}.yaml").read_text()
    assert text.count("# ") >= 3 and "# command: " in text


def write_archive(path, content):
    """What counts as whole weights, for those who look no further."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("content", content)


def cell(tmp_path, name, needs="", verb="pretrain", **config):
    run = {"pretext": name, "backbone": "b", "data": "d", "evaluation": "knn", "name": name}
    return Cell(name, verb, tmp_path / name.split()[0], {"run": run, **config}, needs, f"ssv {verb} {name}")


def finish(cell):
    cell.folder.mkdir(parents=True, exist_ok=True)
    if cell.verb == "pretrain":
        write_archive(cell.folder / "backbone.pt", cell.name)
        (cell.folder / "config.yaml").write_text(as_yaml(cell.config))
        (cell.folder / "status.json").write_text(json.dumps({"state": "finished"}))
    else:
        row = {"config": config_digest(cell.config), "file": file_digest(cell.weights)}
        (cell.folder / "scores.jsonl").write_text(json.dumps(row) + "\n")


def test_a_cell_is_done_when_its_folder_holds_what_it_would_make(tmp_path):
    run, score = cell(tmp_path, "a", steps=4), cell(tmp_path, "a knn", "a", "evaluate", k=3)
    assert not run.is_done() and not score.is_done()
    finish(run)
    assert run.is_done() and not score.is_done()
    finish(score)
    assert score.is_done()
    assert not cell(tmp_path, "a knn", "a", "evaluate", k=5).is_done(), "measured in another way"
    write_archive(run.folder / "backbone.pt", "trained again")
    assert not score.is_done(), "measured before"


def test_a_run_of_another_configuration_is_refused(tmp_path):
    finish(cell(tmp_path, "a", steps=4))
    with pytest.raises(UserError, match="steps: 4 -> 5.*outputs="):
        cell(tmp_path, "a", steps=5).is_done()
    assert cell(tmp_path, "a", steps=4, threads=7).is_done(), "machine settings are no part of it"


class FakeJob:
    def __init__(self, log, polls, code, act):
        self.left, self.result, self.act = polls, code, act
        self.log = log

    def code(self):
        self.left -= 1
        if self.left > 0:
            return None
        if self.result == 0:
            self.act()
        else:
            self.log.write_text("warning: x\nssv: videos: no such folder\n")
        return self.result

    def stop(self):
        self.left = 0


class FakeLauncher:
    """Jobs that last a few polls; ``bad`` names those that fail. Notes what ran beside what."""

    def __init__(self, cells, bad=()):
        self.cells = {cell.name: cell for cell in cells}
        self.bad, self.began, self.most, self.jobs = bad, [], 0, []

    def __call__(self, words, log):
        verb, flag, file = words
        assert flag == "--resolved"
        name = next(name for name in self.cells if name.replace(" ", "-") == log.stem)
        assert (verb, yaml.safe_load(Path(file).read_text())) == (self.cells[name].verb, self.cells[name].config)
        self.began.append(name)
        job = FakeJob(log, 3, 1 if name in self.bad else 0, lambda: finish(self.cells[name]))
        self.jobs.append(job)
        self.most = max(self.most, sum(job.left > 0 for job in self.jobs))
        return job


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.setattr("ssv.cli.study.POLL_SECONDS", 0.001)

    def work(cells, slots, bad=(), report=lambda: None):
        folder, said = tmp_path / ".study", io.StringIO()
        folder.mkdir(exist_ok=True)
        launcher = FakeLauncher(cells, bad)
        console = Console(file=said, width=200, highlight=False)
        board = Board(console, tmp_path / "study-x.json", cells, cells, Estimate(tmp_path), slots, report)
        code = Queue(cells, launcher, slots, folder, board).work()
        states = {row["cell"]: row for row in json.loads((tmp_path / "study-x.json").read_text())["cells"]}
        return code, launcher, states, said.getvalue()

    return work


def four(tmp_path):
    return [
        cell(tmp_path, "a", steps=4),
        cell(tmp_path, "a knn", "a", "evaluate"),
        cell(tmp_path, "b", steps=4),
        cell(tmp_path, "b knn", "b", "evaluate"),
    ]


@pytest.mark.parametrize("slots", [1, 2, 8])
def test_the_queue_keeps_to_its_slots_and_to_what_needs_what(tmp_path, work, slots):
    code, launcher, states, said = work(four(tmp_path), slots)
    assert code == 0 and launcher.most == min(slots, 2)
    assert launcher.began.index("a") < launcher.began.index("a knn")
    assert launcher.began.index("b") < launcher.began.index("b knn")
    assert {row["state"] for row in states.values()} == {"done"}
    assert "[4/4]" in said
    if slots == 1:
        assert launcher.began == ["a", "a knn", "b", "b knn"], "the order of the plan"


def test_a_failed_cell_is_a_row_with_its_cause_and_not_the_end(tmp_path, work):
    code, launcher, states, said = work(four(tmp_path), 1, bad=("a",))
    assert code == 1 and launcher.began == ["a", "b", "b knn"]
    assert states["a"]["state"] == "failed" and states["a"]["cause"].startswith("videos: no such folder (exit code 1; ")
    assert states["a knn"]["state"] == "skipped" and states["a knn"]["cause"] == "a failed"
    assert states["b knn"]["state"] == "done" and states["b knn"]["command"] == "ssv evaluate b knn"
    assert "a failed: videos: no such folder" in said


def test_the_report_is_written_after_every_evaluation(tmp_path, work):
    ended = []
    states = lambda: {row["cell"]: row["state"] for row in json.loads((tmp_path / "study-x.json").read_text())["cells"]}  # noqa: E731
    work(four(tmp_path), 1, report=lambda: ended.append(states()))
    assert [sum(state == "done" for state in each.values()) for each in ended] == [2, 4]


def test_the_report_takes_a_twentieth_of_the_time_at_most():
    now, done = [0.0], []

    def work():
        done.append(now[0])
        now[0] += 2

    refreshed = Refreshed(work, clock=lambda: now[0])
    while now[0] < 200:
        refreshed()
        now[0] += 1
    assert done[0] == 0 and len(done) == 5 and all(b - a >= 40 for a, b in zip(done, done[1:]))


def test_trouble_with_the_report_so_far_is_a_line(tmp_path, capsys):
    made = cell(tmp_path, "a", steps=4)
    finish(made)
    (made.folder / "run.json").write_text(json.dumps({"pretext": "a", "name": "a"}))
    (tmp_path / "compare.html").mkdir()
    rewrite({"outputs": str(tmp_path)}, [made])
    assert capsys.readouterr().err.startswith("ssv: the report so far is not written (")


def test_a_run_held_by_another_process_is_waited_for(tmp_path, work):
    cells = four(tmp_path)
    cells[0].folder.mkdir()
    with hold(cells[0].folder / LOCK):
        assert cells[0].is_held() and not cells[2].is_held()
    assert not cells[0].is_held()


def test_the_cause_is_the_last_line(tmp_path):
    (tmp_path / "x.log").write_text("a\nssv: disk full\n\n")
    assert cause(tmp_path / "x.log", 1) == f"disk full (exit code 1; {tmp_path / 'x.log'})"
    assert "said nothing" in cause(tmp_path / "y.log", 9)


def test_estimates_come_from_what_was_done(tmp_path):
    done = cell(tmp_path, "a", steps=100)
    finish(done)
    run = {"pretext": "a", "backbone": "b", "data": "d"}
    (done.folder / "run.json").write_text(json.dumps(run))
    (done.folder / "status.json").write_text(json.dumps({"state": "finished", "step": 100, "hours": 0.5}))
    estimate = Estimate(tmp_path)
    same, other = cell(tmp_path, "a", steps=200), cell(tmp_path, "c", steps=200)
    assert estimate.seconds(same) == pytest.approx(3600)
    assert estimate.seconds(other) is None and estimate.size(other) is None
    assert estimate.left([same, same, same, same], 2) == "about 120 min left in 2 slots"
    assert estimate.left([same, other], 2) == "about 60 min left in 2 slots, and 1 cell of a kind not done yet"
    estimate.saw(other, 600)
    assert estimate.left([other], 1) == "about 10 min left in 1 slot"
