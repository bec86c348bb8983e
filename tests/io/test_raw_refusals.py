"""Files of raw k-space that are damaged, forged, or not what their names say."""

import sys
from pathlib import Path

import numpy as np
import pytest
from raw_files import COLUMNS, ROWS, measured, thing, to_kspace, write_bart, write_fastmri, xml_header
from refusals import refused
from test_raw_files import HEADER, acquisition, lines, write_mrd

from kfine.errors import InputError, ResourceError, UsageError
from kfine.io import read
from kfine.io.kspace.mrd_header import read_raw_header

h5py = pytest.importorskip("h5py")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
FASTMRI = xml_header((ROWS, COLUMNS, 1), (96, 100, 3))


def test_hdf5_that_points_to_other_files(tmp_path: Path) -> None:
    kspace = measured()[None]
    write_fastmri(tmp_path / "real.h5", kspace, FASTMRI)
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["kspace"] = h5py.ExternalLink("real.h5", "/kspace")
    with h5py.File(tmp_path / "soft.h5", "w") as file:
        file["elsewhere"] = kspace
        file["kspace"] = h5py.SoftLink("/elsewhere")
    with h5py.File(tmp_path / "group.h5", "w") as file:
        file["dataset"] = h5py.ExternalLink("real.h5", "/")
    (tmp_path / "secret.bin").write_bytes(kspace.tobytes())
    with h5py.File(tmp_path / "storage.h5", "w") as file:
        outside = [(str(tmp_path / "secret.bin"), 0, kspace.nbytes)]
        file.create_dataset("kspace", kspace.shape, kspace.dtype, external=outside)
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        layout = h5py.VirtualLayout(kspace.shape, kspace.dtype)
        layout[:] = h5py.VirtualSource(tmp_path / "real.h5", "kspace", kspace.shape)
        file.create_virtual_dataset("kspace", layout)
    for name, part in {
        "link": "link to elsewhere", "soft": "link to elsewhere", "group": "got neither",
        "storage": "references to other files", "virtual": "references to other files",
    }.items():  # fmt: skip
        refused(InputError, part, read, tmp_path / f"{name}.h5")


def test_hdf5_larger_than_memory(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("kspace", (1, 8, 10**6, 10**6), np.complex64, chunks=(1, 1, 64, 64))
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("kspace", (10**9, 8, 512, 512), np.complex64, chunks=(1, 1, 64, 64))
    refused(InputError, "truncated: 'kspace' promises", read, tmp_path / "a.h5")  # nothing of it was written
    refused(InputError, "truncated: 'kspace' promises", read, tmp_path / "b.h5")
    assert (tmp_path / "a.h5").stat().st_size < 1 << 20


@pytest.mark.parametrize("keep", [9, 100, 1000, -1, -5000])
def test_truncated_hdf5(tmp_path: Path, keep: int) -> None:
    write_fastmri(tmp_path / "a.h5", measured()[None], FASTMRI)
    (tmp_path / "a.h5").write_bytes((tmp_path / "a.h5").read_bytes()[:keep])
    refused(InputError, "a.h5", read, tmp_path / "a.h5")


@pytest.mark.parametrize(
    ("kspace", "part"),
    [
        (np.ones((3, 4, 5)), "complex 'kspace'"),
        (np.ones((4, 5), complex), "complex 'kspace'"),
        (np.ones((0, 4, 5), complex), "complex 'kspace'"),
        (np.moveaxis(measured(), 0, -1)[None], "another axis is that of the coils"),
        (0 * measured()[None], "zeros throughout"),
        (np.full((1, 20, 20), np.nan + 0j), "NaN or Inf"),
    ],
)
def test_fastmri_refusals(tmp_path: Path, kspace: np.ndarray, part: str) -> None:
    write_fastmri(tmp_path / "a.h5", kspace, None)
    refused(InputError, part, read, tmp_path / "a.h5")


def test_other_hdf5(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["something"] = 1
    refused(InputError, "got neither", read, tmp_path / "a.h5")
    refused(UsageError, "coil_axis", read, tmp_path / "a.h5", coil_axis=0)
    (tmp_path / "b.h5").write_bytes(b"not at all" * 100)
    refused(InputError, "does not match the suffix", read, tmp_path / "b.h5")


LAUGHS = '<!DOCTYPE l [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefghi", "bcdefghij", strict=True)
)


@pytest.mark.parametrize(
    "start",
    [
        LAUGHS + "]>",
        '<!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE l SYSTEM "http://localhost/x.dtd">',
    ],
)
def test_entities_in_the_header(tmp_path: Path, start: str) -> None:
    header = xml_header(
        (ROWS, COLUMNS, 1), (96, 100, 3), start=start, trajectory="&j;" if "&a;" in start else "cartesian"
    )
    write_fastmri(tmp_path / "a.h5", measured()[None], header)
    refused(InputError, "document type or entities", read, tmp_path / "a.h5")


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("</encoding>", "", "is not XML"),
        ("<x>48</x>", "<x>0</x>", "positive numbers"),
        ("<x>48</x>", "<x>1e9</x>", "matrix of at most"),
        ("<x>48</x>", "<x>nan</x>", "positive numbers"),
        ("<x>48</x>", "<x>4.5</x>", "matrix of at most"),
        ("encodedSpace", "codedSpace", "encodedSpace"),
    ],
)
def test_header_refusals(old: str, new: str, part: str) -> None:
    assert old in FASTMRI
    refused(InputError, part, read_raw_header, FASTMRI.replace(old, new), name="a.h5")


