"""`Restoration.save` writes the files of `kfine restore`, to the byte."""

import json
from dataclasses import replace

import numpy as np
import pytest
from pydicom import dcmread

import kfine
from kfine.cli import run
from kfine.errors import InputError, UsageError
from kfine.image import Image
from tests.conftest import beating, phantom, tree
from tests.io.dicom_files import series

AFFINE = np.diag([4.0, 2.0, 2.0, 1.0])
PLAIN = {"scale": 2, "method": "zero-filling"}
STUDY = {"StudyInstanceUID": "1.2.826.0.1.3680043.8.498.20"}


@pytest.fixture
def low(tmp_path):
    kfine.write(Image(phantom((1, 2, 16, 12)), AFFINE), tmp_path / "low.nii.gz")
    return tmp_path / "low.nii.gz"


@pytest.fixture
def scan(tmp_path):
    pytest.importorskip("highdicom")
    series(tmp_path / "scan", slices=3, **STUDY)
    return tmp_path / "scan"


def both(tmp_path):
    """Return folders for the files of the command line and of the library."""
    (tmp_path / "command").mkdir()
    (tmp_path / "library").mkdir()
    return tmp_path / "command", tmp_path / "library"


def test_nifti_as_the_command_line(low, tiny_model_folder, tmp_path):
    command, library = both(tmp_path)
    call = ["restore", low, "-o", command / "out.nii.gz", "--scale", 2, "--model", tiny_model_folder]
    assert run([*map(str, call), "--figure", str(command / "f.png")]) == 0
    result = kfine.restore(low, scale=2, model=tiny_model_folder)
    written = result.save(library / "out.nii.gz", figure=library / "f.png")
    assert {path.name for path in written} == {"out.nii.gz", "out_std.nii.gz", "out.json", "f.png"}
    assert tree(library) == tree(command)
    record = json.loads((library / "out.json").read_text())
    assert set(record.pop("outputs")) == {"out.nii.gz", "out_std.nii.gz", "f.png"}
    assert record.pop("dicom") is None
    assert record == json.loads(json.dumps(result.record))


@pytest.mark.parametrize("suffix", ["nrrd", "mha"])
def test_nrrd_and_metaimage_as_the_command_line(low, tiny_model_folder, tmp_path, suffix):
    command, library = both(tmp_path)
    call = ["restore", low, "-o", command / f"out.{suffix}", "--scale", 2, "--model", tiny_model_folder]
    assert run([*map(str, call)]) == 0
    result = kfine.restore(low, scale=2, model=tiny_model_folder)
    written = result.save(library / f"out.{suffix}")
    assert {path.name for path in written} == {f"out.{suffix}", f"out_std.{suffix}", "out.json"}
    assert tree(library) == tree(command)
    assert run(["verify", str(command / f"out.{suffix}")]) == 0
    for name, image in (("out", result.mean), ("out_std", result.std)):
        back = kfine.read(command / f"{name}.{suffix}")
        assert back.source.derived
        np.testing.assert_array_equal(back.voxels, image.voxels)
        np.testing.assert_allclose(back.affine, image.affine, atol=1e-12)
    assert run(["restore", str(command / f"out.{suffix}"), "--scale", "2"]) == 4


def test_intervals_beside_nrrd(low, tmp_path):
    result = kfine.restore(low, scale=2, method="zero-filling", confidence=0.9)
    result.save(tmp_path / "out.NRRD")
    assert {path.name for path in tmp_path.iterdir()} == {
        "low.nii.gz", "out.NRRD", "out_std.NRRD", "out_lower.NRRD", "out_upper.NRRD", "out.json",
    }  # fmt: skip
    np.testing.assert_array_equal(kfine.read(tmp_path / "out_upper.NRRD").voxels, result.upper.voxels)


@pytest.mark.parametrize("kind", [None, "classic", "enhanced"])
def test_dicom_as_the_command_line(scan, tmp_path, kind):
    command, library = both(tmp_path)
    call = ["restore", scan, "-o", command / "out", "--scale", 2, "--method", "zero-filling"]
    assert run([*map(str, call), *(["--dicom", kind] if kind else [])]) == 0
    kfine.restore(scan, **PLAIN).save(library / "out", dicom=kind)
    assert tree(library) == tree(command)
    assert len(list((library / "out").iterdir())) == (1 if kind == "enhanced" else 3)


@pytest.mark.parametrize("kind", ["classic", "enhanced"])
def test_a_sharp_image_is_a_dicom_series_of_its_own(scan, tmp_path, kind):
    result = kfine.restore(scan, **PLAIN)
    result = replace(result, sharp=replace(result.mean, voxels=result.mean.voxels * np.float32(1.5)))
    written = result.save(tmp_path / "out", dicom=kind)
    assert tmp_path / "out_sharp" in written
    means, sharps = (
        [dcmread(file) for file in sorted((tmp_path / name).iterdir())] for name in ("out", "out_sharp")
    )
    assert len(means) == len(sharps)
    assert len({each.SeriesInstanceUID for each in (*means, *sharps)}) == 2
    assert len({each.SOPInstanceUID for each in (*means, *sharps)}) == 2 * len(means)
    assert len({each.StudyInstanceUID for each in (*means, *sharps)}) == 1
    assert sharps[0].SeriesNumber != means[0].SeriesNumber
    assert sharps[0].SeriesDescription.endswith("kfine sharp")
    full = result.sharp.voxels.max()
    np.testing.assert_allclose(
        kfine.read(tmp_path / "out_sharp").voxels, result.sharp.voxels, atol=1e-4 * full
    )
    replace(result, sharp=None).save(tmp_path / "out", dicom=kind, overwrite=True)
    assert not (tmp_path / "out_sharp").exists()


