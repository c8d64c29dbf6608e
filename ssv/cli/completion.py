"""Tab completion by Hydra, taught that the first word is a verb."""

from __future__ import annotations

import os
import sys

from ssv.cli.job import own_folder, run_hydra


def complete(arguments: list[str]) -> int:
    """Serve ``ssv -sc install=bash`` (what the user evaluates) and ``query=bash`` (what the shell then asks)."""
    from ssv.cli.main import VERBS

    if any(argument.startswith("query=") for argument in arguments):
        words = os.environ.get("COMP_LINE", "").split(" ")
        if len(words) <= 2:
            print(" ".join(verb for verb in VERBS if verb.startswith(words[-1] if len(words) == 2 else "")))
            return 0
        verb = words.pop(1)
        if verb not in VERBS or verb == "list":
            return 0
        folder, words = own_folder(words)
        os.environ["COMP_LINE"] = " ".join(words)  # Hydra looks at the line alone, not at COMP_POINT
        return run_hydra(verb, [*arguments, *(("--config-dir", folder) if folder else ())], lambda config: None)
    sys.argv[0] = "ssv"
    return run_hydra("pretrain", arguments, lambda config: None)
