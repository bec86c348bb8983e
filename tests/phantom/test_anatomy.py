"""The heart and the chest as ellipses: nothing crosses anything, and the ventricle fills and empties."""

import numpy as np
import pytest

from kfine.phantom.anatomy import END_SYSTOLE, FAT, chest, filling, heart, left_ventricle


def rim(ellipse, points=64):
    turn = np.linspace(0, 2 * np.pi, points, endpoint=False)
    along, across = ellipse.semi_axes[0] * np.cos(turn), ellipse.semi_axes[1] * np.sin(turn)
    cosine, sine = np.cos(ellipse.angle), np.sin(ellipse.angle)
    return (
        ellipse.centre[0] + cosine * along - sine * across,
        ellipse.centre[1] + sine * along + cosine * across,
    )


def grey_at(ellipses, down, right):
    return sum(ellipse.grey * ellipse.contains(down, right) for ellipse in ellipses)


@pytest.mark.parametrize("scale", [1.0, 0.32])
@pytest.mark.parametrize("phase", [0.0, 0.2, END_SYSTOLE])
def test_ellipses_lie_inside_or_outside_one_another(phase, scale):
    shapes = chest() + heart(phase, scale=scale)
    down, right = np.array([rim(shape) for shape in shapes]).transpose(1, 0, 2)
    for number, shape in enumerate(shapes):
        share = shape.contains(down, right).mean(axis=1)
        share[number] = 0
        crossed = [
            other for other in np.flatnonzero((share > 0) & (share < 1)) if not touching(number, other)
        ]
        assert crossed == []


def touching(one, other):
    """The left ventricle touches the right one's ellipse from inside, to rounding."""
    ellipses = len(chest())
    return {one, other} == {ellipses + 2, ellipses + 3}


def test_grey_values_are_a_body_s():
    down, right = np.meshgrid(np.linspace(-159, 159, 90), np.linspace(-159, 159, 90), indexing="ij")
    for phase in (0.0, END_SYSTOLE):
        grey = grey_at(chest() + heart(phase), down, right)
        assert grey.min() >= 0
        assert grey.max() <= 1.05 * FAT
        assert grey[0, 0] == 0


def test_the_ventricle_empties_and_fills_once():
    phases = np.linspace(0, 1, 201)
    volumes = np.array([filling(phase) for phase in phases])
    assert volumes[0] == pytest.approx(1)
    assert filling(1.25) == pytest.approx(filling(0.25))
    assert phases[volumes.argmin()] == pytest.approx(END_SYSTOLE, abs=0.01)
    assert volumes.min() == pytest.approx(0, abs=1e-3)
    slopes = np.diff(volumes)
    assert (slopes[: volumes.argmin() - 1] <= 1e-9).all()
    assert (slopes[volumes.argmin() + 1 :] >= -1e-9).all()


def test_the_heart_is_periodic_and_its_muscle_gets_thicker():
    for a, b in zip(heart(0.0), heart(1.0), strict=True):
        np.testing.assert_allclose((*a.centre, *a.semi_axes), (*b.centre, *b.semi_axes))
    pools = [left_ventricle(phase) for phase in (0.0, END_SYSTOLE)]
    assert pools[1].area / pools[0].area == pytest.approx(0.38)
    epicardia = [heart(phase)[3] for phase in (0.0, END_SYSTOLE)]
    walls = [o.semi_axes[1] - i.semi_axes[1] for o, i in zip(epicardia, pools, strict=True)]
    assert 1.3 < walls[1] / walls[0] < 1.8
