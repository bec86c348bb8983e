"""What `kfine.restore` takes: an image, a path, or an array with its axes and voxel size."""

import subprocess
import sys

import numpy as np
import pytest

import kfine
from kfine.errors import InputError, UsageError
from kfine.image import Image
from tests.conftest import phantom

PLAIN = {"scale": 2, "method": "zero-filling"}
VOXELS = phantom((2, 3, 16, 12))
AFFINE = np.diag([4.0, 2.0, 1.5, 1.0])
ORDERS = [
    "frame,slice,row,column",
    "slice,row,column,frame",
    "column, row, slice, frame",
    "row,column,frame,slice",
]


@pytest.mark.parametrize("axes", ORDERS)
def test_an_array_is_restored_as_the_image_that_it_holds(axes):
    """Whatever the order of its axes; voxel_size is of slice, row, column in any case."""
    names = ["frame", "slice", "row", "column"]
    array = VOXELS.transpose([names.index(name.strip()) for name in axes.split(",")])
    found = kfine.restore(array, axes=axes, voxel_size=(4, 2, 1.5), **PLAIN)
    expected = kfine.restore(Image(VOXELS, AFFINE), **PLAIN)
    np.testing.assert_array_equal(found.mean.voxels, expected.mean.voxels)
    np.testing.assert_array_equal(found.mean.affine, expected.mean.affine)
    assert found.mean.voxel_sizes == (4, 1, 0.75)
    assert found.provenance == expected.provenance
    assert found.provenance["input"]["kind"] == "array"


@pytest.mark.parametrize(
    ("axes", "shape", "size", "voxels"),
    [
        (None, (16, 12), (2, 1.5), (1, 1, 16, 12)),
        ("row,column", (16, 12), np.array([2, 1.5]), (1, 1, 16, 12)),
        ("column,row", (12, 16), (2, 1.5), (1, 1, 16, 12)),
        ("slice,row,column", (1, 16, 12), (2, 1.5), (1, 1, 16, 12)),
        ("slice,row,column", (3, 16, 12), [4, 2, 1.5], (1, 3, 16, 12)),
        ("frame,row,column", (3, 16, 12), (2, 1.5), (3, 1, 16, 12)),
    ],
)
def test_axes_that_are_not_there_are_of_one(axes, shape, size, voxels):
    result = kfine.restore(np.ones(shape, np.int16), axes=axes, voxel_size=size, **PLAIN)
    assert result.mean.voxels.shape == (*voxels[:2], 32, 24)
    assert result.mean.voxel_sizes[1:] == (1, 0.75)


def test_a_complex_array_is_measured_kspace():
    result = kfine.restore(VOXELS[0, 0] * np.complex64(1j), voxel_size=(2, 2), **PLAIN)
    assert result.provenance["kspace"] == "measured"
    assert result.mean.measured


def test_an_array_stays_the_callers():
    from kfine.restoration.inputs import image_of

    array = VOXELS[0].copy()
    image = image_of(array, axes="slice,row,column", voxel_size=(4, 2, 1.5))
    array[:] = 0
    np.testing.assert_array_equal(image.voxels, VOXELS[:1])
    array[:] = 1  # still writable


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_a_path_is_read(kind, tmp_path):
    kfine.write(Image(VOXELS, AFFINE), tmp_path / "low.nii")
    found = kfine.restore(kind(tmp_path / "low.nii"), **PLAIN)
    expected = kfine.restore(kfine.read(tmp_path / "low.nii"), **PLAIN)
    np.testing.assert_array_equal(found.mean.voxels, expected.mean.voxels)
    assert found.provenance == expected.provenance


ARRAY = {"axes": "slice,row,column", "voxel_size": (4, 2, 2)}


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ([[1, 2], [3, 4]], {}, "expected an Image, a path or a numpy array, got list"),
        (None, {}, "got NoneType"),
        (VOXELS[0], {"axes": "slice,row,column"}, "voxel_size: expected the mm between voxels"),
        (VOXELS[0], {"voxel_size": (4, 2, 2)}, r"axes: .* shape \(3, 16, 12\), such as"),
        (VOXELS[0], ARRAY | {"axes": "z,y,x"}, 'axes "z,y,x": expected row, column and'),
        (VOXELS[0], ARRAY | {"axes": "row,row,column"}, "each once"),
        (VOXELS[0], ARRAY | {"axes": "frame,slice,row"}, "expected row, column and"),
        (VOXELS[0], ARRAY | {"axes": "row,column"}, "one name for each of 3 axes"),
        (VOXELS[0], ARRAY | {"axes": ("slice", "row", "column")}, "axes: expected text .*, got tuple"),
        (VOXELS[0], ARRAY | {"voxel_size": 2.0}, "voxel_size 2.0: expected the mm"),
        (VOXELS[0], ARRAY | {"voxel_size": (2, 2)}, "of an array of 3 slices"),
        (VOXELS[0], ARRAY | {"voxel_size": (4, 2, 0)}, "each above 0"),
        (VOXELS[0], ARRAY | {"voxel_size": (4, 2, float("nan"))}, "each above 0"),
        (VOXELS[0], ARRAY | {"voxel_size": (1, 2, 3, 4)}, "expected the mm"),
        (np.array([["a"]]), {"voxel_size": (1, 1)}, "array of numbers"),
        (np.ones((0, 4)), {"voxel_size": (1, 1)}, "an empty one"),
        (Image(VOXELS), {"voxel_size": (4, 2, 2)}, "voxel_size: expected with an array only"),
        ("low.nii", {"axes": "row,column"}, "axes: expected with an array only"),
    ],
)
def test_what_cannot_be_taken_is_refused_in_one_line(given, options, message):
    with pytest.raises(UsageError, match=message) as refusal:
        kfine.restore(given, **options, **PLAIN)
    assert str(refusal.value).isprintable()


def test_a_path_with_nothing_there_is_bad_input(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        kfine.restore(tmp_path / "none.nii", **PLAIN)


def test_dir_lists_public_names_only():
    """Also in a fresh process, before anything is loaded, and after."""
    code = "import kfine\nbefore = dir(kfine)\nkfine.read, kfine.restore\nassert dir(kfine) == before\nprint(before)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == str(sorted(["__version__", *kfine.__all__]))
