"""A page in headless Chromium, spoken to over a pipe: what a click does, and what the console says."""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SECONDS = 60


@contextmanager
def browser(profile: Path):
    """A tab of a new browser, whose own files go into the folder ``profile``."""
    commands, out = os.pipe()
    read, answers = os.pipe()

    def connect():
        # Chromium listens on descriptor 3 and answers on 4, which may be ours by chance
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (commands, answers)]
        for end, number in zip(ends, (3, 4)):
            os.dup2(end, number)

    flags = "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --remote-debugging-pipe"
    process = subprocess.Popen(
        [str(CHROMIUM), *flags.split(), f"--user-data-dir={profile}", "--window-size=1200,900", "about:blank"],
        close_fds=False,
        preexec_fn=connect,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(commands)
    os.close(answers)
    try:
        yield Tab(read, out)
    finally:
        process.kill()
        process.wait()
        os.close(read)
        os.close(out)


class Tab:
    """Shows one page after the other. ``said`` holds what the console was told of the last one, refusals among it."""

    def __init__(self, read: int, out: int) -> None:
        self.read, self.out = read, out
        self.number, self.buffer, self.session, self.said, self.loaded = 0, b"", None, [], False
        target = next(t for t in self.ask("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self.session = self.ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Log", "Runtime"):
            self.ask(f"{domain}.enable")

    def show(self, path: Path, *, script: bool = True) -> Tab:
        """Load the page; ``script`` is whether it may run any."""
        self.ask("Emulation.setScriptExecutionDisabled", value=not script)
        self.said, self.loaded = [], False
        self.ask("Page.navigate", url=path.absolute().as_uri())
        while not self.loaded:
            self.hear()
        return self

    def ask(self, method, **params):
        """Send a command and return its answer."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.hear()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]

    def hear(self):
        """The next message; those of the console are kept."""
        end = time.monotonic() + SECONDS
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.read], [], [], max(0.0, end - time.monotonic()))
            assert ready, "Chromium is silent"
            more = os.read(self.read, 1 << 20)
            assert more, "Chromium has ended"
            self.buffer += more
        line, _, self.buffer = self.buffer.partition(b"\0")
        message = json.loads(line)
        self.loaded |= message.get("method") == "Page.loadEventFired"
        if message.get("method") in ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
            self.said.append(json.dumps(message["params"]))
        return message

    def evaluate(self, expression):
        """The value of an expression in the page."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def click(self, selector):
        """A press of the mouse in the middle of the element."""
        box = f"(e => (e.scrollIntoView({{block: 'center'}}), e.getBoundingClientRect()))(document.querySelector({selector!r}))"
        at = self.evaluate(f"(b => ({{x: b.x + b.width / 2, y: b.y + b.height / 2}}))({box})")
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, **at, button="left", clickCount=1)

    def press(self, key, code):
        """A key with its text."""
        for kind in ("keyDown", "keyUp"):
            self.ask(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                windowsVirtualKeyCode=code,
                text=chr(code),
            )
