"""``ssv scan`` as a user types it: what it says, what it writes, and what it refuses in one line."""

import json
import os
import shutil
import subprocess
import sys
from datetime import datetime

import pytest

from ssv.cli.errors import UserError
from ssv.cli.main import main
from ssv.cli.scan import find_job, result_folder
from ssv.data.index import NAME, find_index, write_index
from ssv.report.pile_words import next_commands, quoted, told
from ssv.text import printable
from tests import videos
from tests.cli.test_main import ssv


@pytest.fixture(scope="module")
def pile(tmp_path_factory):
    """Four sound files, two broken ones and a list."""
    root = tmp_path_factory.mktemp("pile of videos")
    one = videos.write_numbered(root / "a.mp4", frames=60)
    shutil.copy(one, root / "copy <b>.mp4")
    videos.one_gop(root)
    videos.variable_rate(root)
    videos.damaged_avi(root)
    (root / "empty.mp4").touch()
    (root / "notes.txt").write_text("a.mp4 0\none_gop.mkv 1\n")
    (root / "other.txt").write_text("copy <b>.mp4\none_gop.mkv\n")
    return root


def scan(*words, capsys):
    """Run in this process: exit code, and what was said."""
    code = main(["scan", *map(str, words), "workers=2"])
    return code, *capsys.readouterr()


def test_a_whole_scan(pile, capsys):
    code, out, err = scan(pile, "sample=2", "seconds=0.04", capsys=capsys)
    assert code == 0 and err == ""
    lines = out.splitlines()
    assert lines[0].startswith(f"{pile}: 6 videos, ") and "2 other files" in lines[0]
    assert "  sound      4, broken 2" in lines and "  rates      25 (3), varying, about 15 (1)" in lines
    assert "  damaged.avi: damaged: 56 of 58 frames can be read" in lines and "  empty.mp4: the file is empty" in lines
    assert any("look like another one, in 1 group: a.mp4, copy <b>.mp4" in line for line in lines)
    assert any("clips a second on a core as they are" in line for line in lines)
    assert lines[-1] == f"next: ssv pretrain data=folder data.root={quoted(str(pile))} data.max_broken=2"
    index = find_index(pile)
    assert len(index) == 6 and index.reason(index.row("empty.mp4")) == "the file is empty"
    page = (pile / NAME / "scan.html").read_text()
    assert "copy &lt;b&gt;.mp4" in page and "<b>.mp4" not in page
    assert page.count("data:image/jpeg") >= 3 and "http" not in page.replace("http-equiv", "").replace("www.w3.org", "")


def test_quick_scans_and_lists(pile, capsys, tmp_path):
    code, out, _ = scan(pile, "quick=true", f"index={tmp_path / 'quick'}", "sample=0", capsys=capsys)
    assert code == 0 and "sound      5, broken 1" in out and "nothing was decoded" in out
    assert (
        len(json.loads((tmp_path / "quick" / "meta.json").read_text())) and "training looks at the files itself" in out
    )
    lists = [f"list={pile / 'notes.txt'}", f"against={pile / 'other.txt'}"]
    code, out, _ = scan(*lists, f"index={tmp_path / 'lists'}", "sample=0", capsys=capsys)
    assert code == 0 and ": 3 videos" in out and "2 groups of videos that look the same on both sides" in out


def test_what_cannot_be_is_one_line_and_2(pile, capsys):
    for words, complaint in {(): "what to scan?", (pile, "limits=3"): "did you mean 'limit'"}.items():
        code, out, err = scan(*words, capsys=capsys)
        assert code == 2 and out == "" and complaint in err and len(err.strip().splitlines()) == 1, (words, err)


