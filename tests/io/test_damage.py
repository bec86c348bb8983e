"""Whatever happens to the bytes of a file, reading gives an image or one clear line."""

import gzip
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dicom_files import classic, enhanced, pixels, position, save
from raw_files import write_fastmri, xml_header
from test_nifti_refusals import stored

from kfine.errors import InputError, KfineError
from kfine.image import Image
from kfine.io import read


def _nifti(_: Path) -> bytes:
    return stored()


def _packed(_: Path) -> bytes:
    return gzip.compress(stored(), mtime=0)


def _npy(_: Path) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, pixels().astype(np.complex64))
    return buffer.getvalue()


def _fastmri(folder: Path) -> bytes:
    pytest.importorskip("h5py")
    write_fastmri(
        folder / "original", pixels(3, (2, 6, 8)).astype(np.complex64), xml_header((6, 8, 1), (6, 8, 1))
    )
    return (folder / "original").read_bytes()


def _classic(folder: Path) -> bytes:
    dataset = classic(TriggerTime=3.0, EchoTime=4.0, AcquisitionMatrix=[0, 6, 4, 0], RescaleSlope=2.0)
    return save(dataset, folder / "original").read_bytes()


def _enhanced(folder: Path) -> bytes:
    dataset = enhanced(pixels(3, (4, 6, 8)), [position(n) for n in range(4)])
    return save(dataset, folder / "original").read_bytes()


@pytest.mark.parametrize("make", [_nifti, _packed, _npy, _fastmri, _classic, _enhanced])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_bytes(tmp_path: Path, make: Callable[[Path], bytes]) -> None:
    content, rng = make(tmp_path), np.random.default_rng(0)
    path, messages = tmp_path / "image", []
    for _ in range(12 if make is _fastmri else 120):  # a process of its own reads each HDF5 file first
        data = bytearray(content)
        for place in rng.integers(0, min(len(data), 2000), 3):
            data[place] = rng.integers(256)
        path.write_bytes(bytes(data if rng.random() < 0.8 else data[: rng.integers(len(data))]))
        try:
            assert isinstance(read(path), Image)
        except KfineError as error:
            messages.append(str(error))
    assert messages
    assert all(message.isprintable() for message in messages)


@pytest.mark.parametrize("tag", ["BitsAllocated", "SamplesPerPixel", "Rows", "PixelSpacing", "SeriesNumber"])
def test_damaged_value_representation(tmp_path: Path, tag: str) -> None:
    dataset = classic()
    element = dataset.data_element(tag)
    assert element is not None
    marker = element.tag.group.to_bytes(2, "little") + element.tag.element.to_bytes(2, "little")
    content = save(dataset, tmp_path / "original").read_bytes()
    assert content.count(marker) == 1
    (tmp_path / "image.dcm").write_bytes(content.replace(marker + element.VR.encode(), marker + b"\x55\x99"))
    with pytest.raises(InputError, match=r"^image\.dcm: .* cannot be read: truncated or damaged"):
        read(tmp_path / "image.dcm")
