"""What the documentation tells a reader to type is taken by the command line of today, and its links lead somewhere."""

import re
import shlex
import sys

import pytest
import yaml

from ssv.cli.cells import plan, swept
from ssv.cli.job import compose, dotted, own_folder
from ssv.cli.main import VERBS
from tests.compose import ROOT, files_to_write, stems

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEACHERS = [*PAGES, *sorted((ROOT / "conf").glob("*.yaml")), *sorted((ROOT / "conf" / "experiment").glob("*.yaml"))]
GROUPS = sorted(path.parent.name for path in (ROOT / "conf").glob("*/") if path.is_dir()) and sorted(
    {path.parent.name for path in (ROOT / "conf").glob("*/*.yaml")}
)
# What may stand before `ssv`: settings of the shell, and launchers of processes. A command with `...` in it is left alone.
BEFORE = r"(?:[A-Z_]+=\S+ +)*(?:(?:torchrun|srun|python) (?:-\S+(?: \d+)? +)*-m +)?"
COMMAND = re.compile(rf"^(?:#\s+(?:command: )?)?\s*{BEFORE}ssv ([a-z]+(?:\s.*)?)$")
PLACEHOLDER = re.compile(r"^(evaluation|data|backbone|pretext|study)=[A-Z]+$|^[A-Z]+$|^\.\.\.$")


def blocks(text):
    """The lines of fenced and indented blocks, one joined to the next where it ends in a backslash."""
    is_fenced, waiting = False, ""
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            is_fenced = not is_fenced
        elif is_fenced or line.startswith(("    ", "#")):
            waiting += line.removesuffix("\\") if not waiting else line.strip().removesuffix("\\")
            if not line.endswith("\\"):
                yield waiting
                waiting = ""


def spans(text):
    """What stands between single backticks, over line breaks too, outside of fences."""
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.S | re.M)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def commands(path):
    """What follows `ssv` in every command of a page: in blocks, and in the prose where it has a verb of ours."""
    text = path.read_text()
    found = [match[1] for line in blocks(text) for part in line.split(" && ") if (match := COMMAND.match(part))]
    if path.suffix == ".md":
        found += [match[1] for span in spans(text) if (match := COMMAND.match(span))]
    for line in dict.fromkeys(found):
        line = re.sub(r"\s{2,}\(.*\)$", "", line)  # a remark behind it, as recipes have
        words = shlex.split(line, comments=True)
        if not any(PLACEHOLDER.match(word) for word in words):
            yield words


def every_command():
    """Each command once, with the page it stands on first."""
    found = {}
    for path in TEACHERS:
        for words in commands(path):
            found.setdefault(tuple(words), path.relative_to(ROOT))
    return [pytest.param(list(words), id=f"{page}: {' '.join(words)}") for words, page in found.items()]


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """The files that the pages tell a reader to write."""
    folder = tmp_path_factory.mktemp("own")
    for page in PAGES:
        for name, content in files_to_write(page):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


def typed(words, own):
    """The verb and its overrides, as ``job.run_verb`` reads them; a folder of one's own is looked for beside the pages."""
    import importlib

    verb, rest = words[0], words[1:]
    module = importlib.import_module(f"ssv.cli.{verb}")
    first = getattr(module, "FIRST", None)
    if first and rest and not rest[0].startswith("-") and "=" not in rest[0]:
        rest = [f"{first}={rest[0]}", *rest[1:]]
    rest = [getattr(module, "FLAGS", {}).get(word, word) for word in rest]
    overrides, is_sweep = [], False
    words = iter(rest)
    for word in words:
        if word == "--config-dir":
            folder = own / next(words)
            assert folder.is_dir(), f"no page shows a file of {folder.name}"
            overrides.append(f"hydra.searchpath=[file://{folder}]")
        elif word in ("--cfg", "--resolved"):
            next(words)
        elif word.startswith("-"):
            assert word in ("-m", "--help"), f"no option of ours: {word}"
            is_sweep |= word == "-m"
        else:
            overrides.append(word)
    return verb, overrides, is_sweep


@pytest.mark.parametrize("words", every_command())
def test_every_command_is_taken(words, own):
    assert words[0] in VERBS, f"no verb {words[0]}"
    if words[0] == "list":
        folder, others = own_folder(words[1:])
        assert set(others) <= set(GROUPS) and (own / folder).is_dir()
        return
    verb, overrides, is_sweep = typed(words, own)
    if "--resolved" in words or "--help" in words or words == [verb]:
        return
    jobs = list(swept(shlex.join(overrides))) if is_sweep else [overrides]
    for job in (jobs[0], jobs[-1]) if len(jobs) > 1 else jobs:
        config = compose(verb, job)
    if verb == "study":
        assert plan("docs", {**config["study"], "seeds": [0]}, ["logger=none"])


def known():
    """Every dotted key of any verb with any of the options, and the names of the groups."""
    keys = set(GROUPS)
    for path in (ROOT / "conf").glob("*.yaml"):
        keys.update(dotted({key: value for key, value in yaml.safe_load(path.read_text()).items() if key != "hydra"}))
    for path in (ROOT / "conf").glob("*/*.yaml"):
        content = yaml.safe_load(path.read_text()) or {}
        is_global = "@package _global_" in path.read_text()
        keys.update(dotted(content if is_global else {path.parent.name: content}))
    return keys


KEYS = known()
LEAVES = {key.rpartition(".")[2] for key in KEYS}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_setting_named_in_the_prose_exists(page):
    wrong = []
    for span in spans(page.read_text()):
        for word in span.split():
            match = re.match(r"^\+?([a-z_0-9.]+)=(.*)$", word)
            is_ours = match and not re.search(r"[()\"']", word) and not span.startswith(("wandb ", "pip ", "make "))
            if (
                not is_ours
                or word in ("key=value", "weights_only=True")
                or "audits.mine" in word
                or "--config-dir" in span
            ):
                continue
            key, value = match.groups()
            is_known = key in KEYS if "." in key else key in LEAVES
            if not is_known or (key in GROUPS and re.match(r"^[a-z_0-9]+$", value) and value not in stems(key)):
                wrong.append(word)
    assert not wrong


def slug(heading):
    """The anchor that a heading gets where the pages are shown."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_link_leads_somewhere(page):
    text = page.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name) if name else page
        assert path.exists(), target
        if anchor:
            assert anchor in {slug(line.lstrip("#")) for line in path.read_text().splitlines() if line[:1] == "#"}, (
                target
            )


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_scripts_and_targets_of_make_exist(page):
    text, makefile = page.read_text(), (ROOT / "Makefile").read_text()
    for script in re.findall(r"(?:python|wandb sweep) ((?:benchmarks|experiments|docs)/\S+?\.(?:py|yaml))", text):
        assert (ROOT / script).is_file(), script
    for target in re.findall(r"(?:^|`)make ([a-z-]+)", text, re.M):
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_the_pages_are_few():
    assert len(list((ROOT / "docs").glob("*.md"))) <= 14