def test_a_folder_of_others_is_not_taken_for_a_sharp_series(scan, tmp_path):
    (tmp_path / "out_sharp").mkdir()
    (tmp_path / "out_sharp" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="out_sharp"):
        kfine.restore(scan, **PLAIN).save(tmp_path / "out", overwrite=True)
    assert (tmp_path / "out_sharp" / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "out").exists()


def test_dicom_of_an_image_needs_its_source(scan, tmp_path):
    result = kfine.restore(kfine.read(scan), **PLAIN)
    with pytest.raises(UsageError, match=r"out: DICOM joins the study of the input; give its .* source"):
        result.save(tmp_path / "out")
    result.save(tmp_path / "out", source=scan)
    assert kfine.read(tmp_path / "out").matrix == (12, 16)


def test_dicom_of_no_dicom_is_refused(low, tmp_path):
    before = tree(tmp_path)
    with pytest.raises(UsageError, match="DICOM"):
        kfine.restore(low, **PLAIN).save(tmp_path / "out")
    assert tree(tmp_path) == before


def test_a_cine_also_moves(tmp_path):
    result = kfine.restore(beating(4, slices=1, matrix=(16, 14)), frames_scale=2, **PLAIN)
    written = result.save(tmp_path / "out.nii", figure=tmp_path / "f.png")
    assert tmp_path / "f.gif" in written
    assert (tmp_path / "f.gif").read_bytes().startswith(b"GIF")


def test_nothing_is_replaced_unless_wished(low, tmp_path):
    result = kfine.restore(low, **PLAIN)
    result.save(tmp_path / "out.nii")
    (tmp_path / "out.nii").write_text("mine")
    before = tree(tmp_path)
    with pytest.raises(UsageError, match="exists already"):
        result.save(tmp_path / "out.nii")
    assert tree(tmp_path) == before
    result.save(tmp_path / "out.nii", overwrite=True)
    assert kfine.read(tmp_path / "out.nii").matrix == (32, 24)


def test_a_former_std_goes_with_what_replaces_it(low, tiny_model_folder, tmp_path):
    kfine.restore(low, scale=2, model=tiny_model_folder).save(tmp_path / "out.nii")
    assert (tmp_path / "out_std.nii").exists()
    kfine.restore(low, scale=2, model=tiny_model_folder, samples=1).save(tmp_path / "out.nii", overwrite=True)
    assert not (tmp_path / "out_std.nii").exists()


@pytest.mark.parametrize(
    ("place", "options", "message"),
    [
        ("out.txt", {}, "ends in .nii, .nii.gz, .nrrd or .mha"),
        ("none/out.nii", {}, "its folder does not exist"),
        ("out.nii", {"figure": "f.txt"}, "figure f.txt"),
        ("out.nii", {"dicom": "classic"}, "DICOM goes to a folder"),
        ("out", {"dicom": "modern"}, "expected classic or enhanced"),
        ("low.json", {}, "ends in .nii"),
    ],
)
def test_places_that_cannot_be(low, tmp_path, place, options, message):
    before = tree(tmp_path)
    with pytest.raises(UsageError, match=message):
        kfine.restore(low, **PLAIN).save(tmp_path / place, **options)
    assert tree(tmp_path) == before


def test_the_input_is_not_replaced(low, tmp_path):
    kfine.write(kfine.read(low), tmp_path / "a_std.nii")
    with pytest.raises(UsageError, match="is an input"):
        kfine.restore(tmp_path / "a_std.nii", **PLAIN).save(tmp_path / "a.nii", overwrite=True)


def test_an_image_without_contrast_has_no_figure(tmp_path):
    result = kfine.restore(Image(np.ones((1, 1, 8, 8))), **PLAIN)
    with pytest.raises(InputError, match="some contrast for a figure"):
        result.save(tmp_path / "out.nii", figure=tmp_path / "f.png")
    assert not list(tmp_path.iterdir())


def test_the_drawn_baselines_are_those_of_restore():
    from kfine.acquisition.plan import plan
    from kfine.restoration.pictures import interpolated

    cine = beating(4, slices=1, matrix=(16, 14))
    for image in (cine, Image(phantom((1, 1, 16, 14)) * np.complex64(1j), AFFINE)):
        asked = {"frames_scale": 2} if image.frames > 1 else {}
        for method in ("zero-filling", "bicubic"):
            found = interpolated(plan(image, matrix=(32, 28), **asked), method)
            expected = kfine.restore(image, matrix=(32, 28), method=method, **asked).mean
            np.testing.assert_array_equal(found.voxels, expected.voxels)
            assert found.frame_times == expected.frame_times
            np.testing.assert_array_equal(found.affine, expected.affine)
