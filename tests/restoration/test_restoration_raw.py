"""restore() of raw k-space: what was measured is kept, and only that."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kfine import restore
from kfine.degradation.kspace import degrade
from kfine.errors import InputError, UsageError
from kfine.image import Image, Source, magnitude
from kfine.intensity import Scaling
from kfine.operators.fourier import fft2c, ifft2c

ROWS, COLUMNS = 24, 20
ROW, COLUMN = np.indices((ROWS, COLUMNS))
SAMPLED = {
    "all": np.ones((ROWS, COLUMNS), bool),
    "partial Fourier": ROW >= 9,
    "ellipse": np.hypot((ROW - 12) / 12, (COLUMN - 10) / 10) <= 1,
    "undersampled": (ROW % 2 == 0) | (abs(ROW - 12) < 4),
}


def image_of(sampled: np.ndarray, slices: int = 2) -> Image:
    rng = np.random.default_rng(0)
    spots = np.exp(-((ROW - 12) ** 2 + (COLUMN - 10) ** 2) / 20) + 0.05 * rng.normal(
        size=(1, slices, ROWS, COLUMNS)
    )
    kspace = fft2c(torch.from_numpy(spots * np.exp(0.05j * ROW))) * torch.from_numpy(sampled)
    return Image(ifft2c(kspace).numpy(), coverage=sampled)


def kspace_of(image: Image) -> np.ndarray:
    return fft2c(torch.from_numpy(image.voxels.copy())).numpy()


@pytest.mark.parametrize("kind", SAMPLED)
def test_what_was_measured_stays(kind: str) -> None:
    sampled = SAMPLED[kind]
    low = image_of(sampled)
    result = restore(low, matrix=(30, 32), method="zero-filling")
    assert result.residual < 1e-6
    restored = (
        kspace_of(result.mean)[..., 3 : 3 + ROWS, 6 : 6 + COLUMNS] * (ROWS * COLUMNS / (30 * 32)) ** 0.5
    )
    np.testing.assert_allclose(restored[..., sampled], kspace_of(low)[..., sampled], atol=1e-5)
    assert result.provenance["kspace"] == "measured"
    assert result.mean.coverage is None


def test_samples_fill_in_what_was_not_measured(tiny_model) -> None:
    """A network's samples differ where nothing was measured, inside the block as well as outside, and nowhere else."""
    sampled = SAMPLED["partial Fourier"]
    low = image_of(sampled, slices=1)
    result = restore(
        low, matrix=(32, 32), model=tiny_model, steps=2, samples=2, seed=1, keep_samples=True, precision="float32"
    )  # fmt: skip
    assert result.residual < 1e-5
    first, second = (kspace_of(sample)[0, 0, 4 : 4 + ROWS, 6 : 6 + COLUMNS] for sample in result.samples)
    differ = np.abs(first - second)
    assert differ[sampled].max() < 1e-4 * np.abs(first).max()
    assert differ[~sampled].mean() > 1e-3 * np.abs(first).mean()


def test_coverage_belongs_to_parts_and_degraded_images() -> None:
    low = image_of(SAMPLED["ellipse"])
    assert low.take_slices(0, 1).coverage is not None
    assert magnitude(low).coverage is None
    coarse = degrade(low, matrix=(22, 16))
    np.testing.assert_array_equal(coarse.coverage, low.coverage[1:23, 2:18])
    assert degrade(low, matrix=(12, 10)).coverage is None


def test_noise_is_of_what_was_measured() -> None:
    coarse = degrade(image_of(SAMPLED["ellipse"]), matrix=(22, 16), noise=0.05)
    assert np.abs(kspace_of(coarse)[0, 0][~coarse.coverage]).max() < 1e-5 * np.abs(coarse.voxels).max()
    assert restore(coarse, scale=2, method="zero-filling").residual < 1e-6


@pytest.mark.parametrize(("average", "noise"), [(None, 0.0), (2, 0.0), (None, 0.01)])
def test_the_noise_that_is_known_is_that_of_the_degraded_image(average, noise) -> None:
    rng = np.random.default_rng(0)
    pure = (0.02 * rng.standard_normal((2, 2, 2, 64, 64))).astype(np.float32)
    bright = np.zeros((64, 64), np.float32)
    bright[20:44, 20:44] = 1
    pair = [
        Image(
            bright + (pure[0] + 1j * pure[1]) * on,
            source=Source(kind="kspace", acquisition={"coils": 1, "noise": 0.02}),
        )
        for on in (0, 1)
    ]
    clean, noisy = (
        degrade(image, matrix=(32, 32), average=average, noise=noise * on, seed=1)
        for on, image in enumerate(pair)
    )
    found = (noisy.voxels - clean.voxels).real.std()
    assert noisy.source.acquisition["coils"] == 1
    assert noisy.source.acquisition["noise"] == pytest.approx(found, rel=0.05)


def test_noise_of_the_data(tiny_model) -> None:
    low = image_of(SAMPLED["all"], slices=1)
    with pytest.raises(UsageError, match="raw k-space"):
        restore(low, scale=2, model=tiny_model, noise="data")
    full = Scaling.of(low.voxels).full
    told = replace(low, source=Source(kind="kspace", acquisition={"noise": 0.02 * full}))
    results = [
        restore(image, scale=2, model=tiny_model, noise=n) for image, n in ((told, "data"), (low, 0.02))
    ]
    np.testing.assert_array_equal(*(result.mean.voxels for result in results))
    assert results[0].provenance["acquisition"] == {"noise": 0.02 * full}


def test_coverage_must_fit() -> None:
    voxels = image_of(SAMPLED["all"]).voxels
    for wrong in (np.ones((3, 3), bool), np.zeros((ROWS, COLUMNS), bool)):
        with pytest.raises(InputError, match="coverage"):
            Image(voxels, coverage=wrong)
    with pytest.raises(InputError, match="coverage"):
        Image(np.abs(voxels), coverage=SAMPLED["ellipse"])
