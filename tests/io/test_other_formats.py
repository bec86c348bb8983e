"""Images of other programs: FreeSurfer's MGH, and pairs of .hdr and .img."""

import gzip
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from nibabel.freesurfer import MGHImage

from kfine import read
from kfine.batches.finding import find_cases
from kfine.errors import InputError
from kfine.files.names import stem_of
from tests.io.refusals import refused

GRID = np.random.default_rng(0).normal(100, 20, size=(6, 8, 5)).astype(np.float32)
AFFINE = np.array([[-0.9, 0.1, 0, 30], [0.05, 1.1, 0.2, -20], [0, -0.3, 4.5, 10], [0, 0, 0, 1.0]])
CORONAL = np.array([[-1.0, 0, 0, 90], [0, 0, 1, -120], [0, -1, 0, 130], [0, 0, 0, 1.0]])


def same(path: Path, made: Any, voxels: np.ndarray) -> None:
    """Check that `read` gives the image that nibabel made: its values, each at its place."""
    image = read(path)
    order = image.source.axis_order
    back = image.voxels if voxels.ndim == 4 else image.voxels[0]
    lead = (0,) if voxels.ndim == 4 else ()
    off = len(lead)
    placed = back.transpose(*[axis + off for axis in order], *lead)
    np.testing.assert_allclose(placed, voxels, rtol=1e-6)
    index = np.array([2, 1, 3])
    here = image.affine @ [*(index[order.index(axis)] for axis in range(3)), 1]
    np.testing.assert_allclose(here, made.affine @ [*index, 1], atol=1e-4)


@pytest.mark.parametrize("kind", ["f4", "i2", "u1", "i4"])
@pytest.mark.parametrize("affine", [AFFINE, CORONAL])
@pytest.mark.parametrize("name", ["a.mgz", "a.mgh"])
def test_freesurfer(tmp_path: Path, kind: str, affine: np.ndarray, name: str) -> None:
    voxels = np.rint(GRID).astype(kind)
    made = MGHImage(voxels, affine)
    nibabel.save(made, tmp_path / name)
    same(tmp_path / name, made, voxels)


@pytest.mark.filterwarnings("ignore:.*without times")
def test_freesurfer_with_frames(tmp_path: Path) -> None:
    voxels = np.stack([GRID, GRID + 1, GRID * 2], axis=-1)
    made = MGHImage(voxels, AFFINE)
    nibabel.save(made, tmp_path / "a.mgz")
    same(tmp_path / "a.mgz", made, voxels)


@pytest.mark.parametrize(("at", "value"), [(4, 1 << 30), (20, 9), (16, 0)])
def test_hostile_freesurfer_headers(tmp_path: Path, at: int, value: int) -> None:
    nibabel.save(MGHImage(GRID, AFFINE), tmp_path / "a.mgh")
    data = bytearray((tmp_path / "a.mgh").read_bytes())
    data[at : at + 4] = np.array([value], ">i4").tobytes()
    (tmp_path / "a.mgh").write_bytes(data)
    refused(InputError, "a.mgh", read, tmp_path / "a.mgh")
    (tmp_path / "a.mgz").write_bytes(gzip.compress(bytes(data)))
    refused(InputError, "a.mgz", read, tmp_path / "a.mgz")


@pytest.mark.parametrize("half", ["hdr", "img"])
@pytest.mark.parametrize("made", [nibabel.Nifti1Pair, nibabel.Nifti2Pair])
@pytest.mark.parametrize("packed", ["", ".gz"])
def test_pairs(tmp_path: Path, half: str, made: Any, packed: str) -> None:
    image = made(GRID, AFFINE)
    nibabel.save(image, tmp_path / f"a.img{packed}")
    same(tmp_path / f"a.{half}{packed}", image, GRID)
    search = find_cases(tmp_path, out=tmp_path / "out")
    if not packed:
        assert [(case.label, len(case.paths)) for case in search.cases] == [("a.img", 2)]
    assert not search.failures


def test_halves_of_pairs(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Pair(GRID, AFFINE), tmp_path / "a.img")
    digest = read(tmp_path / "a.img").source.digest
    assert digest == read(tmp_path / "a.hdr").source.digest
    (tmp_path / "a.img").write_bytes((tmp_path / "a.img").read_bytes()[:-400])
    refused(InputError, "a.img: truncated", read, tmp_path / "a.hdr")
    (tmp_path / "a.img").unlink()
    refused(InputError, "whose .img is missing", read, tmp_path / "a.hdr")


