"""Words of a command are taken as they are meant, whatever characters a path has; what cannot be meant is one line."""

import os

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from ssv.cli.errors import UserError
from ssv.cli.job import compose
from ssv.cli.main import main
from ssv.cli.words import as_text, path_first, readable

quick = settings(max_examples=60, deadline=None, derandomize=True)
thorough = settings(max_examples=3000, deadline=None)
TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12) | st.text(
    "ab/$\\{}'\"=,~ ()[]:.*新é", min_size=1, max_size=8
)
B = ("pretext=order_verification", "backbone=r3d_tiny", "data=folder", "logger=none", "trainer=cpu", "data.root=x")


def parsed(word):
    """The value that a configuration gets from an override."""
    override = OverridesParser.create().parse_override(word)
    return OmegaConf.to_container(OmegaConf.create({"x": override.value()}), resolve=True)["x"]


def check_text(text):
    assert parsed(f"x={as_text(text)}") == text


def check_readable(value):
    (word,) = readable([f"x={value}"])
    if value[:1] not in ("[", "{", '"', "'"):
        OverridesParser.create().parse_override(word)
        assert readable([word]) == [word], "once is enough"


@quick
@given(TEXT)
def test_any_text_can_be_a_value(text):
    check_text(text)
    check_readable(text)


@pytest.mark.slow
@thorough
@given(TEXT)
def test_any_of_many_texts_can_be_a_value(text):
    check_text(text)
    check_readable(text)


@pytest.mark.parametrize(
    "value",
    ["/mnt/新加卷/videos", "/a b/c", "it's", "log/epoch=9-step=3.ckpt", "/a,b", "C:\\a b", '/"x"/y', "/a[1]", "/x\\"],
)
def test_paths_need_no_quotes(value):
    assert parsed(readable([f"data.root={value}"])[0].replace("data.root", "x")) == value


def test_a_tilde_is_the_home_folder():
    home = os.path.expanduser("~")
    assert readable(["data.root=~/v", "x=~", "y=~z"])[:2] == [f"data.root={home}/v", f"x={home}"]
    assert path_first(["~/v"], "root", {"root"}) == [f"root={home}/v"]


def test_what_hydra_reads_stays_as_it_is():
    words = [
        "steps=3",
        "a=[1,2]",
        "a={b:1}",
        "+a=1",
        "~a",
        "a='x y'",
        'a="x"',
        "a=${b}/c",
        "pretext=a,b",
        "a=",
        "-m",
        "a=null",
    ]
    assert readable(words) == words
    assert readable(["-m", "data.root=/a,/b"]) == ["-m", "data.root=/a,/b"], "a sweep over two folders"


def test_a_path_in_front_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x=1").mkdir()
    for word, key in (("x=1", "root"), ("a,b", "root"), ("/v/${user}", "root"), ("12", "root"), ("/z/x=1", "root")):
        (first, other) = path_first([word, "limit=3"], key, {"root", "limit"})
        assert parsed(first.replace("root=", "x=")) == word
        assert other == "limit=3"
    for words in (["root=/x"], ["limit=3"], ["--help"], ["lmit=3"], []):
        assert path_first(words, "root", {"root", "limit"}) == words


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("logger=null", "logger=null: logger takes the name of a choice; for none set logger=none"),
        ("pretext=3", "pretext=3: pretext takes the name of a choice"),
        ("~schedule", "~schedule: schedule is needed"),
        ("~steps", "~steps: steps is needed"),
    ],
)
def test_choices_that_cannot_be_are_one_line(word, line, capsys):
    assert main(["pretrain", *B, word]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"ssv: {line}")
    assert shown.count("\n") == 1


def test_a_tag_of_digits_is_a_name():
    assert compose("pretrain", [*B, "tag=12"])["run"]["name"] == "order_verification-r3d_tiny-folder-12-s0"
    assert "-0.001-s0" in compose("pretrain", [*B, "tag=1e-3"])["run"]["name"]


def test_a_missing_interpolation_is_one_line():
    with pytest.raises(UserError, match="nothing"):
        compose("pretrain", [*B, "data.root=/data/${nothing}/videos"])


@pytest.mark.parametrize("words", [["data.root=/d/${nope}/v"], ["tag=${nope}"], ["data.root=glob(*)"]], ids=str)
def test_what_cannot_be_resolved_is_one_line(words, capsys):
    assert main(["pretrain", *B, "steps=1", *words]) == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert "bug" not in shown
