"""NIfTI that is refused, and what is not allocated or written on the way."""

import gzip
import tracemalloc
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from refusals import refused

from kfine.errors import InputError, ResourceError, UsageError
from kfine.io import read

GRID = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)


def stored(voxels: np.ndarray = GRID, affine: np.ndarray | None = None, **fields: Any) -> bytes:
    """Return the bytes of a .nii file whose header fields are then replaced."""
    image = nibabel.Nifti1Image(voxels, np.diag([1.0, 1, 4, 1]) if affine is None else affine)
    header = image.header.copy()
    header["vox_offset"] = 352
    header["scl_slope"] = 1
    header["scl_inter"] = 0
    for field, value in fields.items():
        if field in ("dim", "pixdim"):
            header[field][: len(value)] = value
        else:
            header[field] = value
    return header.binaryblock + bytes(4) + np.asarray(image.dataobj).tobytes("F")


def refuse(tmp_path: Path, part: str, content: bytes, *, packed: bool = False, **options: Any) -> str:
    path = tmp_path / ("image.nii.gz" if packed else "image.nii")
    path.write_bytes(gzip.compress(content) if packed else content)
    message = refused(InputError, part, read, path, **options)
    assert path.name in message
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    return message


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("keep", [100, 347, 349, 400, -1])
def test_truncated_content(tmp_path: Path, packed: bool, keep: int) -> None:
    part = "truncated" if packed and keep > 348 else ""
    refuse(tmp_path, part, stored()[:keep], packed=packed)


@pytest.mark.parametrize("keep", [2, 12, 100, 500, -1])
def test_truncated_gzip(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "image.nii.gz"
    path.write_bytes(gzip.compress(stored())[:keep])
    refused(InputError, "truncated", read, path)


def test_damaged_gzip(tmp_path: Path) -> None:
    path = tmp_path / "image.nii.gz"
    data = bytearray(gzip.compress(stored()))
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))
    refused(InputError, "", read, path)
    data = bytearray(gzip.compress(stored()))
    data[-6] ^= 0xFF  # the checksum
    path.write_bytes(bytes(data))
    refused(InputError, "damaged", read, path)


