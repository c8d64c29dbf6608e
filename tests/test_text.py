"""What a terminal is told cannot steer it, whoever chose the words."""

import pytest

from ssv.cli.main import main
from ssv.text import clean, lines, printable

HOSTILE = ["a\x1b[2Jb", "a\x1b]0;owned\x07b", "a\x9b31mb", "a\rb", "a\u202eb", "a\x00b"]


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_control_codes_are_taken_out(text):
    for shown in (clean(text), printable(text), lines(text)):
        assert shown.isprintable()
        assert shown[0] == "a" and shown[-1] == "b"


def test_names_that_are_no_text_are_escaped_and_lines_stay():
    assert printable("caf\udce9.mp4") == "caf\\udce9.mp4"
    assert lines("a\n  b\x1b\n") == "a\n  b\n"


@pytest.mark.parametrize("text", HOSTILE[:4], ids=ascii)
def test_no_error_carries_them_to_the_terminal(tmp_path, text, capsys):
    (tmp_path / f"{text}.mp4").write_bytes(b"no video")
    for words in (
        ["scan", str(tmp_path), "quick=true"],
        ["scan", str(tmp_path / text)],
        ["prepare", str(tmp_path), f"out={tmp_path.parent / tmp_path.name}_out"],
        ["evaluate", f"weights={text}", "data=folder"],
        ["pretrain", f"pretext={text}"],
    ):
        assert main(words) != 0 or words[0] == "scan"
        shown = "".join(capsys.readouterr())
        assert not any(letter in shown for letter in ("\x1b", "\x07", "\x9b", "\r")), words
