"""Every reader and the model folder against damaged files: an image, or one printable line of a documented kind.

The inputs follow from a seed, how many there are from the time: `pytest tests/test_fuzz.py --fuzz-seconds 600`.
"""

import gzip
import io
import json
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest

from kfine.errors import KfineError
from kfine.image import Image
from kfine.io import read, write
from kfine.models.checkpoint import Model, ModelSampling, load_model, save_model
from kfine.networks.vdm import VDM
from tests.io.dicom_files import classic, enhanced, pixels, position, save, series
from tests.io.raw_files import write_bart, write_fastmri, xml_header

GRID = np.random.default_rng(0).normal(100, 20, size=(6, 8, 5)).astype(np.float32)
SLOWEST = 60.0  # seconds that one input may take, on a busy machine
NUMBERS = (b"\0", b"\xff", b"\x7f", b"\x80", b"\0\0\0\x80", b"\xff\xff\xff\x7f", b"\0\0\xc0\x7f")


def nifti(folder: Path) -> Path:
    nibabel.save(nibabel.Nifti1Image(GRID, np.diag([1, 2, 3, 1])), folder / "a.nii")
    return folder / "a.nii"


def packed(folder: Path) -> Path:
    (folder / "a.nii.gz").write_bytes(gzip.compress(nifti(folder).read_bytes(), mtime=0))
    return folder / "a.nii.gz"


def pair(folder: Path) -> Path:
    nibabel.save(nibabel.Nifti2Pair(GRID, np.diag([1, 2, 3, 1])), folder / "p.img")
    return folder / "p.hdr"


def freesurfer(folder: Path) -> Path:
    nibabel.save(nibabel.freesurfer.MGHImage(GRID, np.diag([1, 2, 3, 1])), folder / "a.mgh")
    return folder / "a.mgh"


def one(folder: Path) -> Path:
    tags = {"TriggerTime": 3.0, "EchoTime": 4.0, "AcquisitionMatrix": [0, 6, 4, 0], "PixelPaddingValue": 7}
    return save(classic(**tags), folder / "a.dcm")


def many(folder: Path) -> Path:
    return save(enhanced(pixels(3, (4, 6, 8)), [position(n) for n in range(4)]), folder / "a.dcm")


def zipped(folder: Path) -> Path:
    (folder / "a.dcm.gz").write_bytes(gzip.compress(one(folder).read_bytes(), mtime=0))
    return folder / "a.dcm.gz"


def slices(folder: Path) -> Path:
    series(folder / "s", slices=3, EchoTime=3.0, InversionTime=100.0)
    return folder / "s" / "im002.dcm"


def kspace(folder: Path) -> Path:
    buffer = io.BytesIO()
    np.save(buffer, pixels().astype(np.complex64))
    (folder / "a.npy").write_bytes(buffer.getvalue())
    return folder / "a.npy"


def bart(folder: Path) -> Path:
    return write_bart(folder / "b", pixels(1, (6, 8)).astype(np.complex64)).with_suffix(".hdr")


def hdf5(folder: Path) -> Path:
    pytest.importorskip("h5py")
    write_fastmri(
        folder / "a.h5", pixels(3, (2, 6, 8)).astype(np.complex64), xml_header((6, 8, 1), (6, 8, 1))
    )
    return folder / "a.h5"


def mat(folder: Path) -> Path:
    """Return a file of CMRxRecon."""
    h5py = pytest.importorskip("h5py")
    pairs = np.ones((2, 2, 2, 8, 6), [("real", "<f4"), ("imag", "<f4")])
    with h5py.File(folder / "a.mat", "w", userblock_size=512) as file:
        file["kspace"] = pairs
    return folder / "a.mat"


