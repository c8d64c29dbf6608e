"""A step of each pretext against the bare step of its backbone, and the random walk's loss against the plain one.

usage: python benchmarks/pretext_step.py [--small] [--only NAME ...] [--set KEY=VALUE ...]

A pretext's step is forward and backward on a ready batch of clips. The backbone's is forward and backward on the very
tensors that the pretext hands to it, in as many calls. Every pretext of conf/pretext is measured, each of both steps in
a process of its own, as is each loss. Memory is the peak of that process above what it held with the network alone.
Overhead is pretext / backbone - 1 and should be at most 15 %; where it goes is shown beside it, as shares of the
backbone's step: before the first call of the backbone (making the question), after the last one (head and loss), and
in a backward pass that is longer than the backbone's.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import hydra
import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor
from torch.nn import functional

from ssv.ops.walk import walk_loss
from ssv.pretexts.base import Pretext
from ssv.types import Clips, PretextOutput

CONF = Path(__file__).resolve().parents[1] / "conf"
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
TARGET = 0.15
RECIPE = {"cycle_consistency": ["pretext.warmup=0"]}  # while warming up, a step skips most of the backbone's backward
WALKS = ((49, 4), (49, 8), (1024, 4), (1024, 8))  # nodes of a frame (7x7 windows; a map of 32x32 cells), frames
SMALL_WALKS = ((49, 4), (49, 8), (256, 4), (256, 8))
DIMS, TEMPERATURE = 128, 0.05


class Cost(NamedTuple):
    """What one process measured."""

    seconds: np.ndarray
    """(repeats,4,2): until the backbone's first call, until the end of its last, until the loss, backward; wall, CPU."""
    peak: float
    """MB above what the process held."""
    result: float
    """The loss."""


# ---------------------------------------------------------------------------------------------------- clock and memory


def stamp() -> tuple[Any, float]:
    """Now: an event on the GPU or the wall clock, and the CPU time of this process."""
    if DEVICE.type == "cpu":
        return time.perf_counter(), time.process_time()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event, time.process_time()


def spans(stamps: list[tuple[Any, float]]) -> np.ndarray:
    """Seconds between neighbouring stamps, (len - 1, 2)."""
    if DEVICE.type == "cpu":
        return np.diff(np.array(stamps), axis=0)
    torch.cuda.synchronize()
    return np.array([(a.elapsed_time(b) / 1000, q - p) for (a, p), (b, q) in zip(stamps, stamps[1:])])


def peak_mb() -> float:
    """Highest memory so far, of the device or of this process."""
    if DEVICE.type == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return torch.cuda.max_memory_allocated() / 2**20


def in_child(work: Callable[..., None], *arguments: object) -> Any:
    """What ``work`` sends, from a process of its own."""
    context = multiprocessing.get_context("forkserver")  # spares every child the import of torch
    context.set_forkserver_preload(["torch", "hydra.utils", "ssv.pretexts.base", "ssv.ops.walk"])
    receive, send = context.Pipe(duplex=False)
    child = context.Process(target=work, args=(send, *arguments))
    child.start()
    send.close()
    try:
        return receive.recv()
    except EOFError:
        sys.exit("a measuring process died; see above, or its memory ran out: lower --memory-gb")
    finally:
        child.join()


# ------------------------------------------------------------------------------------------------------------- pretexts


def configure(name: str, small: bool, settings: list[str]) -> dict[str, Any]:
    """The composed configuration: an image network for pretexts of single frames, S3D-G for clips."""
    lines = (CONF / "pretext" / f"{name}.yaml").read_text().splitlines()
    tiny = next((line.removeprefix("# tiny:").split() for line in lines if line.startswith("# tiny:")), [])
    settings = [f"pretext={name}", *(["data=toy", *tiny] if small else RECIPE.get(name, [])), *settings]

    def composed(backbone: str) -> dict[str, Any]:
        config = OmegaConf.to_container(hydra.compose("pretrain", [f"backbone={backbone}", *settings]), resolve=True)
        return {**config, "name": backbone}  # type: ignore[dict-item]

    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        if small:
            return composed("r3d_tiny")
        config = composed("s3dg")
        return composed("resnet18") if config["backbone"]["time_local"] else config


def make_clips(config: dict[str, Any], batch: int) -> Clips:
    """Textures that move, of the sampler's frames and the loader's size."""
    sampler, size = config["data"]["sampler"], config["data"]["crop"]["size"]
    views, frames = sampler["views"], sampler["frames"]
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(batch * views, 3, 8, 8, generator=generator)
    texture = (functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1) * 255).to(torch.uint8)
    pixels = torch.stack([texture.roll((t, 2 * t), (2, 3)) for t in range(frames)], 2)
    step = sampler["seconds"] or sampler["stride"] / 25
    seconds = (torch.arange(frames) * step).float().expand(batch, views, frames)
    label, video = torch.arange(batch) // 2 % 2, torch.arange(batch)  # neighbours are pairs of one label
    return Clips(*(x.to(DEVICE) for x in (pixels.view(batch, views, *pixels.shape[1:]), seconds, label, video)))


