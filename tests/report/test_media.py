"""Pictures and films in the report."""

from __future__ import annotations

import base64
import io
import re
import warnings
from datetime import datetime
from urllib.parse import unquote

import av
import numpy as np
import pytest
from PIL import Image

from ssv.evaluations.films import Film
from ssv.report.collect import collect
from ssv.report.html import render, write_html
from ssv.report.media import GAP, MOST_BYTES, MOST_FRAMES, STILLS, samples
from tests.report.browser import CHROMIUM, browser
from tests.report.fake import finished, score, write_run
from tests.report.test_output import checked

NOW = datetime(2026, 11, 22, 18, 0)
STEM = "linear_probe-toy-w0-s0-abc123"


@pytest.fixture
def run(tmp_path):
    rows = [score("linear_probe", 0.3, weights="w0")]
    folder = write_run(tmp_path / "outputs" / "run-s0", pretext="speed", seed=0, scores=rows, status=finished())
    (folder / "evaluations" / STEM / "films").mkdir(parents=True)
    return folder


def film(path, frames, level):
    with Film(path, 10.0) as out:
        for number in range(frames):
            out.add(np.full((48, 64, 3), level(number), dtype=np.uint8))


def found(run):
    return samples(collect(run.parent), run.parent / "compare.html")


def opened(sample):
    return np.asarray(Image.open(io.BytesIO(sample.jpeg)))


