"""The cells of a study: the jobs it is made of, what each leaves behind, and whether it is done."""

from __future__ import annotations

import copy
import itertools
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ssv.cli.errors import UserError, nearest
from ssv.cli.job import compose
from ssv.cli.run_folder import LOCK, clash, differences, flat, is_begun, is_finished, run_name
from ssv.cli.scores import config_digest, file_digest
from ssv.cli.words import readable
from ssv.files import read_json_lines
from ssv.locks import is_held

Config = dict[str, Any]

OPTIONAL = {"random": True, "best_probe": False, "weights": [], "every": {}}
"""What a study's file may leave out; ``seeds``, ``pretrain`` and ``evaluate`` it may not."""


class Cell(NamedTuple):
    """One job of a study.

    ``name`` is the run's, with the evaluation behind it; ``folder`` the run it makes or measures; ``needs`` the name of
    the cell whose weights it measures, empty where it needs none; ``command`` what a user would type for it.
    """

    name: str
    verb: str
    folder: Path
    config: Config
    needs: str
    command: str

    @property
    def kind(self) -> tuple[str, ...]:
        """What cells that take about as long have in common."""
        run = self.config["run"]
        keys = ("pretext", "backbone", "data") if self.verb == "pretrain" else ("evaluation", "data")
        return (self.verb, *(str(run[key]) for key in keys))

    @property
    def weights(self) -> Path:
        """The file that is made or measured."""
        given = Path(self.config.get("weights", "random"))
        return given if given.is_file() or given.parent == self.folder else self.folder / "backbone.pt"

    def is_done(self) -> bool:
        """Whether the folder holds what this cell would make.

        Raises:
            UserError: when it holds a run of another configuration.
        """
        if self.verb == "pretrain":
            self._refuse_another()
            return is_finished(self.folder)
        scores = self.folder / "scores.jsonl"
        if not self.weights.exists() or not scores.exists():
            return False
        wanted = {"config": config_digest(self.config), "file": file_digest(self.weights)}
        rows, _ = read_json_lines(scores)
        return any(all(row.get(key) == value for key, value in wanted.items()) for row in rows)

    def is_held(self) -> bool:
        """Whether another process is at the run."""
        return is_held(self.folder / LOCK)

    def _refuse_another(self) -> None:
        changed = clash(self.folder, self.config) if is_begun(self.folder) else []
        if changed:
            raise UserError(
                f"{self.folder} holds another configuration ({'; '.join(changed[:5])}); set outputs=FOLDER for a study of "
                f"its own, or remove the folder"
            )


def plan(name: str, study: Config, common: list[str]) -> list[Cell]:
    """All cells of a study, a seed's before the next one's, an evaluation after what it measures.

    Args:
        name: of the study; its runs carry it, which makes no other runs of them.
        study: ``seeds``, ``pretrain`` and ``evaluate`` (lists of words as typed after the verb; values with commas are
            swept, as with ``-m``), ``random`` (whether each form of the networks is also measured at its random start),
            ``best_probe`` (whether the weights of a run's best online probe are measured too, as rows of their own),
            ``weights`` (files to measure beside them), ``every.pretrain`` and ``every.evaluate`` (words for all; those of a line win).
        common: words for every job, such as ``outputs=...``.

    Raises:
        UserError: what is wrong with the study, or with one of its lines.
    """
    study = checked(study)
    trained = [words for line in study["pretrain"] for words in swept(f"{study['every']['pretrain']} {line}")]
    measured = [words for line in study["evaluate"] for words in swept(f"{study['every']['evaluate']} {line}")]
    measures = [(words, compose("evaluate", [*words, *common, "weights=random"])) for words in measured]
    cells: list[Cell] = []
    starts: list[tuple[list[str], Config]] | None = None
    for seed in study["seeds"]:
        runs = [pretraining([*words, *common, f"seed={seed}"]) for words in trained]
        for run in runs:
            files = [run.folder, run.folder / "backbone_best_probe.pt"] if study["best_probe"] else [run.folder]
            cells += [run, *(evaluation(words, config, run, file) for file in files for words, config in measures)]
        if starts is None:  # the same for every seed
            forms = random_starts(run.config for run in runs) if study["random"] else []
            jobs = [[*words, "weights=random", *form] for form in forms for words in measured]
            starts = [(words, compose("evaluate", [*words, *common])) for words in jobs]
        cells += [start(words, config, seed) for words, config in starts]
    for file in study["weights"]:
        cells += [public(words, common, file) for words in measured]
    for cell in cells:
        cell.config["run"]["study"] = name
    return distinct(cells)


