"""The command ``ssv``: finds the verb and hands over. Nothing heavy is imported before it is needed."""

from __future__ import annotations

import importlib
import os
import sys
import traceback

from ssv.cli.errors import UserError, explain, nearest, one_line, user_code
from ssv.lifetime import end_with_launcher
from ssv.text import lines

VERBS = {
    "toy": "write the embedded data set: real video files in the layouts of UCF101 and DAVIS",
    "scan": "look at every file of a pile of videos: what there is, what is broken, what training will cost",
    "prepare": "re-encode a pile of videos once, so that training reads clips many times cheaper",
    "bench": "where the time of a training run goes: reading, transport, the step, and what to change",
    "pretrain": "train a backbone with one pretext task",
    "evaluate": "measure one set of weights: one row of scores with its protocol",
    "audit": "can a run's pretext be solved by a shortcut? accuracy on impoverished clips beside chance",
    "study": "pretexts x seeds x evaluations with their references; run again, it does what is missing",
    "compare": "collect runs into a table and one self-contained HTML report",
    "list": "show what there is: pretexts, backbones, data, evaluations, with paper and code",
}
OVERVIEW = """ssv: self-supervised pretraining on video, and what it is worth downstream

usage: ssv VERB [key=value ...]

{verbs}

`ssv VERB --help` shows examples. Tab completion: eval "$(ssv -sc install=bash)"
"""


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code (0 done, 1 the world failed, 2 a mistake in the command)."""
    arguments = sys.argv[1:] if argv is None else argv
    end_with_launcher()
    try:
        return dispatch(arguments)
    except KeyboardInterrupt:
        print("ssv: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `ssv list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except UserError as error:
        print(f"ssv: {one_line(error)}", file=sys.stderr)
        return 2
    except Exception as error:
        return report(error)


def report(error: Exception) -> int:
    """Print one line for a mistake or a failing world, a traceback for a defect; returns the exit code."""
    found = explain(error)
    if found is None or os.environ.get("SSV_TRACEBACK") == "1":
        print(lines(traceback.format_exc()), end="", file=sys.stderr)
        if found is None:
            own = user_code(error)
            cause = f"the error comes from {own[0]}, line {own[1]}" if own else "this is a bug in ssv; please report it"
            print(f"ssv: {cause}", file=sys.stderr)
            return 1
    line, code = found
    print(f"ssv: {line}", file=sys.stderr)
    return code


def dispatch(arguments: list[str]) -> int:
    """Find the verb."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        width = max(map(len, VERBS))
        print(OVERVIEW.format(verbs="\n".join(f"  {verb:{width}}  {what}" for verb, what in VERBS.items())), end="")
        return 0
    if arguments[0] == "--version":
        from ssv import __version__

        print(f"ssv {__version__}")
        return 0
    if arguments[0] in ("-sc", "--shell-completion", "--shell_completion"):
        from ssv.cli.completion import complete

        return complete(arguments)
    verb, rest = arguments[0], arguments[1:]
    if verb not in VERBS:
        raise UserError(f"unknown verb '{verb}'{nearest(verb, VERBS)} (verbs: {', '.join(VERBS)})")
    if verb == "list":
        code: int = importlib.import_module("ssv.cli.list").run(rest)
        return code
    from ssv.cli.job import run_verb

    return run_verb(verb, rest)
