"""A derived series whose slices are finer than those of its source."""

from dataclasses import replace

import numpy as np
import pydicom
import pytest
from dicom_files import STEP, series
from dicom_study import HEADER, datasets
from numpy.testing import assert_allclose

import kfine
from kfine.errors import UsageError
from kfine.io import read, write_dicom

pytest.importorskip("highdicom", reason="DICOM output needs the extra dicom")


@pytest.fixture
def source(tmp_path):
    series(tmp_path / "in", slices=4, **HEADER | {"MRAcquisitionType": "2D", "SliceThickness": 0.8 * STEP})
    return tmp_path / "in"


@pytest.mark.parametrize("kind", ["classic", "enhanced"])
def test_finer_slices_lie_where_they_are(source, tmp_path, kind):
    result = kfine.restore(source, slice_scale=3, method="zero-filling")
    assert result.provenance["slice_direction"]["profile_chosen_for"].startswith("a 2-D scan; ")
    assert result.provenance["slice_direction"]["thickness_mm"] == pytest.approx(0.8 * STEP, abs=1e-3)
    result.save(tmp_path / "out", dicom=kind)
    back = read(tmp_path / "out")
    assert back.slices == result.mean.slices == 12
    assert_allclose(back.affine, result.mean.affine, atol=1e-6)
    assert_allclose(back.voxels, result.mean.voxels, atol=np.ptp(result.mean.voxels) / 60000)
    made = datasets(tmp_path / "out")
    if kind == "classic":
        for each in made:
            assert float(each.SliceThickness) == float(each.SpacingBetweenSlices) == pytest.approx(STEP / 3)
        assert not any("SliceLocation" in each for each in made)
        behind = [str(each.SourceImageSequence[0].ReferencedSOPInstanceUID) for each in made]
        stored = {str(pydicom.dcmread(path).SOPInstanceUID) for path in source.iterdir()}
        assert set(behind) == stored


def test_a_3d_scan_says_so(tmp_path):
    series(tmp_path / "in", slices=4, **HEADER | {"MRAcquisitionType": "3D"})
    result = kfine.restore(tmp_path / "in", slice_scale=2, method="zero-filling")
    assert result.provenance["slice_direction"]["profile"] == "crop"


def test_slices_of_another_stack_are_refused(source, tmp_path):
    fine = kfine.restore(source, slice_scale=3, method="zero-filling").mean
    moved = fine.affine.copy()
    moved[:3, 3] += 3 * moved[:3, 0] * 3
    with pytest.raises(UsageError, match="lies elsewhere"):
        write_dicom(replace(fine, affine=moved), tmp_path / "out", source=source)