def checked(study: Config) -> Config:
    """The study with what its file leaves out; UserError where it is none."""
    known = ("seeds", "pretrain", "evaluate", *OPTIONAL)
    for key in study:
        if key not in known:
            raise UserError(f"study.{key} is no key of a study{nearest(key, known)} (known: {', '.join(known)})")
    study = {"seeds": [], "pretrain": [], "evaluate": [], **OPTIONAL, **study}
    study["every"] = {"pretrain": "", "evaluate": "", **study["every"]}
    for key in ("seeds", "pretrain", "evaluate", "weights"):
        if not isinstance(study[key], list):
            raise UserError(f"study.{key} is a list, got {study[key]!r}; write study.{key}=[...]")
    if not study["seeds"] or not all(isinstance(seed, int) and seed >= 0 for seed in study["seeds"]):
        raise UserError(f"study.seeds are whole numbers, at least one, got {study['seeds']}")
    if not study["pretrain"] and not study["weights"]:
        raise UserError("the study has nothing to measure: list runs in study.pretrain, or files in study.weights")
    return study


def swept(line: str) -> Iterator[list[str]]:
    """The jobs of a line, one for each combination of values with commas, in Hydra's own grammar."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    words = readable(shlex.split(line))
    choices = [
        [f"{word.partition('=')[0]}={value}" for value in override.sweep_string_iterator()]
        if override.is_sweep_override()
        else [word]
        for word, override in zip(words, OverridesParser.create().parse_overrides(words))
    ]
    for combination in itertools.product(*choices):
        yield list(combination)


def pretraining(words: list[str]) -> Cell:
    """The cell of one ``ssv pretrain``."""
    config = compose("pretrain", words)
    name = config["run"]["name"]
    return Cell(name, "pretrain", Path(config["outputs"]) / name, config, "", config["command"])


def evaluation(words: list[str], config: Config, run: Cell, weights: Path) -> Cell:
    """The cell that measures a run, or one file of it. ``config`` is that of any weights, so that it is composed once."""
    config = copy.deepcopy(config)
    config["weights"] = str(weights)
    backbone = run.config["backbone"]
    if not backbone["_target_"].startswith("ssv.backbones."):  # a file's own word is enough for classes of ssv only
        config["backbone"], config["run"]["backbone"] = backbone, run.config["run"]["backbone"]
        words = [*words, f"backbone={run.config['run']['backbone']}"]
    config["command"] = shlex.join(["ssv", "evaluate", *words, f"weights={weights}"])
    name = measuring(run.name, config) + ("" if weights == run.folder else f" {weights.stem}")
    return Cell(name, "evaluate", run.folder, config, run.name, config["command"])


def measuring(run: str, config: Config) -> str:
    """The name of an evaluation's cell; of two of one kind a digest tells them apart."""
    return f"{run} {config['run']['evaluation']} {config['run']['data']} {config_digest(config)[:4]}"


def random_starts(configs: Iterable[Config]) -> list[tuple[str, ...]]:
    """The words after ``weights=random`` for the networks that pretrainings set out from, each form once."""
    usual: dict[str, Config] = {}
    forms: dict[tuple[str, ...], None] = {}
    for config in configs:
        name = config["run"]["backbone"]
        if name not in usual:
            usual[name] = flat(compose("evaluate", ["weights=random", f"backbone={name}"])["backbone"])
        own = flat(config["backbone"]).items()
        changed = sorted(f"backbone.{key}={spelt(value)}" for key, value in own if usual[name].get(key, ...) != value)
        forms[(f"backbone={name}", *changed)] = None
    return list(forms)


def spelt(value: Any) -> str:
    """A value as Hydra reads it on a command line."""
    if isinstance(value, list):
        return f"[{','.join(map(spelt, value))}]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return str(value)


def start(words: list[str], config: Config, seed: int) -> Cell:
    """The cell that measures a random start. ``config`` is that of any seed."""
    config = {**copy.deepcopy(config), "seed": seed}
    run = config["run"]
    name = run_name("random", run["backbone"], run["data"], run["tag"], seed=seed)
    config["command"] = shlex.join(["ssv", "evaluate", *words, f"seed={seed}"])
    return Cell(measuring(name, config), "evaluate", Path(config["outputs"]) / name, config, "", config["command"])


def public(words: list[str], common: list[str], file: str) -> Cell:
    """The cell that measures a file of weights."""
    words = [*words, f"weights={quoted(file)}"]
    config = compose("evaluate", [*words, *common])
    name = run_name("public", Path(file).stem, "none", config["run"]["tag"], seed=0)
    command = shlex.join(["ssv", "evaluate", *words])
    return Cell(measuring(name, config), "evaluate", Path(config["outputs"]) / name, config, "", command)


def quoted(value: str) -> str:
    """A word's value in quotes, so that Hydra reads nothing into it."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def distinct(cells: Iterable[Cell]) -> list[Cell]:
    """Each cell once; UserError where two jobs of different configuration would share a folder."""
    found: dict[str, Cell] = {}
    for cell in cells:
        other = found.setdefault(cell.name, cell)
        changed = differences(other.config, cell.config)
        if changed:
            raise UserError(
                f"two lines of the study make the same run {cell.name} with different settings ({'; '.join(changed[:3])}); "
                f"give one of them tag=NAME"
            )
    return list(found.values())
