"""Which method "auto" takes, by what the image is and by what is packaged."""

from dataclasses import replace

import numpy as np
import pytest

import kfine
from kfine.errors import ModelError
from kfine.models.checkpoint import load_model, save_model
from kfine.restoration.options import Options
from kfine.restoration.selection import ImageTraits, pick
from tests.conftest import beating, phantom

MODELS = {
    "any": "core",
    "prior": "vdm",
    "heart": "cine-ldm",
    "beats": "cine-core",
    "latents": "ldm",
    "plain": "srresnet",
}


def traits(*, beats=False, in_time=False, measured=False):
    return ImageTraits(beats, in_time, measured)


@pytest.mark.parametrize(
    ("given", "options", "method", "why"),
    [
        (traits(), {}, "core", "a magnitude image"),
        (traits(measured=True), {}, "core", "measured k-space"),
        (traits(beats=True), {}, "cine-core", "frames of a heart beat"),
        (traits(beats=True, in_time=True), {}, "cine-core", "other frames are asked for"),
        (traits(in_time=True), {}, "cine-core", "other frames are asked for"),
        (traits(), {"samples": 4}, "vdm", "a magnitude image, and core has no use for samples"),
        (
            traits(),
            {"samples": 4, "denoise": True},
            "ldm",
            "a magnitude image, and core has no use for samples",
        ),
        (traits(measured=True), {"start": 1.0}, "vdm", "measured k-space, and core has no use for start"),
        (
            traits(beats=True),
            {"samples": 4},
            "cine-ldm",
            "frames of a heart beat, and cine-core has no use for samples",
        ),
    ],
)
def test_what_the_image_is_and_what_is_asked_decide(given, options, method, why):
    chosen = pick(given, MODELS, Options(**options))
    assert MODELS[chosen.model] == chosen.method == method
    assert chosen.why == why


def test_what_is_not_packaged_is_not_taken():
    only = {"prior": "vdm"}
    assert pick(traits(), only, Options()).method == "vdm"
    assert pick(traits(beats=True), only, Options()).method == "vdm"
    assert pick(traits(beats=True, in_time=True), only, Options()) is None
    assert pick(traits(), {"plain": "srresnet"}, Options()) is None


@pytest.fixture
def packaged(tmp_path, monkeypatch, tiny_model_folder):
    """The random tiny VDM as the only packaged model, tested on images of 20 to 40 rows."""
    monkeypatch.setattr("kfine.models.checkpoint.PACKAGED", tmp_path)
    monkeypatch.setattr("kfine.restoration.selection.PACKAGED", tmp_path)
    model = load_model(tiny_model_folder)
    beyond = {"matrix": "twice as large, half the gain"}
    known = {"ranges": {"matrix": [20, 40]}, "beyond": beyond}
    save_model(tmp_path / "small", model.network, model.config | known)


def test_the_provenance_says_why(packaged, image, tmp_path):
    low = kfine.degrade(image, scale=2)
    record = kfine.restore(low, scale=2).provenance
    assert (record["method"], record["model"]["name"]) == ("vdm", "small")
    assert record["method_chosen_for"] == "a magnitude image"
    assert "method_chosen_for" not in kfine.restore(low, scale=2, method="vdm").provenance
    own = kfine.restore(low, scale=2, model=tmp_path / "small").provenance
    assert own["method_chosen_for"] == "what model small was made for"


@pytest.mark.parametrize("options", [{}, {"method": "vdm"}])
def test_an_image_far_from_the_model_is_warned_of_by_name(packaged, options):
    large = kfine.Image(phantom((1, 1, 40, 40)))
    says = r"model small: matrix 80 \(tested on 20-40\): twice as large, half the gain"
    with pytest.warns(UserWarning, match=says):
        kfine.restore(large, scale=2, samples=2, **options)


def test_baselines_are_warned_of_nothing(packaged, recwarn):
    kfine.restore(kfine.Image(phantom((1, 1, 40, 40))), scale=2, method="bicubic")
    assert [str(w.message) for w in recwarn if "tested on" in str(w.message)] == []


def test_frames_of_which_no_period_is_known_are_restored_one_by_one_and_that_is_said(packaged, recwarn):
    cine = beating(2, slices=1, matrix=(16, 16))
    with pytest.warns(UserWarning, match="2 frames are restored one by one; if they are of a heart beat"):
        kfine.restore(replace(cine, period=None), scale=2)
    recwarn.clear()
    kfine.restore(cine, scale=2)
    assert not any("one by one" in str(each.message) for each in recwarn)


def test_a_cine_without_a_model_for_cines_goes_frame_by_frame(packaged):
    cine = beating(2, slices=1, matrix=(16, 16))
    assert kfine.restore(cine, scale=2).provenance["method"] == "vdm"
    still = replace(cine, voxels=np.asarray(cine.voxels[:1]), frame_times=None, period=None)
    assert kfine.restore(still, scale=2).provenance["method"] == "vdm"


def test_without_any_model_the_error_says_so(tmp_path, monkeypatch, image):
    monkeypatch.setattr("kfine.models.checkpoint.PACKAGED", tmp_path / "none")
    with pytest.raises(ModelError, match="no model for it is packaged"):
        kfine.restore(image, scale=2)
