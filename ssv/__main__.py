"""``python -m ssv`` and the console script: one door."""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):  # started by path, as a second process of one job is: find the package, not its insides
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from ssv.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
