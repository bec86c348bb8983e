"""What images are like, and how far that is from what a model was trained on."""

import numpy as np
import pytest

from kfine.errors import ModelError
from kfine.image import Image
from kfine.intensity import Scaling
from kfine.models.domain import UNKNOWN, Domain, Ranges, far, ranges_of

MODEL = Ranges(
    voxel_size=(0.8, 2.0), matrix=(100, 300), scale=(1.0, 4.0), air=(0.5, 0.6), brightness=(0.4, 0.6)
)


def image(affine=None):
    voxels = np.zeros((1, 2, 20, 40), np.float32)
    voxels[..., 10:] = 500.0  # three quarters of tissue, all alike
    affine = np.diag([5.0, 2.0, 1.5, 1.0]) if affine is None else affine
    return Image(voxels, affine)


def test_what_is_measured_of_an_image():
    low = image()
    scaling = Scaling.of(low.voxels)
    ranges = ranges_of(low, scaling, high=(40, 60))
    assert ranges.voxel_size == pytest.approx((1.0, 1.0))
    assert ranges.matrix == (40, 60)
    assert ranges.scale == (1.5, 2.0)
    assert ranges.air == (0.25, 0.25)
    assert ranges.brightness == pytest.approx((0.9, 0.9))  # the headroom of the scaling
    # Slices without tissue do not count.
    stack = Image(np.concatenate([low.voxels, np.zeros((1, 6, 20, 40), np.float32)], axis=1), low.affine)
    assert ranges_of(stack, scaling, high=(40, 60)) == ranges
    assert ranges_of(image(np.eye(4)), scaling, high=(40, 60)).voxel_size is None


def test_all_of_several_lie_in_the_ranges_around_them():
    around = Ranges.around(
        [Ranges(matrix=(3, 4)), Ranges(matrix=(2, 3), air=(0.1, 0.2)), Ranges(air=(0.3, 0.3))]
    )
    assert around == Ranges(matrix=(2, 4), air=(0.1, 0.3))
    assert Ranges.around([]) == Ranges()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, []),
        ({"voxel_size": (0.4, 4.9)}, []),  # no network sees it
        ({"voxel_size": (0.3, 1.0)}, ["voxel size 0.3-1 mm (tested on 0.8-2)"]),
        ({"voxel_size": (1.0, 6.0)}, ["voxel size 1-6 mm (tested on 0.8-2)"]),
        ({"scale": (2.0, 4.3)}, []),  # a little beyond
        ({"voxel_size": None}, []),
        ({"matrix": (64, 512)}, ["matrix 64-512 (tested on 100-300)"]),
        ({"scale": (2.0, 6.0)}, ["scale 2-6 (tested on 1-4)"]),
        ({"air": (0.2, 0.2)}, ["air 0.2 of a slice (tested on 0.5-0.6)"]),
        ({"brightness": (0.2, 0.2)}, ["brightness of tissue 0.2 of full scale (tested on 0.4-0.6)"]),
        ({"brightness": (0.2, 0.2), "matrix": (8, 8)}, ["matrix 8 (tested", "brightness"]),
    ],
)
def test_what_is_far_is_named(change, says):
    near = Ranges(voxel_size=(1, 1), matrix=(128, 128), scale=(2, 2), air=(0.55, 0.55), brightness=(0.5, 0.5))
    said = far(near.model_copy(update=change), MODEL)
    assert len(said) == len(says)
    assert all(part in line for part, line in zip(says, said.values(), strict=True))


def test_what_was_measured_there_is_said():
    beyond = {"scale": "at 6 it gains nothing\x1b[2J"}
    domain = Domain.of("m", {"ranges": {"scale": [1, 4], "matrix": [100, 300]}, "beyond": beyond})
    matrix, scale = domain.far(Ranges(scale=(2, 6), matrix=(50, 300)))
    assert "\x1b" not in scale
    assert scale.startswith("scale 2-6 (tested on 1-4): at 6 it gains nothing")
    assert matrix == f"matrix 50-300 (tested on 100-300): {UNKNOWN}"


def test_nothing_is_far_from_a_model_that_says_nothing():
    assert Domain.of("m", {}).far(MODEL) == []


@pytest.mark.parametrize(
    "table", [{"matrix": [1]}, {"matrix": [-1, 2]}, {"colour": [0, 1]}, [1], {"air": ["a", 1]}]
)
def test_a_damaged_table_is_named(table):
    with pytest.raises(ModelError, match=r"model m: config.json: ranges"):
        Domain.of("m", {"ranges": table})


@pytest.mark.parametrize("table", [{"colour": "x"}, {"scale": ""}, {"scale": "x" * 201}, ["scale"]])
def test_a_damaged_sentence_is_named(table):
    with pytest.raises(ModelError, match=r"model m: config.json: beyond"):
        Domain.of("m", {"beyond": table})
