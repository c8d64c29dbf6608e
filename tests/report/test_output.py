"""What the terminal and the HTML file say."""

import base64
import hashlib
import io
import json
import re
import subprocess
import sys
from datetime import datetime
from html.parser import HTMLParser

import pytest
from rich.console import Console

from ssv.report.collect import collect
from ssv.report.html import render, write_html
from ssv.report.svg import spread_labels, ticks
from ssv.report.table import print_table
from ssv.report.words import count, duration
from tests.report.fake import finished, score, write_run, write_study

NOW = datetime(2026, 11, 22, 18, 0)
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>[red]\x1b[31m&amp;"


def printed(comparison, **console) -> str:
    file = io.StringIO()
    print_table(comparison, Console(file=file, **console))
    return file.getvalue()


class Tags(HTMLParser):
    """Tags, attributes and text; checks that every element is closed by its own name."""

    VOID = {"meta", "br", "img"}

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def checked(page):
    """Its tags, of which the one script, the one that the policy allows by its hash, is left out."""
    tags = Tags(page)
    assert not tags.open
    scripts = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    (policy,) = [value for name, value in tags.attributes if name == "content" and "default-src" in value]
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert len(scripts) == 1 and tags.tags.count("script") == 1
    assert f"script-src 'sha256-{digest}';" in policy and policy.count("sha256") == 1
    assert "unsafe" not in policy.replace("style-src 'unsafe-inline'", "") and "default-src 'none'" in policy
    tags.tags.remove("script")
    return tags


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return collect(write_study(tmp_path_factory.mktemp("study")))


def numbers_of(comparison):
    """Every mean, spread and difference the table must show, written independently of it."""
    for column in comparison.main_columns:
        for arm in comparison.arms:
            values = list(column.values(arm).values())
            mean = sum(values) / 3
            sd = (sum((value - mean) ** 2 for value in values) / 2) ** 0.5
            yield f"{100 * mean:.1f} ± {100 * sd:.1f}"


@pytest.mark.parametrize("width", [None, 40, 80, 120])
@pytest.mark.parametrize("terminal", [False, True])
def test_no_number_is_cut_in_a_pipe_or_a_narrow_window(study, width, terminal):
    out = printed(study, width=width, force_terminal=terminal, color_system=None)
    assert "…" not in out and "\x1b" not in out
    for number in numbers_of(study):
        assert number in out
    for (_, _, reference), difference in study.differences.items():
        low, high = (f"{100 * edge:+.1f}".replace("-", "−") for edge in difference.interval)
        assert reference != "random" or f"[{low}, {high}]" in out
    for word in ("random initialisation", "order_verification", "chance 25.0 %", "28.8 k", "461 k", "1.3 min"):
        assert word in out


@pytest.mark.parametrize("console", [{"width": 120, "force_terminal": True, "color_system": None}, {}])
def test_the_table_of_two_evaluations_fits_120_columns_and_a_pipe_in_one_piece(study, console):
    out = printed(study, **console)
    table = out.split("backbone s3dg_tiny")[0]
    assert max(map(len, table.splitlines())) <= 120
    assert table.count("speed_prediction") == 1


def test_conclusions_in_words(study):
    numbers = r"\(([+\u2212]\d+\.\d) points \[[+\u2212]\d+\.\d, [+\u2212]\d+\.\d\], 3 seeds\)"
    beats = rf"beats random initialisation in linear_probe toy \[1\] {numbers}, fine_tune toy \[2\] {numbers}"
    more = r"; beats the one other pretext measured in linear_probe toy \[1\]; beats the one other pretext .* \[2\]"
    out, page = printed(study), render(study, NOW)
    assert re.search(rf"^speed_prediction: {beats}{more}$", out, flags=re.MULTILINE)
    assert re.search(rf"<b>speed_prediction</b>: {beats}{more}\.</li>", page)
    shown = r"no difference to random initialisation shown in linear_probe"
    assert re.search(rf"^order_verification: {shown}", out, flags=re.MULTILINE)
    assert re.search(rf"<li class=\"open\"><b>order_verification</b>: {shown}", page)


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_draw_no_conclusion(tmp_path, seeds):
    comparison = collect(write_study(tmp_path, seeds=seeds))
    words = f"{seeds} seed{'s' if seeds > 1 else ''}"
    for text in (printed(comparison), render(comparison, NOW).split("How to read this")[0]):
        assert f"{words}: no conclusion" in text
        assert "better" not in text and "worse" not in text and "no difference shown" not in text
        assert not re.search(r"\d ± \d", text)


def test_a_failed_run_is_shown_with_its_message(tmp_path):
    status = {**finished(), "state": "failed", "step": 400, "message": "no space left on device"}
    write_run(tmp_path / "speed-s0", pretext="speed", seed=0, status=status)
    comparison = collect(tmp_path)
    expected = "speed-s0 failed at step 400 of 900: no space left on device"
    assert f"! {expected}" in printed(comparison)
    assert expected in render(comparison, NOW)


def test_protocols_are_footnotes_of_the_columns(study):
    out, page = printed(study), render(study, NOW)
    assert "linear_probe toy [1]" in out and "[2] fine_tune toy: all layers, AdamW 1e-3" in out
    assert "linear_probe toy <sup>1</sup>" in page and "<li value=2><b>fine_tune toy</b>: all layers" in page


def test_the_report_loads_nothing_and_runs_nothing_but_its_own_script(study):
    page = render(study, NOW)
    assert "http:" not in page and "https:" not in page and "//" not in page.replace("</", "")
    tags = checked(page)
    assert not {"link", "img", "iframe", "object", "base", "form"} & set(tags.tags)
    assert not {"src", "href", "xlink:href"} & {name for name, _ in tags.attributes}
    assert not [name for name, _ in tags.attributes if name.startswith("on")]
    assert "@import" not in page and "url(" not in page


def test_strings_from_files_stay_text(tmp_path):
    identity = {key: EVIL for key in ("name", "pretext", "backbone", "data", "tag", "commit", "created", "command")}
    line = {"step": 1, "clips_seen": 32, "online/top1": 0.2, "pretext/accuracy": 0.3, "held_out/accuracy": 0.2}
    lines = [line, {**line, "step": 2, "clips_seen": 64}]
    for seed in range(3):
        row = score(
            EVIL,
            0.3,
            seed,
            data=EVIL,
            protocol=EVIL,
            weights=EVIL,
            weights_file=EVIL,
            scores={EVIL: 0.3, EVIL + EVIL: 0.4},
        )
        status = {**finished(), "state": EVIL, "message": EVIL}
        write_run(tmp_path / f"evil-{seed}", seed=seed, scores=[row], lines=lines, status=status, **identity)
        write_run(
            tmp_path / f"random-{seed}", seed=seed, scores=[row], status=status, **{**identity, "pretext": "random"}
        )
    (tmp_path / "<img src=x>").mkdir()
    (tmp_path / "<img src=x>" / "run.json").write_text("no json")
    comparison = collect(tmp_path)
    tags = checked(render(comparison, NOW))
    assert not {"script", "img"} & set(tags.tags)
    assert not [name for name, _ in tags.attributes if name in ("src", "onerror")]
    assert any("<script>alert(1)</script>" in text for text in tags.text)  # shown, as text
    out = printed(comparison, force_terminal=True, color_system=None)
    assert "\x1b" not in out and "[red]" in out


def test_the_report_is_the_same_for_the_same_input(tmp_path, study):
    again = collect(study.outputs)
    assert render(study, NOW) == render(again, NOW)
    write_html(study, tmp_path / "new" / "report.html", now=NOW)
    assert (tmp_path / "new" / "report.html").read_text(encoding="utf-8") == render(study, NOW)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["report.html"]


def test_every_seed_is_a_dot_and_pretexts_have_panels_of_their_own(study):
    page = render(study, NOW)
    assert page.count('class="seed ') == 2 * 4 * 3
    assert page.count('aria-label="pretext accuracy of') == 3
    assert "pretext/loss" not in page
    assert page.count('aria-label="online probe on toy') == 1


def test_nothing_to_compare(tmp_path):
    comparison = collect(tmp_path)
    assert "no runs in" in printed(comparison)
    assert "Nothing can be concluded yet: there are no runs" in render(comparison, NOW)


def test_a_run_without_scores_is_a_row(tmp_path):
    write_run(tmp_path / "a", pretext="speed", seed=0, status={**finished(), "state": "running", "step": 1})
    comparison = collect(tmp_path)
    assert "speed" in printed(comparison)
    assert not Tags(render(comparison, NOW)).open


def test_a_pretext_that_is_told_what_videos_show_is_marked_and_no_other(tmp_path):
    for pretext, told in (
        ("temporal_cycle", {"uses_labels": True}),
        ("speed", {}),
        ("supervised", {"uses_labels": True}),
    ):
        rows = [score("linear_probe", 0.3)]
        write_run(tmp_path / pretext, pretext=pretext, seed=0, status=finished(), scores=rows, **told)
    comparison = collect(tmp_path)
    assert {arm.label for arm in comparison.arms} == {"temporal_cycle, with labels", "speed", "supervised"}
    assert [line for line in comparison.warnings if "self-supervised" in line] == [
        "temporal_cycle, with labels: its task is told what videos show, so this is no self-supervised row"
    ]
    assert "temporal_cycle, with labels  " in printed(comparison) and "speed, with" not in printed(comparison)
    assert "temporal_cycle, with labels" in render(comparison, NOW)


def test_scores_that_are_no_shares_are_printed_as_they_are(tmp_path):
    for seed, tau in enumerate((-0.1234, 0.2, 0.3)):
        row = score("phase_alignment", 0, seed, scores={"kendall_tau": tau}, weights=f"w{seed}")
        write_run(tmp_path / f"a{seed}", pretext="temporal_cycle", seed=seed, scores=[row], status=finished())
    assert "0.126 ± 0.221" in printed(collect(tmp_path))
    assert "0.126 ± 0.221" in render(collect(tmp_path), NOW)


def test_words_for_quantities():
    assert [count(n) for n in (0, 950, 28_800, 460_800, 1_200_000)] == ["0", "950", "28.8 k", "461 k", "1.2 M"]
    assert [duration(h) for h in (0, 0.01, 0.5, 3.21)] == ["0", "36 s", "30.0 min", "3.2 h"]


def test_ticks_are_round_and_labels_keep_apart():
    assert ticks(0, 57, 6) == [0, 10, 20, 30, 40, 50]
    assert ticks(-0.3, 0.3, 5) == [-0.2, 0, 0.2]
    placed = spread_labels([10, 11, 50, 100], 15, 0, 100)
    assert placed == [10, 25, 50, 100]
    assert spread_labels([99, 100], 15, 0, 100) == [85, 100]


def test_importing_the_report_is_cheap():
    code = "import ssv.report.html, ssv.report.table, sys; print([m for m in ('torch', 'matplotlib', 'scipy', 'hydra', 'wandb') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_vital_signs_and_audits_are_shown_and_strings_in_them_are_escaped(tmp_path):
    signs = [(0, 0.9, 20.0, 0), (100, 0.5, 9.5, 0), (200, 0.01, 1.2, 1)]
    lines = [
        {
            "step": step,
            "clips_seen": step,
            "features/std": std,
            "features/effective_rank": rank,
            "features/order_sensitivity": std / 2,
            "features/same_video": std,
            "features/collapsed": c,
        }
        for step, std, rank, c in signs
    ]
    write_run(tmp_path / "a", pretext="speed", seed=0, lines=lines, status=finished())
    grade = {"accuracy": 0.61, "chance": 0.5, "low": 0.55, "high": 0.67, "videos": 200}
    rows = [
        {"audit": EVIL, "leaves": EVIL, "trained": grade, "fresh": None, "reading": EVIL, "alarm": True},
        {"audit": "odd", "trained": "x", "fresh": {"accuracy": "nan"}, "alarm": "yes"},
        "no row",
    ]
    (tmp_path / "a" / "audit.json").write_text(json.dumps({"rows": rows}))
    page = render(collect(tmp_path), NOW)
    assert not {"script", "img"} & set(checked(page).tags)
    assert "0.90 \u2192 0.01" in page and "20.0 \u2192 1.2" in page and "collapse at step 200" in page
    assert "0.45 \u2192 0.01" in page and "90% \u2192 1%" in page
    assert "61.0" in page and "50.0" in page and "Shortcut audits" in page
    audits = page.partition("Shortcut audits")[2].partition("</section>")[0]
    assert audits.count('class="bad-text"') == 1, "an alarm is true, and nothing else"
    (tmp_path / "a" / "audit.json").write_text("half")
    assert "audit.json is not JSON" in render(collect(tmp_path), NOW)


def test_runs_without_signs_and_audits_show_no_empty_tables(study):
    page = render(study, NOW)
    assert "Vital signs" not in page and "Shortcut audits" not in page