def build(config: dict[str, Any]) -> Pretext:
    """The pretext over its backbone, in training mode."""
    torch.manual_seed(0)
    backbone = instantiate(config["backbone"], _convert_="all")
    pretext: Pretext = instantiate(config["pretext"], _convert_="all")(backbone)
    return pretext.to(DEVICE)


def record(send: Any, config: dict[str, Any], batch: int, folder: Path) -> None:
    """Fit the pretext, keep its state and what it hands to the backbone in a step; send the shapes of that."""
    pretext, clips = build(config), make_clips(config, batch)
    pretext.fit([clips], torch.Generator().manual_seed(0))
    torch.save(pretext.state_dict(), folder / "state.pt")
    inputs: list[Tensor] = []
    pretext.backbone.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0].detach().clone()))
    torch.manual_seed(0)
    with torch.no_grad():
        pretext(clips)
    torch.save(inputs, folder / "inputs.pt")
    send.send([tuple(x.shape) for x in inputs])


def measure(send: Any, config: dict[str, Any], batch: int, folder: Path, repeats: int, is_bare: bool) -> None:
    """Time steps of the pretext, or of the backbone alone; the first one, which warms up, counts for memory only."""
    pretext = build(config)
    pretext.load_state_dict(torch.load(folder / "state.pt", map_location=DEVICE))
    before = peak_mb()
    if is_bare:
        inputs: list[Tensor] = torch.load(folder / "inputs.pt", map_location=DEVICE)

        def forward() -> Tensor:
            return torch.stack([pretext.backbone(x).sum() for x in inputs]).sum()
    else:
        clips = make_clips(config, batch)

        def forward() -> Tensor:
            output: PretextOutput = pretext(clips)
            return output.loss

    calls: list[tuple[Any, float]] = []
    pretext.backbone.register_forward_pre_hook(lambda *_: calls.append(stamp()))
    pretext.backbone.register_forward_hook(lambda *_: calls.append(stamp()))
    seconds = []
    for _ in range(max(repeats, 1) + (repeats > 0)):
        pretext.zero_grad(set_to_none=True)
        calls.clear()
        torch.manual_seed(0)  # the same question every time: its size may be drawn
        started = stamp()
        loss = forward()
        asked = stamp()
        loss.backward()
        stamps = [started, calls[0], calls[-1], asked, stamp()]
        seconds.append(spans(stamps))
    send.send(Cost(np.array(seconds[-max(repeats, 1) :]), peak_mb() - before, float(loss.detach())))


def largest(config: dict[str, Any], folder: Path, budget_mb: float, most_seconds: float) -> int:
    """The batch, doubled while twice its memory is within the budget and a step is short enough."""
    batch = 2 if config["data"].get("pairs") else 1
    while True:
        in_child(record, config, batch, folder)
        cost: Cost = in_child(measure, config, batch, folder, 0, False)
        if 2 * cost.peak > budget_mb or float(cost.seconds[0, :, 0].sum()) > most_seconds:
            return batch
        batch *= 2


def shown(values: np.ndarray) -> str:
    """Median, and half of the range."""
    return f"{np.median(values):.3f} ±{np.ptp(values) / 2:.3f}"


def report(name: str, config: dict[str, Any], batch: int, repeats: int, folder: Path) -> None:
    """Measure one pretext and print its row."""
    shapes = in_child(record, config, batch, folder)
    bare: Cost = in_child(measure, config, batch, folder, repeats, True)
    full: Cost = in_child(measure, config, batch, folder, repeats, False)
    plain, whole = np.median(bare.seconds, axis=0), np.median(full.seconds, axis=0)  # (4,2)
    step = np.median(bare.seconds.sum(1), axis=0)
    overhead = np.median(full.seconds.sum(1), axis=0) / step - 1
    memory = full.peak / bare.peak - 1
    clock = 0 if DEVICE.type == "cuda" else 1
    parts = (whole - plain)[[0, 2, 3], clock] / step[clock]
    over = [what for what, x in (("time", overhead[clock]), ("memory", memory)) if x > TARGET]
    print(
        f"{name:20}{config['name']:10}{batch:5}"
        f"{shown(bare.seconds.sum(1)[:, clock]):>16}{shown(full.seconds.sum(1)[:, clock]):>16}"
        f"{overhead[1]:8.0%}{overhead[0]:8.0%}   {parts[0]:6.0%}{parts[1]:6.0%}{parts[2]:6.0%}"
        f"{bare.peak:9.0f}{full.peak:9.0f}{memory:7.0%}  {' + '.join('x'.join(map(str, s)) for s in shapes)}"
        + (f"  ABOVE {TARGET:.0%}: {', '.join(over)}" if over else ""),
        flush=True,
    )


# ------------------------------------------------------------------------------------------------------ the walk's loss


