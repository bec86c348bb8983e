"""Features of a plane that tell MR images like those of training from foreign ones, whatever their contrast."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kfine.networks.core import RINGS, SECTORS, spectrum_shape

Plane = NDArray[np.float64]

LEAST = 32  # points of a plane's shorter side; smaller planes are not compared
_TISSUE, _AIR = 0.1, 0.05  # of full intensity: brighter is tissue, darker is air
_FULL, _HEADROOM, _BRIGHTEST = (
    0.999,
    0.9,
    1.3,
)  # quantile at `_HEADROOM` of full intensity; brighter voxels are cut
_MARGIN = 2  # voxels around the tissue
_LEVELS = 3  # of the wavelet transform
_FEWEST = 16  # voxels that statistics are taken of: where there is less tissue, the brightest
_TINY = 1e-4  # of full intensity: weaker detail counts as this
_GREYS = 32  # grey levels of the histogram
_WHERE = ("air", "rim", "corner", "centre")
_GREY = ("mean", "deviation", "entropy", "mode")
_SIZE = ("size", "aspect")
_SPECTRUM = (
    *(f"axis{ring}" for ring in range(RINGS - 1)),
    *(f"diagonal{ring}" for ring in range(RINGS)),
    "uneven",
)
_DETAIL = tuple(
    f"{name}{level}"
    for level in range(_LEVELS)
    for name in ("energy", "cross", "peak", "flat", "flat_cross", "near", *(("across",) if level else ()))
)
# By what they are of, in words.
GROUPS: dict[str, tuple[str, ...]] = {
    "its grey values": _GREY,
    "where its tissue and its air lie": (*_WHERE, *_SIZE),
    "its spectrum": _SPECTRUM,
    "its fine detail": _DETAIL,
}
FEATURES = tuple(name for names in GROUPS.values() for name in names)


def novelty_features(plane: NDArray[Any]) -> Plane | None:
    """Return the features (`FEATURES`) of the magnitude image `plane` (row, column), in any unit.

    They do not change with its brightness, its quarter turns and mirror images, or the air around it:

    - grey values of the tissue: mean, standard deviation, entropy and largest share of a histogram of 32 levels;
    - place: part of the voxels that are air; part of the rim, the corners and the centre that is tissue; size and
      aspect of the box around the tissue;
    - spectrum: that of `kfine.networks.core.spectrum_shape`, the mean of rows and columns and how far they differ;
    - detail: of three levels of Haar wavelets, inside the tissue, energy, diagonal against straight energy, kurtosis,
      median over rms (noise fills an image evenly, edges do not; Donoho and Johnstone, Biometrika 1994, 81:425), and
      the correlation of log energy with that of neighbours and of the next finer level (Portilla and Simoncelli,
      IJCV 2000, 40:49).

    None where the plane is empty or smaller than 32 points.
    """
    if min(plane.shape) < LEAST:
        return None
    x = np.abs(plane).astype(np.float64)
    full = float(np.quantile(x, _FULL)) / _HEADROOM or float(x.max())
    if not (full > 0 and np.isfinite(full)):
        return None
    x = _trimmed(np.minimum(x / full, _BRIGHTEST))
    found = _grey(x) | _place(x) | _spectrum(x) | _detail(x)
    return np.array([found[name] for name in FEATURES])


def _trimmed(x: Plane) -> Plane:
    """Return `x` without the air around its tissue, of at least `LEAST` points a side."""
    for axis in (0, 1):
        hit = np.flatnonzero((x > _TISSUE).any(1 - axis))
        if not len(hit):
            continue
        n = x.shape[axis]
        first, last = max(0, int(hit[0]) - _MARGIN), min(n, int(hit[-1]) + 1 + _MARGIN)
        if last - first < LEAST:
            first = max(0, min((first + last - LEAST) // 2, n - LEAST))
            last = first + LEAST
        x = np.take(x, range(first, last), axis=axis)
    return x


def _grey(x: Plane) -> dict[str, float]:
    """Return the features of the histogram of the tissue, of all where there is none."""
    tissue = x[x > _TISSUE] if (x > _TISSUE).any() else x.ravel()
    shares = np.histogram(tissue, _GREYS, (_TISSUE, _BRIGHTEST))[0] / tissue.size
    there = shares[shares > 0]
    return {
        "mean": float(tissue.mean()),
        "deviation": float(tissue.std()),
        "entropy": float(-(there * np.log(there)).sum()),
        "mode": float(np.log(shares.max() + 1e-6)),
    }


def _place(x: Plane) -> dict[str, float]:
    """Return where tissue and air lie, and the size of the box around the tissue."""
    tissue = x > _TISSUE
    (rows, columns), (r, c) = x.shape, (max(1, n // 12) for n in x.shape)
    rim = np.ones_like(tissue)
    rim[r:-r, c:-c] = False
    r, c = (max(1, n // 6) for n in x.shape)
    corners = [tissue[i, j] for i in (slice(r), slice(-r, None)) for j in (slice(c), slice(-c, None))]
    return {
        "air": float((x < _AIR).mean()),
        "rim": float(tissue[rim].mean()),
        "corner": float(np.mean(corners)),
        "centre": float(tissue[rows // 4 : -(rows // 4), columns // 4 : -(columns // 4)].mean()),
        "size": 0.5 * float(np.log(rows * columns)),
        "aspect": abs(float(np.log(rows / columns))),
    }


def _spectrum(x: Plane) -> dict[str, float]:
    """Return the shape of the spectrum, without its direction."""
    shape = spectrum_shape(torch.from_numpy(2 * x - 1).float())
    rows, diagonal, columns = np.reshape(shape, (SECTORS, RINGS))
    straight = (rows + columns) / 2
    values = [*straight[: RINGS - 1], *diagonal, np.abs(rows - columns)[1 : RINGS - 1].mean()]
    return {name: float(value) for name, value in zip(_SPECTRUM, values, strict=True)}


def _detail(x: Plane) -> dict[str, float]:
    """Return the statistics of the wavelets inside the tissue."""
    found: dict[str, float] = {}
    finer: tuple[Plane, NDArray[np.bool_]] | None = None
    for level in range(_LEVELS):
        x, along_rows, along_columns, cross = _haar(x)
        tissue = x > _TISSUE
        if tissue.sum() < _FEWEST:
            tissue = x >= np.partition(x.ravel(), -_FEWEST)[-_FEWEST]
        energy = along_rows**2 + along_columns**2
        inside = np.concatenate([along_rows[tissue], along_columns[tissue]])
        rms, crossing = _rms(inside), _rms(cross[tissue])
        logs = 0.5 * np.log(energy + (10 * _TINY) ** 2)
        found |= {
            f"energy{level}": float(np.log(rms)),
            f"cross{level}": float(np.log(crossing / rms)),
            f"peak{level}": float(np.log((inside**4).mean() / rms**4 + 1)),
            f"flat{level}": float(np.log((np.median(np.abs(inside)) + _TINY) / rms)),
            f"flat_cross{level}": float(np.log((np.median(np.abs(cross[tissue])) + _TINY) / crossing)),
            f"near{level}": _neighbours(logs - logs[tissue].mean()),
        }
        if finer is not None:
            found[f"across{level}"] = _across(logs, *finer)
        finer = logs, tissue
    return found


def _haar(x: Plane) -> tuple[Plane, Plane, Plane, Plane]:
    """Return the means of 2x2 voxels, and their differences along rows, along columns and along both."""
    rows, columns = (n // 2 * 2 for n in x.shape)
    a, b, c, d = (x[i:rows:2, j:columns:2] for i in (0, 1) for j in (0, 1))
    return (a + b + c + d) / 4, (a + b - c - d) / 4, (a - b + c - d) / 4, (a - b - c + d) / 4


def _rms(values: Plane) -> float:
    return float(np.sqrt((values**2).mean())) + _TINY


def _neighbours(centred: Plane) -> float:
    """Return the correlation of neighbours in `centred`, whose mean is 0."""
    pairs = (centred[1:] * centred[:-1]).mean() + (centred[:, 1:] * centred[:, :-1]).mean()
    return float(pairs / (2 * (centred**2).mean() + _TINY))


def _across(coarse: Plane, fine: Plane, tissue: NDArray[np.bool_]) -> float:
    """Return the correlation of `coarse` with the level of twice its size, inside `tissue` of that."""
    below = np.kron(coarse, np.ones((2, 2)))
    rows, columns = (min(n, m) for n, m in zip(below.shape, fine.shape, strict=True))
    inside = tissue[:rows, :columns]
    a, b = below[:rows, :columns][inside], fine[:rows, :columns][inside]
    if a.size < _FEWEST or min(a.std(), b.std()) < _TINY:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
