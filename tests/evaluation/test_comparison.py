import json
import math
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

import kfine
from kfine.errors import InputError
from kfine.evaluation.comparison import FOREGROUND, compare, grid_distance, table
from kfine.evaluation.foreground import foreground
from kfine.evaluation.metrics import nrmse, psnr, ssim
from kfine.image import Image, Source


def test_rows_and_means_are_those_of_the_metrics(case):
    result = compare(case.reference, case.zero_filled)
    a, b = case.reference.voxels[0], case.zero_filled.voxels[0]
    inside = foreground(case.reference)[0]
    assert result.data_range == pytest.approx(float(a.max() - a.min()))
    assert result.mask == FOREGROUND
    options = {"data_range": result.data_range}
    for row, x, y, mask in zip(result.slices[:2], a, b, inside, strict=False):
        assert row.whole.psnr == psnr(x, y, **options)
        assert row.whole.ssim == ssim(x, y, **options)
        assert row.inside.psnr == psnr(x, y, mask=mask, **options)
        assert row.inside.ssim == ssim(x, y, mask=mask, **options)
        assert row.inside.nrmse == nrmse(x, y, mask=mask)
    assert result.whole.psnr == pytest.approx(np.mean([row.whole.psnr for row in result.slices[:2]]))
    assert result.inside.ssim == pytest.approx(np.mean([row.inside.ssim for row in result.slices[:2]]))


def test_pooled_psnr_pools_the_error(case):
    result = compare(case.reference, case.zero_filled)
    error = (case.zero_filled.voxels - case.reference.voxels)[0, :2].astype(np.float64)
    inside = foreground(case.reference)[0, :2]
    for pooled, values in ((result.pooled_whole, error), (result.pooled_inside, error[inside])):
        assert pooled == pytest.approx(10 * math.log10(result.data_range**2 / np.mean(values**2)))
    assert result.pooled_whole != pytest.approx(result.whole.psnr, abs=1e-3)


def test_an_empty_slice_is_listed_and_not_averaged(case):
    noisy = case.zero_filled.voxels.copy()
    noisy[0, 2] += 500  # in the empty slice
    spoilt = compare(case.reference, replace(case.zero_filled, voxels=noisy))
    clean = compare(case.reference, case.zero_filled)
    assert [row.empty for row in clean.slices] == [False, False, True]
    assert spoilt.slices[2].whole.psnr < 10
    assert (spoilt.whole, spoilt.pooled_whole) == (clean.whole, clean.pooled_whole)
    assert clean.averaged == 2
    assert clean.as_dict()["slices_empty"] == 1


def test_a_given_mask_restricts(case):
    mask = np.zeros(case.reference.voxels.shape[1:], dtype=bool)
    mask[1, 40:50, 40:50] = True
    result = compare(case.reference, case.zero_filled, mask=mask)
    at = (0, 1)
    expected = psnr(case.reference.voxels[at], case.zero_filled.voxels[at], data_range=1000.0, mask=mask[1])
    assert result.inside.psnr == pytest.approx(expected, abs=0.1)
    assert result.mask == "given"
    assert math.isnan(result.slices[0].inside.psnr)
    assert result.whole == compare(case.reference, case.zero_filled).whole


def test_every_frame_is_compared():
    rng = np.random.default_rng(0)
    voxels = rng.random((2, 3, 20, 20)).astype(np.float32)
    result = compare(Image(voxels), Image(voxels + 0.1))
    assert [(row.frame, row.slice) for row in result.slices] == [(f, s) for f in range(2) for s in range(3)]


def test_a_mask_of_one_frame_holds_for_all():
    voxels = np.random.default_rng(0).random((2, 3, 20, 20)).astype(np.float32)
    reference, restored = Image(voxels), Image(voxels + 0.1)
    mask = voxels[:1] > 0.5
    results = [compare(reference, restored, mask=m) for m in (mask, mask[0], np.repeat(mask, 2, axis=0))]
    assert results[0] == results[1] == results[2]


