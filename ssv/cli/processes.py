"""The other processes of one job: Lightning starts them by repeating the command line, so that line has to be right."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LEFT_BEHIND = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@contextmanager
def repeatable(verb: str, config_file: Path) -> Iterator[None]:
    """Within the block, ``sys.argv`` repeats this very job, and nothing tells Lightning that Hydra is about.

    With Hydra's configuration in sight Lightning adds overrides of its own, and in a sweep each further process would
    run the whole sweep again. Afterwards everything is as before, and the process group is taken down, so that the
    next job of a sweep starts clean.
    """
    import torch.distributed as dist
    from hydra.core.hydra_config import HydraConfig

    import __main__

    argv, spec, environment = sys.argv, getattr(__main__, "__spec__", None), dict(os.environ)
    hydra_config = HydraConfig.instance().cfg
    sys.argv = [str(Path(__file__).resolve().parents[1] / "__main__.py"), verb, "--resolved", str(config_file)]
    HydraConfig.instance().cfg = None
    __main__.__spec__ = None
    try:
        yield
    finally:
        if dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()
        sys.argv, HydraConfig.instance().cfg, __main__.__spec__ = argv, hydra_config, spec
        for name in LEFT_BEHIND:
            if name not in environment:
                os.environ.pop(name, None)
