"""``ssv bench``: the figures add up, and the advice follows from them."""

import json

import pytest

from ssv.cli.bench import advice, table
from ssv.cli.main import main
from ssv.training.speed import Speed, workers_needed
from tests.compose import tiny_overrides
from tests.videos import write_numbered

SLOW_READING = Speed(clips=16, reading=0.8, transport=0.1, conversion=0.1, step=0.2, rate=20.0, workers=2, on_gpu=True)


def test_shares_and_rates():
    lines = table(SLOW_READING)
    assert lines[1].split() == ["reading", "(decode", "and", "crop)", "50.00", "67%"]
    assert lines[4].split() == ["training", "step", "12.50", "17%"]
    assert lines[5] == "18 clips per second and core; 20 by the clock from 2 reading processes"
    assert not any("step" in line for line in table(SLOW_READING._replace(step=0.0)))


def test_workers_keep_the_step_fed():
    assert workers_needed(SLOW_READING) == 3  # 0.9 s of reading for 0.3 s of work on it
    assert workers_needed(SLOW_READING._replace(on_gpu=False)) == 5  # readers make the clips: 1 s for 0.2 s of work
    assert workers_needed(SLOW_READING._replace(step=30.0)) == 1


def test_advice_follows_from_the_figures():
    text = "\n".join(advice(SLOW_READING, 8.0, cores=8))
    assert "data.workers=3 keeps the step fed" in text and "`ssv prepare` once" in text and "8 times less" in text
    assert "data.workers=1 keeps the step fed" in text  # then
    assert "data.workers=2 is what there are cores for; 3 would" in "\n".join(advice(SLOW_READING, None, cores=2))
    assert "leave the videos as they are" in "\n".join(advice(SLOW_READING, 1.2, cores=8))
    assert "hardly counts" in advice(SLOW_READING._replace(step=100.0), 8.0, cores=8)[-1]


def test_a_whole_measurement(tmp_path, capsys):
    for number in range(4):
        write_numbered(tmp_path / f"{number}.mp4", frames=60)
    words = ["data=folder", f"data.root={tmp_path}", "data.held_out=0", "data.batch_size=2", "data.workers=0"]
    words += ["pretext=speed_prediction", "backbone=r3d_tiny", *tiny_overrides("speed_prediction")]
    words += ["trainer=cpu", "batches=2", "threads=1", f"json={tmp_path / 'speed.json'}"]
    code = main(["bench", *words])
    out, err = capsys.readouterr()
    assert code == 0, err
    assert "reading (decode and crop)" in out and "training step" in out and "advice: data.workers=" in out
    found = json.loads((tmp_path / "speed.json").read_text())
    assert found["reading"] > 0 and found["step"] > 0 and found["rate"] > 0 and found["prepare_gain"] > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [*(f"{n}.mp4" for n in range(4)), "speed.json"]


@pytest.mark.parametrize(("word", "message"), [("batches=1", "batches takes"), ("+typo=1", "typo")])
def test_mistakes_are_one_line(word, message, capsys):
    assert main(["bench", "data=folder", "data.root=/nowhere", word]) == 2
    assert message in capsys.readouterr().err
