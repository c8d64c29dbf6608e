"""Configuration and code agree: every option composes, and YAML keys are constructor arguments."""

import inspect
import re

import pytest
import yaml
from hydra.utils import get_object

from ssv.cli.checks import check_config
from tests.compose import ROOT, compose, data_of, stems

PASSED_IN_PYTHON = {"backbone", "reader", "seed", "optimizer", "total_steps"}
GROUPS = ["pretext", "backbone", "data", "reader", "optimizer", "schedule", "trainer", "logger"]


@pytest.mark.parametrize(("group", "name"), [(g, n) for g in GROUPS for n in stems(g)])
def test_every_option_composes_and_passes_the_check(group, name):
    # A pretext asks for what not every backbone has; one that asks for nothing of it goes with all.
    pretext = ["pretext=supervised"] if group == "backbone" else []
    measured = group == "data" and "\nsampler:" not in (ROOT / "conf" / "data" / f"{name}.yaml").read_text()
    about = ("evaluate", "evaluation=phase_alignment", "weights=x") if measured else ("pretrain", *pretext)
    config = compose(*about, f"{group}={name}")
    check_config(config, allowed=set(config))


@pytest.mark.parametrize("name", stems("evaluation"))
def test_every_evaluation_composes(name):
    config = compose("evaluate", f"evaluation={name}", "weights=x", "backbone=r3d_tiny", f"data={data_of(name)}")
    check_config(config, allowed=set(config))


@pytest.mark.parametrize("name", stems("experiment"))
def test_every_recipe_composes_and_says_what_it_is(name):
    text = (ROOT / "conf" / "experiment" / f"{name}.yaml").read_text()
    verb = "evaluate" if "\n# for: evaluate" in text else "pretrain"
    config = compose(verb, f"+experiment={name}", *(["weights=x"] if verb == "evaluate" else []))
    assert "experiment" not in config
    assert text.count("# ") >= 3, "a recipe opens with what it is, its command and its cost"


def nodes(value):
    """All dicts with a ``_target_`` inside a YAML file."""
    if isinstance(value, dict):
        if "_target_" in value:
            yield value
        for inner in value.values():
            yield from nodes(inner)


@pytest.mark.parametrize(
    ("group", "name"),
    [(g, n) for g in ("data", "reader", "schedule", "evaluation", "backbone", "pretext") for n in stems(g)],
)
def test_yaml_lists_every_argument_of_ours_and_no_other(group, name):
    for node in nodes(yaml.safe_load((ROOT / "conf" / group / f"{name}.yaml").read_text())):
        if not node["_target_"].startswith("ssv."):
            continue
        arguments = inspect.signature(get_object(node["_target_"])).parameters
        keys = {key for key in node if not key.startswith("_")}
        left_out = set(arguments) - keys
        allowed = PASSED_IN_PYTHON | (
            {"root", "split"} if re.search(r"\.(sets|sequences)\.", node["_target_"]) else set()
        )
        assert keys <= set(arguments), f"{node['_target_']} takes no {keys - set(arguments)}"
        assert left_out <= allowed, f"{node['_target_']}: the YAML leaves out {left_out - allowed}"


def test_every_file_says_what_it_is():
    for path in sorted((ROOT / "conf").glob("*/*.yaml")):
        first = [line for line in path.read_text().splitlines() if "@package" not in line][0]
        assert first.startswith("# "), f"{path.relative_to(ROOT)} opens without a comment"
