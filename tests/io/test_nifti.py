"""NIfTI in and out: values, world positions and headers."""

import gzip
import tracemalloc
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from kfine import restore
from kfine.errors import InputError, UsageError
from kfine.geometry import resized_affine
from kfine.image import Image
from kfine.io import read, write

GRID = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
AFFINE = np.array([[-0.9, 0.1, 0, 30], [0.05, 1.1, 0.2, -20], [0, -0.3, 4.5, 10], [0, 0, 0, 1.0]])


def save(
    path: Path, voxels: np.ndarray, affine: np.ndarray = AFFINE, kind: type = nibabel.Nifti1Image
) -> Path:
    nibabel.save(kind(voxels, affine), path)
    return path


@st.composite
def affines(draw: st.DrawFn) -> np.ndarray:
    """Any orientation, spacing and shear that a header can hold."""
    entries = draw(st.lists(st.floats(-1, 1), min_size=9, max_size=9))
    rotation, _ = np.linalg.qr(np.reshape(entries, (3, 3)) + 2 * np.eye(3))
    flips = np.diag(draw(st.lists(st.sampled_from([-1.0, 1.0]), min_size=3, max_size=3)))
    order = list(draw(st.permutations(range(3))))
    spacings = draw(st.lists(st.floats(0.2, 8), min_size=3, max_size=3))
    shear = np.eye(3)
    shear[0, 1] = draw(st.sampled_from([0.0, 0.3]))
    affine = np.eye(4)
    affine[:3, :3] = (rotation @ flips @ shear)[:, order] * spacings
    affine[:3, 3] = draw(st.lists(st.floats(-200, 200), min_size=3, max_size=3))
    return affine


@settings(max_examples=60)
@given(
    affine=affines(),
    shape=st.tuples(*[st.integers(1, 7)] * 3).filter(lambda s: np.prod(s) > 1),
    frames=st.integers(1, 3),
    plane=st.sampled_from([None, *permutations(range(3), 2)]),
)
def test_law_every_voxel_keeps_its_value_and_place(
    tmp_path_factory: pytest.TempPathFactory,
    affine: np.ndarray,
    shape: tuple[int, int, int],
    frames: int,
    plane: tuple[int, int] | None,
) -> None:
    folder = tmp_path_factory.mktemp("law")
    voxels = np.arange(np.prod(shape) * frames, dtype=np.float32).reshape((*shape, frames))
    original = nibabel.Nifti1Image(voxels if frames > 1 else voxels[..., 0], affine)
    original.header.set_xyzt_units("mm", "sec")
    nibabel.save(original, folder / "in.nii")
    image = read(folder / "in.nii", plane=plane)

    # each voxel value names its file index: the image must put it at the same place in the world
    for frame, slice_, row, column in [(0, 0, 0, 0), (frames - 1, *(n - 1 for n in image.voxels.shape[1:]))]:
        i, j, k, t = np.unravel_index(int(image.voxels[frame, slice_, row, column]), (*shape, frames))
        assert t == frame
        expected = original.affine @ [i, j, k, 1]
        assert_allclose(image.affine @ [slice_, row, column, 1], expected, rtol=1e-4, atol=1e-3)

    write(image, folder / "out.nii.gz")
    written = nibabel.load(folder / "out.nii.gz")
    assert written.shape == original.shape
    assert_array_equal(np.asarray(written.dataobj), np.asarray(original.dataobj))
    assert_allclose(written.affine, original.affine, rtol=1e-5, atol=1e-4)


