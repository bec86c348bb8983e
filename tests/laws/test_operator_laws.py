"""The laws that every operator passes."""

import pytest
import torch

from kfine.operators.coils import CoilScan
from kfine.operators.frames import AverageFrames, KeepFrames
from kfine.operators.kspace import KSpaceCrop
from kfine.operators.slices import SliceProfile

HIGH_AND_LOW = [
    ((8, 8), (4, 4)), ((9, 8), (5, 3)), ((12, 7), (4, 7)), ((8, 8), (8, 6)), ((16, 16), (1, 1)),
    ((13, 11), (7, 5)), ((10, 6), (10, 6)), ((1, 1), (1, 1)), ((128, 128), (48, 40)),
]  # fmt: skip
# Slices that touch, overlap and leave gaps, of ratios that are no integers, and so wide that the floor cuts.
PROFILES = [
    (12, 3, "gaussian", 1.0), (12, 4, "box", 1.0), (12, 4, "crop", 1.0), (13, 5, "crop", 1.0), (12, 5, "gaussian", 1.3),
    (11, 4, "box", 0.7), (10, 4, "gaussian", 0.5), (9, 9, "gaussian", 1.0), (8, 8, "crop", 1.0), (16, 4, "box", 2.0),
    (12, 6, "gaussian", 3.0), (7, 1, "box", 1.0),
]  # fmt: skip
FRAMES_EVERY_FIRST = [(8, 4, 0), (7, 3, 0), (7, 3, 2), (5, 5, 0), (5, 1, 0), (1, 1, 0), (6, 4, 5)]
FRAMES_AND_COUNT = [(8, 4), (7, 3), (9, 8), (8, 5), (5, 5), (3, 2), (5, 1), (1, 1)]


def samples(matrix, taken):
    sampled = torch.zeros(matrix, dtype=torch.bool)
    sampled[taken] = True
    return sampled


SAMPLED = [
    ((8, 7), (6, 5), samples((6, 5), slice(2, None))),
    ((6, 6), (6, 6), samples((6, 6), (slice(None), slice(None, None, 2)))),
    ((7, 8), (7, 8), samples((7, 8), ([0, 3, 3, 4, 6], [1, 4, 5, 2, 7]))),
]


def operators():
    for high, low in HIGH_AND_LOW:
        for real in (True, False):
            yield KSpaceCrop(high, low, real=real)
    for real in (True, False):
        for slices, count, profile, width in PROFILES:
            yield SliceProfile((slices, 3, 2), count, profile=profile, width=width, real=real)
        for axis in (-1, -2):
            yield SliceProfile((9, 8), 4, axis=axis, real=real)
        for frames, every, first in FRAMES_EVERY_FIRST:
            yield KeepFrames((frames, 3, 2), every, first=first, real=real)
        for kept in [(0, 1, 4), (6,), range(7)]:
            yield KeepFrames((7, 3, 2), kept, real=real)
        for frames, count in FRAMES_AND_COUNT:
            yield AverageFrames((frames, 3, 2), count, real=real)
            yield AverageFrames((frames, 3, 2), count, wrap=False, real=real)
        # Time and space, either first.
        for high, low in [((8, 7), (4, 3)), ((6, 8), (5, 4))]:
            crop = KSpaceCrop(high, low, real=real)
            for frames in (KeepFrames, AverageFrames):
                yield crop @ frames((7, *high), 3, real=real)
                yield frames((7, *low), 3, real=real) @ crop
            yield crop @ AverageFrames((7, *high), 3, wrap=False, real=real)
            yield crop @ KeepFrames((7, *high), (0, 2, 3, 6), real=real)
    yield KeepFrames((5, 3, 4, 2), 2, real=False) @ SliceProfile((6, 4, 2), 3, real=False)
    # A real image's k-space is complex: slices are averaged before the plane is measured.
    yield KSpaceCrop((8, 7), (4, 3), real=True) @ SliceProfile((6, 8, 7), 2, real=True)
    yield KSpaceCrop((8, 7), (4, 3), real=False) @ SliceProfile((6, 8, 7), 2, real=False)
    yield SliceProfile((6, 4, 3), 2, real=False) @ KSpaceCrop((8, 7), (4, 3), real=False)
    # Not all of the block was measured: partial Fourier, every other line, scattered samples.
    for high, low, sampled in SAMPLED:
        crop = KSpaceCrop(high, low, real=False, sampled=sampled)
        yield crop
        yield crop @ KeepFrames((4, *high), 2, real=False)
        yield CoilScan(crop, draw((3, *high), real=False, seed=13))
    # More samples than voxels.
    yield CoilScan(KSpaceCrop((6, 5), (6, 5), real=False), draw((3, 6, 5), real=False, seed=14))


