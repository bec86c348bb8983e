import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import kfine
from kfine.errors import InputError, ModelError, ResourceError, UsageError
from kfine.image import Image
from kfine.models.checkpoint import save_model
from kfine.networks.vdm import VDM
from kfine.operators.kspace import KSpaceCrop, measurement_of
from tests.conftest import TINY, phantom


@pytest.fixture
def image(image):
    """A real image of both signs: a linear measurement, unlike magnitudes."""
    return replace(image, voxels=image.voxels - np.float32(10))


def test_magnitudes_given_their_scan_have_no_negative_voxels(tiny_model):
    result = kfine.restore(Image(phantom()), scale=2, model=tiny_model, keep_samples=True)
    assert min(sample.voxels.min() for sample in result.samples) >= 0
    assert result.residual > 1e-4


def test_the_measured_kspace_is_never_contradicted(image, tiny_model):
    """Every sample, and the mean, of even a random network."""
    result = kfine.restore(image, matrix=(48, 57), model=tiny_model, keep_samples=True)
    operator = KSpaceCrop((48, 57), (32, 32), real=True)
    y = measurement_of(torch.from_numpy(image.voxels.copy()), operator)
    assert len(result.samples) == 2
    for sample in (*result.samples, result.mean):
        assert operator.residual(torch.from_numpy(sample.voxels.copy()), y) < 1e-5
    assert result.residual < 1e-5


@pytest.mark.parametrize("sampler", ["ancestral", "ddim", "dpm-solver-2m"])
@pytest.mark.parametrize("start", [0.2, float("inf")])
def test_every_sampler_ends_on_the_measurement(image, tiny_model, sampler, start):
    result = kfine.restore(image, scale=2, model=tiny_model, sampler=sampler, start=start, steps=4)
    assert result.residual < 1e-5


def test_a_smooth_image_lacks_nothing_and_stays_finite(tiny_model):
    """So little is missing that sampling would start below its last level (a scan that was zero-filled before)."""
    wave = np.cos(2 * np.pi * np.arange(32) / 32)
    smooth = Image((500 + 600 * np.outer(wave, wave))[None, None])
    for options in ({}, {"start": 0.001}):
        result = kfine.restore(smooth, scale=2, model=tiny_model, steps=4, **options)
        assert np.isfinite(result.mean.voxels).all()
        assert result.residual < 1e-5


def test_mean_and_std_are_those_of_the_samples(image, tiny_model):
    result = kfine.restore(image, scale=2, model=tiny_model, samples=4, keep_samples=True)
    samples = np.stack([s.voxels for s in result.samples])
    np.testing.assert_allclose(result.mean.voxels, samples.mean(0), atol=1e-2)
    pairs = samples.reshape(2, 2, *samples.shape[1:])
    within = ((pairs[:, 0] - pairs[:, 1]) / 2) ** 2
    between = pairs.mean(1).var(0, ddof=1)
    np.testing.assert_allclose(result.std.voxels, np.sqrt(within.mean(0) + between), atol=1e-2)
    assert result.std.voxels.max() > 1


def test_a_single_sample_has_no_std(image, tiny_model):
    assert kfine.restore(image, scale=2, model=tiny_model, samples=1).std is None


# bfloat16, which "auto" takes where the hardware has it, rounds more, and not alike in every batch.
EXACT = {"scale": 2, "precision": "float32"}


def test_same_seed_same_voxels_whatever_the_batch(image, tiny_model):
    one, four, all_at_once = (
        kfine.restore(image, model=tiny_model, samples=2, planes_a_call=n, **EXACT).mean.voxels
        for n in (1, 4, 100)
    )
    tolerance = 1e-5 * one.max()
    np.testing.assert_allclose(one, four, atol=tolerance)
    np.testing.assert_allclose(one, all_at_once, atol=tolerance)
    again = kfine.restore(image, model=tiny_model, samples=2, planes_a_call=1, **EXACT).mean.voxels
    assert np.array_equal(one, again)


def test_another_seed_gives_other_voxels(image, tiny_model):
    a, b = (
        kfine.restore(image, scale=2, model=tiny_model, seed=seed, samples=1).mean.voxels for seed in (0, 1)
    )
    assert np.abs(a - b).max() > 1


