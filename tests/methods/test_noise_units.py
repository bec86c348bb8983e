"""Noise of a voxel, the unit of users, and of the measurement, the unit of guidance."""

import numpy as np
import pytest
import torch

import kfine
from kfine.acquisition.scan import Scan
from kfine.acquisition.timing import Timing
from kfine.image import Image
from kfine.intensity import Scaling
from kfine.operators.kspace import KSpaceCrop, measurement_of
from kfine.restoration.options import Options
from kfine.restoration.selection import choose_method
from tests.conftest import phantom


@pytest.mark.parametrize("complex_", [False, True])
def test_what_degrade_adds_is_what_guidance_expects(tiny_model, complex_):
    voxels = phantom((1, 6, 32, 32)) * (np.exp(0.4j) if complex_ else 1)
    image = Image(voxels)
    clean, noisy = (kfine.degrade(image, matrix=(16, 12), noise=noise, signed=True) for noise in (0.0, 0.05))
    operator = KSpaceCrop((40, 30), (16, 12), real=not complex_)
    options = Options(model=tiny_model, noise=0.05, start=1.0)
    scan = Scan(operator, Timing.unchanged([0.0], None))
    method = choose_method(options, measurements=lambda: [], scan=scan).method
    in_model_units = torch.from_numpy(noisy.voxels - clean.voxels) * (2 / Scaling.of(image.voxels).full)
    # Of a real image the two parts of k-space share the noise, of a complex one each part carries it.
    power = measurement_of(in_model_units, operator).abs().square().mean() / (2 if complex_ else 1)
    assert method.options["guidance"]["noise"] == pytest.approx(float(power.sqrt()), rel=0.1)
