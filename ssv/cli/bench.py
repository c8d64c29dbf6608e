"""``ssv bench``: where the time of a training run goes, and what to change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssv.cli import pretrain
from ssv.files import write_json

if TYPE_CHECKING:
    import torch

    from ssv.data.datamodule import VideoDataModule
    from ssv.training.speed import Speed
    from ssv.types import Clips

KEYS = pretrain.KEYS | {"step", "batches", "json"}
refuse = pretrain.refuse
FILES = 6  # that the worth of `ssv prepare` is measured on


def run(config: dict[str, Any]) -> int:
    """Measure, print a table and advice, write the figures where asked."""
    import torch
    from rich.console import Console
    from rich.progress import Progress

    from ssv.cli.build import build_data, quiet_lightning, require_gpu
    from ssv.cli.checks import check_whole
    from ssv.cli.prepare import processors
    from ssv.data.dataset import VideoDataset
    from ssv.training.speed import measure_speed

    check_whole(config, {"batches": 2, "threads": 1}, optional=("threads",))
    if config["step"]:
        require_gpu(config["trainer"])
    quiet_lightning()
    if config["threads"]:
        torch.set_num_threads(config["threads"])
    data = build_data(config)
    data.setup("fit")
    loader = data.train_dataloader()
    assert isinstance(loader.dataset, VideoDataset)
    step, device = training_step(config, data) if config["step"] else (None, None)
    console = Console()
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("measuring", total=None)
        speed = measure_speed(
            loader.dataset,
            loader.batches.rows.tolist(),
            batch_size=data.batch_size,
            workers=data.workers,
            batches=config["batches"],
            step=step,
            device=device,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
        bar.update(task, description="measuring what `ssv prepare` would bring", total=None)
        gain = worth_preparing(data)
    print("\n".join([*table(speed), *advice(speed, gain, processors())]))
    if config["json"]:
        write_json(Path(config["json"]), {**speed._asdict(), "prepare_gain": gain, "command": config["command"]})
    return 0


def training_step(config: dict[str, Any], data: VideoDataModule) -> tuple[Callable[[Clips], None], torch.device]:
    """Forward, backward and update of the pretext in single precision, and the device they run on."""
    import torch

    from ssv.cli.build import build_backbone, instantiate_plain, lightning_trainer

    trainer = lightning_trainer(config["trainer"], logger=False, enable_checkpointing=False)
    device: torch.device = trainer.strategy.root_device
    torch.manual_seed(config["seed"])
    pretext = instantiate_plain(config["pretext"])(build_backbone(config))
    pretext.fit(data.train_dataloader(), torch.Generator().manual_seed(config["seed"]))
    pretext.to(device).train()
    optimizer = instantiate_plain(config["optimizer"])(list(pretext.parameters()))

    def step(clips: Clips) -> None:
        optimizer.zero_grad()
        pretext(clips).loss.backward()
        optimizer.step()

    return step, device


def worth_preparing(data: VideoDataModule) -> float | None:
    """How many times less a clip of prepared files would cost to read; None where they are, or none could be read."""
    from ssv.data.prepared import PreparedReader
    from ssv.data.scanning.prediction import predict

    if isinstance(data.reader, PreparedReader):
        return None
    videos = data.split("fit")
    paths = [videos[i * len(videos) // FILES].path for i in range(min(FILES, len(videos)))]
    sampler: Any = data.sampler
    cost = predict(
        paths, frames=sampler.frames, stride=sampler.stride, seconds=sampler.seconds, processes=1, limit=60.0
    )
    return None if cost is None else cost.clip / cost.prepared_clip


def table(speed: Speed) -> list[str]:
    """Milliseconds for a clip and shares of the whole."""
    parts = {
        "reading (decode and crop)": speed.reading,
        "transport between processes": speed.transport,
        "conversion to clips": speed.conversion,
        "training step": speed.step,
    }
    whole = sum(parts.values())
    lines = [f"{'':28}{'ms a clip':>10}{'share':>8}"]
    for name, seconds in parts.items():
        if seconds or name != "training step":
            lines.append(f"{name:28}{1000 * seconds / speed.clips:10.2f}{seconds / whole:8.0%}")
    in_place = speed.clips / (speed.reading + speed.conversion)
    where = f"from {speed.workers} reading processes" if speed.workers else "read in the training process"
    lines.append(f"{in_place:.0f} clips per second and core; {speed.rate:.0f} by the clock {where}")
    if speed.step:
        lines.append(f"the step takes {speed.clips / speed.step:.0f} clips per second")
    return lines


def advice(speed: Speed, gain: float | None, cores: int) -> list[str]:
    """What to change, in plain words; ``gain`` as of ``worth_preparing``."""
    from ssv.training.speed import workers_needed

    lines = []
    if speed.step:
        needed = workers_needed(speed)
        lines.append(
            f"advice: data.workers={min(needed, cores)} "
            + (
                "keeps the step fed"
                if needed <= cores
                else f"is what there are cores for; {needed} would keep the step fed, so training waits for data"
            )
        )
        if speed.reading + speed.transport < 0.05 * speed.step:
            lines.append("reading hardly counts beside the step: nothing to gain there")
            return lines
    if gain is None:
        lines.append(
            "advice: the videos are prepared, or none could be measured; nothing more to gain by `ssv prepare`"
        )
    elif gain > 1.5:
        lines.append(f"advice: `ssv prepare` once, then decoding a clip costs {gain:.0f} times less (short side 128)")
        fewer = speed._replace(reading=speed.reading / gain)
        if speed.step:
            lines.append(f"        and data.workers={min(workers_needed(fewer), cores)} keeps the step fed")
    else:
        lines.append(
            f"advice: leave the videos as they are; `ssv prepare` would bring a factor of {gain:.1f} in decoding"
        )
    return lines