def test_slices_alone_are_the_slices_of_the_whole(image, tiny_model):
    whole = kfine.restore(image, model=tiny_model, **EXACT)
    part = kfine.restore(image, model=tiny_model, slices=(1, 3), **EXACT)
    np.testing.assert_allclose(part.mean.voxels, whole.mean.voxels[:, 1:3], atol=1e-2)
    np.testing.assert_allclose(part.mean.affine[:3, 3], whole.mean.affine[:3, 3] + whole.mean.affine[:3, 0])


def test_weaker_guidance_contradicts_more(image, tiny_model):
    residuals = [
        kfine.restore(image, scale=2, model=tiny_model, strength=s).residual for s in (1.0, 0.5, 0.0)
    ]
    assert residuals[0] < 1e-5 < residuals[1] < residuals[2]


def test_noise_allows_a_difference_of_about_the_noise(image, tiny_model):
    assert 1e-4 < kfine.restore(image, scale=2, model=tiny_model, noise=0.05).residual < 0.5


def test_geometry_follows_the_kspace_grid(image, tiny_model):
    out = kfine.restore(image, matrix=(64, 41), method="zero-filling").mean
    at = out.affine @ [1, 64 // 2, 41 // 2, 1]
    np.testing.assert_allclose(at, image.affine @ [1, 16, 16, 1])
    assert out.voxel_sizes == pytest.approx((4, 2 * 32 / 64, 2 * 32 / 41))


def test_measured_kspace_stays_complex_and_exact(tiny_model):
    phase = np.exp(1j * np.linspace(0, 3, 32))[None, None, None, :]
    low = Image((phantom((1, 2, 32, 32)) * phase).astype(np.complex64))
    result = kfine.restore(low, scale=2, model=tiny_model)
    assert np.iscomplexobj(result.mean.voxels)
    assert result.residual < 1e-5
    assert result.provenance["kspace"] == "measured"


def test_intensities_survive(image):
    for method in ("zero-filling", "nearest", "bilinear", "bicubic"):
        restored = kfine.restore(image, scale=2, method=method).mean.voxels
        assert restored.mean() == pytest.approx(image.voxels.mean(), rel=1e-3)


def test_degrade_then_zero_fill_keeps_what_was_measured(image):
    low = kfine.degrade(image, matrix=(16, 20), signed=True)
    back = kfine.restore(low, matrix=(32, 32), method="zero-filling").mean
    again = kfine.degrade(back, matrix=(16, 20), signed=True)
    np.testing.assert_allclose(again.voxels, low.voxels, atol=1e-2)
    np.testing.assert_allclose(back.affine, image.affine, atol=1e-9)


def test_degrade_noise_has_the_level_asked_for():
    image = Image(phantom())
    clean, noisy, again = (kfine.degrade(image, scale=2, noise=n, seed=4) for n in (0.0, 0.1, 0.1))
    from kfine.intensity import Scaling

    assert (noisy.voxels - clean.voxels).std() == pytest.approx(0.1 * Scaling.of(image.voxels).full, rel=0.1)
    assert np.array_equal(noisy.voxels, again.voxels)


def test_effort_is_evaluations_of_the_core_network(tiny_model):
    seen = {}
    for effort in ("fast", "normal", "best"):
        result = kfine.restore(Image(phantom()), scale=2, model="core", effort=effort, slices=(0, 1))
        seen[effort] = result.provenance["options"]["symmetries"]
    assert seen == {"fast": 1, "normal": 4, "best": 8}
    with pytest.raises(UsageError, match="effort 'most': expected one of fast, normal, best"):
        kfine.restore(Image(phantom()), scale=2, effort="most")


def test_provenance_says_what_was_done(image, tiny_model):
    record = kfine.restore(image, scale=2, model=tiny_model, seed=7, slices=(0, 1)).provenance.as_dict()
    assert json.loads(json.dumps(record)) == record
    assert record["seed"] == 7
    assert record["model"] == {"name": "tiny", "sha256": tiny_model.digest}
    assert record["matrix"] == {"measured": [32, 32], "restored": [64, 64]}
    assert record["kspace"] == "simulated from a real image"
    assert record["options"]["samples"] == 2
    assert record["relative_kspace_residual"] < 1e-5
    assert record["slices"] == [0, 1]


def test_progress_counts_to_its_total(image, tiny_model):
    seen = []
    kfine.restore(image, scale=2, model=tiny_model, on_progress=lambda *counts: seen.append(counts))
    assert seen[-1] == (3 * 2 * 3, 3 * 2 * 3)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({}, UsageError, "scale or a matrix"),
        ({"scale": 2, "matrix": (64, 64)}, UsageError, "got both"),
        ({"matrix": (16, 64)}, InputError, "kfine degrade"),
        ({"matrix": (32, 32)}, InputError, "already"),
        ({"scale": 0.5}, UsageError, "at least 1"),
        ({"scale": float("nan")}, UsageError, "at least 1"),
        ({"scale": 2, "method": "magic"}, UsageError, "expected one of"),
        ({"scale": 2, "samples": 0}, UsageError, "at least 1"),
        ({"scale": 2, "strength": 1.5}, UsageError, "0 to 1"),
        ({"scale": 2, "noise": -1}, UsageError, "at least 0"),
        ({"scale": 2, "noise": 0.1, "strength": 0.5}, UsageError, "expected one of them"),
        ({"scale": 2, "start": -1.0}, UsageError, "above 0"),
        ({"scale": 2, "sampler": "euler"}, UsageError, "expected one of"),
        ({"scale": 2, "device": "tpu"}, UsageError, "expected auto"),
        ({"scale": 2, "precision": "float16"}, UsageError, "expected auto"),
        ({"scale": 2, "method": "bicubic", "steps": 5}, UsageError, "no use for steps"),
        ({"scale": 2, "method": "bicubic", "strength": 0.5}, UsageError, "no use for strength"),
        ({"scale": 2, "method": "srresnet", "steps": 5}, UsageError, "no use for steps"),
        ({"scale": 2, "method": "srgan", "effort": "best"}, UsageError, "no use for effort"),
        ({"scale": 2, "method": "small-unet"}, UsageError, "is gone; use core"),
        ({"scale": 2, "slices": (2, 9)}, InputError, "slices"),
        ({"scale": 2, "model": "no-such-model"}, ModelError, "found neither"),
    ],
)
def test_bad_options_say_what_was_expected(image, tiny_model, options, error, says):
    model = {} if "model" in options or options.get("method") == "bicubic" else {"model": tiny_model}
    with pytest.raises(error, match=says) as caught:
        kfine.restore(image, **model, **options)
    assert "\n" not in str(caught.value)


