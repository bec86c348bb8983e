"""Zeros that a scanner filled in are found; what it measured is left alone."""

import numpy as np
import pytest
import torch

from kfine import restore
from kfine.acquisition.zero_fill import measured_block, without_filling
from kfine.image import Image, Source
from kfine.operators.fourier import fft2c, ifft2c
from kfine.operators.kspace import centre_crop, centre_pad
from tests.conftest import scanned


def dicom(voxels: np.ndarray, told: tuple[int, int] | None = None) -> Image:
    return Image(voxels, source=Source(kind="dicom", name="a", digest="0" * 64, acquired_matrix=told))


def filters(count: int) -> dict[str, np.ndarray]:
    """Return what scanners weigh the `count` lines of an axis with."""
    at = np.abs(np.arange(count) - count // 2) / (count / 2)
    return {
        "none": np.ones(count),
        "Hann": 0.5 + 0.5 * np.cos(np.pi * at),
        "Hamming": 0.54 + 0.46 * np.cos(np.pi * at),
        "Tukey": 0.5 + 0.5 * np.cos(np.pi * np.clip((at - 0.8) / 0.2, 0, 1)),
        "Fermi": 1 / (1 + np.exp((at - 0.9) / 0.025)),
        "Fermi at the end": 1 / (1 + np.exp((at - 1) / 0.03)),
    }


def delivered(
    matrix: int, rows: int, columns: int, kind: str = "none", *, ellipse: bool = False, sigma: float = 0.005
) -> np.ndarray:
    """Return two magnitude slices of many ellipses, measured in a block, filtered along both axes and filled up."""
    slices = []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[:512, :512] / 512 - 0.5
        inside = (y / 0.42) ** 2 + (x / 0.34) ** 2 < 1
        image = inside * 1.0
        for _ in range(60):
            (cy, cx), (a, b) = rng.uniform(-0.3, 0.3, 2), rng.uniform(0.004, 0.05, 2)
            image += (((y - cy) / a) ** 2 + ((x - cx) / b) ** 2 < 1) * rng.uniform(-0.4, 0.4) * inside
        phase = np.exp(1j * (0.7 * y + 0.5 * x + x * y))
        kspace = centre_crop(fft2c(torch.from_numpy(image * phase)), (rows, columns)).numpy()
        kspace = kspace + sigma * (rng.normal(size=kspace.shape) + 1j * rng.normal(size=kspace.shape))
        kspace *= np.outer(filters(rows)[kind], filters(columns)[kind])
        if ellipse:
            r, c = np.mgrid[:rows, :columns]
            kspace *= np.hypot((r - rows // 2) / (rows / 2), (c - columns // 2) / (columns / 2)) <= 1
        slices.append(ifft2c(centre_pad(torch.from_numpy(kspace), (matrix, matrix))).abs().numpy())
    return np.rint(np.stack(slices)[None] * 1000)


@pytest.mark.parametrize("kind", filters(8))
@pytest.mark.parametrize("ellipse", [False, True])
@pytest.mark.parametrize("block", [(128, 160), (192, 256)])
def test_blocks_are_found_and_never_too_small(block: tuple[int, int], ellipse: bool, kind: str) -> None:
    voxels = delivered(256, *block, kind, ellipse=ellipse)
    for told in (
        None,
        (96, 128),
    ):  # without a header's word, and with one that the spectrum does not bear out
        found = measured_block(dicom(voxels, told))
        assert all(n >= m - 2 for n, m in zip(found, block, strict=True)), (told, found)
    assert measured_block(Image(voxels)) == (256, 256)


@pytest.mark.parametrize("kind", ["none", "Hamming", "Fermi at the end"])
def test_blocks_are_not_much_too_large(kind: str) -> None:
    found = measured_block(dicom(delivered(256, 128, 160, kind)))
    assert found[0] < 192
    assert found[1] < 208


@pytest.mark.parametrize("kind", ["none", "Hann", "Hamming"])
def test_the_header_is_taken_at_its_word_where_the_spectrum_ends_there(kind: str) -> None:
    assert measured_block(dicom(delivered(256, 128, 160, kind), (128, 160))) == (128, 160)


@pytest.mark.parametrize("kind", filters(8))
@pytest.mark.parametrize("ellipse", [False, True])
def test_the_header_makes_no_block_larger_or_too_small(kind: str, ellipse: bool) -> None:
    voxels = delivered(256, 128, 160, kind, ellipse=ellipse)
    without, found = measured_block(dicom(voxels)), measured_block(dicom(voxels, (128, 160)))
    for told, n, most in zip((128, 160), found, without, strict=True):
        assert told <= n <= most


@pytest.mark.parametrize("kind", filters(8))
def test_a_filter_alone_is_no_zero_filling(kind: str) -> None:
    voxels = delivered(160, 160, 160, kind)
    assert measured_block(dicom(voxels)) == (160, 160)
    assert measured_block(dicom(voxels, (112, 120))) == (160, 160)


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
