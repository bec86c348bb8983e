"""kfine benchmark: its files, its refusals, and the example of a method of one's own."""

import json
import re
import runpy
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import kfine
from kfine.benchmark.degradations import DEGRADATIONS
from kfine.image import Image
from tests.conftest import phantom

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_method.py"


@pytest.fixture
def brains(tmp_path):
    folder = tmp_path / "brains"
    folder.mkdir()
    for seed in range(2):
        kfine.write(Image(phantom((1, 2, 32, 24), seed=seed)), folder / f"sub-{seed}.nii.gz")
    return folder


def quick(*more):
    return ("--degradation", "kspace-x2", "--slices", 1, "--method", "bicubic", *more)


class Page(HTMLParser):
    """Every tag that is opened is closed, in order; keeps what a browser would load."""

    EMPTY = ("meta", "img", "link", "br")

    def __init__(self):
        super().__init__()
        self.open, self.loads, self.ids, self.links = [], [], [], []

    def handle_starttag(self, tag, attributes):
        if tag not in self.EMPTY:
            self.open.append(tag)
        for name, value in attributes:
            if name in ("src", "srcset", "data"):
                self.loads.append(value)
            elif name == "href":
                self.links.append(value)
            elif name == "id":
                self.ids.append(value)
        if tag in ("script", "link", "iframe", "object"):
            self.loads.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_report_needs_nothing_but_itself(command, brains, tmp_path):
    (brains / "sub-0.nii.gz").rename(brains / "sub-<b>0.nii.gz")
    out = tmp_path / "report"
    done = command("benchmark", brains, "-o", out, *quick("--method", "zero-filling"))
    assert done.code == 0
    assert done.lines == [
        str(out / name) for name in ("results.csv", "results.json", "poster.md", "report.html")
    ]
    text = (out / "report.html").read_text("utf-8")
    page = Page()
    page.feed(text)
    assert page.open == []
    assert len(page.loads) >= 4
    assert all(re.match(r"data:image/(png|svg\+xml);base64,", load) for load in page.loads)
    assert [link.removeprefix("#") for link in page.links] == page.ids
    assert not re.search(r"url\(|@import|https?://", text)
    assert "sub-&lt;b&gt;0" in text
    assert "sub-<b>0" not in text


def test_again_it_is_refused_and_resumed(command, brains, tmp_path):
    out = tmp_path / "report"
    assert command("benchmark", brains, "-o", out, *quick("--quiet")).out == ""
    before = (out / "results.json").read_text()
    refused = command("benchmark", brains, "-o", out, *quick())
    assert (refused.code, "exists already" in refused.err) == (2, True)
    assert command("benchmark", brains, "-o", out, *quick("--overwrite")).code == 0
    assert json.loads((out / "results.json").read_text()) == json.loads(before)


@pytest.mark.parametrize(
    ("options", "code", "why"),
    [
        (("--method", "magic"), 2, "expected one of"),
        (("--degradation", "fog"), 2, "expected one of kspace-x2"),
        (("--matrix", "big"), 2, "expected ROWSxCOLUMNS"),
        (("--subject", "sub-7"), 4, "found sub-0, sub-1"),
        (("--method", "vdm=nowhere"), 5, "nowhere"),
        (("--matrix", "64x64", "--method", "bicubic"), 4, "expected at most"),
    ],
)
def test_refusals_leave_nothing(command, brains, tmp_path, options, code, why):
    done = command("benchmark", brains, "-o", tmp_path / "report", *options)
    assert (done.code, why in done.err) == (code, True), done.err
    assert not (tmp_path / "report").exists()


def test_a_folder_without_images(command, tmp_path):
    (tmp_path / "empty").mkdir()
    assert command("benchmark", tmp_path / "empty", "-o", tmp_path / "r").code == 4
    assert command("benchmark", tmp_path / "missing", "-o", tmp_path / "r").code == 4


def test_help_teaches_every_degradation(command):
    words = re.sub(r"[\s│]+", " ", command("benchmark", "--help").out)
    for name in DEGRADATIONS:
        assert name in words


def test_a_method_of_one_s_own_runs_as_it_stands(brains, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), str(brains), str(tmp_path / "own")])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    written = json.loads((tmp_path / "own" / "results.json").read_text())
    assert written["about"]["methods"]["unsharp mask"] == {"amount": 0.3}
    for found in written["summary"].values():
        assert set(found["methods"]) == {"zero-filling", "bicubic", "unsharp mask"}
    code = EXAMPLE.read_text("utf-8")
    body = code[code.index("class ") : code.index("if __name__")]
    assert len([line for line in body.splitlines() if line.strip()]) <= 12
