from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfine.image import Image, Source
from kfine.viz.view import View, view_of, view_of_image

# World positions of marks in one patient: right and left, front and back, top and bottom.
MARKS = {
    "R": (30, 0, 0),
    "L": (-30, 0, 0),
    "A": (0, 30, 0),
    "P": (0, -30, 0),
    "S": (0, 0, 30),
    "I": (0, 0, -30),
}
# What is seen at the left, right, top and bottom of the picture, by the world axis across the plane.
EXPECTED = {2: "RLAP", 1: "RLSI", 0: "APSI"}


def upright(plane, affine):
    return view_of(affine).turn(plane)


def stored(order, signs):
    """A 41 x 41 plane through the origin, 2 mm, stored along `order` (slice, row, column) with `signs`."""
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for voxel_axis, (world_axis, sign) in enumerate(zip(order, signs, strict=True)):
        affine[world_axis, voxel_axis] = 2 * sign
    affine[:3, 3] = -affine[:3, 1] * 20 - affine[:3, 2] * 20
    plane = np.zeros((41, 41), dtype="<U1")
    for letter, world in MARKS.items():
        _, row, column = np.linalg.solve(affine[:3, :3], np.array(world) - affine[:3, 3]).round().astype(int)
        if 0 <= row < 41 and 0 <= column < 41 and not plane[row, column]:
            plane[row, column] = letter
    plane[20, 20] = ""
    return plane, affine


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product([1, -1], repeat=3)))
def test_every_way_of_storing_gives_the_same_picture(order, signs):
    plane, affine = stored(order, signs)
    picture = upright(plane, affine)
    seen = picture[20, 5], picture[20, 35], picture[5, 20], picture[35, 20]
    assert "".join(seen) == EXPECTED[order[0]]
    assert view_of(affine).left == EXPECTED[order[0]][0]


@given(
    st.permutations(range(3)),
    st.tuples(*[st.sampled_from([1, -1])] * 3),
    st.integers(2, 9),
    st.integers(2, 9),
)
def test_flipping_the_array_and_its_affine_changes_nothing(order, signs, rows, columns):
    _, affine = stored(order, signs)
    plane = np.arange(rows * columns).reshape(rows, columns)
    flipped = affine.copy()
    flipped[:3, 3] += affine[:3, 1] * (rows - 1)
    flipped[:3, 1] *= -1
    np.testing.assert_array_equal(upright(plane[::-1], flipped), upright(plane, affine))
    swapped = affine[:, [0, 2, 1, 3]]
    np.testing.assert_array_equal(upright(plane.T, swapped), upright(plane, affine))


def test_an_oblique_plane_follows_the_nearest_axes():
    angle = np.deg2rad(25)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    plane, affine = stored((2, 1, 0), (1, 1, 1))
    oblique = affine.copy()
    oblique[:3, :3] = turn @ affine[:3, :3]
    assert view_of(oblique) == view_of(affine)
    assert (upright(plane, oblique) == upright(plane, affine)).all()


@given(st.integers(1, 40), st.integers(1, 40), st.tuples(*[st.booleans()] * 3))
def test_edges_keep_the_centre_index_at_the_origin(rows, columns, turns):
    view = View(flip=turns[:2], transpose=turns[2])
    left, right, bottom, top = view.edges((rows, columns), (2.0, 3.0))
    centre = np.zeros((rows, columns))
    centre[rows // 2, columns // 2] = 1
    picture = view.turn(centre)
    height, width = picture.shape
    row, column = np.argwhere(picture)[0]
    assert top + (row + 0.5) * (bottom - top) / height == pytest.approx(0, abs=1e-9)
    assert left + (column + 0.5) * (right - left) / width == pytest.approx(0, abs=1e-9)


def test_without_geometry_the_picture_is_as_stored():
    plane = Image(np.zeros((1, 1, 4, 5)), source=Source(kind="kspace"))
    assert view_of_image(plane) == View()
    known = Image(plane.voxels, source=Source(kind="nifti"))
    assert view_of_image(known) == view_of(known.affine)
