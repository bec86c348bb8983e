"""Chest and heart as ellipses: positions, grey values and motion over the heart beat.

Overlapping ellipses add up.  Each ellipse therefore lies entirely inside or outside every other one, and its grey value
is the step from its surroundings.  The crescent of the right ventricle is an ellipse of blood that the round left
ventricle touches from inside.  All values are those of an adult in short axis, seen from below: the patient's left is
on the right of the picture.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.interpolate import PchipInterpolator  # type: ignore[import-untyped]

from kfine.phantom.ellipses import Ellipse

# Grey values of a balanced steady-state sequence: fat and blood bright, muscle dark, lung nearly black.
FAT, BLOOD, MUSCLE, MYOCARDIUM, LIVER, LUNG = 980.0, 850.0, 330.0, 260.0, 400.0, 60.0

# Left-ventricular volume against the phase of the heart beat: 1 at end diastole, 0 at end systole.  Ejection until
# 0.38, fast filling, diastasis, the atria's share: the shape of Wiggers' diagram (e.g. Guyton and Hall, ch. 9).
_PHASES = (0.0, 0.05, 0.15, 0.25, 0.34, 0.38, 0.42, 0.50, 0.60, 0.68, 0.80, 0.90, 0.96, 1.0)
_VOLUMES = (1.0, 0.98, 0.70, 0.30, 0.04, 0.0, 0.04, 0.40, 0.72, 0.79, 0.81, 0.90, 0.98, 1.0)
END_SYSTOLE = 0.38

# Left ventricle, mm: blood pool and wall at end diastole; area of the pool at end systole as a part of that.
_RADIUS, _WALL, _LEAST_AREA = 24.0, 8.5, 0.38
_SHORTENING = 0.14  # of the long axis: the volume of muscle is constant, so a shorter muscle is thicker
_RIGHT_WIDTH, _RIGHT_LEAST = (
    25.0,
    0.5,
)  # right ventricle: width in mm at end diastole, part of it at end systole
_LIVER = (36.0, -54.0)
_CENTRE, _TILT, _ASPECT = (-21.0, 30.0), 0.5, 1.05


def filling(phase: float) -> float:
    """Return the filling of the left ventricle, from 0 to 1, at `phase` (fraction of a heart beat after the R wave).

    Monotone cubic interpolation (Fritsch and Carlson 1980), periodic.
    """
    return float(_curve()(phase % 1.0))


def left_ventricle(phase: float, *, scale: float = 1.0) -> Ellipse:
    """Return the blood pool of the left ventricle with papillary muscles; its area follows the volume."""
    return _left_ventricle(phase, scale=scale)[1].placed(centre=_CENTRE, angle=_TILT, aspect=_ASPECT)


def heart(phase: float, *, scale: float = 1.0) -> list[Ellipse]:
    """Return the moving parts at a phase of the heart beat: both ventricles, papillary muscles and trabeculae.

    scale: size of this cut through the heart, 1 in the middle of the ventricles.
    """
    epicardium, pool = _left_ventricle(phase, scale=scale)
    inner, outer = pool.semi_axes[0], epicardium.semi_axes[0]
    width = scale * _RIGHT_WIDTH * (_RIGHT_LEAST + (1 - _RIGHT_LEAST) * filling(phase))
    # The circle of radius `outer` has the curvature of this ellipse's end and touches it there from inside.
    right = outer + width / 2
    semi_axes = (math.sqrt(outer * right), right)
    shapes = [
        _around(semi_axes, width, 6.0, FAT - LUNG),  # inside the pericardium
        _around(semi_axes, width, 2.0, MYOCARDIUM - FAT),  # the right ventricle's thin wall
        _around(semi_axes, width, 0.0, BLOOD - MYOCARDIUM),
        epicardium,
        pool,
        *_papillary(inner, phase, scale),
        *_grains(inner, outer),
    ]
    return [shape.placed(centre=_CENTRE, angle=_TILT, aspect=_ASPECT) for shape in shapes]


def chest() -> list[Ellipse]:
    """Return the static parts: skin fat, muscle, ribs, lungs with vessels, liver, spine, aorta."""
    rng = np.random.default_rng(1)  # fixed, for the same chest in every run
    shapes = [
        Ellipse((0, 0), (104, 146), FAT),
        Ellipse((0, 0), (95, 134), MUSCLE - FAT),
        Ellipse((-4, 0), (79, 117), LUNG - MUSCLE),
        Ellipse((0, 0), (17, 32), LIVER - LUNG).placed(centre=_LIVER, angle=0.35),
        Ellipse((57, 4), (13, 17), 0.5 * FAT - LUNG),  # a vertebra's marrow
        Ellipse((57, 4), (4, 6), 0.3 * FAT),
        Ellipse((51, 33), (9, 9), BLOOD - LUNG),  # descending aorta
    ]
    for angle in np.linspace(0.2, 2 * np.pi + 0.2, 12, endpoint=False):
        down, right = 85.5 * np.sin(angle) - 2, 125.5 * np.cos(angle)
        tangent = math.atan2(-125.5 * math.sin(angle), 85.5 * math.cos(angle))
        shapes.append(Ellipse((down, right), (7.0, 2.6), -0.6 * MUSCLE, angle=tangent))
    for place in ((-5, -22), (4, -23), (-7, -10), (2, -12), (8, -4), (-5, 2), (3, 8), (-4, 16), (5, 19)):
        vein = Ellipse(place, (rng.uniform(1, 3), rng.uniform(1, 3)), rng.uniform(80, 220))
        shapes.append(vein.placed(centre=_LIVER, angle=0.35))
    return shapes + _lung_vessels(rng, [*shapes[3:7], *heart(0.0)[:1]], count=60)


def _lung_vessels(rng: np.random.Generator, others: list[Ellipse], *, count: int) -> list[Ellipse]:
    """Return small bright discs in the lungs, clear of `others`."""
    vessels: list[Ellipse] = []
    while len(vessels) < count:
        turn, way, radius = rng.uniform(0, 2 * np.pi), math.sqrt(rng.uniform(0, 0.8)), rng.uniform(0.9, 2.4)
        down, right = 79 * way * np.sin(turn) - 4, 117 * way * np.cos(turn)
        rim = np.linspace(0, 2 * np.pi, 16)
        if any(other.contains(down + 5 * np.cos(rim), right + 5 * np.sin(rim)).any() for other in others):
            continue
        if any(math.dist(vessel.centre, (down, right)) < 5 for vessel in vessels):
            continue
        vessels.append(Ellipse((down, right), (radius, radius), rng.uniform(120, 380)))
    return vessels


def _left_ventricle(phase: float, *, scale: float) -> tuple[Ellipse, Ellipse]:
    """Return epicardium and blood pool as circles about the origin."""
    full = filling(phase)
    pool = _RADIUS**2 * (_LEAST_AREA + (1 - _LEAST_AREA) * full)
    wall = ((_RADIUS + _WALL) ** 2 - _RADIUS**2) / (1 - _SHORTENING * (1 - full))
    inner, outer = scale * math.sqrt(pool), scale * math.sqrt(pool + wall)
    return (
        Ellipse((0, 0), (outer, outer), MYOCARDIUM - BLOOD),
        Ellipse((0, 0), (inner, inner), BLOOD - MYOCARDIUM),
    )


def _papillary(inner: float, phase: float, scale: float) -> list[Ellipse]:
    """Return the two papillary muscles in a pool of radius `inner`."""
    radius = scale * 3.9 / math.sqrt(1 - _SHORTENING * (1 - filling(phase)))
    return [
        Ellipse(
            (0.6 * inner * math.sin(angle), 0.6 * inner * math.cos(angle)),
            (0.85 * radius, 1.15 * radius),
            MYOCARDIUM - BLOOD,
        )
        for angle in (-1.15, 1.0)
    ]


def _grains(inner: float, outer: float) -> list[Ellipse]:
    """Return fine detail that moves with the wall: trabeculae at the edge of the pool, weak texture in the wall."""
    rng = np.random.default_rng(2)
    grains = []
    for angle in np.linspace(0, 2 * np.pi, 11, endpoint=False) + rng.uniform(-0.15, 0.15, 11):
        radius = 0.045 * inner * rng.uniform(0.8, 1.3)
        grains.append(_disc(angle, 0.92 * inner, radius, 0.8 * (MYOCARDIUM - BLOOD)))
    middle, wall = (inner + outer) / 2, outer - inner
    for angle in np.linspace(0, 2 * np.pi, 17, endpoint=False) + rng.uniform(-0.1, 0.1, 17):
        radius = wall * rng.uniform(0.15, 0.28)
        grains.append(_disc(angle, middle + rng.uniform(-0.15, 0.15) * wall, radius, rng.uniform(-45, 45)))
    return grains


def _around(semi_axes: tuple[float, float], width: float, margin: float, grey: float) -> Ellipse:
    """Return the ellipse of the right ventricle with a margin in mm: zero at the left end, double at the right."""
    return Ellipse((0, -width / 2 - 0.7 * margin), (semi_axes[0] + margin, semi_axes[1] + margin), grey)


def _disc(angle: float, distance: float, radius: float, grey: float) -> Ellipse:
    return Ellipse((distance * math.sin(angle), distance * math.cos(angle)), (radius, radius), grey)


def _curve() -> PchipInterpolator:
    # One heart beat on either side, so that the curve and its slope are periodic.
    knots = np.concatenate([np.array(_PHASES[:-1]) + turn for turn in (-1, 0, 1)])
    return PchipInterpolator(knots, _VOLUMES[:-1] * 3)
