"""kfine degrade: what the library's degrade returns, in a file."""

import numpy as np
import pytest

import kfine
from kfine.image import Image
from tests.conftest import phantom
from tests.io.raw_files import measured


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["--matrix", "8x12"], {"matrix": (8, 12)}),
        (["--scale", 2], {"scale": 2}),
        (["--scale", 2, "--noise", 0.05, "--seed", 3], {"scale": 2, "noise": 0.05, "seed": 3}),
        (["--matrix", "32x24", "--noise", 0.1], {"matrix": (32, 24), "noise": 0.1}),
    ],
)
def test_the_file_is_what_the_library_returns(command, high, tmp_path, arguments, options):
    done = command("degrade", high, "-o", tmp_path / "d.nii", *arguments)
    assert done.code == 0
    expected = kfine.degrade(kfine.read(high), **options)
    got = kfine.read(tmp_path / "d.nii")
    np.testing.assert_array_equal(got.voxels, expected.voxels)
    np.testing.assert_allclose(got.affine, expected.affine, atol=1e-5)
    rows, columns = expected.matrix
    assert done.lines == [f"32x24 to {rows}x{columns}", str(tmp_path / "d.nii"), str(tmp_path / "d.json")]


@pytest.fixture
def cine(tmp_path):
    """Seven frames of 2 slices of 16x12, 50 ms apart."""
    voxels = phantom((7, 2, 16, 12))
    kfine.write(Image(voxels, frame_times=tuple(0.05 * n for n in range(7))), tmp_path / "cine.nii")
    return tmp_path / "cine.nii"


@pytest.mark.parametrize(
    ("arguments", "options", "says"),
    [
        (["--keep-every", 3], {"keep_every": 3}, "16x12 to 16x12, 7 to 3 frames"),
        (
            ["--keep-every", 2, "--matrix", "8x6"],
            {"keep_every": 2, "matrix": (8, 6)},
            "16x12 to 8x6, 7 to 4 frames",
        ),
        (["--average-frames", 7, "--scale", 2], {"average": 7, "scale": 2}, "16x12 to 8x6, 7 to 1 frames"),
        (
            ["--average-frames", 3, "--noise", 0.1],
            {"average": 3, "noise": 0.1},
            "16x12 to 16x12, 7 to 3 frames",
        ),
        (["--keep-every", 1], {"keep_every": 1}, "16x12 to 16x12"),
    ],
)
def test_fewer_frames(command, cine, tmp_path, arguments, options, says):
    done = command("degrade", cine, "-o", tmp_path / "d.nii", *arguments)
    assert done.code == 0
    assert done.lines == [says, str(tmp_path / "d.nii"), str(tmp_path / "d.json")]
    expected, got = kfine.degrade(kfine.read(cine), **options), kfine.read(tmp_path / "d.nii")
    np.testing.assert_array_equal(got.voxels, expected.voxels)
    if got.frames > 1 and "average" not in options:
        np.testing.assert_allclose(got.frame_times, expected.frame_times, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--keep-every", 2, "--average-frames", 2], 2, "either keep_every or average"),
        (["--keep-every", 0], 2, "--keep-every"),
        (["--average-frames", -1], 2, "--average-frames"),
        (["--keep-every", 8], 4, "the image's 7 frames"),
        (["--keep-every", 2, "--scale", 2, "--matrix", "8x6"], 2, "got both"),
    ],
)
def test_frames_refused(command, cine, tmp_path, arguments, code, says):
    done = command("degrade", cine, "-o", tmp_path / "d.nii", *arguments)
    assert (done.code, says in done.err) == (code, True), done.err
    assert not (tmp_path / "d.nii").exists()


def test_slices_and_quiet(command, high, tmp_path):
    call = ["degrade", high, "-o", tmp_path / "d.nii.gz", "--scale", 2, "--slices", ":2", "--quiet"]
    done = command(*call)
    assert (done.code, done.out, done.err) == (0, "", "")
    assert kfine.read(tmp_path / "d.nii.gz").slices == 2


def test_kspace_in_kspace_out(command, kspace, tmp_path):
    assert command("degrade", kspace, "-o", tmp_path / "d.npy", "--matrix", "8x8").code == 0
    whole, centre = np.load(kspace), np.load(tmp_path / "d.npy")
    gain = centre[0, 4, 4] / whole[0, 8, 8]
    np.testing.assert_allclose(centre, gain * whole[:, 4:12, 4:12], rtol=1e-3, atol=1e-2)


def test_coils_are_combined_first(command, tmp_path):
    np.save(tmp_path / "raw.npy", measured(4, 0.01))
    for out, options, given in (
        ("d.npy", ["--coil-axis", 0], {"coil_axis": 0}),
        ("rss.nii", ["--coil-axis", 0, "--combine", "rss"], {"coil_axis": 0, "combine": "rss"}),
    ):
        assert (
            command("degrade", tmp_path / "raw.npy", "-o", tmp_path / out, "--scale", 2, *options).code == 0
        )
        expected = kfine.degrade(kfine.read(tmp_path / "raw.npy", **given), scale=2).voxels
        got = kfine.read(tmp_path / out).voxels
        np.testing.assert_allclose(got, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["-o", "d.nii"], 2, "got neither"),
        (["-o", "d.nii", "--matrix", "8x8", "--scale", 2], 2, "got both"),
        (["--scale", 2], 2, "--output"),
        (["-o", "d.png", "--scale", 2], 2, ".nii.gz"),
        (["-o", "d.npy", "--scale", 2], 2, "this image is real"),
        (["-o", "high.nii.gz", "--scale", 2], 2, "--overwrite"),
        (["-o", "d.nii", "--scale", 2, "--noise", -1], 2, "noise"),
        (["-o", "d.nii", "--scale", 2, "--noise", "inf"], 2, "noise"),
        (["-o", "d.nii", "--scale", 2, "--seed", -1], 2, "--seed"),
        (["-o", "d.nii", "--scale", 0.5], 2, "at least 1"),
        (["-o", "d.nii", "--scale", 2, "--slices", "3:"], 2, "A < B <= 3"),
        (["-o", "d.nii", "--matrix", "64x24"], 4, "kfine restore"),
        (["-o", "d.nii", "--keep-every", 2], 4, "use a cine"),
    ],
)
def test_refusals_write_nothing(command, high, tmp_path, monkeypatch, files, arguments, code, says):
    monkeypatch.chdir(tmp_path)
    before = files()
    done = command("degrade", high, *arguments)
    assert (done.code, says in done.err) == (code, True), done.err
    assert files() == before


def test_degrade_restore_evaluate(command, high, tmp_path):
    """The whole way of a user who wants to know what a method is worth."""
    low, out = tmp_path / "l.nii.gz", tmp_path / "r.nii.gz"
    assert command("degrade", high, "-o", low, "--scale", 2).code == 0
    assert command("restore", low, "-o", out, "--matrix", "32x24", "--method", "zero-filling").code == 0
    assert command("evaluate", high, out).code == 0
