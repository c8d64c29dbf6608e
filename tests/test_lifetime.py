"""Children that end with their parents: small processes that hang in ways a thread of their own could not end."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.compose import ROOT
from tests.living import Mark, needs_proc

pytestmark = needs_proc

HANG = "import ctypes; ctypes.PyDLL(None).sleep(60)"  # holds the interpreter's lock: none of its threads runs
CHILD = """
import multiprocessing, os, signal, sys, threading, time
from ssv.lifetime import end_with_creator

def work():
    {before}
    end_with_creator()
    print(os.getpid(), flush=True)
    {hang}

def start():
    multiprocessing.get_context("{method}").Process(target=work).start()

if __name__ == "__main__":
    {start}
    time.sleep(60)
"""


def run(tmp_path, *, method="fork", before="pass", hang=HANG, start="start()"):
    """A process with one child; waits until that one has asked to end with it."""
    mark, file = Mark(), tmp_path / "script.py"
    file.write_text(CHILD.format(method=method, before=before, hang=hang, start=start))
    env = {**os.environ, "PYTHONPATH": str(ROOT), **mark.environment}
    parent = subprocess.Popen([sys.executable, str(file)], env=env, stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    assert {child, parent.pid} <= set(mark.living())
    return mark, parent


def kill(parent):
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread polls")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_the_kernel_ends_a_child_that_hangs_in_a_library(tmp_path, method):
    mark, parent = run(tmp_path, method=method)
    kill(parent)
    assert not mark.left_after(3)


def test_without_that_kernel_a_thread_looks(tmp_path):
    mark, parent = run(tmp_path, before="sys.platform = 'darwin'", hang="time.sleep(60)")
    kill(parent)
    assert not mark.left_after(3)


def test_the_end_of_the_thread_that_started_it_is_not_the_end_of_its_parent(tmp_path):
    start = "thread = threading.Thread(target=start); thread.start(); thread.join()"
    mark, parent = run(tmp_path, hang="time.sleep(60)", start=start)
    time.sleep(1)
    assert len(mark.living()) == 2
    kill(parent)
    assert not mark.left_after(3)


def test_a_parent_that_ended_before_is_noticed():
    code = "import os, sys; from ssv.lifetime import end_with; end_with(int(sys.argv[1])); input()"
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    command = [sys.executable, "-c", code, str(gone.pid)]
    assert subprocess.run(command, cwd=ROOT, stdin=subprocess.PIPE, timeout=30).returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("environment", "lives"), [({}, True), ({"TORCHELASTIC_RUN_ID": "none"}, False), (None, False)]
)
def test_a_command_ends_with_what_started_it_as_part_of_a_job_and_not_with_a_shell(tmp_path, environment, lives):
    child = "import sys, time; from ssv.lifetime import end_with_launcher; end_with_launcher(); print(flush=True); time.sleep(60)"
    code = f"""
import os, subprocess, sys, time
env = {{**os.environ, **({environment!r} or {{"SSV_PARENT": str(os.getpid())}})}}
subprocess.Popen([sys.executable, "-c", {child!r}], env=env)
time.sleep(60)
"""
    if environment == {}:
        code = code.replace(" or {", " and {")
    mark = Mark()
    env = {**os.environ, "PYTHONPATH": str(ROOT), **mark.environment}
    parent = subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE)
    parent.stdout.readline()
    kill(parent)
    left = mark.left_after(1 if lives else 3)
    for number in left:
        os.kill(number, signal.SIGKILL)
    assert bool(left) == lives
