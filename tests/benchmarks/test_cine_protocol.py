"""What the two protocols measure: which frames, on which grid, with which grey values."""

from dataclasses import replace

import numpy as np
import pytest
from cine_protocol import PROTOCOLS, measured, truth_of
from cine_scores import score_slice, summary

import kfine
from kfine.errors import InputError
from kfine.methods.interpolation import cubic, interpolation_matrix
from kfine.phantom.cine import beating_heart

STUDY = beating_heart((64, 48), frames=10, slices=2)
PUBLISHED = PROTOCOLS["published"][0]


def test_the_kspace_protocol_crops_and_drops():
    assert {(s.scale, s.keep_every) for s in PROTOCOLS["kspace"]} == {(2, 2), (2, 4), (4, 2), (4, 4)}
    for setting in PROTOCOLS["kspace"]:
        truth = truth_of(STUDY, setting)
        assert truth.data_range == pytest.approx(np.ptp(STUDY.voxels))
        scan = measured(truth, setting)
        expected = kfine.degrade(STUDY, scale=setting.scale, keep_every=setting.keep_every)
        np.testing.assert_array_equal(scan.voxels, expected.voxels)
        assert scan.frame_times == expected.frame_times
        numbers = np.flatnonzero(setting.measured(10))
        assert numbers.tolist() == list(range(0, 10, setting.keep_every))


def test_of_20_frames_every_8th_leaves_a_short_last_gap():
    assert np.flatnonzero(PUBLISHED.measured(20)).tolist() == [0, 8, 16]
    truth = truth_of(STUDY, PUBLISHED)
    scan = measured(truth, PUBLISHED)
    assert scan.frame_times == (STUDY.frame_times[0], STUDY.frame_times[8])
    assert scan.period == STUDY.period


def test_the_published_truth_has_eight_bits():
    truth = truth_of(STUDY, PUBLISHED)
    voxels = truth.image.voxels
    assert (truth.data_range, voxels.min(), voxels.max()) == (255, 0, 255)
    assert set(np.unique(voxels)) <= set(range(256))
    white = np.quantile(STUDY.voxels, 0.999)
    middle = (STUDY.voxels > 0) & (STUDY.voxels < 0.95 * white)
    np.testing.assert_allclose(voxels[middle], STUDY.voxels[middle] * 255 / white, atol=0.51)


def test_the_published_scan_is_random_by_seed_and_slice():
    truth = truth_of(STUDY, PUBLISHED)
    scan = measured(truth, PUBLISHED, seed=1)
    assert scan.voxels.shape == (2, 2, 16, 12)
    np.testing.assert_array_equal(measured(truth, PUBLISHED, seed=1).voxels, scan.voxels)
    assert not np.array_equal(measured(truth, PUBLISHED, seed=2).voxels, scan.voxels)
    # A slice's draw does not depend on how many there are.
    alone = truth_of(STUDY.take_slices(0, 1), PUBLISHED)
    alone = replace(alone, image=truth.image.take_slices(0, 1))
    np.testing.assert_array_equal(measured(alone, PUBLISHED, seed=1).voxels[:, 0], scan.voxels[:, 0])


def test_the_published_scan_lies_on_the_k_space_grid():
    """Bicubic enlargement of several draws is best where it is, worse when moved by half a coarse pixel."""
    truth = truth_of(STUDY, PUBLISHED)
    rows, columns = (interpolation_matrix(cubic, n // 4, n).numpy() for n in truth.image.matrix)
    errors = {0: 0.0, 2: 0.0, -2: 0.0}
    for seed in range(4):
        large = rows @ measured(truth, PUBLISHED, seed=seed).voxels[0, 0] @ columns.T
        for shift in errors:
            moved = np.roll(large, (shift, shift), (0, 1))
            errors[shift] += float(np.abs(moved - truth.image.voxels[0, 0]).mean())
    assert errors[0] < 0.97 * min(errors[2], errors[-2])


def test_the_acquired_truth_has_no_empty_k_space():
    source = replace(STUDY.source, acquired_matrix=(48, 48))
    study = replace(STUDY, source=source)
    truth = truth_of(study, PROTOCOLS["kspace"][0], acquired=True)
    assert truth.image.matrix == (48, 48)
    assert truth.image.source.acquired_matrix is None
    assert measured(truth, PROTOCOLS["kspace"][0]).matrix == (24, 24)
    with pytest.raises(InputError, match="no acquired matrix"):
        truth_of(STUDY, PROTOCOLS["kspace"][0], acquired=True)


def test_times_rounded_to_milliseconds_are_evened_and_others_kept():
    exact = tuple(0.01 + 0.0887 * frame for frame in range(10))
    rounded = replace(STUDY, frame_times=tuple(round(time, 3) for time in exact), period=0.887)
    assert truth_of(rounded, PUBLISHED).image.frame_times == pytest.approx(exact, abs=1e-12)
    uneven = replace(rounded, frame_times=(*rounded.frame_times[:9], 0.86))
    assert truth_of(uneven, PUBLISHED).image.frame_times == uneven.frame_times


def test_a_still_image_has_no_protocol():
    still = replace(STUDY, voxels=STUDY.voxels[:1], frame_times=None, period=None)
    with pytest.raises(InputError, match="single frame"):
        truth_of(still, PUBLISHED)


def scored(restored, kept, **options):
    truth = STUDY.voxels[:, 0]
    return score_slice(
        truth, restored, slice=0, measured=kept, data_range=1000.0, white=900.0, cyclic=True, **options
    )


def test_measured_frames_and_frames_between_have_separate_scores():
    kept = np.arange(10) % 2 == 0
    wrong = np.where(kept[:, None, None], 0, 50) + STUDY.voxels[:, 0]
    found = summary([scored(wrong, kept, distances={"mean": lambda a, b: np.abs(a - b).mean((1, 2))})])
    assert found["measured"]["psnr"] == np.inf
    assert found["between"]["psnr"] == pytest.approx(20 * np.log10(1000 / 50))
    assert found["measured"]["mean"] == pytest.approx(0, abs=1e-6)
    assert found["between"]["mean"] == pytest.approx(50 / 900, rel=1e-5)
    assert found["all"]["temporal"] == pytest.approx(0.05)
    assert found["between"]["ssim"] < found["measured"]["ssim"] == pytest.approx(1)


def test_without_frames_between_there_are_no_scores_of_them():
    found = summary([scored(STUDY.voxels[:, 0], np.ones(10, bool))])
    assert found["between"] == {}
    assert found["all"]["temporal"] == 0
