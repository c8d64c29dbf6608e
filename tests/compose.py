"""Composes the real configuration in tests, once per request, without a run."""

import re
from pathlib import Path

import hydra
from omegaconf import OmegaConf

ROOT = Path(__file__).resolve().parents[1]


def compose(verb, *overrides):
    """The plain dict a command line would give; sub-configs as dicts, interpolations resolved."""
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return OmegaConf.to_container(hydra.compose(verb, list(overrides)), resolve=True)


def stems(group):
    """Names of all options of a configuration group."""
    return sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml"))


def tiny_overrides(name):
    """What the ``# tiny:`` line of a pretext's YAML says: the overrides that make it affordable on a CPU."""
    lines = (ROOT / "conf" / "pretext" / f"{name}.yaml").read_text().splitlines()
    found = [line.removeprefix("# tiny:").split() for line in lines if line.startswith("# tiny:")]
    assert found, f"conf/pretext/{name}.yaml needs a line `# tiny: key=value ...` for tests and small machines"
    return found[0]


def data_of(evaluation):
    """What the ``# data:`` line of an evaluation's YAML says it measures, clips by class where there is none."""
    lines = (ROOT / "conf" / "evaluation" / f"{evaluation}.yaml").read_text().splitlines()
    found = [line.removeprefix("# data:").strip() for line in lines if line.startswith("# data:")]
    return found[0] if found else "toy"


def files_to_write(page):
    """What a page tells a reader to write, as printed: (file name, content) of each block whose name stands before it."""
    return re.findall(r"`([\w./]+\.(?:py|yaml))`[^`]*:\n\n```(?:python|yaml)\n(.*?)```", page.read_text(), re.S)