def straightforward(nodes: Tensor) -> Tensor:
    """Equations 1 to 4 of Jabri et al. 2020: for every palindrome, the product of all its steps, one after another."""
    frames, count = nodes.shape[2:]
    outs = [(nodes[:, :, t].transpose(1, 2) @ nodes[:, :, t + 1] / TEMPERATURE).softmax(-1) for t in range(frames - 1)]
    backs = [(nodes[:, :, t + 1].transpose(1, 2) @ nodes[:, :, t] / TEMPERATURE).softmax(-1) for t in range(frames - 1)]
    losses = []
    for last in range(1, frames - 1):
        walk = torch.eye(count, device=nodes.device).expand(len(nodes), -1, -1)
        for step in [*outs[: last + 1], *reversed(backs[: last + 1])]:
            walk = walk @ step
        home = torch.arange(count, device=nodes.device).repeat(len(nodes))
        losses.append(functional.nll_loss((walk + 1e-20).log().flatten(0, 1), home))
    return torch.stack(losses).mean()


def measure_walk(send: Any, batch: int, count: int, frames: int, repeats: int, is_ours: bool) -> None:
    """Time the loss alone, forward and backward, no edges cut."""
    generator = torch.Generator().manual_seed(0)
    nodes = functional.normalize(torch.randn(batch, DIMS, frames, count, generator=generator), dim=1).to(DEVICE)
    before = peak_mb()
    seconds = []
    for _ in range(repeats + 1):
        given = nodes.clone().requires_grad_()
        started = stamp()
        loss = walk_loss(given, temperature=TEMPERATURE).loss if is_ours else straightforward(given)
        asked = stamp()
        loss.backward()
        seconds.append(spans([started, asked, stamp()]))
    send.send(Cost(np.array(seconds[1:]), peak_mb() - before, float(loss.detach())))


def report_walk(count: int, frames: int, repeats: int) -> None:
    """Measure one size and print its row."""
    batch = 16 if count < 100 else 1
    plain, ours = (in_child(measure_walk, batch, count, frames, repeats, is_ours) for is_ours in (False, True))
    clock = 0 if DEVICE.type == "cuda" else 1
    ratio = np.median(plain.seconds.sum(1), axis=0) / np.median(ours.seconds.sum(1), axis=0)
    print(
        f"{count:6}{frames:4}{batch:6}{shown(plain.seconds.sum(1)[:, clock]):>16}{shown(ours.seconds.sum(1)[:, clock]):>16}"
        f"{ratio[1]:8.2f}{ratio[0]:8.2f}{plain.peak:9.0f}{ours.peak:9.0f}{plain.peak / ours.peak:7.2f}",
        flush=True,
    )
    assert abs(plain.result - ours.result) < 1e-4 * abs(plain.result), "the two do not agree"


def main() -> None:
    """Print both tables."""
    names = sorted(path.stem for path in (CONF / "pretext").glob("*.yaml"))
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--small", action="store_true", help="r3d_tiny and its clips, in batches of 4")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help="these pretexts")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="overrides, as of ssv pretrain")
    parser.add_argument("--memory-gb", type=float, help="of a step (default: 4, or 90 %% of the GPU's)")
    parser.add_argument("--step-seconds", type=float, default=5, help="no larger batch if a step takes longer")
    parser.add_argument("--repeats", type=int, help="timed steps (default: 3, or 9 small ones)")
    arguments = parser.parse_args()
    repeats = arguments.repeats or (9 if arguments.small else 3)
    budget = arguments.memory_gb * 1024 if arguments.memory_gb else 4096.0
    if DEVICE.type == "cuda" and not arguments.memory_gb:
        budget = 0.9 * torch.cuda.get_device_properties(DEVICE).total_memory / 2**20
    where = torch.cuda.get_device_name() if DEVICE.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    size = "batches of 4" if arguments.small else f"{budget / 1024:.0f} GB, steps up to {arguments.step_seconds:g} s"
    kind = "wall clock" if DEVICE.type == "cuda" else "CPU time"
    print(f"{where}; {size}; float32; seconds are {kind}, medians of {repeats} steps ± half their range")
    print(f"{'':35}{'':>16}{'':>16}{'overhead':>16}   {'of it, in':>18}{'peak memory, MB':>25}")
    print(
        f"{'pretext':20}{'backbone':10}{'batch':>5}{'backbone, s':>16}{'pretext, s':>16}{'CPU':>8}{'wall':>8}   "
        f"{'ask':>6}{'loss':>6}{'back':>6}{'backbone':>9}{'pretext':>9}{'over':>7}  given to the backbone"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.only:
            config = configure(name, arguments.small, arguments.set)
            find = partial(largest, config, Path(folder), budget, arguments.step_seconds)
            report(name, config, 4 if arguments.small else find(), repeats, Path(folder))
    print(f"\nthe random walk's loss, {DIMS} dimensions, against the product of all steps for every walk")
    print(
        f"{'nodes':>6}{'T':>4}{'batch':>6}{'product, s':>16}{'ssv.ops.walk, s':>16}{'CPU x':>8}{'wall x':>8}"
        f"{'MB':>9}{'MB':>9}{'x':>7}"
    )
    for count, frames in SMALL_WALKS if arguments.small else WALKS:
        report_walk(count, frames, repeats)


if __name__ == "__main__":
    main()
