"""What was measured of k-space, found from the data."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from raw_files import COLUMNS, ROWS, measured, noise, thing, to_kspace

from kfine.io import read, write
from kfine.io.kspace.coverage import Reduction, full_centre, measured_block, reduced_mask

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def mask(taken) -> np.ndarray:
    sampled = np.zeros((ROWS, COLUMNS), bool)
    sampled[taken] = True
    return sampled


def half(rows: slice, columns: slice = slice(None)) -> np.ndarray:
    return mask((rows, columns))


ROW, COLUMN = np.indices((ROWS, COLUMNS))
ELLIPSE = np.hypot((ROW - 24) / 20, (COLUMN - 20) / 15) <= 1
# What was sampled; the block that holds it; how much of the block was not.
PARTIAL = {
    "partial Fourier": (half(slice(16, None)), (47, 40), 15 / 47),
    "asymmetric echo": (half(slice(None), slice(0, 27)), (48, 40), 13 / 40),
    "ellipse": (ELLIPSE, (41, 31), 1 - ELLIPSE.sum() / (41 * 31)),
    "smaller block": (half(slice(24 - 13, 24 + 13), slice(20 - 7, 20 + 8)), (26, 15), 0.0),
    "undersampled": ((ROW % 2 == 0) | (abs(ROW - 24) < 6), (48, 40), 18 / 48),
}


@pytest.mark.parametrize("kind", PARTIAL)
def test_the_measured_part_is_found(tmp_path: Path, kind: str) -> None:
    sampled, block, missing = PARTIAL[kind]
    kspace = to_kspace(thing()) + noise((ROWS, COLUMNS), 0.01)
    np.save(tmp_path / "a.npy", (kspace * sampled).astype(np.complex64))
    image = read(tmp_path / "a.npy")
    assert image.matrix == block
    known = np.ones(block, bool) if image.coverage is None else image.coverage
    assert 1 - known.mean() == pytest.approx(missing)
    rows, columns = (n // 2 - m // 2 for n, m in zip((ROWS, COLUMNS), block, strict=True))
    inside = (slice(rows, rows + block[0]), slice(columns, columns + block[1]))
    assert_array_equal(known, sampled[inside])
    # Grey values and the field of view stay.
    gain = (block[0] * block[1] / (ROWS * COLUMNS)) ** 0.5
    assert_allclose(to_kspace(image.voxels[0, 0]), (kspace * sampled)[inside] * gain, atol=1e-5)
    assert_allclose(np.multiply(image.voxel_sizes[1:], block), (ROWS, COLUMNS))
    write(image, tmp_path / "b.npy")
    again = read(tmp_path / "b.npy")
    assert_array_equal(np.ones(block, bool) if again.coverage is None else again.coverage, known)
    assert_allclose(again.voxels, image.voxels, atol=1e-5)


def test_noise_is_told_from_the_data(tmp_path: Path) -> None:
    for sampled in (half(slice(None)), half(slice(16, None)), ELLIPSE):
        kspace = (to_kspace(thing()) + noise((ROWS, COLUMNS), 0.05)) * sampled
        np.save(tmp_path / "a.npy", kspace.astype(np.complex64))
        image = read(tmp_path / "a.npy")
        gain = (np.prod(image.matrix) / (ROWS * COLUMNS)) ** 0.5
        assert image.source.acquisition["noise"] == pytest.approx(0.05 * gain, rel=0.15)


def test_planes_sampled_differently(tmp_path: Path) -> None:
    from refusals import refused

    from kfine.errors import InputError

    kspace = np.stack([to_kspace(thing())] * 2) + noise((2, ROWS, COLUMNS), 0.01)
    kspace[1, :2] = 0
    np.save(tmp_path / "a.npy", kspace)
    image = read(tmp_path / "a.npy")
    assert not image.coverage[:2].any()
    assert image.coverage[2:].all()
    assert np.abs(to_kspace(image.voxels)[:, :, :2]).max() < 1e-5
    kspace[1, :12] = 0
    np.save(tmp_path / "a.npy", kspace)
    refused(InputError, "sampled alike", read, tmp_path / "a.npy")


@pytest.mark.parametrize("n", [12, 13])
@pytest.mark.parametrize("first", range(6))
@pytest.mark.parametrize("last", range(7, 12))
def test_block_is_the_smallest_centred_one(n: int, first: int, last: int) -> None:
    sampled = np.zeros((n, 1), bool)
    sampled[[first, last]] = True
    (rows, columns) = measured_block(sampled)
    holds = [m for m in range(1, n + 1) if n // 2 - m // 2 <= first and last < n // 2 - m // 2 + m]
    assert (rows, columns) == (min(holds), 1)


def test_full_centre() -> None:
    sampled = half(slice(None, None, 2)) | half(slice(20, 29), slice(5, 33))
    rows, columns = full_centre(sampled)
    assert sampled[rows, columns].all()
    assert rows.start <= 24 < rows.stop
    assert columns.start <= 20 < columns.stop
    assert (rows, columns) == (slice(20, 29), slice(5, 33))
    assert full_centre(~sampled) == (slice(0, 0), slice(0, 0))


def test_oversampling_is_cut_in_the_image() -> None:
    reduction = Reduction((96, 40), (48, 40), (48, 40))
    image = thing(96, 40)
    image[:24] = image[72:] = 0
    wide = to_kspace(image).astype(np.complex64)
    assert_allclose(reduction(wide), to_kspace(image[24:72]), atol=1e-5)
    # An asymmetric echo stays one: what lies between measured samples is known.
    sampled = np.zeros((96, 40), bool)
    sampled[30:] = True
    kept = reduced_mask(sampled, (48, 40))
    assert_array_equal(kept.all(1), np.arange(48) >= 15)
    assert_array_equal(kept.all(1), kept.any(1))


def test_coils_share_the_coverage(tmp_path: Path) -> None:
    kspace = measured(2, 0.01)
    kspace[0, 3, 4] = 0  # one coil's exact zero is chance
    np.save(tmp_path / "a.npy", kspace)
    assert read(tmp_path / "a.npy", coil_axis=0).coverage is None
