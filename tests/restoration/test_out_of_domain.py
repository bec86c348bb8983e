"""Images unlike those of training: interpolated by auto, restored with a warning, or refused."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
from pydicom.data import get_testdata_file

import kfine
from kfine.acquisition.plan import plan
from kfine.cli import run
from kfine.errors import DomainError, UsageError
from kfine.image import Image
from kfine.models.checkpoint import PACKAGED
from kfine.models.novelty import NoveltyTable
from kfine.restoration.novelty import novelty_of, settled
from kfine.restoration.options import Options

AFFINE = np.diag([4.0, 2.0, 2.0, 1.0])
UNLIKE = "the image is unlike those that model core was trained on"


@pytest.fixture
def noise():
    rng = np.random.default_rng(4)
    return Image(rng.random((1, 1, 64, 56), np.float32), AFFINE)


@pytest.fixture
def scan():
    return kfine.read(get_testdata_file("MR_small.dcm", download=False))


def test_auto_interpolates_a_foreign_image_and_says_why(noise):
    with pytest.warns(UserWarning, match=f"{UNLIKE} .*: zero-filling is used instead"):
        result = kfine.restore(noise, scale=2)
    record = result.provenance
    assert record["method"] == "zero-filling"
    assert record["model"] is None
    assert record["method_chosen_for"].startswith(UNLIKE)
    assert record["domain"]["model"] == "core"
    assert record["domain"]["distance"] > 1
    assert record["domain"]["foreign"] is True
    same = kfine.restore(noise, scale=2, method="zero-filling")
    np.testing.assert_array_equal(result.mean.voxels, same.mean.voxels)
    assert "domain" not in same.provenance


def test_options_that_interpolation_has_no_use_for_are_named(noise):
    with pytest.warns(UserWarning, match="without effect: effort, denoise"):
        result = kfine.restore(noise, scale=2, effort="best", denoise=True)
    assert result.provenance["method"] == "zero-filling"


def test_finer_slices_are_interpolated_as_well():
    rng = np.random.default_rng(4)
    stack = Image(rng.random((1, 6, 48, 40), np.float32), AFFINE)
    with pytest.warns(UserWarning, match=UNLIKE):
        record = kfine.restore(stack, slice_scale=2).provenance
    assert record["method"] == "zero-filling"
    assert record["method_chosen_for"].startswith(UNLIKE)
    assert record["slice_direction"]["method"] == "zero-filling"


def test_what_the_user_names_runs_with_a_warning(noise):
    acquisition = plan(noise, scale=2)
    for named in ({"method": "core"}, {"model": "core"}, {"method": "vdm"}):
        with pytest.warns(UserWarning, match=f"{UNLIKE} .*; the result may be worse than interpolation"):
            found = settled(acquisition, Options(scale=2, **named))
        assert found.options == Options(scale=2, **named)
        assert found.reason is None
        assert found.record["foreign"] is True
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert settled(acquisition, Options(scale=2, method="bicubic")).record is None


def test_strict_refuses_a_foreign_image(noise, tmp_path, capsys):
    for options in ({}, {"method": "core"}):
        with pytest.raises(DomainError, match=f"strict: {UNLIKE}"):
            kfine.restore(noise, scale=2, strict=True, **options)
    kfine.write(noise, tmp_path / "noise.nii.gz")
    call = ["restore", str(tmp_path / "noise.nii.gz"), "-o", str(tmp_path / "o.nii.gz"), "--scale", "2"]
    assert run([*call, "--strict"]) == 8
    assert UNLIKE in capsys.readouterr().err
    assert not (tmp_path / "o.nii.gz").exists()
    assert run([*call, "--method", "zero-filling", "--strict"]) == 0  # which no training stands behind
    assert "domain" not in json.loads((tmp_path / "o.json").read_text())


def test_strict_refuses_what_cannot_be_compared(tiny_core_folder):
    small = Image(np.ones((1, 1, 24, 24), np.float32), AFFINE)
    assert settled(plan(small, scale=2), Options(scale=2)).record is None
    with pytest.raises(DomainError, match="planes of at least 32 points"):
        kfine.restore(small, scale=2, strict=True)
    large = Image(np.ones((1, 1, 40, 40), np.float32), AFFINE)
    with pytest.raises(DomainError, match="nothing is known"):
        kfine.restore(large, scale=2, strict=True, model=tiny_core_folder)


def test_unknown_names_come_first(noise):
    with pytest.raises(UsageError, match="expected one of"):
        kfine.restore(noise, scale=2, method="no-such", strict=True)


def test_a_clinical_scan_is_not_foreign(scan):
    acquisition = plan(scan, scale=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = settled(acquisition, Options(scale=2))
    assert found.options.method == "auto"
    assert found.record["foreign"] is False
    assert 0 < found.record["distance"] < 1


def test_the_middle_of_the_planes_decides(scan):
    """Two planes of noise in a stack of five change little; four of them are the stack."""
    table = NoveltyTable.of(PACKAGED / "core")
    clinical = np.abs(scan.voxels[0, 0]) / np.abs(scan.voxels).max()
    rng = np.random.default_rng(0)

    def stack(count):
        planes = [rng.random(clinical.shape) if n < count else clinical for n in range(5)]
        return novelty_of(Image(np.stack(planes)[None].astype(np.float32), AFFINE), table)

    assert stack(0).distance == pytest.approx(novelty_of(scan, table).distance, rel=1e-3)
    assert not stack(2).foreign
    assert stack(4).foreign


def test_strict_refuses_voxels_far_from_those_tested_on(scan):
    """The image is 0.16 mm fine once it is restored; otherwise it is like the training images."""
    with pytest.raises(DomainError, match="strict: model core: voxel size"):
        kfine.restore(scan, scale=2, strict=True)
    coarse = replace(scan, affine=scan.affine @ np.diag([1.0, 4.0, 4.0, 1.0]))
    assert settled(plan(coarse, scale=2), Options(scale=2, strict=True)).record["foreign"] is False


@pytest.mark.parametrize("kind", ["stripes", "text", "boxes", "1/f noise"])
def test_synthetic_images_are_foreign(kind):
    rng, n = np.random.default_rng(1), 96
    down, right = np.mgrid[-1 : 1 : n * 1j, -1 : 1 : n * 1j]
    planes = {
        "stripes": 0.5 + 0.4 * np.sign(np.sin(30 * (right + 0.4 * down))),
        "text": (rng.random((n, n)) > 0.8).astype(float),
        "boxes": np.kron(rng.random((8, 8)), np.ones((12, 12))),
        "1/f noise": np.abs(
            np.fft.ifft2(
                np.fft.fft2(rng.standard_normal((n, n)))
                / (np.hypot(*np.meshgrid(*[np.fft.fftfreq(n)] * 2)) + 0.01)
            )
        ),
    }
    image = Image(planes[kind][None, None].astype(np.float32), AFFINE)
    assert novelty_of(image, NoveltyTable.of(PACKAGED / "core")).foreign
