"""From the words after a verb to one plain configuration, once or as a sweep.

Hydra composes; what leaves this module is a plain dict, and a ``sys.argv`` that repeats exactly this job, because that
is what Lightning starts its other processes with.
"""

from __future__ import annotations

import importlib
import itertools
import os
import re
import shlex
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from ssv.cli.errors import UserError, from_hydra
from ssv.cli.trust import read_trusted
from ssv.cli.words import check_choices, path_first, readable

Config = dict[str, Any]
HERE = Path(__file__).resolve().parents[1]


def config_path() -> str:
    """The checkout's ``conf/`` where there is one (clone, editable install), else the packaged copy (wheel)."""
    if (HERE.parent / "setup.cfg").is_file() and (HERE.parent / "conf").is_dir():
        return str(HERE.parent / "conf")
    return "pkg://ssv.conf"


def run_verb(verb: str, arguments: list[str]) -> int:
    """Run a verb; ``--resolved FILE`` repeats a job from its recorded configuration, without Hydra."""
    module = importlib.import_module(f"ssv.cli.{verb}")
    if arguments[:1] == ["--resolved"]:
        file, named = resolved_words(arguments)
        config = read_trusted(file, named)
        check_stored(file, verb, module, config)
        code: int = module.run(config)
        return code
    first = getattr(module, "FIRST", None)  # the key that the first word may leave out
    if first:
        arguments = path_first(arguments, first, module.KEYS)
    flags: dict[str, str] = getattr(module, "FLAGS", {})  # words in dashes that stand for a key
    arguments = readable([flags.get(word, word) for word in arguments])
    check_choices(arguments, group_names(), module.KEYS)
    codes: list[int] = []

    def task(composed: Any) -> None:
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode

        from ssv.cli.main import report

        try:
            code = module.run(prepare(module, composed))
            codes.append(code)
            if code > 128:  # a signal: it was meant for the sweep, not for one of its jobs
                sys.exit(code)
        except Exception as error:
            # A sweep goes on after a failed job; the worst exit code is the sweep's.
            codes.append(report(error))
            if (
                HydraConfig.get().mode == RunMode.MULTIRUN
                and "basic_launcher" not in HydraConfig.get().launcher._target_
            ):
                raise  # another process: its launcher has to know

    run_hydra(verb, arguments, task)
    return max(codes, default=0)


def resolved_words(words: list[str]) -> tuple[Path, list[str]]:
    """The file and the names in ``--resolved FILE [--allow NAME]...``."""
    file, *rest = words[1:] or [""]
    if not file or len(rest) % 2 or {*rest[::2]} - {"--allow"}:
        raise UserError(
            "--resolved takes one file, a run's config.yaml, and --allow NAME for each class in it that is not of ssv; "
            f"got {shlex.join(words[1:]) or 'nothing'}"
        )
    return Path(file), rest[1::2]


def check_stored(file: Path, verb: str, module: Any, config: Config) -> None:
    """Raises UserError where a stored configuration lacks what a verb needs, or has what nothing takes."""
    import yaml

    from ssv.cli.checks import check_config, check_plain
    from ssv.cli.trust import own_configuration

    defaults = yaml.safe_load((own_configuration() / f"{verb}.yaml").read_text(encoding="utf-8"))["defaults"]
    chosen = {
        key: name for entry in defaults if isinstance(entry, dict) for key, name in entry.items() if " " not in key
    }
    groups, needed = set(chosen), {key for key, name in chosen.items() if name is not None}
    # Keys that are newer than the file have their defaults in the code that reads them, or are missed here.
    missing = sorted((needed | {"run"} | ({"outputs"} & module.KEYS)) - {*config})
    wrong = sorted(key for key in groups & {*config} if not isinstance(config[key], (dict, type(None))))
    if missing or wrong:
        raise UserError(f"{file}: {' and '.join(missing or wrong)} {'missing' if missing else 'must be a mapping'}")
    check_plain(config, "")
    check_config(config, allowed={*module.KEYS, *groups, "run", "command"})


def run_hydra(verb: str, arguments: list[str], task: Callable[[Any], None]) -> int:
    """Let Hydra parse, compose and launch; its own errors come back as one line."""
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    saved, before = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [saved[0], *options_first(arguments)]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # hand errors over instead of printing them
    try:
        hydra.main(version_base="1.3", config_path=config_path(), config_name=verb)(task)()
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(from_hydra(error, known_keys(verb, arguments))) from error
    finally:
        sys.argv = saved
        os.environ.pop("HYDRA_FULL_ERROR") if before is None else os.environ.update(HYDRA_FULL_ERROR=before)
    return 0


def options_first(arguments: list[str]) -> list[str]:
    """Options before overrides: argparse, inside Hydra, takes overrides on one side of them only."""
    with_value = {
        "-cp",
        "-cn",
        "-cd",
        "-c",
        "-p",
        "--config-path",
        "--config-name",
        "--config-dir",
        "--cfg",
        "--package",
    }
    options, overrides, words = [], [], iter(arguments)
    for word in words:
        if word in with_value:
            options += [word, *itertools.islice(words, 1)]
        elif word.startswith("-"):
            options.append(word)
        else:
            overrides.append(word)
    return [*options, *overrides]


def own_folder(words: list[str]) -> tuple[str, list[str]]:
    """The user's folder of options (``--config-dir DIR``), empty where none is named, and the other words."""
    folder, others, rest = "", [], iter(words)
    for word in rest:
        if word in ("--config-dir", "-cd"):
            folder = next(rest, "")
        elif word.startswith("--config-dir="):
            folder = word.partition("=")[2]
        else:
            others.append(word)
    return folder, others


