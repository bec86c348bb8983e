"""Contours find their image by its InstanceNumber; the area estimate agrees with the phantom's known one."""

import math

import numpy as np
import pytest
from contours import Contour, PoolAreas, area_errors, pool_area, read_contours

from kfine.errors import InputError
from kfine.geometry import resized_affine
from kfine.io import read
from kfine.phantom.anatomy import left_ventricle
from kfine.phantom.cine import FIELD_OF_VIEW, beating_heart
from tests.io.dicom_files import cine

MATRIX = (128, 128)
HEART = beating_heart(MATRIX, frames=5)  # frame 2 is near end systole
SPACING = tuple(length / n for length, n in zip(FIELD_OF_VIEW, MATRIX, strict=True))


def drawn(phase, *, grow=1.0):
    """The phantom's own contour in pixels, or a larger one."""
    pool = left_ventricle(phase)
    turn = np.linspace(0, 2 * np.pi, 100, endpoint=False)
    along, across = grow * pool.semi_axes[0] * np.cos(turn), grow * pool.semi_axes[1] * np.sin(turn)
    cosine, sine = np.cos(pool.angle), np.sin(pool.angle)
    mm = np.array(
        [
            pool.centre[0] + cosine * along - sine * across,
            pool.centre[1] + sine * along + cosine * across,
        ]
    )
    return Contour(0, 0, mm.T / SPACING + 64, "end diastole")


def test_the_area_of_a_contour():
    square = Contour(0, 0, np.array([[1.0, 1], [1, 4], [3, 4], [3, 1]]), "end diastole")
    assert square.area((1.0, 1.0)) == 6
    assert square.area((2.0, 0.5)) == 6
    assert drawn(0.0).area(SPACING) == pytest.approx(left_ventricle(0.0).area, rel=2e-3)


def test_a_contour_on_another_matrix_lies_where_it_lay():
    contour, affine = drawn(0.0), np.diag([1.0, 2.0, 3.0, 1.0])
    moved = contour.on_matrix((128, 128), (95, 64))
    other = resized_affine(affine, (1, 128, 128), (1, 95, 64))
    for point, there in zip(contour.points[:3], moved.points[:3], strict=True):
        np.testing.assert_allclose(affine @ [0, *point, 1], other @ [0, *there, 1])


@pytest.mark.parametrize("frame", [0, 2])
@pytest.mark.parametrize("grow", [0.95, 1.0, 1.08])
def test_the_estimate_is_the_true_area_whatever_the_contour_says(frame, grow):
    plane = HEART.voxels[frame, 0]
    phase = frame / HEART.frames
    estimate = pool_area(plane, drawn(phase, grow=grow), spacing=SPACING)
    assert estimate == pytest.approx(left_ventricle(phase).area, rel=0.04)


def test_a_dark_pool_has_no_area():
    assert math.isnan(pool_area(-HEART.voxels[0, 0], drawn(0.0), spacing=SPACING))
    assert math.isnan(pool_area(np.zeros(MATRIX), drawn(0.0), spacing=SPACING))


def test_errors_are_relative_and_a_lost_pool_is_wholly_wrong():
    rows = [
        PoolAreas("end diastole", 0, 0, contour=100, truth=80, restored=88),
        PoolAreas("end diastole", 1, 0, contour=100, truth=100, restored=math.nan),
    ]
    found = area_errors(rows)
    assert set(found) == {"end diastole"}
    assert found["end diastole"]["restored"] == pytest.approx((0.1 + 1) / 2)
    assert found["end diastole"]["restored_contour"] == pytest.approx((0.12 + 1) / 2)
    assert found["end diastole"]["truth_contour"] == pytest.approx(0.1)


@pytest.fixture
def patient(tmp_path):
    """A cine of 2 slices and 4 frames; its InstanceNumber 1 is the first frame of slice 1."""
    cine(tmp_path / "dicom", slices=2, frames=4)
    (tmp_path / "contours" / "i-contours").mkdir(parents=True)
    return tmp_path


def write_contour(folder, number, size, *, kind="icontour"):
    """Write a square of `size` pixels as x y, one corner at column 3 and row 1."""
    path = folder / "contours" / "i-contours" / f"IM-0001-{number:04d}-{kind}-manual.txt"
    corners = [(3, 1), (3 + size, 1), (3 + size, 1 + size), (3, 1 + size)]
    path.write_text("".join(f"{x:.2f} {y:.2f}\n" for x, y in corners))
    return path


def test_a_file_s_number_is_the_instance_number(patient):
    for number, size in ((2, 1), (4, 3), (5, 2), (8, 1)):
        write_contour(patient, number, size)
    write_contour(patient, 4, 4, kind="ocontour")  # the epicardium is another matter
    image = read(patient / "dicom")
    found = read_contours(patient / "contours", dicom=patient / "dicom", image=image)
    assert [(c.slice, c.frame, c.phase) for c in found] == [
        (0, 0, "end diastole"),
        (0, 3, "end systole"),
        (1, 3, "end diastole"),
        (1, 1, "end systole"),
    ]
    assert found[2].points.tolist() == [[1, 3], [1, 6], [4, 6], [4, 3]]
    assert found[2].area((1.0, 1.0)) == 9


def test_a_slice_with_one_contour_is_left_out(patient):
    write_contour(patient, 3, 2)
    image = read(patient / "dicom")
    assert read_contours(patient / "contours", dicom=patient / "dicom", image=image) == []


@pytest.mark.parametrize(
    ("number", "text", "says"),
    [
        (9, None, "InstanceNumber"),
        (3, "1 2\n3 4\n", "at least 3"),
        (3, "a b\n", "two numbers"),
        (0, "", "got none"),
    ],
)
def test_contours_that_do_not_fit_are_refused(patient, number, text, says):
    if number:
        path = write_contour(patient, number, 2)
        if text:
            path.write_text(text)
    image = read(patient / "dicom")
    with pytest.raises(InputError, match=says):
        read_contours(patient / "contours", dicom=patient / "dicom", image=image)