def calgary(folder: Path) -> Path:
    """Return a file of Calgary-Campinas."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "a.h5", "w") as file:
        file["kspace"] = np.ones((2, 8, 6, 4), np.float32)
    return folder / "a.h5"


def mrd(folder: Path) -> Path:
    """Return an ISMRMRD file of two contrasts."""
    ismrmrd = pytest.importorskip("ismrmrd")
    dataset = ismrmrd.Dataset(str(folder / "m.h5"), "dataset", True)
    dataset.write_xml_header(xml_header((6, 8, 1), (6, 8, 1)))
    for number in range(16):
        readout = ismrmrd.Acquisition.from_array(np.ones((2, 6), np.complex64))
        readout.idx.kspace_encode_step_1, readout.idx.contrast = number % 8, number // 8
        dataset.append_acquisition(readout)
    dataset.close()
    return folder / "m.h5"


def nrrd(folder: Path) -> Path:
    write(Image(GRID[None]), folder / "a.nrrd")
    return folder / "a.nrrd"


def metaimage(folder: Path) -> Path:
    write(Image(np.stack([GRID, GRID]), frame_times=(0.0, 0.1)), folder / "a.mha")
    return folder / "a.mha"


READERS = (
    nifti, packed, pair, freesurfer, nrrd, metaimage, one, many, zipped, slices, kspace, bart, hdf5, mat, calgary, mrd,
)  # fmt: skip


def damaged(content: bytes, random: np.random.Generator) -> bytes:
    """Return `content` with some bytes changed, numbers put in, a part left out or doubled, or its end cut off."""
    data = bytearray(content)
    near = min(len(data), 2000)  # headers
    for _ in range(random.integers(1, 5)):
        at, kind = int(random.integers(max(1, min(near, len(data))))), random.integers(6)
        if not data:
            break
        if kind < 2:
            data[at] = int(random.integers(256))
        elif kind < 4:
            number = NUMBERS[random.integers(len(NUMBERS))]
            data[at : at + len(number)] = number
        elif kind == 4:
            del data[at : at + int(random.integers(1, 40))]
        else:
            data[at:at] = data[at : at + int(random.integers(1, 40))]
        near = min(len(data), 2000)
    return bytes(data if random.random() < 0.8 else data[: random.integers(len(data) + 1)])


def check(error: KfineError, *codes: int) -> None:
    line = str(error)
    assert line.isprintable(), line
    assert "ecretova" not in line
    assert error.exit_code in codes


def rounds(seconds: float, name: str, least: int = 2) -> Iterator[np.random.Generator]:
    """Yield generators, each with its own seed, until the time is over."""
    began = time.monotonic()
    number = 0
    while number < least or time.monotonic() - began < seconds:
        yield np.random.default_rng([zlib.crc32(name.encode()), number])
        number += 1


@pytest.mark.parametrize("make", READERS)
@pytest.mark.filterwarnings("ignore")
def test_readers(tmp_path: Path, make: Callable[[Path], Path], request: pytest.FixtureRequest) -> None:
    share = request.config.getoption("--fuzz-seconds") / (len(READERS) + 1)
    path = make(tmp_path)
    content = path.read_bytes()
    asked = path.parent if make is slices else path
    for random in rounds(share, make.__name__):
        path.write_bytes(damaged(content, random))
        began = time.monotonic()
        try:
            image = read(asked)
        except KfineError as error:
            check(error, 2, 4, 6)
        else:
            assert isinstance(image, Image)
            assert np.isfinite(image.voxels).all()
        assert time.monotonic() - began < SLOWEST


def confused(config: dict[str, object], random: np.random.Generator) -> None:
    """Put something else into the place of one value of `config`, in any depth."""
    table = config
    while True:
        key = list(table)[random.integers(len(table))]
        inner = table[key]
        if not (isinstance(inner, dict) and inner and random.random() < 0.8):
            break
        table = inner
    table[key] = [None, -1, 0, 10**9, 10**30, 1e308, "a", [], [10**7] * 9, {}, True][random.integers(11)]


def test_model_folders(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    network = {"core": {"widths": [8], "blocks": 1}, "widths": [8, 16], "blocks": 1}
    sampling = {"steps": 3, "samples": 2, "conditioned": True}
    save_model(tmp_path / "m", VDM(**network), {"method": "vdm", "network": network, "sampling": sampling})
    content = {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()}
    share = request.config.getoption("--fuzz-seconds") / (len(READERS) + 1)
    for random in rounds(share, "model"):
        shutil.rmtree(tmp_path / "m")
        (tmp_path / "m").mkdir()
        made = dict(content)
        if random.random() < 0.7:
            config = json.loads(made["config.json"])
            confused(config, random)
            made["config.json"] = json.dumps(config).encode()
        else:
            name = sorted(made)[random.integers(2)]
            made[name] = damaged(made[name], random)
        for name, data in made.items():
            (tmp_path / "m" / name).write_bytes(data)
        try:
            model = load_model(tmp_path / "m")
            ModelSampling.of(model)
        except KfineError as error:
            check(error, 5)
        else:
            assert isinstance(model, Model)
