"""Lesions: contrast of inserted discs, of fading ones too, and number of false structures."""

import json

import numpy as np
import pytest

import kfine
from kfine.benchmark.competitors import Outcome
from kfine.benchmark.degradations import named
from kfine.benchmark.lesions import inserted, measure, real_spots, shape_of
from kfine.benchmark.truths import Truth
from kfine.cli import run
from kfine.image import Image
from tests.conftest import phantom


class Oracle:
    """A method that returns the truth, with and without discs, plus an error."""

    kind = "single"

    def __init__(self, name, answers, *, keep=1.0, error=None):
        self.settings = {"keep": keep}
        self.name, self.answers, self.keep, self.error = name, answers, keep, error
        self.calls = 0

    def restore(self, low, *, matrix, seed):
        plain, discs = self.answers
        voxels = plain + (self.keep * (discs - plain) if self.calls % 2 else 0)
        self.calls += 1
        if self.error is not None:
            voxels = voxels + self.error
        return Outcome(Image(voxels.astype(np.float32)))


@pytest.fixture
def truth():
    r, c = np.meshgrid(np.linspace(-1, 1, 96), np.linspace(-1, 1, 96), indexing="ij")
    voxels = 500 * (np.hypot(r, c) < 0.85)[None, None].astype(np.float32)
    return Truth("a", "a", Image(voxels), (0,))


def test_discs_lie_apart_inside_of_the_body(truth):
    (discs,), image = inserted(truth.image, truth.body, seed=0)
    assert len(discs) >= 6
    for disc in discs:
        assert truth.body[0, disc.row, disc.column]
        assert abs(disc.contrast) == pytest.approx(150, rel=0.02)
    change = image.voxels[0, 0] - truth.image.voxels[0, 0]
    again = sum(disc.contrast * shape_of((96, 96), disc) for disc in discs)
    np.testing.assert_allclose(change, again, atol=1e-3)


def test_what_is_kept_is_measured(truth):
    _, image = inserted(truth.image, truth.body, seed=0)
    answers = truth.image.voxels, image.voxels
    found = measure(
        [truth], named(["kspace-x4"]), [Oracle("whole", answers), Oracle("half", answers, keep=0.5)]
    )
    kept = {m: [k.kept for k in found.kept if k.method == m and not k.real] for m in ("whole", "half")}
    np.testing.assert_allclose(kept["whole"], 1, atol=1e-5)
    np.testing.assert_allclose(kept["half"], 0.5, atol=1e-5)
    shown = {k.diameter: k.shown for k in found.kept if not k.real}
    assert shown[1.5] < 0.5 < 0.8 < shown[8.0]  # small ones fade in the scan
    assert sum(f.found for f in found.false) == 0


def test_what_is_made_up_is_counted(truth):
    _, image = inserted(truth.image, truth.body, seed=0)
    error = np.zeros((1, 1, 96, 96))
    error[0, 0, 40:43, 40:43] = 200
    error[0, 0, 60:63, 50:53] = -200
    lying = Oracle("lying", (truth.image.voxels, image.voxels), error=error)
    found = measure([truth], named(["kspace-x2"]), [lying])
    assert {f.diameter: f.found for f in found.false}[3.0] == 2


def test_real_structures_are_found():
    rng = np.random.default_rng(0)
    plane = 500 + 10 * rng.standard_normal((64, 64))
    plane[30:33, 20:24] += 300
    (spot,) = real_spots(plane, np.ones((64, 64), bool))
    assert 10 <= spot.sum() <= 20
    assert spot[31, 22]


def test_the_command_writes_its_files(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    kfine.write(Image(phantom((1, 2, 80, 72))), tmp_path / "in" / "p1.nii.gz")
    call = ["benchmark", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--lesions", "--slices", "1"]
    call += ["--method", "bicubic", "--degradation", "kspace-x2"]
    assert run(call) == 0
    assert "lesions of 3 voxels keep" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {
        "lesions.csv",
        "lesions.json",
        "lesions.png",
    }
    summary = json.loads((tmp_path / "out" / "lesions.json").read_text())["summary"]
    assert all(0 < row["contrast_kept"] < 1.2 for row in summary if not row["real"])
    assert run(call) == 2
