"""Which method "auto" takes, by what the image is and by what is packaged."""

from dataclasses import replace

import numpy as np
import pytest

import kfine
from kfine.errors import ModelError
from kfine.models.checkpoint import load_model, save_model
from kfine.models.domain import Ranges
from kfine.restoration.options import Options
from kfine.restoration.selection import ImageTraits, PackagedModel, pick
from tests.conftest import beating, phantom

BRAIN = Ranges(matrix=(100, 300), air=(0.5, 0.6))
BOTH = Ranges(matrix=(90, 300), air=(0.1, 0.6))
HEART = Ranges(matrix=(100, 300), air=(0.1, 0.3))
MODELS = {
    "brain-vdm": PackagedModel("vdm", BRAIN),
    "cine": PackagedModel("cine-ldm", HEART),
    "stills": PackagedModel("ldm", BOTH),
    "srresnet": PackagedModel("srresnet", BOTH),
}


def facts(air=0.55, *, beats=False, in_time=False, measured=False, size=2.0):
    ranges = Ranges(voxel_size=(size, size), matrix=(128, 128), air=(air, air))
    return ImageTraits(beats, in_time, measured, ranges)


@pytest.mark.parametrize(
    ("given", "method", "why"),
    [
        (facts(), "vdm", "a magnitude image like those that brain-vdm was trained on"),
        (facts(size=1.3), "ldm", "a magnitude image like those that stills was trained on"),
        (facts(size=1.3, measured=True), "vdm", "measured k-space like those that brain-vdm was trained on"),
        (facts(air=0.2), "ldm", "a magnitude image like those that stills was trained on"),
        (facts(air=0.95), "ldm", "a magnitude image unlike those that the packaged models"),
        (facts(measured=True), "vdm", "measured k-space like those that brain-vdm was trained on"),
        (facts(air=0.2, measured=True), "vdm", "measured k-space unlike"),
        (facts(air=0.95, measured=True), "vdm", "measured k-space unlike"),
        (facts(air=0.2, beats=True), "cine-ldm", "a cine like those that cine was trained on"),
        (facts(air=0.55, beats=True), "cine-ldm", "a cine unlike"),
        (facts(air=0.95, beats=True), "cine-ldm", "a cine unlike"),
        (facts(air=0.95, beats=True, in_time=True), "cine-ldm", "a cine unlike"),
        (facts(air=0.2, in_time=True), "cine-ldm", "a cine like those that cine"),
    ],
)
def test_what_the_image_is_decides(given, method, why):
    chosen = pick(given, MODELS, Options())
    assert MODELS[chosen.model].method == chosen.method == method
    assert chosen.why.startswith(why)


def test_what_is_not_packaged_is_not_taken():
    only = {"brain-vdm": MODELS["brain-vdm"]}
    assert pick(facts(air=0.95), only, Options()).method == "vdm"
    assert pick(facts(beats=True), only, Options()).method == "vdm"
    assert pick(facts(beats=True, in_time=True), only, Options()) is None
    assert pick(facts(), {"srresnet": MODELS["srresnet"]}, Options()) is None


def test_an_option_takes_the_method_that_has_a_use_for_it():
    assert pick(facts(air=0.2), MODELS, Options(noise=0.1)).method == "vdm"
    assert pick(facts(air=0.2, beats=True), MODELS, Options(conditioned=False)).method == "vdm"


@pytest.fixture
def packaged(tmp_path, monkeypatch, tiny_model_folder):
    """The random tiny VDM as the only packaged model, trained on images of 20 to 40 rows."""
    monkeypatch.setattr("kfine.models.checkpoint.PACKAGED", tmp_path)
    monkeypatch.setattr("kfine.restoration.selection.PACKAGED", tmp_path)
    model = load_model(tiny_model_folder)
    save_model(tmp_path / "small", model.network, model.config | {"ranges": {"matrix": [20, 40]}})


def test_the_provenance_says_why(packaged, image, tmp_path):
    low = kfine.degrade(image, scale=2)
    record = kfine.restore(low, scale=2).provenance
    assert (record["method"], record["model"]["name"]) == ("vdm", "small")
    assert record["method_chosen_for"] == "a magnitude image like those that small was trained on"
    assert "method_chosen_for" not in kfine.restore(low, scale=2, method="vdm").provenance
    own = kfine.restore(low, scale=2, model=tmp_path / "small").provenance
    assert own["method_chosen_for"] == "what model small was made for"


@pytest.mark.parametrize("options", [{}, {"method": "vdm"}])
def test_an_image_far_from_the_model_is_warned_of_by_name(packaged, options):
    large = kfine.Image(phantom((1, 1, 40, 40)))
    with pytest.warns(UserWarning, match=r"matrix 80 \(trained on 20-40\): far from what model small knows"):
        kfine.restore(large, scale=2, samples=2, **options)


def test_baselines_are_warned_of_nothing(packaged, recwarn):
    kfine.restore(kfine.Image(phantom((1, 1, 40, 40))), scale=2, method="bicubic")
    assert [str(w.message) for w in recwarn if "trained on" in str(w.message)] == []


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
