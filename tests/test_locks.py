"""Locks between processes, threads and forks; folders that tell whether their maker lives."""

import signal
import subprocess
import sys
import threading
import time

import pytest

from ssv.locks import Busy, hold, is_held
from ssv.scratch import LOCK, scratch
from tests.compose import ROOT

FORKS = """
import os, sys, time
from pathlib import Path
from ssv.locks import hold
with hold(Path(sys.argv[1])):
    child = os.fork()
    if child:
        print(child, flush=True)
    time.sleep(60)
"""
MAKES = """
import sys, time
from pathlib import Path
from ssv.scratch import scratch
with scratch("thing-", Path(sys.argv[1])) as folder:
    (folder / "half").touch()
    print(flush=True)
    time.sleep(60)
"""


def start(code, path):
    return subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_a_fork_does_not_keep_the_lock_of_a_killed_process(tmp_path):
    file = tmp_path / ".lock"
    with start(FORKS, file) as process:
        child = int(process.stdout.readline())
        assert is_held(file)
        with pytest.raises(Busy, match="told so"), hold(file, "told so"):
            pass
        process.kill()
        process.wait()
        with hold(file):  # the fork sleeps on
            subprocess.run(["kill", "-9", str(child)], check=True)
    assert not is_held(file) and not is_held(tmp_path / "none")


def test_threads_of_one_process_refuse_each_other_or_wait(tmp_path):
    file, order = tmp_path / ".lock", []

    def other():
        with hold(file, wait=True):
            order.append("other")

    with hold(file):
        with pytest.raises(Busy), hold(file):
            pass
        thread = threading.Thread(target=other)
        thread.start()
        time.sleep(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "other"]


def test_a_folder_of_a_killed_process_is_removed_by_the_next_and_one_in_use_is_not(tmp_path):
    with start(MAKES, tmp_path) as killed, start(MAKES, tmp_path) as lives:
        killed.stdout.readline(), lives.stdout.readline()
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        (tmp_path / "thing-of-others").mkdir()
        assert len(list(tmp_path.iterdir())) == 3
        with scratch("thing-", tmp_path) as folder:
            assert sorted(path.name for path in folder.iterdir()) == [LOCK]
            assert len(list(tmp_path.glob("thing-*/half"))) == 1, "of the one that lives"
        assert len(list(tmp_path.iterdir())) == 2
        lives.kill()