def known_keys(verb: str, arguments: list[str]) -> list[str]:
    """Every dotted key and group of a verb, with the group choices of the command that are right."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    groups = group_names()
    choices = [word for word in arguments if word.partition("=")[0] in groups and "," not in word]
    GlobalHydra.instance().clear()
    context = (
        hydra.initialize_config_module("ssv.conf", version_base="1.3")
        if config_path().startswith("pkg:")
        else hydra.initialize_config_dir(config_path(), version_base="1.3")
    )
    with context:
        for overrides in (choices, []):
            try:
                composed = OmegaConf.to_container(hydra.compose(verb, overrides), resolve=False)
            except Exception:  # noqa: S112 - a wrong choice among them: the defaults will do for a hint
                continue
            return [*groups, *dotted(composed)]
    return groups


def group_names() -> list[str]:
    """The groups of ``conf/``."""
    folder = files("ssv.conf") if config_path().startswith("pkg:") else Path(config_path())
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] not in "._")


def dotted(node: Any, prefix: str = "") -> list[str]:
    """All keys of a nested dict as ``a.b.c``, inner ones too."""
    if not isinstance(node, dict):
        return []
    found = []
    for key, value in node.items():
        found += [f"{prefix}{key}", *dotted(value, f"{prefix}{key}.")]
    return found


def prepare(module: Any, composed: Any) -> Config:
    """The composed configuration of the running Hydra job as a plain dict, checked and named."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    hydra_config = HydraConfig.get()
    words = OmegaConf.to_container(hydra_config.overrides.task, resolve=False)  # as typed, ${...} too
    assert isinstance(words, list)
    return plain(module, composed, hydra_config.runtime.choices, words)


def compose(verb: str, words: list[str]) -> Config:
    """What ``ssv VERB WORDS`` would run, as a plain dict; also while another job of Hydra is running.

    Raises:
        UserError: as the command itself would.
    """
    import hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import flag_override, open_dict
    from omegaconf.errors import OmegaConfBaseException

    module, words = importlib.import_module(f"ssv.cli.{verb}"), readable(words)
    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().hydra = None
    context = (
        hydra.initialize_config_module("ssv.conf", version_base="1.3")
        if config_path().startswith("pkg:")
        else hydra.initialize_config_dir(config_path(), version_base="1.3")
    )
    try:
        with context:
            composed = hydra.compose(verb, [*searched(running), *words], return_hydra_config=True)
            about = composed.hydra
            with flag_override(composed, "struct", False), open_dict(composed):
                del composed["hydra"]
            return plain(module, composed, about.runtime.choices, words)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(from_hydra(error, known_keys(verb, words))) from error
    finally:
        GlobalHydra.instance().hydra = running


def own_folders(running: Any) -> list[str]:
    """The folders that a running job was given by ``--config-dir``."""
    sources = running.config_loader.get_sources() if running is not None else ()
    return [source.path for source in sources if source.provider == "command-line"]


def searched(running: Any) -> list[str]:
    """The user's own folders of options (``--config-dir``) of a running job, for another one."""
    paths = own_folders(running)
    return [f"hydra.searchpath=[{','.join(f'file://{path}' for path in paths)}]"] if paths else []


def plain(module: Any, composed: Any, chosen: Any, overrides: list[str]) -> Config:
    """A composed configuration as a plain dict, checked and named.

    Raises:
        UserError: for keys nothing reads and values still missing.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import InterpolationKeyError

    from ssv.cli.checks import check_config

    choices = {group: choice for group, choice in chosen.items() if "/" not in group}
    try:
        missing = sorted(OmegaConf.missing_keys(composed))
        if missing:
            raise UserError(f"{missing[0]} must be set: {missing[0]}=VALUE{also(missing[1:])}")
        config = OmegaConf.to_container(composed, resolve=True)
    except InterpolationKeyError as error:
        raise UserError(mismatch(str(error), choices)) from error
    assert isinstance(config, dict)
    values: Config = {str(key): value for key, value in config.items()}
    if values.get("tag") is not None:
        values["tag"] = str(values["tag"])  # tag=12 is a name
    if hasattr(module, "refuse"):
        module.refuse(values, choices)
    check_config(values, allowed=allowed_keys(module, choices))
    values["run"] = module.identity(values, choices, overrides) if hasattr(module, "identity") else {}
    values["command"] = shlex.join(["ssv", module.__name__.rpartition(".")[2], *overrides])
    return values


def mismatch(text: str, choices: dict[str, Any]) -> str:
    """One line about a choice that lacks what another one takes from it, ``${data.eval_sampler}`` for example."""
    found = re.search(r"Interpolation key '([\w.]+)' not found", text)
    key, taker = found[1] if found else "", re.search(r"full_key: (\w+)", text)
    group, _, name = key.partition(".")
    if group not in choices or not taker or taker[1] not in choices:
        return " ".join(text.split())
    presets = sorted((Path(config_path()) / group).glob("*.yaml")) if config_path()[:4] != "pkg:" else []
    fitting = [file.stem for file in presets if re.search(rf"^{name}:", file.read_text(), re.MULTILINE)]
    others = f"; these have: {', '.join(fitting)}" if fitting else ""
    chosen = f"{group}={choices[group]}"
    return (
        f"{taker[1]}={choices[taker[1]]} does not go with {chosen}, which has no '{name}'; set another {group}={others}"
    )


def also(keys: list[str]) -> str:
    """The rest of a list of missing keys, in brackets."""
    return f" (and {', '.join(keys)})" if keys else ""


def allowed_keys(module: Any, choices: dict[str, Any]) -> set[str]:
    """Top-level keys of a verb: its groups and what its primary file lists."""
    return {*module.KEYS, *choices}