def test_two_scans_of_one_pile_are_refused(pile, capsys):
    folder = pile / NAME
    folder.mkdir(exist_ok=True)
    hold = "import sys; from pathlib import Path; from ssv.locks import hold\nwith hold(Path(sys.argv[1])): print(flush=True); input()"
    command = [sys.executable, "-c", hold, str(folder / ".scan.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        other.stdout.readline()
        code, out, err = scan(pile, capsys=capsys)
        assert code == 2 and not out and "is being written by another `ssv scan`; wait for it" in err
        assert scan(pile, f"index={pile.parent / 'elsewhere'}", capsys=capsys)[0] == 0
        other.communicate("\n")
    assert scan(pile, capsys=capsys)[0] == 0


def test_what_cannot_be_scanned(pile, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.txt").touch()
    nothing = {"root": None, "list": None, "against": None, "index": None, "limit": 60}
    refused = {
        ("root", tmp_path / "none"): "no such folder",
        ("root", pile / "a.mp4"): "is a file, not a folder",
        ("root", tmp_path / "empty"): "no videos below .*0 other files",
        ("list", tmp_path / "none.txt"): "there is no list",
        ("list", tmp_path / "list.txt"): "names no video",
    }
    for (key, value), complaint in refused.items():
        with pytest.raises((UserError, ValueError), match=complaint):
            find_job({**nothing, key: str(value)})
    with pytest.raises(UserError, match="set list= too"):
        find_job({**nothing, "root": str(pile), "against": "x.txt"})
    with pytest.raises(UserError, match="limit=0 leaves"):
        find_job({**nothing, "root": str(pile), "limit": 0})
    with pytest.raises(UserError, match="set index=FOLDER"):
        result_folder({**nothing, "index": str(pile / "a.mp4" / "x")}, str(pile))


def test_a_prepared_folder_keeps_its_index(tmp_path, capsys):
    videos.constant_rate(tmp_path)
    index = write_index(tmp_path / NAME, [], {"writer": "ssv prepare"})
    code, out, _ = scan(tmp_path, capsys=capsys)
    assert code == 0 and "as `ssv prepare` wrote it" in out and "clips a second" not in out
    assert find_index(tmp_path).meta == index.meta
    (tmp_path / NAME / "meta.json").write_text("{")  # one that cannot be used is replaced
    assert scan(tmp_path, "sample=0", capsys=capsys)[0] == 0
    assert len(find_index(tmp_path)) == 1


def test_names_are_shown_whatever_they_hold():
    assert printable(os.fsdecode(b"a\xff\x1b[31m\n.mp4")) == "a\\xff [31m .mp4".replace("\\xff", "\\udcff")
    assert quoted("/a b/c") == "'/a b/c'" and quoted("/a/b") == "/a/b"


def test_help_teaches_with_five_examples():
    result = ssv("scan", "--help")
    assert result.returncode == 0, result.stderr
    assert sum(line.strip().startswith("ssv scan") for line in result.stdout.splitlines()) >= 5


def test_words_for_a_large_pile():
    from ssv.data.scanning.prediction import Cost
    from ssv.data.scanning.summary import Clips, Summary
    from ssv.report.pile import ALIKE, LISTED, render
    from ssv.report.pile_words import Pile

    broken = {f"{n}.mp4": "the file is empty" for n in range(300)}
    counts = {"25": 1000, "30": 200, "varying, about 12": 3}
    sizes = {f"{n}x{n}": 2 for n in range(20)}
    groups = [[f"g{g}/{n}.mp4" for n in range(9)] for g in range(30)]
    summary = Summary(
        videos=1503,
        hours=12.5,
        bytes=3 * 10**9,
        frames=10**6,
        broken=broken,
        miscounted={"h.mp4": (164, 77)},
        varying=["v.mp4"],
        rates=counts,
        durations={"2 to 5 s": 1203},
        sizes=sizes,
        codecs={"h264 in mov": 1203},
        gop=12,
        still={},
        black={},
        cuts=4,
        oblong={"wide.mp4": "16/11"},
        interlaced=["a.dv", "b.mpg"],
        decoded=1203,
    )
    pile = Pile(
        root="/videos",
        data="ucf101",
        others=1,
        unreadable={"shut": "Permission denied"},
        summary=summary,
        groups=groups,
        leaks=groups[25:],
        parts={path: "train" for group in groups for path in group},
        clips=Clips(1100, 5000, {"short.mp4": "has 3 frames"}),
        wish="16 frames, 0.08 s apart",
        cost=Cost(0.01, 0.001, 8),
        pictures={},
    )
    text = "\n".join(told(pile))
    assert "/videos: 1 503 videos, 12.5 hours, 3.00 GB, 1 other file" in text
    assert "and 290 more, in the index" in text and "15 more kinds" in text and "100 clips a second" in text
    assert "240 videos look like another one, in 30 groups" in text and "5 groups" in text
    assert "1 header with a wrong number of frames, h.mp4 says 164 and has 77" in text
    assert "1 video with pixels that are not square, read as stored: those of wide.mp4 are 16/11 times as wide" in text
    assert "2 interlaced videos, read as stored, each frame showing two moments: a.dv, b.mpg" in text
    assert "shut: Permission denied" in text
    assert next_commands(pile) == [
        "ssv prepare /videos out=FAST_FOLDER max_broken=300",
        "ssv pretrain data=ucf101 data.root=/videos data.max_broken=300",
    ]
    assert next_commands(pile._replace(clips=Clips(0, 0, {}))) == ["ssv scan /videos frames=8 seconds=0.04"]
    page = render(pile, datetime(2026, 1, 2))
    assert page.count("the file is empty") == LISTED and "and 100 more" in page
    assert page.index("<figcaption>g25/0.mp4") < page.index("<figcaption>g0/0.mp4") and f"g25/{ALIKE}.mp4" not in page
    assert "and 10 more groups" in page and "short.mp4" in page and "02 January 2026" in page
