"""Images of other programs: FreeSurfer's MGH, pairs of .hdr and .img, MetaImage and NRRD in and out."""

import gzip
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from nibabel.freesurfer import MGHImage

from kfine import read, write
from kfine.batches.finding import find_cases
from kfine.errors import InputError, UsageError
from kfine.files.names import stem_of
from kfine.image import Image, Source
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


ORTHOGONAL = np.linalg.qr(AFFINE[:3, :3])[0] * [0.9, 1.1, 4.5]


def image_of(frames: int, order: tuple[int, int, int], *, wide: bool = False) -> Image:
    """Return an oblique image whose file axes are `order`; wide: pixels larger than the slice spacing."""
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = (
        ORTHOGONAL[:, ::-1] * ([0.1, 1, 1] if wide else [1, 1, 1]),
        [30, -20, 10.123],
    )
    times = tuple(0.1 + 0.05 * frame for frame in range(frames)) if frames > 1 else None
    voxels = np.random.default_rng(1).normal(100, 20, (frames, 5, 6, 7)).astype(np.float32)
    period = 0.05 * frames if frames > 1 else None
    return Image(voxels, affine, times, period, Source(kind="nifti", axis_order=order))


@pytest.mark.parametrize("suffix", ["nrrd", "mha"])
@pytest.mark.parametrize("frames", [1, 4])
@pytest.mark.parametrize("order", [(2, 1, 0), (2, 0, 1)])
@pytest.mark.parametrize("wide", [False, True])
def test_nrrd_and_metaimage_out(
    tmp_path: Path, suffix: str, frames: int, order: tuple[int, int, int], wide: bool
) -> None:
    image, path = image_of(frames, order, wide=wide), tmp_path / f"a.{suffix}"
    write(image, path, description="kfine restored")
    back = read(path)
    np.testing.assert_array_equal(back.voxels, image.voxels)
    np.testing.assert_allclose(back.affine, image.affine, rtol=0, atol=1e-12)
    assert (back.source.axis_order, back.source.derived) == (order, True)
    if frames > 1:
        np.testing.assert_allclose(back.frame_times, image.frame_times, rtol=1e-6)
        assert back.period == pytest.approx(image.period)
    assert find_cases(tmp_path, out=tmp_path / "out").cases == []  # batches leave their own results out
    write(image, tmp_path / f"b.{suffix}", description="kfine restored")
    assert path.read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", ["nrrd", "mha"])
@pytest.mark.parametrize("frames", [1, 4])
@pytest.mark.parametrize("order", [(2, 1, 0), (2, 0, 1)])
def test_itk_reads_what_is_written(
    tmp_path: Path, suffix: str, frames: int, order: tuple[int, int, int]
) -> None:
    itk = pytest.importorskip("SimpleITK")
    image, path = image_of(frames, order), tmp_path / f"a.{suffix}"
    write(image, path)
    found = itk.ReadImage(str(path))
    voxels = itk.GetArrayFromImage(found)  # (time, k, j, i); the frames of NRRD are components, the last axis
    if frames > 1 and suffix == "nrrd":
        voxels = np.moveaxis(voxels, -1, 0)
    k, j, i = (1 + axis for axis in reversed(order))
    expected = image.voxels.transpose(0, k, j, i)
    np.testing.assert_array_equal(voxels, expected if frames > 1 else expected[0])
    dimension = found.GetDimension()
    axes = np.array(found.GetDirection()).reshape(dimension, dimension)[:3, :3] * found.GetSpacing()[:3]
    lps = np.diag([-1.0, -1, 1]) @ image.affine[:3, [*order, 3]]
    np.testing.assert_allclose(axes, lps[:, :3], rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.GetOrigin()[:3], lps[:, 3], rtol=0, atol=1e-9)
    if dimension == 4:
        assert (found.GetSpacing()[3], found.GetOrigin()[3]) == pytest.approx((0.05, 0.1))


@pytest.mark.parametrize("suffix", ["nrrd", "mha"])
def test_what_nrrd_and_metaimage_cannot_store(tmp_path: Path, suffix: str) -> None:
    still, cine = image_of(1, (2, 1, 0)), image_of(4, (2, 1, 0))
    refused(
        UsageError, "a complex one", write, replace(still, voxels=still.voxels + 1j), tmp_path / f"a.{suffix}"
    )
    assert not list(tmp_path.iterdir())
    with pytest.warns(UserWarning, match="only evenly spaced"):
        write(
            replace(cine, frame_times=(0.0, 0.1, 0.2, 0.4), period=0.5),
            tmp_path / f"a.{suffix}",
            description="ü" * 100,
        )
    assert np.allclose(read(tmp_path / f"a.{suffix}").frame_times, np.arange(4) * 0.4 / 3)
    write(replace(cine, frame_times=None, period=None), tmp_path / f"b.{suffix}")
    with pytest.warns(UserWarning, match="without times"):
        assert read(tmp_path / f"b.{suffix}").frame_times is None


@pytest.mark.parametrize(
    ("unit", "step", "seconds"), [("s", "0.04", 0.04), ("ms", "40", 0.04), ("", "40", 40.0)]
)
def test_times_of_nrrd_of_other_programs(tmp_path: Path, unit: str, step: str, seconds: float) -> None:
    lines = [
        "NRRD0004", "type: float", "dimension: 4", "space: ras", "sizes: 6 8 5 2", "endian: little", "encoding: raw",
        "space directions: (1,0,0) (0,1,0) (0,0,4) none", f"spacings: nan nan nan {step}",
        f'units: "" "" "" "{unit}"',
    ]  # fmt: skip
    data = np.stack([GRID, GRID + 1], axis=-1).tobytes("F")
    (tmp_path / "a.nrrd").write_bytes("\n".join([*lines, "", ""]).encode() + data)
    assert read(tmp_path / "a.nrrd").frame_times == pytest.approx((0.0, seconds))
