"""Encoded videos shared by the tests of this folder."""

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[Path], Path]], str]:
    """Makes a file of a kind once."""
    folder, paths = tmp_path_factory.mktemp("videos"), {}

    def make(kind: Callable[[Path], Path]) -> str:
        if kind not in paths:
            (folder / kind.__name__).mkdir()
            paths[kind] = str(kind(folder / kind.__name__))
        return paths[kind]

    return make
