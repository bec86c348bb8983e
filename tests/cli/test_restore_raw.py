"""kfine restore and kfine info of raw k-space."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

import kfine
from tests.io.raw_files import COLUMNS, ROWS, measured, write_fastmri, xml_header

HEADER = xml_header((ROWS, COLUMNS, 1), (96, 100, 3))


def test_coils_of_npy(command, tmp_path):
    np.save(tmp_path / "raw.npy", measured(4, 0.01) * (np.arange(ROWS) >= 12)[:, None])
    done = command(
        "restore", tmp_path / "raw.npy", "--coil-axis", 0, "--matrix", "64x64", "--method", "zero-filling",
        "-o", tmp_path / "o.nii",
    )  # fmt: skip
    assert done.code == 0
    assert "4 coils combined by sensitivities" in done.err
    record = json.loads((tmp_path / "o.json").read_text())
    assert record["kspace"] == "measured"
    assert record["acquisition"]["coils"] == 4
    assert record["acquisition"]["part_known"] < 0.85
    assert record["relative_kspace_residual"] < 1e-5
    assert kfine.read(tmp_path / "o.nii").matrix == (64, 64)


def test_fastmri_keeps_its_geometry_and_its_patient(command, tmp_path):
    pytest.importorskip("h5py")
    write_fastmri(tmp_path / "scan.h5", measured(2)[None], HEADER)
    done = command(
        "restore", tmp_path / "scan.h5", "--matrix", "96x80", "--method", "bicubic", "--combine", "rss"
    )
    assert done.code == 0
    out = kfine.read(tmp_path / "scan_96x80_bicubic_kfine.nii.gz")
    assert out.voxel_sizes == pytest.approx((3, 1, 1.25))
    record = (tmp_path / "scan_96x80_bicubic_kfine.json").read_text()
    assert json.loads(record)["kspace"] == "simulated from a real image"
    shown = command("info", tmp_path / "scan.h5", "--json")
    facts = json.loads(shown.out)
    assert facts["acquisition"]["coils"] == 2
    for said in (record, done.out, done.err, shown.out, shown.err):
        assert "ecretova" not in said
        assert "47110815" not in said


@pytest.mark.parametrize(
    ("options", "code", "part"),
    [
        (["--coil-axis", 1], 4, "another axis"),
        (["--coil-axis", 7], 2, "coil axis"),
        (["--combine", "mean"], 2, "combine"),
        (["--coil-axis", 0, "--noise", "much"], 2, "--noise"),
    ],
)
def test_refusals_write_nothing(command, tmp_path, files, options, code, part):
    np.save(tmp_path / "raw.npy", measured(4))
    before = files()
    done = command("restore", tmp_path / "raw.npy", "--scale", 2, *options)
    assert done.code == code
    assert part in done.err
    assert files() == before


def test_other_files_have_no_coils(command, low):
    assert "combine is for raw k-space" in command("restore", low, "--scale", 2, "--combine", "rss").err
    assert "--coil-axis" in command("restore", low, "--scale", 2, "--coil-axis", 0).err
    assert "raw k-space" in command("restore", low, "--scale", 2, "--method", "vdm", "--noise", "data").err


def test_a_real_brain_of_eight_coils(command, tmp_path):
    """cartesian_ksp.npy of mikgroup/sigpy-mri-tutorial: 8 coils, Poisson-disc about a full centre."""
    folder = os.environ.get("KFINE_RAW_DATA")
    if not folder:
        pytest.skip("KFINE_RAW_DATA does not name a folder with cartesian_ksp.npy of sigpy-mri-tutorial")
    brain = Path(folder) / "cartesian_ksp.npy"
    call = ["--scale", 1.5, "--method", "zero-filling", "-o", tmp_path / "o.nii.gz"]
    done = command("restore", brain, *call)
    assert (done.code, "--coil-axis 0" in done.err) == (4, True)
    done = command("restore", brain, *call, "--coil-axis", 0)
    assert done.code == 0
    assert "hardly" not in done.err
    record = json.loads((tmp_path / "o.json").read_text())
    assert record["kspace"] == "measured"
    assert record["relative_kspace_residual"] < 1e-5
    acquisition = record["acquisition"]
    assert acquisition["coils"] == 8
    assert acquisition["part_sampled"] < 0.2 < 0.5 < acquisition["part_known"]
    assert acquisition["samples_unexplained"] < 0.06
    np.save(tmp_path / "last.npy", np.moveaxis(np.load(brain), 0, -1))
    assert "--coil-axis" in command("restore", tmp_path / "last.npy", *call, "--overwrite").err