def test_a_matrix_that_nobody_asks_for_may_be_anything() -> None:
    header = FASTMRI.replace("<reconSpace><matrixSize><x>48</x>", "<reconSpace><matrixSize><x>0</x>")
    assert header != FASTMRI
    assert read_raw_header(header, name="a.h5") == read_raw_header(FASTMRI, name="a.h5")


def test_endless_header() -> None:
    refused(InputError, "at most", read_raw_header, FASTMRI + " " * (1 << 23), name="a.h5")


def test_ismrmrd_refusals(tmp_path: Path) -> None:
    def told(part: str, readouts: list, header: str = HEADER) -> None:
        path = tmp_path / "a.h5"
        path.unlink(missing_ok=True)
        refused(InputError, part, read, write_mrd(path, header, readouts))

    kspace = measured(2)
    line = acquisition(kspace[:, 0])
    told("Cartesian", [line], xml_header((COLUMNS, ROWS, 1), (1, 1, 1), trajectory="spiral"))
    told("within the header's matrix", [acquisition(kspace[:, 0], kspace_encode_step_1=ROWS)])
    told("within the header's", [acquisition(np.ones((2, 3 * COLUMNS), np.complex64))])
    told(
        r"got 1 (contrast 0, set 0), 2 (contrast 1, set 0); choose one with contrast=N",
        [line, acquisition(kspace[:, 0], contrast=1)],
    )
    told("heart phases or repetitions", [line, acquisition(kspace[:, 0], phase=1, repetition=1)])
    told("as many coils", [line, acquisition(kspace[:1, 0])])
    told("readouts of an image", [acquisition(kspace[:, 0], flags=1 << 18)])


def test_ismrmrd_of_which_nothing_is_left_without_oversampling(tmp_path: Path) -> None:
    kspace = np.zeros((1, ROWS, 80), np.complex64)
    kspace[:, :, 41] = 1
    header = xml_header(
        (80, ROWS, 1), (200, 96, 3), recon=(52, ROWS, 1), recon_fov=(130, 96, 3), centre=ROWS // 2
    )
    refused(InputError, "adjacent samples", read, write_mrd(tmp_path / "a.h5", header, lines(kspace)))


def test_ismrmrd_readouts_cut_short(tmp_path: Path) -> None:
    path = write_mrd(tmp_path / "a.h5", HEADER, lines(measured(2)))
    with h5py.File(path, "r+") as file:
        rows = file["dataset/data"][...]
        rows["data"][5] = rows["data"][5][:10]
        file["dataset/data"][...] = rows
    refused(InputError, "truncated", read, path)


def test_missing_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_fastmri(tmp_path / "a.h5", measured()[None], FASTMRI)
    monkeypatch.setitem(sys.modules, "h5py", None)
    refused(ResourceError, "kfine[raw]", read, tmp_path / "a.h5")


@pytest.mark.parametrize(
    ("dimensions", "part"),
    [
        ("48 40 2", "from its header"), ("48 -40", "# Dimensions"), ("48", "# Dimensions"), ("48 x", "# Dimensions"),
        ("99999 99999 99999", "from its header"), (" ".join(["2"] * 17), "# Dimensions"), ("24 40 1 1 2", "choose one"),
        ("0 40", "# Dimensions"), ("²4 40", "# Dimensions"),
    ],
)  # fmt: skip
def test_bart_headers(tmp_path: Path, dimensions: str, part: str) -> None:
    path = write_bart(tmp_path / "a", to_kspace(thing()), dimensions)
    refused(InputError, part, read, path)


def test_bart_halves(tmp_path: Path) -> None:
    path = write_bart(tmp_path / "a", to_kspace(thing()))
    path.write_bytes(path.read_bytes()[:-8])
    refused(InputError, "truncated", read, path)
    header = path.with_suffix(".hdr")
    header.write_bytes(b"# Nothing\n\xff\xfe")
    refused(InputError, "# Dimensions", read, path)
    header.unlink()
    refused(InputError, "a.hdr beside it", read, path)


def test_bart_partitions_sampled_differently(tmp_path: Path) -> None:
    kspace = np.stack([to_kspace(thing())] * 4, -1)
    kspace[::2, :, 1] = 0
    line = refused(InputError, "partitions sampled alike", read, write_bart(tmp_path / "a", kspace))
    assert "bart slice 0" in line  # whose result is read: test_bart_slice_across_the_readout


def test_partitions_that_swap_their_rows_in_the_next_frame(tmp_path: Path) -> None:
    """Over both frames every partition has every row, in each frame none has."""
    kspace = np.zeros((ROWS, COLUMNS, 2, *(1,) * 7, 2), np.complex64)
    for partition, frame in np.ndindex(2, 2):
        rows = slice((partition + frame) % 2, None, 2)
        kspace[rows, :, partition, ..., frame] = to_kspace(thing())[rows].reshape(-1, COLUMNS, *(1,) * 7)
    refused(InputError, "partitions sampled alike", read, write_bart(tmp_path / "a", kspace))