def test_a_model_says_where_sampling_starts_and_whether_it_saw_scans(image, tiny_model_folder, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"sampling": {"start": 0.4}}))
    given = {"scale": 2, "steps": 1, "samples": 1, "model": folder}
    assert kfine.restore(image, **given).provenance["options"]["start"] == 0.4
    assert kfine.restore(image, **given, start=0.2).provenance["options"]["start"] == 0.2
    with pytest.raises(UsageError, match="conditioned: expected a model that was trained on scans"):
        kfine.restore(image, **given, conditioned=True)
    sampling = {"start": 1.5, "conditioned": True}
    (folder / "config.json").write_text(json.dumps(config | {"sampling": sampling}))
    assert kfine.restore(image, **given).provenance["options"]["start"] == 1.5
    # That start is in units of what the mean image lacks: the prior alone knows none.
    assert kfine.restore(image, **given, conditioned=False).provenance["options"]["start"] < 1


def test_missing_device_is_a_resource(image, tiny_model):
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(ResourceError, match="device='cpu'"):
        kfine.restore(image, scale=2, model=tiny_model, device="cuda")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_voxel_that_is_not_finite_is_refused(image, value):
    voxels = image.voxels.copy()
    voxels[0, 0, 3, 4] = value
    for work in (kfine.restore, kfine.degrade):
        with pytest.raises(InputError, match=f"NaN or Inf in 1 of {voxels.size}"):
            work(replace(image, voxels=voxels), scale=2)


def test_an_image_without_signal_is_refused():
    with pytest.raises(InputError, match="every voxel is 0"):
        kfine.restore(Image(np.zeros((1, 1, 8, 8))), scale=2, method="bicubic")


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 1, 7, 13), (2, 1, 5, 8)])
def test_small_and_prime_sizes(shape, tiny_model):
    low = Image(np.random.default_rng(0).uniform(-2, 1, shape))
    result = kfine.restore(low, scale=2, model=tiny_model)
    assert result.mean.voxels.shape == (*shape[:2], 2 * shape[2], 2 * shape[3])
    assert result.residual < 1e-5