def test_complex_images_are_compared_by_magnitude(case):
    turned = replace(case.zero_filled, voxels=case.zero_filled.voxels * np.exp(1j))
    magnitude = replace(case.zero_filled, voxels=np.abs(case.zero_filled.voxels))
    assert compare(case.reference, turned).whole.psnr == pytest.approx(
        compare(case.reference, magnitude).whole.psnr, abs=1e-4
    )


def test_the_dictionary_is_strict_json(case):
    values = compare(case.reference, case.reference).as_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values["mean"]["whole"] == {"psnr": "inf", "ssim": pytest.approx(1), "nrmse": 0}
    assert values["slices"][2]["inside"]["psnr"] is None


def test_another_matrix_is_refused(case):
    named = replace(case.low, source=Source(name="low.nii.gz"))
    with pytest.raises(
        InputError, match=r"low\.nii\.gz: .*1x3x96x80.*1x3x37x31.*matrix=\(96, 80\)"
    ) as caught:
        compare(case.reference, named)
    assert "\n" not in str(caught.value)


def test_a_part_of_the_slices_is_refused_with_the_way_out(case):
    with pytest.raises(InputError, match=r"1x2x96x80.*same frames and slices.*matrix=\(96, 80\) and slices"):
        compare(case.reference, case.zero_filled.take_slices(0, 2))
    cut = kfine.degrade(case.reference, matrix=(96, 80)).take_slices(0, 2)
    assert compare(cut, case.zero_filled.take_slices(0, 2)).whole.psnr > 10


@pytest.mark.parametrize(("shift", "fits"), [(0.005, True), (0.05, False)])
def test_another_place_is_refused(case, shift, fits):
    affine = case.reference.affine.copy()
    affine[:3, 3] += shift * 2.0  # voxels are 2 x 2 x 5 mm
    moved = replace(case.zero_filled, affine=affine)
    if fits:
        compare(case.reference, moved)
    else:
        with pytest.raises(InputError, match=r"position.*\(90\.0, 80\.0, -20\.0\).*\(90\.1, 80\.1, -19\.9\)"):
            compare(case.reference, moved)


def test_a_voxel_size_that_differs_slightly_adds_up_over_the_grid(case):
    affine = case.reference.affine.copy()
    affine[:3, 2] *= 1.001
    assert grid_distance(case.reference.affine, affine, (3, 96, 80)) == pytest.approx(79 * 0.002)
    with pytest.raises(InputError, match="position"):
        compare(case.reference, replace(case.zero_filled, affine=affine))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda voxels: voxels * 0 + 3, "constant"),
        (lambda voxels: np.where(voxels > 500, np.nan, voxels), "finite"),
    ],
)
def test_a_useless_reference_is_refused(case, change, message):
    with pytest.raises(InputError, match=message):
        compare(replace(case.reference, voxels=change(case.reference.voxels)), case.zero_filled)


@pytest.mark.parametrize(
    ("mask", "message"), [(np.ones((3, 4, 5)), "3x96x80"), (np.zeros((3, 96, 80)), "none")]
)
def test_a_useless_mask_is_refused(case, mask, message):
    with pytest.raises(InputError, match=f"mask: .*{message}"):
        compare(case.reference, case.zero_filled, mask=mask)


def test_the_table_tells_what_it_averages_and_marks_the_best(case):
    better = replace(case.zero_filled, voxels=(case.zero_filled.voxels + case.reference.voxels) / 2)
    comparisons = {
        "zero filling": compare(case.reference, case.zero_filled),
        "[half]": compare(case.reference, better),
    }
    out = StringIO()
    Console(file=out, width=80, force_terminal=True).print(table(comparisons))
    text = out.getvalue()
    best = comparisons["[half]"]
    for value in (f"{best.whole.psnr:.2f}", f"{best.inside.ssim:.4f}", f"{best.whole.nrmse:.4f}"):
        assert f"\x1b[1m{value}" in text
    assert f"{comparisons['zero filling'].pooled_inside:.2f}" in text
    plain = " ".join(text.replace("\x1b[2;3m", "").replace("\x1b[0m", "").split())
    for words in ("[half]", "whole", "inside", "2 of 3 slices", "foreground (Otsu)", "Data range"):
        assert words in plain