@settings(max_examples=100)
@given(
    affine=affines(),
    old=st.tuples(*[st.integers(1, 40)] * 3),
    new=st.tuples(*[st.integers(1, 40)] * 3),
    index=st.tuples(*[st.floats(-50, 50)] * 3),
)
def test_law_resizing_keeps_world_positions(
    affine: np.ndarray, old: tuple[int, ...], new: tuple[int, ...], index: tuple[float, ...]
) -> None:
    n, big, j = np.array(old), np.array(new), np.array(index)
    resized = resized_affine(affine, old, new)
    assert_allclose(resized @ [*(big // 2), 1], affine @ [*(n // 2), 1], atol=1e-8)
    assert_allclose(resized @ [*((j - n // 2) * big / n + big // 2), 1], affine @ [*j, 1], atol=1e-6)


def test_axes_and_source(tmp_path: Path) -> None:
    image = read(save(tmp_path / "a.nii", GRID))
    assert_array_equal(image.voxels[0], GRID.transpose(2, 1, 0))
    assert image.source.axis_order == (2, 1, 0)
    assert (image.source.kind, image.source.name) == ("nifti", "a.nii")
    assert image.frame_times is None
    thick = read(save(tmp_path / "b.nii", GRID, np.diag([6.0, 1, 1, 1])))
    assert_array_equal(thick.voxels[0], GRID.transpose(0, 2, 1))
    assert thick.source.axis_order == (0, 2, 1)
    chosen = read(tmp_path / "a.nii", plane=(0, 2))
    assert_array_equal(chosen.voxels[0], GRID.transpose(1, 0, 2))


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 1), (5, 1, 6), (1, 5, 6), (13, 11, 1)])
def test_single_slices(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    image = read(save(tmp_path / "a.nii", values, np.diag([1.0, 1, 1, 1])))
    assert image.voxels.shape[:2] == (1, 1)
    assert_array_equal(image.voxels[0, 0], np.squeeze(values).T)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "<f4", ">f4", ">i2", "f8", "u4", "c8"])
def test_kinds_and_types(tmp_path: Path, kind: type, suffix: str, dtype: str) -> None:
    values = (np.abs(GRID) * 20).astype(dtype)
    image = kind(values, AFFINE, dtype=np.dtype(dtype))
    if dtype[0] == ">":
        image = kind(values, AFFINE, image.header.as_byteswapped(">"), dtype=np.dtype(dtype))
    path = tmp_path / f"a{suffix}"
    nibabel.save(image, path)
    back = read(path)
    assert_allclose(back.voxels[0], values.transpose(2, 1, 0), rtol=1e-6)
    assert back.measured == (dtype == "c8")
    assert_allclose(back.affine[:, [2, 1, 0, 3]], AFFINE, rtol=1e-6)


def test_scaling_is_applied(tmp_path: Path) -> None:
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    image = nibabel.Nifti1Image(np.arange(-30, 30).reshape(3, 4, 5) * 0.25 + 7, AFFINE, header)
    image.header.set_slope_inter(0.25, 7)
    nibabel.save(image, tmp_path / "a.nii.gz")
    expected = nibabel.load(tmp_path / "a.nii.gz").get_fdata()
    assert nibabel.load(tmp_path / "a.nii.gz").get_data_dtype() == np.int16
    assert_allclose(read(tmp_path / "a.nii.gz").voxels[0], expected.transpose(2, 1, 0), rtol=1e-6)


def test_qform_is_used_without_sform(tmp_path: Path) -> None:
    rigid = np.array([[0, -2.0, 0, 5], [2.0, 0, 0, 6], [0, 0, 3.0, 7], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(GRID, None)
    image.set_qform(rigid, code=2)
    image.set_sform(None, code=0)
    nibabel.save(image, tmp_path / "a.nii")
    back = read(tmp_path / "a.nii")
    assert_allclose(back.affine, rigid[:, [2, 1, 0, 3]], atol=1e-5)
    write(back, tmp_path / "b.nii")
    header = nibabel.load(tmp_path / "b.nii").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (2, 2)


def test_header_without_orientation_is_warned_about(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(GRID, None)
    image.header.set_zooms((1.5, 1.5, 4))
    nibabel.save(image, tmp_path / "a.nii")
    with pytest.warns(UserWarning, match="no orientation"):
        assert read(tmp_path / "a.nii").voxel_sizes == pytest.approx((4, 1.5, 1.5))


@pytest.mark.parametrize(
    ("unit", "factor"), [("micron", 1e-3), ("meter", 1e3), ("mm", 1.0), ("unknown", 1.0)]
)
def test_units_of_length(tmp_path: Path, unit: str, factor: float) -> None:
    image = nibabel.Nifti1Image(GRID, AFFINE)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "a.nii")
    expected = AFFINE[:, [2, 1, 0, 3]].copy()
    expected[:3] *= factor
    assert_allclose(read(tmp_path / "a.nii").affine, expected, rtol=1e-6)


def test_trailing_single_dimensions(tmp_path: Path) -> None:
    assert read(save(tmp_path / "a.nii", GRID.reshape(5, 6, 7, 1, 1))).voxels.shape == (1, 7, 6, 5)


def test_the_slice_axis_survives_a_coarse_plane(tmp_path: Path) -> None:
    image = Image(
        np.arange(60.0).reshape(1, 3, 4, 5), np.diag([2.0, 8, 1, 1])
    )  # geometry alone would say rows
    write(image, tmp_path / "a.nii")
    back = read(tmp_path / "a.nii")
    assert_array_equal(back.voxels, image.voxels)
    assert_array_equal(back.affine, image.affine)


def test_extensions_are_skipped(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(GRID, AFFINE)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"x" * 5000))
    nibabel.save(image, tmp_path / "a.nii.gz")
    assert_array_equal(read(tmp_path / "a.nii.gz").voxels[0, 0], GRID[:, :, 0].T)


def test_written_header(tmp_path: Path) -> None:
    source = nibabel.Nifti1Image((GRID * 100).astype(np.int16), AFFINE)
    source.header["cal_max"], source.header["descrip"], source.header["intent_name"] = (
        5,
        b"Anna Secretova",
        b"x",
    )
    source.set_sform(AFFINE, code=4)
    nibabel.save(source, tmp_path / "a.nii")
    image = read(tmp_path / "a.nii")
    assert image.source.space_code == 4
    assert "Secretova" not in repr(image.source)
    write(image, tmp_path / "b.nii", description="restored")
    header = nibabel.load(tmp_path / "b.nii").header
    assert header.get_data_dtype() == np.float32
    assert float(header["cal_max"]) == 0
    assert header["descrip"] == b"restored"
    assert int(header["sform_code"]) == 4
    assert int(header["qform_code"]) == 0  # AFFINE is sheared: no quaternion holds it
    assert (float(header["scl_slope"]), float(header["scl_inter"])) != (0.0, 0.0)
    assert header.get_xyzt_units()[0] == "mm"


def test_resized_image_lies_where_it_lay(tmp_path: Path) -> None:
    image = read(save(tmp_path / "a.nii", GRID))
    fine = image.with_plane(np.zeros((1, 7, 12, 10)) + np.arange(10))
    write(fine, tmp_path / "b.nii")
    written = nibabel.load(tmp_path / "b.nii")
    assert written.shape == (10, 12, 7)
    assert_allclose(written.affine @ [5, 6, 3, 1], AFFINE @ [2, 3, 3, 1], atol=1e-5)
    assert_allclose(written.affine @ [7, 8, 3, 1], AFFINE @ [3, 4, 3, 1], atol=1e-5)


def test_same_image_same_bytes(tmp_path: Path) -> None:
    image = read(save(tmp_path / "a.nii", GRID))
    write(image, tmp_path / "b.nii.gz")
    write(replace(image, source=replace(image.source, name="other")), tmp_path / "c.nii.gz")
    packed = (tmp_path / "b.nii.gz").read_bytes()
    assert packed == (tmp_path / "c.nii.gz").read_bytes()
    assert packed[4:8] == bytes(4)  # no time
    write(image, tmp_path / "d.nii")
    assert gzip.decompress(packed) == (tmp_path / "d.nii").read_bytes()


def test_memory_holds_the_voxels_once(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 900, (128, 128, 160)).astype(np.int16)
    path = save(tmp_path / "a.nii.gz", stored)
    read(path)  # imports
    tracemalloc.start()
    image = read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    write(image, tmp_path / "b.nii")
    _, writing = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2.2 * image.voxels.nbytes + 2**23
    assert writing < 1.2 * image.voxels.nbytes


@pytest.mark.parametrize("changed", [{"pixdim": (1, 1.5, 1.5, 4)}, {"qoffset_x": 3.0}, {"quatern_b": 0.7}])
def test_the_sform_is_taken_where_the_qform_says_otherwise(tmp_path, changed):
    image = nibabel.Nifti1Image(np.arange(60, dtype=np.float32).reshape(5, 4, 3), np.diag([2.0, 2, 4, 1]))
    image.set_qform(image.affine, code=1)
    image.set_sform(image.affine, code=1)
    image.to_filename(tmp_path / "a.nii")
    assert read(tmp_path / "a.nii").source.remarks == ()
    data = (tmp_path / "a.nii").read_bytes()
    header = nibabel.Nifti1Header(data[:348])
    for field, value in changed.items():
        header[field] = [*value, *header[field][len(value) :]] if field == "pixdim" else value
    (tmp_path / "b.nii").write_bytes(header.binaryblock + data[348:])
    with pytest.warns(UserWarning, match="sform and qform place the voxels differently: the sform is used"):
        found = read(tmp_path / "b.nii")
    assert_allclose(found.affine, read(tmp_path / "a.nii").affine)
    (remark,) = restore(found, scale=2, method="zero-filling").provenance["input"]["remarks"]
    assert "qform" in remark


@pytest.mark.parametrize(
    "where", [np.s_[:, 5:], np.s_[:2], np.s_[..., 3:]], ids=["rows", "columns", "slices"]
)
def test_nan_outside_the_field_of_view_is_air(tmp_path: Path, where: Any) -> None:
    voxels = np.random.default_rng(3).uniform(1, 9, (6, 8, 5)).astype(np.float32)
    voxels[where] = np.nan
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1, 1, 4, 1])), tmp_path / "a.nii")
    with pytest.warns(UserWarning, match=f"NaN .* in {np.isnan(voxels).sum()} of 240 voxels"):
        image = read(tmp_path / "a.nii")
    np.testing.assert_array_equal(image.voxels[0].transpose(2, 1, 0), np.nan_to_num(voxels))
    assert "taken as air" in image.source.remarks[0]
    with pytest.raises(InputError, match="replace them first"):
        read(tmp_path / "a.nii", nan="refuse")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_within_and_infinities_stay_refused(tmp_path: Path, value: float) -> None:
    voxels = np.random.default_rng(4).uniform(1, 9, (6, 8, 5)).astype(np.float32)
    voxels[(2, 3, 2) if np.isnan(value) else (0, 0, 0)] = value
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1, 1, 4, 1])), tmp_path / "a.nii")
    with pytest.raises(InputError, match="NaN or Inf in 1 of 240"):
        read(tmp_path / "a.nii")


def test_what_can_be_done_with_nan(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected 'air' or 'refuse'"):
        read(tmp_path / "a.nii", nan="zero")
