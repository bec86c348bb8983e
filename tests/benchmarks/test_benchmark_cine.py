"""benchmarks/cine.py runs through: every method, both protocols, a table and a file of figures."""

import importlib
import json
import sys
from pathlib import Path

import pytest

import kfine
from kfine.phantom.cine import beating_heart

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield importlib.import_module("cine")
    for name in ("cine", "common"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("protocol", ["kspace", "published"])
def test_every_method_is_scored(benchmark, protocol, tiny_cine_folder, tmp_path, monkeypatch, capsys):
    kfine.write(beating_heart((32, 28), frames=10), tmp_path / "heart.nii.gz")
    methods = ["bicubic+linear", "zero-filling+optical-flow", "cine-regression", "cine-ldm"]
    call = ["--data", tmp_path, "--subjects", "heart.nii.gz", "--protocol", protocol, "--methods", *methods]
    call += ["--model", tiny_cine_folder, "--samples", 2, "--steps", 2, "--json", tmp_path / "figures.json"]
    monkeypatch.setattr(sys, "argv", ["cine.py", *map(str, call)])
    benchmark.main()
    rows = json.loads((tmp_path / "figures.json").read_text())["rows"]
    settings = benchmark.PROTOCOLS[protocol]
    names = [*methods[:3], "cine-ldm, mean", "cine-ldm, one sample"]
    assert [(row["setting"], row["method"]) for row in rows] == [(s.name, n) for s in settings for n in names]
    for row in rows:
        assert row["measured"]["psnr"] > 0
        assert row["between"]["psnr"] > 0
        assert row["all"]["temporal"] > 0
        if row["method"].startswith("cine"):  # networks are held to a scan, and not to a photograph
            assert (row["residual"] < 1e-5) == (protocol == "kspace")
    printed = capsys.readouterr().out
    assert printed.count("| cine-ldm, one sample |") == len(settings)