def draw(shape, *, real, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64 if real else torch.complex128)


def inner(a, b):
    return float((a.conj() * b).sum().real)


@pytest.fixture(
    params=list(operators()), ids=lambda op: f"{type(op).__name__}-{op.domain}-{op.range}-{op.real}"
)
def op(request):
    return request.param


def test_shapes(op):
    x = draw((2, *op.domain), real=op.real, seed=0)
    assert op(x).shape == (2, *op.range)
    assert op.adjoint(op(x)).shape == op.pseudo_inverse(op(x)).shape == x.shape
    assert op.pseudo_inverse(op(x)).is_complex() == (not op.real)


def test_linear(op):
    x, z = (draw(op.domain, real=op.real, seed=seed) for seed in (1, 2))
    torch.testing.assert_close(op(2 * x - 3 * z), 2 * op(x) - 3 * op(z))


def test_adjoint(op):
    x = draw(op.domain, real=op.real, seed=3)
    y = draw(op(x).shape, real=not op(x).is_complex(), seed=4)
    assert inner(op(x), y) == pytest.approx(inner(x, op.adjoint(y)), abs=1e-9)


def test_projection_reproduces_the_measurement(op):
    x, truth = (draw(op.domain, real=op.real, seed=seed) for seed in (5, 6))
    y = op(truth)
    assert op.residual(op.project(x, y), y) < 1e-12
    torch.testing.assert_close(op.project(truth, y), truth)


def test_projection_moves_as_little_as_possible(op):
    x, truth, other = (draw(op.domain, real=op.real, seed=seed) for seed in (7, 8, 9))
    moved = op.project(x, op(truth)) - x
    in_null_space = other - op.pseudo_inverse(op(other))
    assert float(op(in_null_space).abs().max()) < 1e-12
    assert inner(moved, in_null_space) == pytest.approx(0, abs=1e-9)


def test_pseudo_inverse_conditions(op):
    y = op(draw(op.domain, real=op.real, seed=10))
    x = op.pseudo_inverse(y)
    torch.testing.assert_close(op(x), y)
    torch.testing.assert_close(op.pseudo_inverse(op(x)), x)


def test_single_precision_projection_is_good_to_1e_5(op):
    x, truth = (draw(op.domain, real=op.real, seed=seed) for seed in (11, 12))
    single = torch.float32 if op.real else torch.complex64
    y = op(truth.to(single))
    assert op.residual(op.project(x.to(single), y), y) < 1e-5


def test_projection_in_double_rounds_only_its_result(op):
    x, truth = (draw(op.domain, real=op.real, seed=seed) for seed in (15, 16))
    single = torch.float32 if op.real else torch.complex64
    x, y = 1e4 * x.to(single), op(truth.to(single))
    exact = op.project(x.to(truth.dtype), y.to(torch.complex128 if y.is_complex() else torch.float64))
    done = op.project_in_double(x, y)
    assert done.dtype == single
    wrong, rounding = torch.view_as_real(done - exact + 0j).abs(), torch.finfo(torch.float32).eps / 2
    assert (wrong <= rounding * torch.view_as_real(exact + 0j).abs()).all()


def test_composition_refuses_shapes_that_do_not_meet():
    with pytest.raises(ValueError, match="cannot compose"):
        KSpaceCrop((8, 8), (4, 4), real=True) @ KSpaceCrop((8, 8), (6, 6), real=True)
