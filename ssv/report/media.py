"""Pictures and films that evaluations left in the run folders, small enough to travel inside the report."""

from __future__ import annotations

import base64
import io
import os
import warnings
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from ssv.report.blocks import section
from ssv.report.comparison import Arm, Comparison
from ssv.report.runs import Row, Run
from ssv.text import clean

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_BYTES = 200_000
"""Of one embedded picture."""

MOST_OF_EVALUATION, MOST_OF_ARM = 2, 6
"""Pictures and films shown."""

MOST_FRAMES = 100
"""Frames of a film that are read for its strip; a longer film shows its start."""

STILLS, HEIGHT, GAP, WIDTH = 4, 132, 4, 960
"""Of a strip: frames, rows of pixels, pixels between frames; and the most pixels of any picture's longer side."""

FINAL = "backbone.pt"
"""The weights that a run's own picture belongs to."""

PICTURES, FILMS = (".png", ".jpg", ".jpeg"), (".mp4",)


class Sample(NamedTuple):
    """One picture: whose it is, of which evaluation and file; JPEG bytes; where the film lies, empty for a picture."""

    label: str
    seed: int
    evaluation: str
    file: str
    jpeg: bytes
    film: str


def samples(comparison: Comparison, page: Path) -> list[Sample]:
    """A few pictures of each arm, of its first seed that left any; what cannot be read is passed over.

    Args:
        comparison: whose run folders are looked at.
        page: the report, from which films are linked.
    """
    found = [sample for arm in comparison.arms for sample in _of_arm(arm, page.absolute().parent)]
    return sorted(found, key=lambda sample: (sample.evaluation, sample.file))  # stable: arms keep their order


def _of_arm(arm: Arm, beside: Path) -> list[Sample]:
    found: list[Sample] = []
    for data in dict.fromkeys(run.data for run in arm.runs):  # one, but for random starts
        mine = (list(islice(_of_run(arm, run, beside), MOST_OF_ARM)) for run in arm.runs if run.data == data)
        found += next((samples for samples in mine if samples), [])
    return found[:MOST_OF_ARM]


def _of_run(arm: Arm, run: Run, beside: Path) -> Iterator[Sample]:
    drawn = run.folder / "pictures" / "pretext.png"
    if _is_own(drawn, run.folder) and arm.weights_file == FINAL and (jpeg := _jpeg(drawn)) is not None:
        yield Sample(arm.label, run.seed, "pretraining", clean(run.pretext), jpeg, "")
    for folder in sorted((run.folder / "evaluations").glob("*/")):
        row = next((row for row in run.rows if row.weights_file == arm.weights_file and _left(folder, row)), None)
        if row is None:
            continue
        pictures = ((file, jpeg) for file in _files(run.folder, folder) if (jpeg := _jpeg(file)) is not None)
        for file, jpeg in islice(pictures, MOST_OF_EVALUATION):
            link = quote(f"./{os.path.relpath(file, beside)}") if file.suffix in FILMS else ""
            name = clean(file.relative_to(folder))
            yield Sample(arm.label, run.seed, f"{row.evaluation} {row.data}", name, jpeg, link)


def _left(folder: Path, row: Row) -> bool:
    """Whether the evaluation of the row wrote the folder: its name begins with what was measured."""
    return bool(row.weights) and folder.name.startswith(f"{row.evaluation}-{row.data}-{row.weights}-s{row.seed}-")


def _files(run: Path, folder: Path) -> Iterator[Path]:
    """Pictures and films on top of the folder and in its ``films``; label maps below are no pictures for eyes."""
    for place in (folder, folder / "films"):
        for file in sorted(place.iterdir()) if place.is_dir() else ():
            if file.suffix in PICTURES + FILMS and _is_own(file, run):
                yield file


def _is_own(file: Path, run: Path) -> bool:
    """Whether it is a file of the run, and no link to one elsewhere."""
    return file.is_file() and file.resolve().is_relative_to(run.resolve())


def _jpeg(file: Path) -> bytes | None:
    """A small JPEG of a picture, or of a strip of stills of a film; None for what is damaged or far too large."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            picture = _strip(file) if file.suffix in FILMS else _opened(file)
            return None if picture is None else _small(picture)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombWarning, Image.DecompressionBombError):
            return None


def _opened(file: Path) -> Image:
    from PIL import Image

    with Image.open(file, formats=("PNG", "JPEG")) as picture:
        return picture.convert("RGB")


def _strip(file: Path) -> Image | None:
    """Stills of the first frames of a film beside each other, evenly spread; None where it has no frame."""
    import av
    from PIL import Image

    try:
        with av.open(str(file)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            last = min(stream.frames or MOST_FRAMES, MOST_FRAMES) - 1
            wanted = {round(last * place / (STILLS - 1)) for place in range(STILLS)}
            decoded = enumerate(islice(container.decode(video=0), last + 1))
            stills: list[Image.Image] = [
                frame.to_image(height=HEIGHT, width=_width(frame)) for i, frame in decoded if i in wanted
            ]
    except (av.error.FFmpegError, IndexError):
        return None
    if not stills:
        return None
    strip = Image.new("RGB", (sum(still.width for still in stills) + GAP * (len(stills) - 1), HEIGHT), "white")
    left = 0
    for still in stills:
        strip.paste(still, (left, 0))
        left += still.width + GAP
    return strip


def _width(frame: Any) -> int:
    return int(max(1, round(frame.width * HEIGHT / frame.height)))


def _small(picture: Image) -> bytes | None:
    """JPEG of at most ``MOST_BYTES``, made smaller until it is; None where that does not help."""
    picture.thumbnail((WIDTH, WIDTH))
    for _ in range(4):
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=85)
        if out.tell() <= MOST_BYTES:
            return out.getvalue()
        picture = picture.resize((max(1, picture.width // 2), max(1, picture.height // 2)))
    return None


def gallery(found: Sequence[Sample]) -> str:
    """The samples, those of one file of one evaluation beside each other."""
    parts = []
    for (evaluation, file), group in groupby(found, key=lambda sample: (sample.evaluation, sample.file)):
        parts.append(f"<h3>{escape(evaluation)}: {escape(file)}</h3><div class=gallery>")
        parts += [_figure(sample) for sample in group]
        parts.append("</div>")
    return section(
        "What it looks like",
        "".join(parts),
        "What evaluations and pretexts drew, of the first seed that left something; of films some stills, in their order,"
        " with a link to the film where it lay when this was written. Picked by file name, not by how well they came"
        " out. Retrieved: a query, then its nearest videos, green where the label is the query's, red where not."
        " Speed: a held-out video as it is and reddened where it looks fast, at the lowest speed and at the highest.",
    )


def _figure(sample: Sample) -> str:
    words = escape(f"{sample.label}, seed {sample.seed}")
    link = f' <a href="{escape(sample.film)}">film</a>' if sample.film else ""
    data = base64.b64encode(sample.jpeg).decode()
    return (
        f'<figure><figcaption>{words}{link}</figcaption><img alt="{escape(sample.evaluation)}, {escape(sample.file)}: '
        f'{words}" src="data:image/jpeg;base64,{data}"></figure>'
    )
