"""Settings for all tests: no dashboard, no network, few threads, and the real data where it is."""

import os
from pathlib import Path

import pytest
import torch

os.environ["WANDB_MODE"] = "disabled"
torch.set_num_threads(1)


@pytest.fixture
def real_data() -> Path:
    """A folder with real videos (``clips/``) and DAVIS-2016 sequences, named by SSV_REAL_DATA."""
    folder = Path(os.environ.get("SSV_REAL_DATA", "/nonexistent"))
    if not folder.is_dir():
        pytest.skip("real videos are not part of the project; set SSV_REAL_DATA to a folder that has them")
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A tiny toy world of the module's own, which it may write to."""
    from ssv.data.toy.world import write_world

    root = tmp_path_factory.mktemp("world") / "toy"
    write_world(root, size="tiny", workers=2)
    return root
