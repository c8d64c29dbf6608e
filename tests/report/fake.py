"""Invented run folders: every number in them is made up for the tests of the report and measures nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

CLASSES, GROUPS, CLIPS = 12, 6, 3
PROBE = "frozen features, 4 clips, centre crop 56, logistic regression, C chosen on held-out groups"
TUNE = "all layers, AdamW 1e-3, 350 steps of 24, 4 clips, centre crop 56"

# pretext: (chance of the pretext, its accuracy, linear probe, fine-tune), all invented
ARMS = {
    "random": (None, None, 0.117, 0.136),
    "supervised": (1 / 12, 0.71, 0.452, 0.430),
    "speed_prediction": (0.25, 0.74, 0.333, 0.295),
    "order_verification": (0.5, 0.91, 0.137, 0.150),
}


def write_run(folder: Path, *, lines: list[dict] = (), scores: list[dict] = (), status: dict | None = None, **identity):
    """Write one run folder as training does; ``identity`` goes into run.json."""
    folder.mkdir(parents=True)
    run = {
        "name": folder.name,
        "backbone": "s3dg_tiny",
        "data": "toy",
        "tag": "base",
        "commit": "0123456789abcdef",
        "versions": {"ssv": "0.1.0"},
        "created": "2026-11-22T10:00:00",
    }
    (folder / "run.json").write_text(json.dumps({**run, **identity}))
    if status is not None:
        (folder / "status.json").write_text(json.dumps(status))
    if lines:
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if scores:
        (folder / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in scores))
    return folder


def score(evaluation: str, top1: float, seed: int = 0, **more) -> dict:
    """One row of scores.jsonl."""
    row = {
        "evaluation": evaluation,
        "data": "toy",
        "protocol": PROBE if evaluation == "linear_probe" else TUNE,
        "seed": seed,
        "weights": f"digest-{seed}",
        "weights_file": "backbone.pt",
        "scores": {"top1": top1, "chance": 1 / 12},
        "per_video": None,
        "seconds": 8.5,
        "commit": "0123456789abcdef",
        "time": "2026-11-22T11:00:00",
    }
    return {**row, **more}


def finished(step: int = 900, clips: int = 28_800, frames: int = 460_800, hours: float = 0.021) -> dict:
    """A status.json of a finished run."""
    return {
        "state": "finished",
        "step": step,
        "steps": step,
        "clips_seen": clips,
        "frames_seen": frames,
        "hours": hours,
        "message": "",
    }


def write_predictions(path: Path, accuracy: float, generator: np.random.Generator) -> float:
    """Per-video predictions of about this accuracy; returns the exact one."""
    label = np.repeat(np.arange(CLASSES), GROUPS * CLIPS)
    group = np.tile(np.repeat(np.arange(GROUPS), CLIPS), CLASSES)
    right = generator.random(len(label)) < accuracy
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        path=np.array([f"v{i:03d}.avi" for i in range(len(label))]),
        label=label,
        prediction=np.where(right, label, (label + 1) % CLASSES),
        group=np.array([f"c{c:02d}_g{g:02d}" for c, g in zip(label, group)]),
    )
    return float(right.mean())


def write_study(outputs: Path, seeds: int = 3) -> Path:
    """Four arms of ``seeds`` finished runs with two evaluations, curves and predictions. Invented numbers."""
    generator = np.random.default_rng(0)
    for pretext, (chance, accuracy, probe, tune) in ARMS.items():
        for seed in range(seeds):
            folder = outputs / f"{pretext}-s3dg_tiny-toy-base-s{seed}"
            rows = []
            for evaluation, target in (("linear_probe", probe), ("fine_tune", tune)):
                file = f"evaluations/{evaluation}.npz"
                exact = write_predictions(folder / file, target + 0.02 * generator.standard_normal(), generator)
                scores = {"top1": exact, "top5": min(1.0, exact + 0.4), "chance": 1 / CLASSES}
                rows.append(
                    score(evaluation, exact, seed, per_video=file, scores=scores, weights=f"{pretext[:4]}{seed}")
                )
            lines = [] if chance is None else curve(chance, accuracy, probe, generator)
            _write_over(folder, pretext, seed, lines, rows, finished() if chance is not None else None)
    return outputs


def curve(chance: float, accuracy: float, probe: float, generator: np.random.Generator) -> list[dict]:
    """Lines of metrics.jsonl: accuracy every 20 steps, the online probe and the held-out clips every 100."""
    lines = []
    for step in range(20, 901, 20):
        grown = 1 - math.exp(-step / 250)
        line = {"step": step, "clips_seen": 32 * step, "frames_seen": 512 * step, "hours": step / 900 * 0.021}
        line["pretext/loss"] = 1.4 - grown
        line["pretext/accuracy"] = chance + (accuracy - chance) * grown + 0.03 * generator.standard_normal()
        line["pretext/chance"] = chance
        if step % 100 == 0:
            line["held_out/accuracy"] = chance + 0.9 * (accuracy - chance) * grown
            line["online/top1"] = 0.1 + (probe - 0.1) * grown + 0.01 * generator.standard_normal()
            line["online/chance"] = 1 / 12
        lines.append(line)
    return lines


def _write_over(folder: Path, pretext: str, seed: int, lines: list[dict], rows: list[dict], status: dict | None):
    """``write_run`` for a folder that the predictions have already made."""
    held = folder.with_name(folder.name + ".part")
    folder.rename(held)
    write_run(folder, pretext=pretext, seed=seed, lines=lines, scores=rows, status=status)
    (held / "evaluations").rename(folder / "evaluations")
    held.rmdir()
