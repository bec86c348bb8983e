import pytest
import torch

from kfine.methods.base import Draws
from kfine.methods.interpolation import KERNELS, Interpolation, ZeroFilling, interpolation_matrix
from kfine.operators.kspace import KSpaceCrop, measurement_of


def run(method, operator, low):
    y = measurement_of(low, operator)
    return method.restore(operator, y, Draws(((0,),)))[:, 0]


@pytest.mark.parametrize("name", list(KERNELS))
@pytest.mark.parametrize(("low", "high"), [(4, 8), (5, 10), (4, 7), (5, 13), (7, 7), (1, 4)])
def test_rows_sum_to_one_and_shared_points_are_kept(name, low, high):
    matrix = interpolation_matrix(KERNELS[name], low, high)
    torch.testing.assert_close(matrix.sum(1), torch.ones(high, dtype=torch.float64))
    kept = torch.zeros(low, dtype=torch.float64)
    kept[low // 2] = 1
    torch.testing.assert_close(matrix[high // 2], kept)


def test_doubling_by_hand():
    """4 to 8 points: fine index i lies at coarse i / 2; half-way points are means, cubic ones -1/16, 9/16."""
    linear = interpolation_matrix(KERNELS["bilinear"], 4, 8)
    cubic = interpolation_matrix(KERNELS["bicubic"], 4, 8)
    assert linear[3].tolist() == [0, 0.5, 0.5, 0]
    assert cubic[3].tolist() == pytest.approx([-1 / 16, 9 / 16, 9 / 16, -1 / 16])
    assert cubic[4].tolist() == pytest.approx([0, 0, 1, 0])
    assert interpolation_matrix(KERNELS["nearest"], 4, 8).argmax(1).tolist() == [0, 1, 1, 2, 2, 3, 3, 0]


@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize("name", list(KERNELS))
def test_images_are_interpolated_where_the_operator_puts_them(name, real):
    """A slow wave around the shared centre is exact on the fine grid; a half-pixel shift would not be."""
    operator = KSpaceCrop((96, 96), (48, 48), real=real)

    def wave(n):
        place = (torch.arange(n, dtype=torch.float64) - n // 2) / n
        plane = (2 + torch.cos(6.283185 * place))[:, None] * (2 + torch.sin(6.283185 * place))[None, :]
        return plane[None] if real else (plane * (1 + 0.5j))[None]

    error = (run(Interpolation(name), operator, wave(48)) - wave(96)).abs().max()
    shift = (torch.roll(wave(96), 1, -1) - wave(96)).abs().max() / 2  # the half-pixel convention's error
    assert error < {"nearest": 5, "bilinear": 0.2, "bicubic": 0.02}[name] * shift


def test_cubic_beats_linear_on_a_smooth_image():
    operator = KSpaceCrop((64, 64), (32, 32), real=True)
    x = torch.zeros(1, 64, 64, dtype=torch.float64)
    x[:, 20:44, 24:40] = 1
    x = KSpaceCrop((64, 64), (17, 17), real=True).pseudo_inverse(KSpaceCrop((64, 64), (17, 17), real=True)(x))
    errors = {
        name: (Interpolation(name).restore(operator, operator(x), Draws(((0,),)))[:, 0] - x).norm()
        for name in KERNELS
    }
    assert errors["bicubic"] < errors["bilinear"] < errors["nearest"]


def test_zero_filling_reproduces_the_measurement():
    operator = KSpaceCrop((15, 16), (7, 8), real=True)
    low = torch.randn(2, 7, 8)
    y = measurement_of(low, operator)
    assert operator.residual(run(ZeroFilling(), operator, low), y) < 1e-6
