"""Calibration of stated errors from known errors: constants, quantiles, and their coverage.

The quantiles are those of conformal risk control (Angelopoulos, Bates, Fisch, Lei and Schuster, ICLR 2024, equation 4):
the least multiplier lambda for which n/(n + 1) R(lambda) + 1/(n + 1) <= alpha, where R is the fraction of the voxels
outside of the interval, as a mean over the n subjects.  In expectation, a new subject that is exchangeable with them
has at most the fraction alpha outside.  With n < 1/alpha - 1 subjects no lambda exists; with few more, the interval
contains all voxels.  Up to twice that number of subjects, lambda is that of R(lambda) <= alpha, without a guarantee.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kfine.models.calibration import Calibration, Coverage, Weights

CONFIDENCES = (0.5, 0.68, 0.8, 0.9, 0.95)
REPORTED = 0.9  # confidence of the stated coverage
_GRID = np.geomspace(0.05, 20, 1500)  # multipliers
_DECILES = 10

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Errors:
    """Errors of one image at one scale.

    Attributes:
        subject: subject of the image.
        part: measured fraction of k-space, the geometric mean of both directions.
        error: errors of voxels of the body, any unit.
        scale: local scales at these voxels (`kfine.methods.uncertainty`), same unit.
    """

    subject: str
    part: float
    error: Array
    scale: Array


def subjects_needed(confidence: float) -> int:
    """Return the number of subjects that a guarantee of `confidence` needs: twice the least number, 1/alpha - 1.

    >>> subjects_needed(0.9), subjects_needed(0.95)
    (18, 38)
    """
    return int(np.ceil(2 * (1 / (1 - confidence) - 1) - 1e-9))


def fitted(
    errors: Sequence[Errors], *, weights: Weights, scans: str, confidences: Sequence[float] = CONFIDENCES
) -> Calibration:
    """Return the calibration of `errors`: constants, quantiles and the coverage of each subject by the others.

    Args:
        errors: errors of at least one subject.
        weights: weights of the scale.
        scans: description of the scans.
        confidences: increasing confidences.
    """
    parts = sorted({each.part for each in errors})
    names = sorted({each.subject for each in errors})
    constants, quantiles, coverage = [], [], []
    for part in parts:
        here = [each for each in errors if each.part == part]
        constant, row = _row(here, confidences)
        constants.append(constant)
        quantiles.append(row)
        if len(names) > 1:
            coverage.append(_left_out(here))
    fewest = min(len({e.subject for e in errors if e.part == part}) for part in parts)
    return Calibration(
        measured=tuple(parts),
        constants=tuple(constants),
        subjects=len(names),
        confidences=tuple(confidences),
        quantiles=tuple(quantiles),
        weights=weights,
        names=tuple(names),
        scans=scans,
        guaranteed=max((c for c in confidences if fewest >= subjects_needed(c)), default=0.0),
        coverage=tuple(coverage),
    )


def left_out_coverage(errors: Sequence[Errors]) -> dict[str, float]:
    """Return for each subject the fraction of its voxels inside the 90 % interval of the other subjects.

    All `errors` have the same measured fraction.
    """
    found = {}
    for subject in sorted({each.subject for each in errors}):
        others = [each for each in errors if each.subject != subject]
        constant, (multiplier,) = _row(others, (REPORTED,))
        own = [each for each in errors if each.subject == subject]
        inside = [np.abs(each.error) <= multiplier * constant * each.scale for each in own]
        found[subject] = float(np.mean([part.mean() for part in inside]))
    return found


def deciles(errors: Sequence[Errors], constant: float) -> tuple[Array, Array]:
    """Return the rms (stated, actual) of tenths of the voxels by their stated standard deviation, increasing."""
    stated = constant * np.concatenate([each.scale for each in errors])
    error = np.concatenate([each.error for each in errors])
    parts = np.array_split(np.argsort(stated), _DECILES)
    rms = [[np.sqrt(np.mean(values[part] ** 2)) for part in parts] for values in (stated, error)]
    return np.array(rms[0]), np.array(rms[1])


def _row(errors: Sequence[Errors], confidences: Sequence[float]) -> tuple[float, tuple[float, ...]]:
    """Return the constant and, for each confidence, the quantile of |error| over standard deviation."""
    stated, actual = deciles(errors, 1.0)
    # A mean over deciles with equal weights: few voxels at edges would dominate a pooled mean square.
    constant = float(np.exp(np.log(np.maximum(actual, 1e-12) / stated).mean()))
    inside = _inside(errors, constant)
    n = len(inside)
    found = []
    for confidence in confidences:
        alpha = 1 - confidence
        outside = (alpha * (n + 1) - 1) / n if n >= subjects_needed(confidence) else alpha
        reached = np.flatnonzero(inside.mean(0) >= 1 - outside)
        found.append(float(_GRID[reached[0]] if reached.size else _GRID[-1]))
    return constant, tuple(np.maximum.accumulate(found).tolist())


def _inside(errors: Sequence[Errors], constant: float) -> Array:
    """Return the fraction of the voxels inside (subject, multiplier of `_GRID`), averaged over images of a subject."""
    by_subject: dict[str, list[Array]] = {}
    for each in errors:
        ratio = np.sort(np.abs(each.error) / (constant * each.scale))
        share = np.searchsorted(ratio, _GRID, side="right") / ratio.size
        by_subject.setdefault(each.subject, []).append(share)
    return np.array([np.mean(shares, axis=0) for shares in by_subject.values()])


def _left_out(errors: Sequence[Errors]) -> Coverage:
    found = list(left_out_coverage(errors).values())
    mean, least, greatest = (round(float(f(found)), 4) for f in (np.mean, min, max))
    return Coverage(mean=mean, least=least, greatest=greatest)


def fitted_weights(features: Sequence[Array], errors: Sequence[Array], shares: Sequence[float]) -> Array:
    """Return the coefficients b for which exp(features b) is the scale of the errors.

    They minimise the negative log likelihood of a Laplace distribution, log s + sqrt(2) |e| / s, smoothed at 0; few
    large errors would dominate that of a Gaussian distribution.

    Args:
        features: features of each image (voxel, feature).
        errors: errors of each image (voxel,).
        shares: weight of each image.
    """
    from scipy.optimize import minimize

    x = np.concatenate(features)
    e2 = np.concatenate([error**2 for error in errors])
    w = np.concatenate(
        [np.full(len(e), share / len(e)) for e, share in zip(errors, shares, strict=True)]
    ) / sum(shares)

    def loss(b: Array) -> tuple[float, Array]:
        z = x @ b
        q = e2 * np.exp(-2 * z)
        root = np.sqrt(q + 1e-6)
        return float(w @ (z + np.sqrt(2) * root)), x.T @ (w * (1 - np.sqrt(2) * q / root))

    result = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 300})
    return np.asarray(result.x)
