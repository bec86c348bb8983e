"""kfine restore and degrade along the slices: files, names, and what is refused."""

import json

import numpy as np
import pytest

import kfine
from kfine.image import Image
from tests.conftest import phantom

AFFINE = np.array([[0, 0, -2, 30], [0, 2, 0, -28], [2, 0, 0, 7], [0, 0, 0, 1]], float)


@pytest.fixture
def stack(tmp_path):
    """Twelve slices of 20x16, 2 mm in every direction."""
    kfine.write(Image(phantom((1, 12, 20, 16)), AFFINE), tmp_path / "stack.nii")
    return tmp_path / "stack.nii"


def test_there_and_back(command, stack, tmp_path):
    thick = tmp_path / "thick.nii"
    done = command(
        "degrade", stack, "-o", thick, "--slice-scale", 3, "--slice-profile", "box", "--plane", "axial"
    )
    assert done.code == 0
    assert done.lines[0] == "20x16 to 20x16, 12 to 4 slices"
    said = json.loads((tmp_path / "thick.json").read_text())["degradation"]
    assert (said["slice_scale"], said["slice_profile"], said["slice_thickness_mm"]) == (3, "box", 6)
    done = command(
        "restore",
        thick,
        "--isotropic",
        "--slice-profile",
        "box",
        "--method",
        "zero-filling",
        "--plane",
        "axial",
    )
    assert done.code == 0
    assert done.lines[0].startswith("4 slices of 6 mm to 12 of 2 mm (profile box: named")
    out = kfine.read(tmp_path / "thick_isotropic_zero-filling_kfine.nii.gz")
    np.testing.assert_allclose(out.affine, AFFINE, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--slice-scale", 2, "--voxel", 1], "expected one of them"),
        (["--voxel", "1x1"], "ROWxCOLUMNxSLICE"),
        (["--isotropic", "--plane", "oblique"], "--plane oblique"),
        (["--isotropic", "--plane", "1x1"], "--plane 1x1"),
        (["--slice-scale", 2, "--slices", "1:3"], "whole stack"),
        (["--isotropic", "--plane", "axial"], "choose a finer one"),
        (["--slice-profile", "box"], "expected either --scale or --matrix"),
    ],
)
def test_nonsense_is_refused_in_a_line(command, stack, arguments, says):
    done = command("restore", stack, *arguments)
    assert done.code in (2, 3, 4)
    assert says in done.err
