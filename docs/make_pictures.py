"""The picture of a report in the README, drawn by Chromium: `make pictures`, after `make demo`."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome")
MOST_BYTES = 200_000
WIDTH, HEIGHT = 1200, 1400


def draw(page: Path, out: Path) -> None:
    """Write the top of an HTML page, ``WIDTH`` x ``HEIGHT`` pixels, as a PNG of at most 256 colours.

    Raises:
        SystemExit: with one line, where there is no browser or no page, or the file would be larger than ``MOST_BYTES``.
    """
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        sys.exit(f"a browser draws the page; install one of {', '.join(NAMES)}")
    if not page.is_file():
        sys.exit(f"{page}: no such page; `make demo` writes outputs/demo/compare.html")
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        flags = "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --hide-scrollbars"
        command = [browser, *flags.split(), f"--user-data-dir={folder}/profile", f"--window-size={WIDTH},{HEIGHT}"]
        subprocess.run([*command, f"--screenshot={shot}", page.resolve().as_uri()], check=True, capture_output=True)
        small = Path(folder) / "small.png"
        with Image.open(shot) as picture:
            picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, optimize=True)
        if small.stat().st_size > MOST_BYTES:
            sys.exit(f"the picture takes {small.stat().st_size} bytes, more than {MOST_BYTES}")
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(small, out)
    print(f"{out}: {out.stat().st_size / 1000:.0f} kB, of {page}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", nargs="?", type=Path, default=Path("outputs/demo/compare.html"))
    parser.add_argument("out", nargs="?", type=Path, default=Path("docs/pictures/report.png"))
    draw(**vars(parser.parse_args()))
