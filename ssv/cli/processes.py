"""The other processes of one job: Lightning starts them by repeating the command line, so that line has to be right."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ssv.cli.errors import UserError
from ssv.cli.stored import as_yaml
from ssv.cli.trust import allowing
from ssv.files import write_text
from ssv.lifetime import PARENT
from ssv.scratch import scratch

LEFT_BEHIND = (PARENT, "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@contextmanager
def repeatable(verb: str, config_file: Path, config: dict[str, Any]) -> Iterator[None]:
    """Within the block, ``sys.argv`` repeats this very job, and nothing tells Lightning that Hydra is about.

    The processes that Lightning starts end with this one. With Hydra's configuration in sight Lightning adds overrides of its own, and in a sweep each further process would
    run the whole sweep again. Afterwards everything is as before, and the process group is taken down, so that the
    next job of a sweep starts clean.
    """
    import torch.distributed as dist
    from hydra.core.hydra_config import HydraConfig

    import __main__

    argv, spec, environment = sys.argv, getattr(__main__, "__spec__", None), dict(os.environ)
    hydra_config = HydraConfig.instance().cfg
    sys.argv = [
        str(Path(__file__).resolve().parents[1] / "__main__.py"),
        verb,
        "--resolved",
        str(config_file),
        *allowing(config),
    ]
    HydraConfig.instance().cfg = None
    __main__.__spec__ = None
    os.environ[PARENT] = str(os.getpid())
    try:
        yield
    finally:
        if dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()
        sys.argv, HydraConfig.instance().cfg, __main__.__spec__ = argv, hydra_config, spec
        for name in LEFT_BEHIND:
            if name not in environment:
                os.environ.pop(name, None)


@contextmanager
def together(verb: str, config: dict[str, Any]) -> Iterator[None]:
    """Within the block all processes of ``config["trainer"]`` are there, in one group, and they leave it together.

    Lightning starts processes for its own loops only; a job of another kind has to ask for them.

    Raises:
        UserError: for a strategy whose processes are no repetition of the command line.
    """
    import torch.distributed as dist
    from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher

    from ssv.cli.build import lightning_trainer

    trainer = lightning_trainer(config["trainer"], logger=False, enable_checkpointing=False)
    if trainer.world_size == 1:
        yield
        return
    launcher = trainer.strategy.launcher
    if not isinstance(launcher, _SubprocessScriptLauncher):
        raise UserError(
            f"trainer.strategy={config['trainer']['strategy']} starts its processes in a way that `ssv {verb}` cannot use; "
            "set trainer.strategy=ddp"
        )
    with scratch("ssv-job-") as folder:
        file = folder / "config.yaml"
        write_text(file, as_yaml(config))
        with repeatable(verb, file, config):
            launcher.launch(trainer.strategy.setup_environment, trainer=trainer)
            yield
            dist.barrier()  # the first process is the job: when it ends, none may be at work