def test_stems() -> None:
    assert [stem_of(Path(f"x.{end}")) for end in ("mgz", "img", "dcm.gz")] == ["x"] * 3


def write_mha(
    path: Path, voxels: np.ndarray, affine: np.ndarray, *, packed: bool, local: str = "LOCAL"
) -> None:
    """Write MetaImage as ITK does: LPS, one direction after the other."""
    lps = np.diag([-1.0, -1, 1, 1]) @ affine
    sizes = np.linalg.norm(lps[:3, :3], axis=0)
    kinds = {"f4": "MET_FLOAT", "i2": "MET_SHORT", "u1": "MET_UCHAR"}
    lines = {
        "ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
        "CompressedData": str(packed), "TransformMatrix": " ".join(map(str, (lps[:3, :3] / sizes).T.ravel())),
        "Offset": " ".join(map(str, lps[:3, 3])), "AnatomicalOrientation": "RAI",
        "ElementSpacing": " ".join(map(str, sizes)), "DimSize": " ".join(map(str, voxels.shape)),
        "ElementType": kinds[voxels.dtype.str[1:]], "ElementDataFile": local,
    }  # fmt: skip
    data = voxels.tobytes("F")
    header = "".join(f"{key} = {value}\n" for key, value in lines.items())
    path.write_bytes(header.encode() + (zlib.compress(data) if packed else data))


def write_nrrd(path: Path, voxels: np.ndarray, affine: np.ndarray, *, packed: bool, space: str) -> None:
    """Write NRRD with its voxels behind the header, as Slicer does."""
    own = np.diag([-1.0, -1, 1, 1]) @ affine if space == "left-posterior-superior" else affine
    vectors = ["(" + ",".join(map(str, vector)) + ")" for vector in own[:3].T]
    kinds = {"f4": "float", "i2": "short", "u1": "unsigned char"}
    lines = [
        "NRRD0005", "# Complete NRRD file format specification at:", f"type: {kinds[voxels.dtype.str[1:]]}",
        "dimension: 3", f"space: {space}", f"sizes: {' '.join(map(str, voxels.shape))}",
        f"space directions: {' '.join(vectors[:3])}", "kinds: domain domain domain", "endian: little",
        f"encoding: {'gzip' if packed else 'raw'}", f"space origin: {vectors[3]}",
    ]  # fmt: skip
    data = voxels.tobytes("F")
    path.write_bytes("\n".join([*lines, "", ""]).encode() + (gzip.compress(data) if packed else data))


@pytest.mark.parametrize("kind", ["f4", "i2", "u1"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("affine", [AFFINE, CORONAL])
@pytest.mark.parametrize("form", ["mha", "left-posterior-superior", "right-anterior-superior"])
def test_mha_and_nrrd(tmp_path: Path, kind: str, packed: bool, affine: np.ndarray, form: str) -> None:
    voxels = np.rint(GRID).astype(kind)
    made = nibabel.Nifti1Image(voxels, affine)
    if form == "mha":
        write_mha(tmp_path / "a", voxels, affine, packed=packed)
    else:
        write_nrrd(tmp_path / "a", voxels, affine, packed=packed, space=form)
    same(tmp_path / "a", made, voxels)
    data = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(data[:-30])
    refused(InputError, "truncated", read, tmp_path / "a")
    for text, other in ((b"6 8 5", b"6 8 0"), (b"6 8 5", b"99999 99999 9"), (b"6 8 5", b"six 8 5")):
        (tmp_path / "a").write_bytes(data.replace(text, other))
        refused(InputError, "a: ", read, tmp_path / "a")


def test_voxels_in_another_file(tmp_path: Path) -> None:
    write_mha(tmp_path / "a.mhd", GRID, AFFINE, packed=False, local="../../secret")
    refused(InputError, "names another file", read, tmp_path / "a.mhd")
    (tmp_path / "a.nhdr").write_text(
        "NRRD0004\ntype: float\ndimension: 3\nsizes: 6 8 5\ndata file: b.raw\n\n"
    )
    refused(InputError, "names another file", read, tmp_path / "a.nhdr")
