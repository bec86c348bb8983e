"""kfine bench: the pace of the machine and what studies take."""

import json

import pytest

from kfine.acquisition.plan import plan
from kfine.image import Image
from kfine.restoration import pace
from kfine.restoration.options import Options
from kfine.restoration.restore import plan_of, resolved_of
from tests.conftest import phantom


@pytest.fixture
def steady(monkeypatch):
    """A machine that takes a nanosecond for each pixel of an evaluation."""
    asked = []
    monkeypatch.setattr(pace, "seconds_a_pixel", lambda method, **effort: asked.append(method) or 1e-9)
    return asked


def test_a_study_takes_its_evaluations_times_its_pixels(steady):
    (head, _, thick, heart, beat) = pace.studies(())
    assert (head.method, head.seconds) == ("core", pytest.approx(1e-9 * 180 * 4 * 512 * 512))
    assert (heart.method, heart.seconds) == ("core", pytest.approx(1e-9 * 12 * 20 * 4 * 256 * 256))
    assert beat.method == "cine-core"
    assert thick.method == "core"
    # Planes across rows and across columns, one evaluation each, with the slices that are added at the ends.
    assert 1e-9 * 2 * 200 * 256 * 256 < thick.seconds < 1e-9 * 2 * 300 * 256 * 256
    assert set(steady) == {"core", "cine-core"}


def test_baselines_cost_one_evaluation(steady):
    image = Image(phantom((1, 3, 16, 12)))
    options = Options(scale=2, method="zero-filling")
    acquisition = plan_of(image, options)
    seconds = pace.seconds_of(acquisition, resolved_of(acquisition, options))
    assert seconds == pytest.approx(1e-9 * 3 * 32 * 24)
    assert plan(image, scale=2).high == (32, 24)


def test_the_table_and_its_json(steady, command):
    done = command("bench", "--json", "--quiet")
    found = json.loads(done.out)
    assert [study["method"] for study in found["studies"]] == ["core"] * 4 + ["cine-core"]
    assert "torch" in found["machine"]
    assert all(2**28 < study["memory"] < 2**34 for study in found["studies"])
    plain = command("bench", "--quiet")
    assert (plain.code, "about 1 s" in plain.out, "torch" in plain.out) == (0, True, True)


def test_an_unknown_method_is_refused(command):
    done = command("bench", "--method", "magic", "--quiet")
    assert (done.code, "method 'magic': expected one of" in done.err) == (2, True)


def test_the_pace_is_measured():
    assert 0 < pace.seconds_a_pixel("zero-filling") < 1e-2