@pytest.mark.parametrize("name", ["image.nii", "image.nii.gz", "image.dcm", "image.bin"])
@pytest.mark.parametrize("start", [b"", b"\x1f\x8b"])
def test_random_bytes(tmp_path: Path, name: str, start: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(start + np.random.default_rng(1).bytes(5000))
    refused(InputError, name, read, path)


def test_gzip_of_something_else(tmp_path: Path) -> None:
    refuse(tmp_path, "NIfTI header", b"hello " * 500, packed=True)


def test_pair_of_files_is_pointed_at(tmp_path: Path) -> None:
    refuse(tmp_path, ".hdr and .img", stored(magic=b"ni1"), packed=True)


def test_header_of_a_pair_is_pointed_at(tmp_path: Path) -> None:
    (tmp_path / "a.hdr").write_bytes(stored(magic=b"ni1")[:348])
    refused(InputError, ".hdr and .img", read, tmp_path / "a.hdr")


@pytest.mark.parametrize("packed", [False, True])
def test_terabytes_are_refused_before_allocation(tmp_path: Path, packed: bool) -> None:
    content = stored(dim=(3, 32000, 32000, 1000))
    tracemalloc.start()
    message = refuse(tmp_path, "the header promises", content, packed=packed)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "3.7 TB" in message
    assert peak < 2**24


@pytest.mark.filterwarnings("ignore:.*no orientation:UserWarning")
def test_dimensions_beyond_64_bits(tmp_path: Path) -> None:
    header = nibabel.Nifti2Header()
    header["dim"][:5] = (4, 2**40, 2**40, 2**40, 2**40)
    header["vox_offset"] = 544
    refuse(tmp_path, "the header promises", header.binaryblock + bytes(2000))


def test_bomb_that_keeps_its_promise(tmp_path: Path) -> None:
    # 300 MB of zeros in 300 kB: not more than deflate can do, and no image
    path = tmp_path / "image.nii.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(stored(dim=(3, 512, 512, 300))[:352])
        for _ in range(300):
            file.write(bytes(2**20))
    refused(InputError, "the header promises", read, path)


def test_stream_that_goes_on(tmp_path: Path) -> None:
    content = stored() + bytes(200_000)
    tracemalloc.start()
    refuse(tmp_path, "continues after", content, packed=True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**24
    refuse_plain = tmp_path / "plain"
    refuse_plain.mkdir()
    refuse(refuse_plain, "continues after", content)


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"dim": (3, -5, 6, 7)}, "positive dimensions"),
        ({"dim": (3, 5, 0, 7)}, "positive dimensions"),
        ({"dim": (-3, 5, 6, 7)}, "1 to 7 dimensions"),
        ({"dim": (8, 5, 6, 7)}, "1 to 7 dimensions"),
        ({"dim": (0, 5, 6, 7)}, "1 to 7 dimensions"),
        ({"dim": (5, 5, 6, 1, 1, 7)}, "split the further axes"),
        ({"datatype": 128, "bitpix": 24}, "colour"),
        ({"datatype": 2304, "bitpix": 32}, "colour"),
        ({"datatype": 999}, "unknown voxel type"),
        ({"datatype": 0}, "unknown voxel type"),
        ({"datatype": 1}, "unknown voxel type"),
        ({"vox_offset": 10}, "byte 10"),
        ({"vox_offset": np.nan}, "byte nan"),
        ({"vox_offset": 1e12}, "byte 1e+12"),
        ({"scl_inter": np.inf}, "scl_inter"),
        ({"scl_slope": np.nan}, "scl_slope"),
        ({"scl_slope": -np.inf}, "scl_slope"),
        ({"srow_x": (np.nan, 0, 0, 0)}, "NaN or Inf"),
        ({"srow_y": (0, np.inf, 0, 0)}, "NaN or Inf"),
        ({"srow_z": (0, 0, 0, 5)}, "singular"),
        ({"srow_z": (0, 1, 0, 5)}, "singular"),
        ({"sform_code": 0, "qform_code": 1, "quatern_b": 3}, "sform or qform"),
        ({"sform_code": 0, "qform_code": 1, "quatern_b": np.nan}, ""),
        ({"sform_code": 0, "qform_code": 1, "pixdim": (1, 0, 0, 0)}, "voxel size"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning:nibabel")
def test_bad_header(tmp_path: Path, fields: dict[str, Any], part: str) -> None:
    refuse(tmp_path, part, stored(**fields))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers(tmp_path: Path, value: float) -> None:
    voxels = GRID.copy()
    voxels[2, 3, 4] = value
    assert "1 of 210" in refuse(tmp_path, "NaN or Inf", stored(voxels))


def test_values_beyond_float32(tmp_path: Path) -> None:
    refuse(tmp_path, "NaN or Inf", stored(GRID.astype(np.float64) * 1e300))


@pytest.mark.parametrize("shape", [(5, 6, 7), (1, 1, 1)])
def test_constant_image(tmp_path: Path, shape: tuple[int, ...]) -> None:
    refuse(tmp_path, "constant image: nothing to restore", stored(np.full(shape, 3, np.float32)))


def test_memory_is_asked_about_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "image.nii"
    path.write_bytes(stored())
    monkeypatch.setattr("os.sysconf", lambda _: 8)
    refused(ResourceError, "this machine has 64 bytes", read, path)


@pytest.mark.parametrize("plane", [(0, 0), (0, 3), (-1, 1)])
def test_plane_must_be_two_axes(tmp_path: Path, plane: tuple[int, int]) -> None:
    path = tmp_path / "image.nii"
    path.write_bytes(stored())
    refused(UsageError, "two different axes", read, path, plane=plane)
    refused(UsageError, "series, echo", read, path, series="3")
