"""Intervals: what is written, what is refused, and calibration on the user's own pairs."""

import json
from dataclasses import replace

import numpy as np
import pytest

import kfine
from kfine.cli import run
from kfine.errors import InputError, UsageError
from kfine.image import Image
from kfine.models.calibration import Calibration
from kfine.restoration.pairs import Pair, calibrate, find_pairs
from tests.conftest import beating, phantom

AFFINE = np.diag([4.0, 2.0, 2.0, 1.0])


@pytest.fixture
def pairs(tmp_path):
    """Scans by zero filling's own law, of three subjects, in folders low and high."""
    for name in ("low", "high"):
        (tmp_path / "pairs" / name).mkdir(parents=True)
    for number in range(3):
        high = Image(phantom((1, 2, 48, 40), seed=number), AFFINE)
        kfine.write(high, tmp_path / "pairs" / "high" / f"sub-{number}_T1w.nii.gz")
        kfine.write(kfine.degrade(high, scale=2), tmp_path / "pairs" / "low" / f"sub-{number}_T1w.nii.gz")
    return tmp_path / "pairs"


def test_files_of_an_interval(pairs, tmp_path):
    low, out = pairs / "low" / "sub-0_T1w.nii.gz", tmp_path / "out.nii.gz"
    call = ["restore", str(low), "-o", str(out), "--scale", "2", "--method", "zero-filling"]
    assert run([*call, "--confidence", "0.9"]) == 0
    mean, std, lower, upper = (
        kfine.read(tmp_path / f"out{what}.nii.gz").voxels for what in ("", "_std", "_lower", "_upper")
    )
    record = json.loads((tmp_path / "out.json").read_text())["uncertainty"]
    half = record["interval_in_standard_deviations"] * std
    np.testing.assert_allclose(upper, mean + half, rtol=1e-3)
    assert (lower <= mean).all()
    assert (half > 0).all()
    assert record["confidence"] == 0.9
    # Without, those of before go.
    assert run([*call, "--overwrite"]) == 0
    assert not (tmp_path / "out_lower.nii.gz").exists()


def test_intervals_that_nothing_was_calibrated_for(tiny_model):
    low = Image(phantom((1, 1, 24, 20)), AFFINE)
    with pytest.raises(UsageError, match="the error of method vdm was not calibrated"):
        kfine.restore(low, scale=2, model=tiny_model, confidence=0.9)
    with pytest.raises(UsageError, match=r"confidence 0.999: expected a calibrated one .* to 0.95"):
        kfine.restore(low, scale=2, method="zero-filling", confidence=0.999)
    with pytest.raises(UsageError, match="confidence 90: expected a number between 0 and 1"):
        kfine.restore(low, scale=2, method="zero-filling", confidence=90)
    with pytest.raises(UsageError, match="frames at other times"):
        kfine.restore(beating(4), frames_scale=2, scale=2, method="zero-filling", confidence=0.9)


def test_the_error_of_interpolated_frames_grows_with_motion():
    low = kfine.degrade(beating(8, matrix=(64, 64)), scale=2, keep_every=2)
    own = kfine.restore(low, scale=2, method="cine-core", effort="fast").std.voxels[:, 0]
    done = kfine.restore(low, scale=2, frames_scale=2, effort="fast", confidence=0.9)
    std = done.std.voxels[:, 0]
    assert done.provenance["uncertainty"]["calibration"] == "packaged"
    # Measured frames have the error of a restoration without other frames.
    np.testing.assert_allclose(std[::2], own, rtol=1e-4)
    between = np.sqrt((own**2 + np.roll(own, -1, 0) ** 2) / 2)
    extra = std[1::2] / between
    assert extra.min() > 0.999
    moving = np.ptp(low.voxels[:, 0], axis=0).repeat(2, 0).repeat(2, 1)
    assert extra[:, moving > 0.2 * moving.max()].mean() > 1.1 * extra[:, moving < 0.01 * moving.max()].mean()
    assert (done.lower.voxels <= done.mean.voxels).all()
    assert (done.mean.voxels < done.upper.voxels).all()


def test_without_motion_interpolated_frames_are_as_sure_as_measured_ones():
    still = beating(4, matrix=(64, 64))
    still = replace(still, voxels=np.repeat(still.voxels[:1], 4, axis=0))
    low = kfine.degrade(still, scale=2, keep_every=2)
    std = kfine.restore(low, scale=2, frames_scale=2, effort="fast").std.voxels
    np.testing.assert_allclose(std, np.broadcast_to(std[:1], std.shape), rtol=1e-3)


def test_pairs_in_folders_and_in_a_table(pairs, tmp_path):
    found = find_pairs(pairs)
    assert [(p.subject, p.low.name) for p in found] == [(f"sub-{k}", f"sub-{k}_T1w.nii.gz") for k in range(3)]
    assert find_pairs(pairs / "low", pairs / "high") == found
    table = pairs / "pairs.csv"
    table.write_text(
        "low,high,subject\n" + "".join(f"low/{p.low.name},high/{p.high.name},a\n" for p in found)
    )
    assert {p.subject for p in find_pairs(table)} == {"a"}
    (pairs / "high" / "sub-2_T1w.nii.gz").unlink()
    with pytest.raises(InputError, match="an image of the same name in high, found none"):
        find_pairs(pairs)


def test_a_calibration_of_ones_own_pairs_holds_on_them(pairs, tmp_path, capsys):
    file = tmp_path / "ours.json"
    assert run(["calibrate", str(pairs), "-o", str(file), "--method", "zero-filling"]) == 0
    said = capsys.readouterr().out
    assert "no guarantee" in said
    assert "calibrated on 3 subjects" in said
    high = kfine.read(pairs / "high" / "sub-1_T1w.nii.gz")
    result = kfine.restore(
        pairs / "low" / "sub-1_T1w.nii.gz", scale=2, method="zero-filling", confidence=0.9, calibration=file
    )
    body = high.voxels > 100
    inside = (result.lower.voxels <= high.voxels) & (high.voxels <= result.upper.voxels)
    assert 0.82 < inside[body].mean() < 0.97
    with pytest.raises(InputError, match="calibrates method zero-filling, expected bicubic"):
        kfine.restore(high, scale=2, method="bicubic", calibration=file)


def test_a_pair_somewhere_else_is_refused(pairs):
    low, high = pairs / "low" / "sub-0_T1w.nii.gz", pairs / "high" / "sub-0_T1w.nii.gz"
    image = kfine.read(high)
    moved = image.affine.copy()
    moved[0, 3] += 9
    kfine.write(replace(image, affine=moved), high, overwrite=True)
    with pytest.raises(InputError, match=r"expected the same field of view, they lie 9 mm apart"):
        calibrate([Pair("a", low, high)], method="zero-filling")


def test_a_damaged_table_is_named():
    with pytest.raises(
        kfine.errors.ModelError,
        match=r"model x: config.json: uncertainty: .* one constant for each measured fraction",
    ):
        Calibration.of("x", {"uncertainty": {"measured": [0.5], "constants": [], "subjects": 1}})
