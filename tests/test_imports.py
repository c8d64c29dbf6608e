"""The import law: who may know whom. Statements are checked, not what happens to be loaded."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "ssv").rglob("*.py"))
CLI_ONLY = {"hydra", "omegaconf", "wandb", "yaml"}
FORBIDDEN = {
    "ops": [
        "ssv.data",
        "ssv.backbones",
        "ssv.pretexts",
        "ssv.evaluations",
        "ssv.training",
        "ssv.cli",
        "pytorch_lightning",
    ],
    "data": ["ssv.pretexts", "ssv.backbones", "ssv.evaluations", "ssv.training", "ssv.cli", "ssv.report"],
    "backbones": [
        "ssv.data",
        "ssv.pretexts",
        "ssv.ops",
        "ssv.evaluations",
        "ssv.training",
        "ssv.cli",
        "pytorch_lightning",
    ],
    "pretexts": ["ssv.data", "ssv.evaluations", "ssv.training", "ssv.cli", "pytorch_lightning"],
    "evaluations": ["ssv.pretexts", "ssv.cli"],
    "training": ["ssv.cli"],
    "report": ["ssv.cli", "ssv.data", "ssv.backbones", "ssv.pretexts", "ssv.training", "torch", "pytorch_lightning"],
}


def imported(path):
    """Modules an import statement of the file names, outside ``if TYPE_CHECKING``."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            found.append(node.module)
    return found


def within(module, package):
    return module == package or module.startswith(package + ".")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_obey_the_law(path):
    folder = path.relative_to(ROOT / "ssv").parts[0]
    relative = path.relative_to(ROOT / "ssv").as_posix()
    for module in imported(path):
        assert module.split(".")[0] not in ("torchvision", "tests", "conf"), module
        if folder != "cli" and (relative, module) != (
            "api.py",
            "yaml",
        ):  # a preset's name becomes its constructor's values
            assert module.split(".")[0] not in CLI_ONLY, f"{module} belongs to ssv/cli"
        if module.split(".")[0] == "decord":
            assert relative == "data/readers/decord.py"
        if folder == "data" and relative != "data/datamodule.py":
            assert module.split(".")[0] not in ("pytorch_lightning", "lightning"), module
        for forbidden in FORBIDDEN.get(folder, []):
            assert not within(module, forbidden), f"ssv/{folder} must not import {forbidden}"
    if folder == "pretexts":
        mine = "ssv.pretexts." + path.stem
        others = [m for m in imported(path) if within(m, "ssv.pretexts") and m not in ("ssv.pretexts.base", mine)]
        assert not others, "a pretext never imports another: shared maths moves to ssv/ops"
        concrete = [m for m in imported(path) if within(m, "ssv.backbones") and m != "ssv.backbones.base"]
        assert not concrete, "a pretext borrows any backbone"


def test_no_config_objects_below_the_cli():
    for path in FILES:
        if "cli" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.arguments):
                names = {a.arg for a in [*node.args, *node.kwonlyargs]}
                assert not names & {"cfg", "config", "conf"}, f"{path} takes a configuration object"


def test_packages_are_listed():
    import configparser

    listed = configparser.ConfigParser()
    listed.read(ROOT / "setup.cfg")
    names = set(listed["options"]["packages"].split())
    on_disk = {".".join(p.parent.relative_to(ROOT).parts) for p in FILES if p.name == "__init__.py"}
    assert names == on_disk | {"ssv.conf"}


@pytest.mark.parametrize("statement", ["import ssv; dir(ssv)", "import ssv.cli.main", "import ssv.cli.list"])
def test_import_is_light(statement):
    code = f"import sys; {statement}; print([m for m in ('torch', 'hydra', 'wandb', 'numpy') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert found.stdout.strip() == "[]"


def test_help_and_slips_of_every_verb_are_cheap():
    code = (
        "import io, sys\n"
        "from contextlib import redirect_stderr, redirect_stdout\n"
        "from ssv.cli.main import VERBS, main\n"
        "for verb in VERBS:\n"
        "    for word in ('--help', 'sedd=1', 'notaverb'):\n"
        "        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):\n"
        "            try:\n"
        "                main([verb, word] if word != 'notaverb' else [word])\n"
        "            except SystemExit:\n"
        "                pass\n"
        "        heavy = [m for m in ('torch', 'pytorch_lightning', 'numpy', 'cv2', 'av', 'wandb') if m in sys.modules]\n"
        "        assert not heavy, (verb, word, heavy)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
