"""The sweep for `wandb sweep`: what its agent would type is a command of ours."""

import pytest
import yaml

from ssv.cli.job import compose
from tests.compose import ROOT

SWEEP = yaml.safe_load((ROOT / "experiments" / "sweep.yaml").read_text())


def words(values):
    """What wandb's agent types for one run, by its own code."""
    from wandb.sdk.launch.sweeps import utils

    arguments = utils.create_sweep_command_args({"args": {key: {"value": value} for key, value in values.items()}})
    typed = utils.create_sweep_command(SWEEP["command"])
    return [word for part in typed for word in (arguments["args_no_hyphens"] if "args_no_hyphens" in part else [part])]


def ends(parameter):
    """The first and the last value a parameter can take."""
    if "value" in parameter:
        return parameter["value"], parameter["value"]
    return (
        (parameter["values"][0], parameter["values"][-1])
        if "values" in parameter
        else (parameter["min"], parameter["max"])
    )


@pytest.mark.parametrize("end", [0, 1])
def test_every_run_of_the_sweep_is_a_command_of_ours(end):
    values = {name: ends(parameter)[end] for name, parameter in SWEEP["parameters"].items()}
    typed = words(values)
    assert typed[:2] == ["ssv", "pretrain"]
    config = compose("pretrain", typed[2:])
    for name, value in values.items():
        node = config["run"] if name in ("pretext", "backbone", "data") else config
        for key in name.split("."):
            node = node[key]
        assert node == value, name


def test_its_metric_is_one_that_its_runs_log():
    assert SWEEP["metric"]["name"] == "online/top1" and SWEEP["parameters"]["probe_every"]["value"] > 0
