"""Zeros that a scanner filled in are found; what it measured is left alone."""

import numpy as np
import pytest

from kfine import restore
from kfine.acquisition.zero_fill import measured_block, without_filling
from kfine.image import Image, Source
from tests.conftest import scanned


def dicom(voxels: np.ndarray, told: tuple[int, int] | None = None) -> Image:
    return Image(voxels, source=Source(kind="dicom", name="a", digest="0" * 64, acquired_matrix=told))


@pytest.mark.parametrize("block", [(96, 96), (100, 80), (77, 128)])
def test_blocks_are_found(block: tuple[int, int]) -> None:
    voxels = scanned((128, 128), block, sigma=0.001)
    assert measured_block(dicom(voxels, block)) == block
    # Without a header's word some lines too many, none too few.
    found = measured_block(dicom(voxels))
    assert all(n >= m for n, m in zip(found, block, strict=True))
    assert min(found) < min(block) + 10
    # The word of a header that the spectrum does not bear out is not taken.
    assert measured_block(dicom(voxels, (64, 64))) == found
    assert measured_block(Image(voxels)) == (128, 128)


@pytest.mark.parametrize("sigma", [0.001, 0.1])
def test_full_kspace_is_left_alone(sigma: float) -> None:
    voxels = scanned((128, 120), (128, 120), sigma=sigma)
    assert measured_block(dicom(voxels, (96, 120))) == (128, 120)


def test_images_that_fade_have_no_block() -> None:
    r, c = np.meshgrid(*(np.arange(128) - 64 for _ in range(2)), indexing="ij")
    for width in (3, 12):
        blob = np.exp(-(r**2 + c**2) / (2 * width**2)) + 1e-4 * np.random.default_rng(0).normal(size=r.shape)
        assert measured_block(dicom(blob[None, None])) == (128, 128)
    flat = np.ones((1, 1, 128, 128))
    assert measured_block(dicom(flat)) == (128, 128)
    assert measured_block(dicom(np.ones((1, 1, 6, 5)))) == (6, 5)


def test_without_filling_keeps_place_and_grey_values() -> None:
    image = dicom(scanned((128, 128), (96, 96)))
    low = without_filling(image, (96, 96))
    assert low.matrix == (96, 96)
    assert low.voxels.mean() == pytest.approx(image.voxels.mean(), rel=1e-3)
    np.testing.assert_allclose(low.affine @ [0, 48, 48, 1], image.affine @ [0, 64, 64, 1])


def test_restore_takes_the_measured_block() -> None:
    image = dicom(scanned((128, 128), (96, 96), sigma=0.001), (96, 96))
    with pytest.warns(UserWarning, match="96x96"):
        result = restore(image, matrix=(128, 128), method="zero-filling")
    assert result.provenance["matrix"]["measured"] == [96, 96]
    assert result.provenance["matrix"]["displayed"] == [128, 128]
    assert result.mean.matrix == (128, 128)
    np.testing.assert_allclose(result.mean.affine, image.affine)
    twice = restore(image, scale=2, method="zero-filling").mean
    assert twice.matrix == (256, 256)
