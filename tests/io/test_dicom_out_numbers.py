"""Instance numbers of a derived series go as its source's: programs that stack by them give the same volumes."""

import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from kfine import read, restore
from kfine.io import write_dicom
from tests.io.dicom_files import classic, position, save
from tests.io.dicom_study import HEADER

TOOL = shutil.which("dcm2niix") or shutil.which("dcm2niix", path=str(Path(sys.executable).parent))
FRAMES, SLICES = 3, 4


def numbered(folder: Path, *, by_volume: bool, descending: bool) -> None:
    """Write 3 volumes of 4 slices; the brightness tells slice and volume."""
    for t, s in np.ndindex(FRAMES, SLICES):
        place = SLICES - 1 - s if descending else s
        number = 1 + (t * SLICES + place if by_volume else place * FRAMES + t)
        stored = np.full((16, 16), 100 * (s + 1) + 20 * t, np.uint16)
        stored[:4] = 10
        tags = HEADER | {
            "Manufacturer": "SIEMENS",
            "SoftwareVersions": "syngo MR XA20",
            "ImagePositionPatient": position(s),
            "InstanceNumber": number,
            "AcquisitionNumber": t + 1,
            "TemporalPositionIdentifier": t + 1,
        }
        save(classic(stored, **tags), folder / f"{t}{s}.dcm")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("by_volume", [True, False])
@pytest.mark.parametrize("descending", [True, False])
def test_numbers_go_as_the_source(tmp_path: Path, by_volume: bool, descending: bool) -> None:
    numbered(tmp_path / "in", by_volume=by_volume, descending=descending)
    result = restore(read(tmp_path / "in"), scale=2, method="zero-filling")
    write_dicom(result.mean, tmp_path / "out", source=tmp_path / "in")
    images = sorted(map(pydicom.dcmread, (tmp_path / "out").iterdir()), key=lambda ds: int(ds.InstanceNumber))
    times = [int(ds.TemporalPositionIdentifier) for ds in images]
    assert times == (sorted([1, 2, 3] * SLICES) if by_volume else [1, 2, 3] * SLICES)
    if by_volume and TOOL:
        (tmp_path / "nii").mkdir()
        subprocess.run(
            [TOOL, "-z", "n", "-b", "n", "-o", tmp_path / "nii", tmp_path / "out"],
            check=True,
            capture_output=True,
        )
        (path,) = (tmp_path / "nii").glob("*.nii")
        peaks = np.asarray(nibabel.load(path).dataobj).max((0, 1))
        assert peaks.shape == (SLICES, FRAMES)
        assert (np.argsort(peaks, axis=1) == np.arange(FRAMES)).all()
