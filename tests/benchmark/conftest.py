"""A folder of three small patients, and methods whose results are known."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

import kfine
from kfine.benchmark import Outcome
from kfine.image import Image
from tests.conftest import phantom

AFFINE = np.array([[0, 0, -2.0, 90], [0, -2.0, 0, 80], [5.0, 0, 0, -20], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder of three patients, the last with two volumes, of 32x28 pixels."""
    root = tmp_path_factory.mktemp("phantoms")
    for seed, name in enumerate(("p1_a", "p2_a", "p3_a", "p3_b")):
        kfine.write(Image(phantom((1, 3, 32, 28), seed=seed), AFFINE), root / f"{name}.nii.gz")
    return root


@pytest.fixture
def no_report(monkeypatch):
    """Replace all drawings, for tests of computations."""
    monkeypatch.setattr("kfine.benchmark.running.page", lambda results: "<!DOCTYPE html>")


@dataclass
class Offset:
    """Zero filling plus a constant, with a standard deviation of that size; counts its calls."""

    name: str = "offset"
    by: float = 200.0
    calls: int = 0

    @property
    def settings(self):
        return {"by": self.by}

    def restore(self, low, *, matrix, seed):
        self.calls += 1
        image = kfine.restore(low, matrix=matrix, method="zero-filling").mean
        moved = replace(image, voxels=image.voxels + np.float32(self.by))
        std = replace(image, voxels=np.full(image.voxels.shape, self.by, np.float32))
        return Outcome(mean=moved, std=std, sample=image)