def test_a_seed_of_numpy_is_a_seed(image, tiny_model):
    low = kfine.degrade(image, scale=2)
    own, numpys = (
        kfine.restore(low, scale=2, model=tiny_model, steps=1, seed=seed) for seed in (3, np.int64(3))
    )
    np.testing.assert_array_equal(own.mean.voxels, numpys.mean.voxels)
    assert json.dumps(numpys.provenance["seed"]) == "3"


def test_a_scale_beyond_all_matrices_is_refused(image):
    with pytest.raises(UsageError, match=r"scale 1e\+308: expected at most \d+ for this matrix"):
        kfine.restore(image, scale=1e308, method="bicubic")


def test_slices_of_air_cost_nothing_and_are_zero_filled(image, tiny_model):
    """No network sees them, the others come out as without them, and they are not counted."""
    voxels = image.voxels.copy()
    top = float(np.abs(voxels).max())
    voxels[:, 1] = 0.01 * top * np.random.default_rng(0).uniform(-1, 1, voxels[:, 1].shape)
    dark = replace(image, voxels=voxels)
    options = {"scale": 2, "model": tiny_model, "keep_samples": True, "planes_a_call": 1}
    seen, named = [], []
    result = kfine.restore(
        dark,
        **options,
        on_progress=lambda *counts: seen.append(counts),
        on_slices=lambda first, stop: named.append((first, stop)),
    )
    assert seen[-1] == (2 * 2 * 3, 2 * 2 * 3)
    assert named == [(0, 1), (2, 3)]
    plain = kfine.restore(dark, scale=2, method="zero-filling").mean
    np.testing.assert_allclose(result.mean.voxels[:, 1], plain.voxels[:, 1], atol=1e-6 * top)
    assert np.all(result.std.voxels[:, 1] == 0)
    assert all(np.array_equal(sample.voxels[:, 1], result.mean.voxels[:, 1]) for sample in result.samples)
    lit = voxels.copy()
    lit[0, 1, 16, 16] = 0.1 * top
    seen.clear()
    kfine.restore(replace(image, voxels=lit), **options, on_progress=lambda *counts: seen.append(counts))
    assert seen[-1][1] == 3 * 2 * 3


def test_slices_of_air_alone(image, tiny_model):
    voxels = image.voxels.copy()
    voxels[:, 1] = 0
    result = kfine.restore(replace(image, voxels=voxels), scale=2, model=tiny_model, slices=(1, 2))
    assert np.abs(result.mean.voxels).max() < 1e-3 * np.abs(voxels).max()


def test_the_wall_time_is_no_part_of_the_provenance(image, tiny_model):
    first, second = (kfine.restore(image, scale=2, model=tiny_model) for _ in range(2))
    assert first.provenance == second.provenance
    assert 0 < first.seconds < 600
    assert first.record == first.provenance.as_dict() | {
        "call": first.call,
        "wall_time_s": round(first.seconds, 3),
    }


@pytest.mark.parametrize("factor", [1e-44, 1e-33, 1e33])
def test_intensities_that_32_bits_cannot_hold_are_refused(image, factor):
    with pytest.raises(InputError, match="multiply the image by a constant"):
        kfine.restore(Image(image.voxels.astype(np.float64) * factor), scale=2, method="zero-filling")


@pytest.mark.parametrize("factor", [1e-25, 1e25])
def test_intensities_far_from_one_are_restored(image, factor):
    plain = kfine.restore(image, scale=2, method="zero-filling").mean.voxels
    scaled = kfine.restore(
        Image(image.voxels.astype(np.float64) * factor), scale=2, method="zero-filling"
    ).mean.voxels
    np.testing.assert_allclose(scaled / np.float64(factor), plain, atol=1e-4 * plain.max())


def test_one_voxel_beyond_all_others_is_named(image):
    voxels = np.tile(image.voxels * np.float32(1e-3), (1, 4, 1, 1))
    voxels[0, 0, 3, 3] = 3e38
    with pytest.raises(InputError, match="too large beside the others"):
        kfine.restore(Image(voxels), scale=2, method="zero-filling")


def test_weights_that_overflow_are_the_models_fault(image, tmp_path):
    model = VDM(**TINY)
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(4e4)
    save_model(
        tmp_path / "m", model, {"method": "vdm", "network": TINY, "sampling": {"steps": 2, "samples": 2}}
    )
    with pytest.raises(ModelError, match="NaN or Inf"):
        kfine.restore(image, scale=2, method="vdm", model=tmp_path / "m", parts=tmp_path / "parts")
    assert not list((tmp_path / "parts").rglob("*.npz"))
