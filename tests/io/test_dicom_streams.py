"""Compressed streams that say something else than the header: refused before a decoder allocates what they say."""

import struct
from pathlib import Path
from typing import Any

import pydicom
import pytest
from dicom_files import classic, pixels
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import utils
from pydicom.uid import JPEG2000Lossless, RLELossless
from refusals import refused

from kfine.errors import InputError
from kfine.io import read

JPEG2000, JPEG_LS, RLE = "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_RLE.dcm"


@pytest.fixture
def no_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(*_: Any, **__: Any) -> None:
        raise AssertionError("a decoder saw the stream")

    monkeypatch.setattr(utils, "iter_pixels", decode)


def sample(name: str) -> tuple[pydicom.FileDataset, bytes]:
    """Return one of pydicom's files, 64x64 of 16 bits, and its one stream."""
    dataset = pydicom.dcmread(str(get_testdata_file(name, download=False)))
    return dataset, next(generate_frames(dataset.PixelData, number_of_frames=1))


def saved(dataset: pydicom.FileDataset, frames: list[bytes], path: Path, **options: Any) -> Path:
    dataset.PixelData = encapsulate(frames, **options)
    dataset["PixelData"].VR = "OB"
    dataset.save_as(path)
    return path


def with_size(stream: bytes, value: int, *, marker: bytes, at: tuple[int, ...], form: str) -> bytes:
    changed = bytearray(stream)
    for offset in at:
        struct.pack_into(form, changed, stream.index(marker) + offset, value)
    return bytes(changed)


@pytest.mark.parametrize("name", [JPEG2000, JPEG_LS, RLE])
def test_what_agrees_is_read(tmp_path: Path, name: str) -> None:
    dataset, stream = sample(name)
    assert read(saved(dataset, [stream], tmp_path / "a.dcm")).matrix == (64, 64)
    assert read(saved(dataset, [stream], tmp_path / "b.dcm", has_bot=False)).matrix == (64, 64)
    assert read(saved(dataset, [stream + b"\0\0"], tmp_path / "c.dcm")).matrix == (64, 64)  # padded
    if name != RLE:  # in pieces
        assert read(saved(dataset, [stream], tmp_path / "d.dcm", fragments_per_frame=3)).matrix == (64, 64)


@pytest.mark.usefixtures("no_decoder")
def test_jpeg_2000_of_another_size(tmp_path: Path) -> None:
    dataset, stream = sample(JPEG2000)
    bomb = with_size(stream, 60000, marker=b"\xff\x51", at=(6, 10, 22, 26), form=">I")
    message = refused(InputError, "expected 64x64", read, saved(dataset, [bomb], tmp_path / "a.dcm"))
    assert "got 60000x60000x1" in message
    boxed = b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\0jp2c"
    refused(InputError, "60000x60000", read, saved(dataset, [boxed + bomb], tmp_path / "b.dcm"))
    endless = b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\0free"  # pydicom looks at such a box for ever
    refused(InputError, "cannot be read", read, saved(dataset, [endless + stream], tmp_path / "c.dcm"))
    samples = with_size(stream, 300, marker=b"\xff\x51", at=(38,), form=">H")
    refused(InputError, "64x64x300", read, saved(dataset, [samples], tmp_path / "d.dcm"))
    deep = with_size(stream, 37, marker=b"\xff\x51", at=(40,), form=">B")
    refused(InputError, "of 38 bits", read, saved(dataset, [deep], tmp_path / "e.dcm"))


@pytest.mark.usefixtures("no_decoder")
def test_jpeg_of_another_size(tmp_path: Path) -> None:
    dataset, stream = sample(JPEG_LS)
    bomb = with_size(stream, 60000, marker=b"\xff\xf7", at=(5, 7), form=">H")
    refused(InputError, "60000x60000x1", read, saved(dataset, [bomb], tmp_path / "a.dcm"))
    # a hierarchical stream has the size of all its frames in front of them
    whole = b"\xff\xde" + struct.pack(">HBHHB3B", 11, 16, 60000, 60000, 1, 1, 0x11, 0)
    hidden = stream[:2] + b"\xff" + whole + stream[2:]  # a byte of filling before the marker
    refused(InputError, "60000x60000x1", read, saved(dataset, [hidden], tmp_path / "b.dcm"))
    refused(InputError, "cannot be read", read, saved(dataset, [b"GIF89a" + stream], tmp_path / "c.dcm"))


@pytest.mark.usefixtures("no_decoder")
def test_rle_of_another_length(tmp_path: Path) -> None:
    dataset, _ = sample(RLE)

    def rle(*segments: bytes) -> list[bytes]:
        starts = [64 + sum(map(len, segments[:n])) for n in range(len(segments))]
        return [struct.pack("<16I", len(segments), *starts, *[0] * (15 - len(segments))) + b"".join(segments)]

    right, long, short = (b"\x81\x00" * count for count in (32, 100000, 31))
    refused(InputError, "got more", read, saved(dataset, rle(right, long), tmp_path / "a.dcm"))
    refused(InputError, "got 3.9 kB", read, saved(dataset, rle(short, right), tmp_path / "b.dcm"))
    refused(
        InputError, "expected 2 RLE segments", read, saved(dataset, rle(*[right] * 15), tmp_path / "c.dcm")
    )


@pytest.mark.usefixtures("no_decoder")
@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_a_header_that_no_stream_of_this_size_fills(tmp_path: Path, syntax: str) -> None:
    dataset = classic(pixels(), Rows=30000, Columns=30000)
    dataset.file_meta.TransferSyntaxUID = syntax
    path = saved(dataset, [bytes(2000)], tmp_path / "a.dcm")
    refused(InputError, "the header promises 1.7 GB", read, path)


@pytest.mark.usefixtures("no_decoder")
@pytest.mark.parametrize("name", [JPEG2000, JPEG_LS, RLE])
@pytest.mark.parametrize("has_bot", [True, False])
def test_more_frames_than_the_header_has(tmp_path: Path, name: str, has_bot: bool) -> None:
    dataset, stream = sample(name)
    path = saved(dataset, [stream] * 3, tmp_path / "a.dcm", has_bot=has_bot)
    refused(InputError, "got more", read, path)
