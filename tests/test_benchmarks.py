"""The benchmark of pretexts measures every one of them, found through conf/."""

import subprocess
import sys

import pytest

from tests.compose import ROOT, stems

pytestmark = pytest.mark.slow


def test_every_pretext_has_a_row():
    command = [sys.executable, "benchmarks/pretext_step.py", "--small", "--repeats", "1"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert result.returncode == 0, result.stderr
    rows = [line.split()[:3] for line in result.stdout.splitlines()]
    for name in stems("pretext"):
        assert rows.count([name, "r3d_tiny", "4"]) == 1, result.stdout
