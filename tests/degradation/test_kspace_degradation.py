"""degrade(): measured frames, their times, and unchanged voxels."""

import numpy as np
import pytest

import kfine
from kfine.errors import InputError, UsageError
from kfine.image import Image, Source
from tests.conftest import phantom

TIMES = tuple(0.02 + 0.1 * number for number in range(7))


def cine(*, period=0.7, times=TIMES, complex_=False):
    voxels = phantom((7, 2, 16, 12))
    return Image(voxels * np.exp(0.3j) if complex_ else voxels, frame_times=times, period=period)


@pytest.mark.parametrize("complex_", [False, True])
def test_kept_frames_are_the_same_to_the_bit_at_their_times(complex_):
    image = cine(complex_=complex_)
    low = kfine.degrade(image, keep_every=3)
    assert np.array_equal(low.voxels, image.voxels[::3])
    assert (low.frame_times, low.period) == (TIMES[::3], 0.7)
    assert low.measured == complex_
    np.testing.assert_array_equal(low.affine, image.affine)


def test_averages_go_round_the_cycle_only_with_a_period():
    image, line = cine(), cine(period=None)
    wrapped, short = (kfine.degrade(one, average=3) for one in (image, line))
    v = image.voxels
    np.testing.assert_allclose(wrapped.voxels[2], (v[6] + v[0] + v[1]) / 3, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(wrapped.voxels[1], v[3:6].mean(0), rtol=1e-5, atol=1e-3)
    assert wrapped.frame_times == pytest.approx((0.12, 0.42, 0.72))
    assert wrapped.period == 0.7
    np.testing.assert_allclose(short.voxels[2], v[6], rtol=1e-5)
    assert short.frame_times == pytest.approx((0.12, 0.42, 0.62))
    assert short.period is None


@pytest.mark.parametrize("frames", [{"keep_every": 2}, {"average": 2}])
@pytest.mark.parametrize("complex_", [False, True])
def test_time_and_space_in_either_order(frames, complex_):
    image = cine(complex_=complex_)
    both = kfine.degrade(image, matrix=(7, 8), signed=True, **frames)
    assert both.voxels.shape == (4, 2, 7, 8)
    for one, other in [({"matrix": (7, 8)}, frames), (frames, {"matrix": (7, 8)})]:
        steps = kfine.degrade(kfine.degrade(image, signed=True, **one), signed=True, **other)
        np.testing.assert_allclose(steps.voxels, both.voxels, atol=1e-2)
        np.testing.assert_allclose(steps.affine, both.affine)
        assert steps.frame_times == both.frame_times


def test_the_noise_of_a_plane_is_its_own():
    """Frame 4 has the same noise with and without the frames between."""
    noisy = kfine.degrade(cine(), matrix=(8, 6), noise=0.1, seed=3)
    kept = kfine.degrade(cine(), matrix=(8, 6), keep_every=2, noise=0.1, seed=3)
    np.testing.assert_allclose(kept.voxels, noisy.voxels[::2], atol=1e-2)


def test_slices_of_the_degraded_volume_are_those_of_the_whole():
    """The same noise, and of the same strength, although the brightest slice is not among them."""
    volume = Image(phantom((1, 4, 16, 12)) * np.array([1, 2, 1, 9], np.float32)[:, None, None])
    whole = kfine.degrade(volume, matrix=(8, 6), noise=0.1, seed=3)
    part = kfine.degrade(volume, matrix=(8, 6), noise=0.1, seed=3, slices=(1, 3))
    np.testing.assert_array_equal(part.voxels, whole.voxels[:, 1:3])
    np.testing.assert_allclose(part.affine, whole.take_slices(1, 3).affine)


@pytest.mark.parametrize(
    ("acquired", "left"), [(None, None), ((12, 10), None), ((6, 10), (6, 6)), ((6, 4), (6, 4))]
)
def test_what_the_scanner_had_measured_shrinks_with_the_matrix(acquired, left):
    source = Source(kind="dicom", name="scan", digest="a" * 64, acquired_matrix=acquired)
    image = Image(phantom((1, 1, 16, 12)), source=source)
    low = kfine.degrade(image, matrix=(8, 6))
    assert low.source == Source(kind="dicom", name="scan", acquired_matrix=left)
    record = kfine.restore(low, scale=2, method="zero-filling").provenance
    assert record["input"]["sha256"] == ""  # the digest of the file is not that of what was restored


def test_frames_without_times():
    image = cine(times=None, period=None)
    for frames in ({"keep_every": 3}, {"average": 3}):
        assert kfine.degrade(image, **frames).frame_times is None


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({}, UsageError, "got neither"),
        ({"keep_every": 2, "average": 2}, UsageError, "either keep_every or average"),
        ({"keep_every": 0}, UsageError, "keep_every 0: expected a number of at least 1"),
        ({"average": -1}, UsageError, "average -1"),
        ({"keep_every": 8}, InputError, "keep_every 8: expected at most the image's 7 frames"),
        ({"average": 8}, InputError, "average 8: expected at most"),
        ({"average": 2, "matrix": (17, 12)}, InputError, "17x12"),
        ({"average": 2, "noise": -1}, UsageError, "noise"),
    ],
)
def test_refusals(options, error, says):
    with pytest.raises(error, match=says):
        kfine.degrade(cine(), **options)


def test_a_single_frame_has_no_frames_to_leave_out(image):
    for options in ({"keep_every": 2}, {"average": 1}):
        with pytest.raises(InputError, match="the image has one"):
            kfine.degrade(image, **options)
