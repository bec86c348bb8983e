"""The Fourier transform of an ellipse against sums over a fine grid."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from kfine.phantom.ellipses import Ellipse, transform_of

ELLIPSES = [
    Ellipse((0, 0), (10, 10), 3.0),
    Ellipse((5, -12), (20, 7), -2.0, angle=0.7),
    Ellipse((-8, 3), (1.5, 6), 1.0, angle=-2.0),
]
# Cycles per mm: the origin, slow, fast, along the axes and off them.
DOWN = np.array([0, 0.02, -0.02, 0.11, 0, 0.2])
RIGHT = np.array([0, 0, 0.031, -0.07, 0.15, -0.2])
PLACES = list(zip(DOWN, RIGHT, strict=True))


def integral(ellipse, *, edge=0.0, step=0.04, half=32):
    """The Fourier integral by the midpoint rule; an edge of several steps makes it converge fast."""
    line = np.arange(-half + step / 2, half, step)
    down, right = line[:, None], line[None, :]
    inside = ellipse.grey * ellipse.contains(down, right).astype(float)
    if edge:
        inside = gaussian_filter(inside, edge / step, truncate=6)
    waves = [(np.exp(-2j * np.pi * d * line), np.exp(-2j * np.pi * r * line)) for d, r in PLACES]
    return np.array([a @ inside @ b for a, b in waves]) * step**2


@pytest.mark.parametrize("ellipse", ELLIPSES, ids=["disc", "turned", "thin"])
def test_the_transform_is_the_fourier_integral(ellipse):
    exact = ellipse.transform(DOWN, RIGHT)
    assert exact[0] == pytest.approx(ellipse.grey * ellipse.area)
    np.testing.assert_allclose(integral(ellipse), exact, atol=1e-3 * abs(ellipse.grey) * ellipse.area)


def test_the_edge_is_a_gaussian_blur():
    summed = sum(integral(ellipse, edge=0.8, step=0.1) for ellipse in ELLIPSES)
    exact = transform_of(ELLIPSES, DOWN, RIGHT, edge=0.8)
    total = sum(abs(ellipse.grey) * ellipse.area for ellipse in ELLIPSES)
    np.testing.assert_allclose(summed, exact, atol=3e-4 * total)
    assert np.abs(exact[-1]) < 0.5 * np.abs(transform_of(ELLIPSES, DOWN, RIGHT, edge=0)[-1])


def test_a_placed_ellipse_is_stretched_turned_and_moved():
    own = Ellipse((2.0, 1.0), (3.0, 1.0), 1.0)
    placed = own.placed(centre=(10.0, -5.0), angle=np.pi / 2, aspect=2.0)
    # `down` is stretched to 4 and becomes `right`; `right` becomes minus `down`.
    assert placed.centre == pytest.approx((9.0, -1.0))
    assert placed.area == pytest.approx(2 * own.area)
    assert placed.contains(np.array([9.0, 10.5]), np.array([4.9, -1.0])).tolist() == [True, False]
    with pytest.raises(ValueError, match="along its axes"):
        placed.placed(centre=(0, 0), angle=0.1)
