"""Several coils to one image."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from raw_files import COILS, COLUMNS, ROWS, coils, measured, noise, thing, to_kspace
from refusals import refused

from kfine.errors import InputError, UsageError
from kfine.io import read
from kfine.io.kspace.coils import coil_scan, sensitivities_of, whitened

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
OBJECT = np.abs(thing()) > 0.5
ROW, COLUMN = np.indices((ROWS, COLUMNS))
CENTRE = (abs(ROW - 24) < 8) & (abs(COLUMN - 20) < 8)


def saved(tmp_path: Path, kspace: np.ndarray) -> Path:
    np.save(tmp_path / "a.npy", kspace)
    return tmp_path / "a.npy"


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_fully_sampled_coils_give_the_object(tmp_path: Path, axis: int) -> None:
    path = saved(tmp_path, np.moveaxis(measured(), 0, axis))
    image = read(path, coil_axis=axis)
    assert image.measured
    assert image.coverage is None
    assert_allclose(np.abs(image.voxels[0, 0])[OBJECT], np.abs(thing())[OBJECT], atol=0.03)
    facts = image.source.acquisition
    assert (facts["coils"], facts["combined_by"]) == (COILS, "sensitivities")
    assert facts["samples_unexplained"] < 0.05


def test_the_phase_stays_smooth(tmp_path: Path) -> None:
    image = read(saved(tmp_path, measured()), coil_axis=0).voxels[0, 0]
    inside = OBJECT[:-1] & OBJECT[1:]
    steps = np.angle(image[1:] * image[:-1].conj())[inside]
    assert np.abs(steps).max() < 0.3


def test_sensitivities_from_the_centre() -> None:
    maps = sensitivities_of(measured(), CENTRE, name="a").numpy()
    assert_allclose((np.abs(maps) ** 2).sum(0), 1, atol=1e-5)
    # A phase that all coils share is the image's.
    alike = np.abs((maps.conj() * coils()).sum(0))
    assert alike[OBJECT].min() > 0.99


def test_root_sum_of_squares(tmp_path: Path) -> None:
    image = read(saved(tmp_path, measured()), coil_axis=0, combine="rss")
    assert not image.measured
    assert_allclose(image.voxels[0, 0], np.abs(thing()), atol=1e-5)


def test_undersampled_coils(tmp_path: Path) -> None:
    """Every other line and a full centre: four coils determine nearly all of it, one does not."""
    sampled = (ROW % 2 == 0) | CENTRE
    kspace = measured(COILS, 0.003) * sampled
    image = read(saved(tmp_path, kspace), coil_axis=0)
    assert image.coverage is None or image.coverage.mean() > 0.9
    error = np.abs(image.voxels[0, 0])[OBJECT] - np.abs(thing())[OBJECT]
    rss = np.abs(read(saved(tmp_path, kspace), coil_axis=0, combine="rss").voxels[0, 0])[OBJECT]
    aliased = rss - np.abs(thing())[OBJECT]
    assert np.sqrt((error**2).mean()) < 0.3 * np.sqrt((aliased**2).mean())
    alone = read(saved(tmp_path, kspace[0]))
    assert alone.coverage.mean() == pytest.approx(sampled.mean())


def test_a_missing_side_is_not_made_up(tmp_path: Path) -> None:
    """Coils tell what lies between samples, not what lies beyond them."""
    sampled = ROW >= 14
    image = read(saved(tmp_path, measured(COILS, 0.003) * sampled), coil_axis=0)
    assert image.matrix == (2 * 23 + 1, COLUMNS)  # rows -10 to 23 about the origin
    assert not image.coverage[: 23 - 10].any()
    assert image.coverage[23 - 8 :].all()
    assert np.abs(to_kspace(image.voxels[0, 0])[~image.coverage]).max() < 1e-5


def test_frames_share_their_coils(tmp_path: Path) -> None:
    kspace = np.stack([measured(COILS, 0.02, seed) for seed in range(3)])[:, None]
    image = read(saved(tmp_path, kspace), coil_axis=2)
    assert image.voxels.shape == (3, 1, ROWS, COLUMNS)
    for frame in image.voxels[:, 0]:
        assert np.abs(np.angle(frame * image.voxels[0, 0].conj()))[OBJECT].mean() < 0.05


def test_frames_sampled_in_turn(tmp_path: Path) -> None:
    """Even lines in one frame, odd ones in the next: with coils both are known alike, with one coil neither is."""
    masks = np.stack([(turn == ROW % 2) | CENTRE for turn in (0, 1)])
    kspace = (np.stack([measured(COILS, 0.003, seed) for seed in (0, 1)]) * masks[:, None])[:, None]
    image = read(saved(tmp_path, kspace), coil_axis=2)
    assert image.coverage is None or image.coverage.mean() > 0.9
    for frame in image.voxels[:, 0]:
        assert np.sqrt(((np.abs(frame) - np.abs(thing()))[OBJECT] ** 2).mean()) < 0.05
    refused(InputError, "sampled alike", read, saved(tmp_path, kspace[:, :, 0]))


def test_every_slice_has_coils_of_its_own(tmp_path: Path) -> None:
    """The coils of one slice determine nearly all, those of the other, all alike, only what was sampled."""
    sampled = (ROW % 2 == 0) | CENTRE
    good = measured(COILS, 0.003) * sampled
    poor = np.stack([to_kspace(thing()) / 2] * COILS) * sampled
    nearly_all, little = (read(saved(tmp_path, slice_), coil_axis=0).coverage for slice_ in (good, poor))
    assert little.mean() < 0.8
    for slices in ([good, poor], [poor, good]):
        both = read(saved(tmp_path, np.stack(slices)), coil_axis=1).coverage
        assert_array_equal(both, little if nearly_all is None else little & nearly_all)


def test_noise_of_combined_coils(tmp_path: Path) -> None:
    """The noise that is told is that of the combined k-space: measured against the same without noise."""
    for sampled in (np.ones((ROWS, COLUMNS), bool), (ROW % 2 == 0) | CENTRE):
        image = read(saved(tmp_path, measured(COILS, 0.05) * sampled), coil_axis=0)
        operator = coil_scan(torch.from_numpy(coils().astype(np.complex64)), sampled)
        y = torch.from_numpy((noise((COILS, ROWS, COLUMNS), 0.05) * sampled).astype(np.complex64))
        alone = to_kspace(operator.pseudo_inverse(y).numpy())
        kept = np.ones((ROWS, COLUMNS), bool) if image.coverage is None else image.coverage
        assert image.source.acquisition["noise"] == pytest.approx(alone[kept].real.std(), rel=0.25)


def test_whitening() -> None:
    mixing = np.array([[1.0, 0.5j], [0.2, 2.0]])
    alone = (mixing @ noise((2, 4000), 1.0)).astype(np.complex64)
    white = whitened(alone[:, :, None], alone)[:, :, 0]
    covariance = np.cov(white)
    power = np.trace(np.cov(alone)).real / 2
    assert_allclose(covariance, power * np.eye(2), atol=0.01 * power)
    assert whitened(alone[:, :, None], None) is not None
    assert_allclose(whitened(alone[:, :, None], alone[:, :1]), alone[:, :, None])


def test_refusals(tmp_path: Path) -> None:
    without_centre = measured() * ((ROW % 2 == 0) & (COLUMN % 2 == 0))
    refused(InputError, "fully sampled centre", read, saved(tmp_path, without_centre), coil_axis=0)
    assert read(tmp_path / "a.npy", coil_axis=0, combine="rss").voxels.dtype == np.float32
    path = saved(tmp_path, measured())
    refused(InputError, "another axis is that of the coils", read, path, coil_axis=1)
    refused(InputError, "another axis is that of the coils", read, path, coil_axis=-1)
    refused(UsageError, "expected one of the 3 axes", read, path, coil_axis=3)
    refused(UsageError, "expected one of sensitivities, rss", read, path, coil_axis=0, combine="sum")
    refused(
        InputError,
        "origin in the middle",
        read,
        saved(tmp_path, np.fft.fftshift(measured(), (1, 2))),
        coil_axis=0,
    )
    refused(InputError, "zeros throughout", read, saved(tmp_path, 0 * measured()), coil_axis=0)
    broken = measured()
    broken[2, 3, 4] = np.nan
    refused(InputError, "NaN or Inf", read, saved(tmp_path, broken), coil_axis=0)
