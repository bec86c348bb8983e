"""restore() of cines: frames at other times, by every method, streamed slice by slice."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import kfine
from kfine.errors import InputError, ModelError, UsageError
from kfine.methods.time_interpolation import TIME_METHODS, flow_interpolated
from tests.conftest import beating

EXACT = ["cine-ldm", "cine-regression", "zero-filling"]


def modelled(method, tiny_cine):
    return {"method": method} | ({"model": tiny_cine} if method.startswith("cine") else {})


@pytest.mark.parametrize("method", EXACT)
@pytest.mark.parametrize("complex_", [False, True])
def test_frames_at_measured_times_reproduce_their_kspace(cine, tiny_cine, method, complex_):
    if complex_:
        phase = np.exp(1j * np.linspace(0, 2, cine.matrix[1])).astype(np.complex64)
        cine = replace(cine, voxels=cine.voxels * phase)
    result = kfine.restore(cine, matrix=(48, 57), frames_scale=2, **modelled(method, tiny_cine))
    assert result.residual < 1e-5
    assert result.mean.voxels.shape == (12, 2, 48, 57)
    assert np.iscomplexobj(result.mean.voxels) == complex_
    again = kfine.degrade(result.mean, matrix=cine.matrix, keep_every=2, signed=True)
    np.testing.assert_allclose(again.voxels, cine.voxels, atol=1e-4 * np.abs(cine.voxels).max())
    np.testing.assert_allclose(again.frame_times, cine.frame_times, atol=1e-12)
    assert result.mean.period == cine.period


def test_times_go_round_the_beat_and_the_last_frame_leads_to_the_first(cine):
    result = kfine.restore(cine, frames_scale=2, method="zero-filling", time_method="linear")
    np.testing.assert_allclose(np.diff(result.mean.frame_times), 0.9 / 12)
    between = (cine.voxels[-1] + cine.voxels[0]) / 2
    np.testing.assert_allclose(result.mean.voxels[-1], between, atol=1e-2)
    np.testing.assert_allclose(result.mean.voxels[::2], cine.voxels, atol=1e-2)
    np.testing.assert_allclose(result.mean.affine, cine.affine)


@pytest.mark.parametrize("time_method", list(TIME_METHODS))
@pytest.mark.parametrize("frames", [7, 9, 12])
def test_every_time_method_between_frames_of_every_number(time_method, frames):
    low = beating(frames // 2 + 1, slices=1)
    result = kfine.restore(low, scale=2, frames=frames, method="bicubic", time_method=time_method)
    assert result.mean.frames == frames
    assert result.provenance["time_method"] == time_method
    space = kfine.restore(low, scale=2, method="bicubic").mean.voxels.copy()
    at, period = result.mean.frame_times, low.period
    expected = TIME_METHODS[time_method](torch.from_numpy(space), low.frame_times, at, period=period)
    np.testing.assert_allclose(result.mean.voxels, expected, atol=6)  # the flow sees 256 greys


def test_optical_flow_is_the_default_and_knows_air_as_zero(cine):
    default, named = (
        kfine.restore(cine, frames_scale=2, method="zero-filling", time_method=way).mean.voxels
        for way in (None, "optical-flow")
    )
    assert np.array_equal(default, named)
    at = kfine.restore(cine, frames_scale=2, method="zero-filling").mean.frame_times
    flow = flow_interpolated(torch.from_numpy(cine.voxels.copy()), cine.frame_times, at, period=cine.period)
    np.testing.assert_allclose(default, flow, atol=1e-2)


def test_without_a_period_time_ends_with_the_last_frame(cine):
    line = replace(cine, period=None)
    result = kfine.restore(line, frames_scale=3, method="zero-filling", time_method="cubic")
    assert result.mean.frames == 16
    np.testing.assert_allclose(result.mean.frame_times[::3], cine.frame_times)
    with pytest.raises(InputError, match="period"):
        kfine.restore(line, frames_scale=3, method="zero-filling", time_method="band-limited")


def test_without_times_frames_count_as_even_and_times_are_not_made_up(cine):
    bare = replace(cine, frame_times=None, period=None)
    result = kfine.restore(bare, frames_scale=2, method="zero-filling", time_method="linear")
    assert result.mean.frame_times is None
    assert result.mean.frames == 11
    np.testing.assert_allclose(result.mean.voxels[1], (cine.voxels[0] + cine.voxels[1]) / 2, atol=1e-2)
    assert result.provenance["frames"]["times"] == "not known; frames taken as evenly spaced"


def test_a_slice_alone_and_one_frame(cine, tiny_cine):
    one = kfine.restore(cine.take_slices(1, 2), scale=2, frames_scale=2, model=tiny_cine)
    assert one.mean.voxels.shape == (12, 1, 64, 56)
    first = kfine.restore(cine, scale=2, frames=1, model=tiny_cine).mean
    assert first.frame_times == cine.frame_times[:1]
    still = replace(cine, voxels=cine.voxels[:1], frame_times=cine.frame_times[:1], period=None)
    assert kfine.restore(still, scale=2, frames_scale=1, method="bicubic").mean.frames == 1
    for asked in ({"frames_scale": 2}, {"frames": 5}):
        with pytest.raises(InputError, match="the image has one") as caught:
            kfine.restore(still, **asked)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", EXACT)
def test_slices_alone_are_the_slices_of_the_whole(tiny_cine, method):
    cine = beating(slices=3)
    cine = replace(cine, voxels=cine.voxels * np.array([7, 1, 2], np.float32)[:, None, None])
    options = {"scale": 2, "frames": 8, "keep_samples": True} | modelled(method, tiny_cine)
    whole, part = kfine.restore(cine, **options), kfine.restore(cine, **options, slices=(1, 3))
    np.testing.assert_allclose(part.mean.voxels, whole.mean.voxels[:, 1:3], atol=1e-2)
    np.testing.assert_allclose(part.samples[-1].voxels, whole.samples[-1].voxels[:, 1:3], atol=1e-2)
    assert (part.std is None) == (method != "cine-ldm")
    if part.std is not None:
        np.testing.assert_allclose(part.std.voxels, whole.std.voxels[:, 1:3], atol=1e-2)
        assert part.std.voxels.max() > 1


def test_samples_depend_on_the_seed_and_not_on_the_batch(cine, tiny_cine):
    def voxels(**options):
        exact = {"keep_samples": True, "precision": "float32"}  # bfloat16 does not round alike in every batch
        result = kfine.restore(cine, scale=2, frames_scale=2, model=tiny_cine, **exact, **options)
        return np.stack([sample.voxels for sample in result.samples])

    one, many, other = voxels(planes_a_call=1), voxels(planes_a_call=1000), voxels(seed=1)
    np.testing.assert_allclose(one, many, atol=1e-5 * one.max())
    assert np.abs(one - other).max() > 1
    # The pair's noise is opposite: their mean differs less between seeds than they do.
    assert np.abs(one.mean(0) - other.mean(0)).mean() < 0.7 * np.abs(one[0] - other[0]).mean()


def test_the_autoencoder_sees_no_more_planes_than_asked(cine, tiny_cine, monkeypatch):
    autoencoder, counts = tiny_cine.network.autoencoder, []
    for name in ("encode", "decode"):
        original = getattr(autoencoder, name)

        def counted(x, seen, original=original):
            counts.append(len(seen))
            return original(x, seen)

        monkeypatch.setattr(autoencoder, name, counted)
    kfine.restore(cine, frames_scale=2, model=tiny_cine, slices=(0, 1), planes_a_call=5)
    assert counts == 3 * [5, 5, 2]  # the latent to start from, and two samples


def test_strength_switches_the_projection_off(cine, tiny_cine):
    for method in ("cine-ldm", "cine-regression"):
        held, half, free = (
            kfine.restore(cine, scale=2, frames_scale=2, model=tiny_cine, method=method, strength=s).residual
            for s in (1.0, 0.5, 0.0)
        )
        assert held < 1e-5 < half < free


@pytest.mark.parametrize("sampler", ["ancestral", "ddim", "dpm-solver-2m"])
def test_every_sampler_and_start(cine, tiny_cine, sampler):
    for start in (0.5, float("inf")):
        result = kfine.restore(cine, scale=2, frames_scale=2, model=tiny_cine, sampler=sampler, start=start)
        assert result.residual < 1e-5
        assert result.provenance["options"]["start"] == (None if start == float("inf") else start)


def test_auto_takes_the_models_method_and_without_one_the_best_baseline(
    cine, tiny_cine, tiny_model, monkeypatch
):
    assert kfine.restore(cine, frames_scale=2, model=tiny_cine).provenance["method"] == "cine-ldm"
    still = replace(cine, voxels=cine.voxels[:1], frame_times=cine.frame_times[:1], period=None)
    assert kfine.restore(still, scale=2, model=tiny_model).provenance["method"] == "vdm"
    monkeypatch.setattr("kfine.restoration.selection.packaged_models", lambda: [])
    with pytest.warns(UserWarning, match="no model for cines is packaged: zero-filling in space"):
        record = kfine.restore(cine, frames_scale=2).provenance
    assert (record["method"], record["time_method"]) == ("zero-filling", "optical-flow")


def test_auto_takes_the_cine_model_for_a_heart_beat_and_the_other_for_stills(
    cine, tiny_cine_folder, tiny_model_folder, tmp_path, monkeypatch
):
    for folder in (tiny_cine_folder, tiny_model_folder):
        shutil.copytree(folder, tmp_path / folder.name)
    for module in ("kfine.models.checkpoint", "kfine.restoration.selection"):
        monkeypatch.setattr(f"{module}.PACKAGED", tmp_path)
    still = replace(cine, voxels=cine.voxels[:1], frame_times=cine.frame_times[:1])
    dynamic = replace(cine, period=None)
    for image, asked, method in (
        (cine, {}, "cine-ldm"),
        (cine, {"frames_scale": 2}, "cine-ldm"),
        (dynamic, {"frames_scale": 2}, "cine-ldm"),
        (dynamic, {}, "vdm"),
        (still, {}, "vdm"),
    ):
        assert kfine.restore(image, scale=2, samples=2, **asked).provenance["method"] == method


def test_a_plane_method_of_samples_goes_through_time_sample_by_sample(cine, tiny_model):
    cine = replace(cine, voxels=cine.voxels - np.float32(10))  # of both signs: a linear measurement
    result = kfine.restore(
        cine, scale=2, frames_scale=2, method="vdm", model=tiny_model, time_method="linear", keep_samples=True
    )
    plain = kfine.restore(cine, scale=2, method="vdm", model=tiny_model, keep_samples=True)
    assert result.residual < 1e-5
    for sample, expected in zip(result.samples, plain.samples, strict=True):
        np.testing.assert_allclose(sample.voxels[::2], expected.voxels, atol=1e-2)
    assert result.std.frames == 12


def test_provenance_says_when(cine, tiny_cine):
    record = kfine.restore(cine, frames=9, scale=2, model=tiny_cine).provenance.as_dict()
    assert json.loads(json.dumps(record)) == record
    frames = record["frames"]
    assert (frames["measured"], frames["restored"]) == (6, 9)
    assert frames["asked"] == {"frames_scale": None, "frames": 9}
    assert frames["restored_at_measured_times"] == [0, 3, 6]
    assert frames["times_s"]["measured"] == list(cine.frame_times)
    assert frames["period_s"] == cine.period
    assert record["options"]["steps"] == 3


def test_progress_counts_and_names_every_slice(tiny_cine):
    cine, counts, named = beating(slices=3), [], []
    kfine.restore(
        cine, scale=2, frames_scale=2, model=tiny_cine, slices=(1, 3), planes_a_call=1,
        on_progress=lambda *count: counts.append(count), on_slices=lambda *part: named.append(part),
    )  # fmt: skip
    assert counts[-1] == (2 * 2 * 3, 2 * 2 * 3)
    assert named == [(1, 2), (2, 3)]


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"frames_scale": 2, "frames": 4}, UsageError, "either"),
        ({"frames_scale": 0}, UsageError, "at least 1"),
        ({"frames_scale": 1}, UsageError, "scale or a matrix"),
        ({"frames": 6}, UsageError, "scale or a matrix"),
        ({"frames_scale": 2, "matrix": (16, 28)}, InputError, "kfine degrade"),
        ({"frames_scale": 2, "method": "bicubic", "time_method": "magic"}, UsageError, "band-limited"),
        ({"scale": 2, "method": "bicubic", "time_method": "linear"}, UsageError, "without other frames"),
        ({"frames_scale": 2, "method": "cine-ldm", "time_method": "linear"}, UsageError, "no use for time_method"),
        ({"frames_scale": 2, "method": "cine-ldm", "noise": 0.1}, UsageError, "no use for noise"),
        ({"frames_scale": 2, "method": "cine-regression", "steps": 3}, UsageError, "no use for steps"),
        ({"frames_scale": 2, "method": "cine-regression", "samples": 2}, UsageError, "no use for samples"),
    ],
)  # fmt: skip
def test_bad_options_say_what_was_expected(cine, tiny_cine, options, error, says):
    model = {} if options.get("method") == "bicubic" else {"model": tiny_cine}
    with pytest.raises(error, match=says) as caught:
        kfine.restore(cine, **model, **options)
    assert "\n" not in str(caught.value)


def test_models_of_other_methods_are_refused(cine, tiny_cine, tiny_model):
    with pytest.raises(ModelError, match="serves method vdm"):
        kfine.restore(cine, frames_scale=2, method="cine-ldm", model=tiny_model)
    with pytest.raises(ModelError, match="serves method cine-ldm"):
        kfine.restore(cine, scale=2, method="vdm", model=tiny_cine)


class Stopped(Exception):
    pass


def stop_at(slice):
    def on_slices(first, stop):
        if first == slice:
            raise Stopped

    return on_slices


@pytest.mark.parametrize("method", ["cine-ldm", "zero-filling"])
def test_an_interrupted_restoration_goes_on_to_the_same_bytes(tiny_cine, tmp_path, method):
    cine, folder = beating(slices=3), tmp_path / "parts"
    options = {"scale": 2, "frames_scale": 2, "keep_samples": True, "planes_a_call": 1}
    options |= modelled(method, tiny_cine)
    expected = kfine.restore(cine, **options)
    with pytest.raises(Stopped):
        kfine.restore(cine, **options, parts=folder, on_slices=stop_at(2))
    assert sorted(path.name for path in folder.iterdir()) == ["slice-00000.npz", "slice-00001.npz"]
    worked = []
    again = kfine.restore(cine, **options, parts=folder, on_progress=lambda *counts: worked.append(counts))
    assert worked[-1][0] == worked[-1][1]
    assert np.array_equal(again.mean.voxels, expected.mean.voxels)
    assert all(
        np.array_equal(a.voxels, b.voxels) for a, b in zip(again.samples, expected.samples, strict=True)
    )
    assert again.std is None or np.array_equal(again.std.voxels, expected.std.voxels)
    assert again.provenance == expected.provenance


def test_parts_of_other_options_or_damaged_ones_are_done_again(tmp_path):
    cine, folder = beating(slices=2), tmp_path / "parts"
    options = {"scale": 2, "frames_scale": 2, "method": "zero-filling", "parts": folder}
    kfine.restore(cine, **options, time_method="nearest")
    linear = kfine.restore(cine, **options, time_method="linear").mean.voxels
    assert np.array_equal(
        linear, kfine.restore(cine, **options | {"parts": None}, time_method="linear").mean.voxels
    )
    whole = (folder / "slice-00001.npz").read_bytes()
    (folder / "slice-00001.npz").write_bytes(whole[: len(whole) // 2])
    (folder / "slice-00000.npz").write_bytes(b"")
    assert np.array_equal(kfine.restore(cine, **options, time_method="linear").mean.voxels, linear)
    brighter = replace(cine, voxels=2 * cine.voxels)
    doubled = kfine.restore(brighter, **options, time_method="linear").mean.voxels
    np.testing.assert_allclose(doubled, 2 * linear, rtol=1e-5, atol=1e-2)