def test_a_film_is_shown_by_stills_in_their_order(run):
    film(run / "evaluations" / STEM / "films" / "a.mp4", 40, lambda i: 20 + 5 * i)
    (sample,) = found(run)
    strip = opened(sample)
    width = (strip.shape[1] - GAP * (STILLS - 1)) // STILLS
    levels = [float(strip[:, place * (width + GAP) + width // 2].mean()) for place in range(STILLS)]
    assert levels == pytest.approx([20 + 5 * i for i in (0, 13, 26, 39)], abs=4)
    assert strip.shape[0] == 132 and width == 176
    assert (sample.label, sample.seed, sample.evaluation, sample.file) == (
        "speed",
        0,
        "linear_probe toy",
        "films/a.mp4",
    )
    assert sample.film == f"./run-s0/evaluations/{STEM}/films/a.mp4"


def test_of_a_long_film_the_start_is_shown(run):
    film(run / "evaluations" / STEM / "a.mp4", MOST_FRAMES + 60, lambda i: i)
    strip = opened(found(run)[0])
    assert float(strip[:, -80].mean()) == pytest.approx(MOST_FRAMES - 1, abs=4)


def test_pictures_are_made_small_and_label_maps_are_no_pictures(run):
    folder = run / "evaluations" / STEM
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "noise.png", compress_level=1)
    (folder / "labels").mkdir()
    Image.fromarray(noise[:20, :30]).save(folder / "labels" / "0.png")
    assert len(found(run)) == 1
    Image.fromarray(noise[:20, :30]).convert("P").save(folder / "small.png")
    noisy, small = found(run)
    assert noisy.file == "noise.png" and len(noisy.jpeg) <= MOST_BYTES and noisy.film == ""
    assert max(opened(noisy).shape) <= 960 and opened(small).shape == (20, 30, 3)


def test_one_seed_and_few_of_each_evaluation(run):
    for seed in (1, 2):
        rows = [score("linear_probe", 0.3, seed, weights=f"w{seed}")]
        other = write_run(run.parent / f"run-s{seed}", pretext="speed", seed=seed, scores=rows, status=finished())
        for name in "cab":
            (other / "evaluations" / f"linear_probe-toy-w{seed}-s{seed}-x").mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(other / "evaluations" / f"linear_probe-toy-w{seed}-s{seed}-x" / f"{name}.png")
    assert [(sample.seed, sample.file) for sample in found(run)] == [(1, "a.png"), (1, "b.png")]


def test_what_the_pretext_drew_is_shown_beside(run, tmp_path):
    (run / "pictures").mkdir()
    Image.new("RGB", (30, 20), (9, 99, 199)).save(run / "pictures" / "pretext.png")
    (sample,) = found(run)
    assert (sample.evaluation, sample.file, sample.film) == ("pretraining", "speed", "")
    assert opened(sample).shape == (20, 30, 3)
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    (run / "pictures" / "pretext.png").unlink()
    (run / "pictures" / "pretext.png").symlink_to(tmp_path / "secret.png")
    assert found(run) == []


def test_random_starts_show_what_each_data_set_left(run):
    for data in ("toy", "toy_davis"):
        rows = [score("retrieval", 0.3, weights=data, data=data)]
        folder = write_run(run.parent / data, pretext="random", data=data, seed=0, scores=rows, status=finished())
        (folder / "evaluations" / f"retrieval-{data}-{data}-s0-x").mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(folder / "evaluations" / f"retrieval-{data}-{data}-s0-x" / "a.png")
    assert [sample.evaluation for sample in found(run)] == ["retrieval toy", "retrieval toy_davis"]


def test_what_cannot_be_shown_is_passed_over(run, tmp_path):
    folder = run / "evaluations" / STEM
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    for name, content in (("a.png", b"no picture"), ("b.mp4", b"no film"), ("c.mp4", b""), ("d.txt", b"x")):
        (folder / name).write_bytes(content)
    Image.new("RGB", (64, 64)).save(folder / "e.png")
    (folder / "e.png").write_bytes((folder / "e.png").read_bytes()[:60])  # half written
    (folder / "f.png").mkdir()
    Image.new("1", (10_000, 10_000)).save(folder / "bomb.png")  # a few kB that would be 300 MB
    foreign = run / "evaluations" / "linear_probe-toy-w9-s0-abc123"  # of weights that no row is about
    foreign.mkdir()
    Image.new("RGB", (8, 8)).save(foreign / "a.png")
    with av.open(str(folder / "sound.mp4"), "w") as container:  # a film without a picture
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as outside of tests, where a warning is no error
        assert found(run) == []
    assert "What it looks like" not in render(collect(run.parent), NOW)


def test_pictures_of_one_file_stand_together_and_names_are_harmless(run, tmp_path):
    odd = "javascript:alert(1)\"'<img>&%20#?.mp4"
    film(run / "evaluations" / STEM / odd, 3, lambda i: 100)
    rows = [score("linear_probe", 0.3, weights="v0")]
    other = write_run(run.parent / "other-s0", pretext="other", seed=0, scores=rows, status=finished())
    film(other / "evaluations" / "linear_probe-toy-v0-s0-abc123" / odd, 3, lambda i: 100)
    file = tmp_path / "reports" / "report.html"
    write_html(collect(run.parent), file, now=NOW)
    page = file.read_text(encoding="utf-8")
    tags = checked(page)
    assert "img-src data:;" in page
    shown = page.partition("What it looks like")[2].partition("</section>")[0]
    assert shown.count("<h3>") == 1 and shown.count("<img ") == 2 and tags.tags.count("img") == 2
    links = [value for name, value in tags.attributes if name == "href"]
    assert len(links) == 2 and all(link.startswith("./../outputs/") for link in links)
    assert (file.parent / unquote(links[0])).is_file() and re.fullmatch(r"[\w./~%-]+", links[0])
    sources = [value for name, value in tags.attributes if name == "src"]
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert base64.b64decode(sources[0].partition(",")[2])[:2] == b"\xff\xd8"
    assert render(collect(run.parent), NOW).count("img-src") == 0


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, which is not installed")
def test_a_browser_shows_them(run, tmp_path):
    film(run / "evaluations" / STEM / "a.mp4", 5, lambda i: 100)
    file = run.parent / "compare.html"
    write_html(collect(run.parent), file, now=NOW)
    with browser(tmp_path / "profile") as tab:
        page = tab.show(file)
        assert page.evaluate("[...document.images].map(image => image.naturalHeight)") == [132]
        assert page.evaluate("document.querySelector('a').href.startsWith('file:///')")
        assert page.said == []
