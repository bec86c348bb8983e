"""A record tells whether its files, input and model are what they were, and gives the same bytes again."""

import json
import shutil

import numpy as np
import pytest

import kfine
from kfine.cli import run
from kfine.image import Image
from tests.conftest import phantom


@pytest.fixture
def out(tmp_path):
    kfine.write(Image(phantom((1, 2, 20, 16)), np.diag([4.0, 2.0, 2.0, 1.0])), tmp_path / "low.nii.gz")
    call = ["restore", tmp_path / "low.nii.gz", "-o", tmp_path / "out.nii.gz", "--matrix", "40x30"]
    assert run([*map(str, call), "--method", "zero-filling", "--confidence", "0.8", "--slices", "1:2"]) == 0
    return tmp_path / "out.nii.gz"


def test_what_is_as_recorded(out, capsys):
    for name in ("out.nii.gz", "out.json", "out_std.nii.gz", "out_lower.nii.gz"):
        assert run(["verify", str(out.with_name(name))]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "input low.nii.gz: the same" in lines
    assert "output out_upper.nii.gz: the same" in lines


def test_what_is_not(out, capsys):
    std = out.with_name("out_std.nii.gz")
    changed = bytearray(std.read_bytes())
    changed[-9] ^= 1
    std.write_bytes(changed)
    assert run(["verify", str(out)]) == 7
    assert "1 of 5 not as recorded: output out_std.nii.gz: differs" in capsys.readouterr().err
    std.unlink()
    assert run(["verify", str(out)]) == 7
    shutil.copy(out, out.with_name("low.nii.gz"))
    assert run(["verify", str(out.with_name("out.json"))]) == 7
    assert "input low.nii.gz: differs" in capsys.readouterr().out


def test_the_same_bytes_again(out, tmp_path, capsys):
    assert run(["replay", str(out.with_name("out.json")), "-o", str(tmp_path / "again.nii.gz")]) == 0
    for what in ("", "_std", "_lower", "_upper"):
        one, other = (tmp_path / f"{name}{what}.nii.gz" for name in ("out", "again"))
        assert one.read_bytes() == other.read_bytes()
    before = {path.name for path in tmp_path.iterdir()}
    assert run(["replay", str(out)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == before


def test_another_result_is_noticed(out, capsys):
    record = json.loads(out.with_name("out.json").read_text())
    record["call"]["options"]["confidence"] = 0.9
    out.with_name("out.json").write_text(json.dumps(record))
    assert run(["replay", str(out)]) == 7
    said = capsys.readouterr().out
    assert "output out.nii.gz: the same" in said
    assert "output out_lower.nii.gz: differs" in said


@pytest.mark.parametrize("suffix", [".png", ".jpeg", ".JPG"])
def test_figures_are_not_drawn_again(tmp_path, suffix):
    kfine.write(Image(phantom((1, 1, 20, 16)), np.diag([4.0, 2.0, 2.0, 1.0])), tmp_path / "low.nii.gz")
    call = ["restore", tmp_path / "low.nii.gz", "-o", tmp_path / "out.nii.gz", "--matrix", "40x30"]
    figure = str(tmp_path / f"figure{suffix}")
    assert run([*map(str, call), "--method", "zero-filling", "--figure", figure]) == 0
    assert run(["verify", str(tmp_path / "out.nii.gz")]) == 0
    assert run(["replay", str(tmp_path / "out.nii.gz")]) == 0


def test_another_input_is_refused(out, capsys):
    kfine.write(Image(phantom((1, 2, 20, 16), seed=1)), out.with_name("low.nii.gz"), overwrite=True)
    assert run(["replay", str(out)]) == 4
    out.with_name("low.nii.gz").unlink()
    assert run(["replay", str(out)]) == 4
    assert "its input is not beside it; give --input FILE" in capsys.readouterr().err
    assert run(["verify", str(out)]) == 0  # named as not checked
    assert "input low.nii.gz: not checked" in capsys.readouterr().out


def test_no_record(tmp_path, capsys):
    kfine.write(Image(phantom((1, 2, 20, 16))), tmp_path / "a.nii.gz")
    assert run(["verify", str(tmp_path / "a.nii.gz")]) == 4
    (tmp_path / "a.json").write_text("[]")
    assert run(["verify", str(tmp_path / "a.json")]) == 4
    assert "expected a record of kfine, got other JSON" in capsys.readouterr().err


def test_a_start_from_pure_noise_is_recorded_and_done_again(out, tiny_model_folder, capsys):
    call = ["restore", out.with_name("low.nii.gz"), "-o", out.with_name("b.nii.gz"), "--scale", 2]
    call += ["--model", tiny_model_folder, "--steps", 2, "--samples", 1, "--start", "inf", "--slices", "0:1"]
    assert run([str(word) for word in call]) == 0, capsys.readouterr().err
    assert json.loads(out.with_name("b.json").read_text())["call"]["options"]["start"] == "inf"
    again = ["replay", str(out.with_name("b.nii.gz")), "--model", str(tiny_model_folder)]
    assert run(again) == 0, capsys.readouterr()
