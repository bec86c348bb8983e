"""Interpolation in time: common properties, exact cases, and a comparison with splines of scipy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline

from kfine.errors import InputError
from kfine.methods.time_interpolation import WEIGHTS, band_limited, cubic, interpolated, linear, nearest

WAYS = list(WEIGHTS)


@st.composite
def cines(draw):
    """Times that increase, unevenly, and a period that is longer."""
    gaps = draw(st.lists(st.floats(0.02, 0.1), min_size=1, max_size=12))
    times = np.cumsum(gaps) - draw(st.floats(-1, 1))
    return times.tolist(), float(times[-1] - times[0] + draw(st.floats(0.02, 0.1)))


def even(count, period=0.8, first=0.0):
    return [first + period * number / count for number in range(count)]


def weights_of(way, times, at, period):
    return interpolated(
        torch.eye(len(times), dtype=torch.float64), times, at, period=period, weights=WEIGHTS[way]
    )


def check_laws(way, times, period):
    """Frames are unchanged at their times, a still image stays still, and heart beats repeat."""
    n = len(times)
    torch.testing.assert_close(weights_of(way, times, times, period), torch.eye(n, dtype=torch.float64))
    at = np.linspace(times[0] - 1, times[-1] + 1, 41) + 1e-4
    got = weights_of(way, times, at.tolist(), period)
    torch.testing.assert_close(got.sum(1), torch.ones(41, dtype=torch.float64))
    if period is not None:
        torch.testing.assert_close(weights_of(way, times, (at + 3 * period).tolist(), period), got)
        # Which frame comes first in the list is of no matter on a circle.
        turned = [*times[1:], times[0] + period]
        torch.testing.assert_close(weights_of(way, turned, at.tolist(), period), torch.roll(got, -1, 1))


@settings(max_examples=30)
@given(cines(), st.sampled_from(["nearest", "linear", "cubic"]), st.booleans())
def test_laws_for_uneven_times(cine, way, periodic):
    times, period = cine
    check_laws(way, times, period if periodic else None)


@settings(max_examples=30)
@given(st.integers(1, 13), st.floats(-1, 1), st.floats(0.5, 2))
def test_laws_for_band_limited(count, first, period):
    check_laws("band-limited", even(count, period, first), period)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8])
@pytest.mark.parametrize("way", WAYS)
def test_few_frames_odd_and_even(way, count):
    check_laws(way, even(count), 0.8)


@pytest.mark.parametrize(
    ("way", "bound"), [("nearest", 0.4), ("linear", 0.1), ("cubic", 0.01), ("band-limited", 1e-12)]
)
@pytest.mark.parametrize("count", [8, 9])
def test_a_sinusoid_is_met_all_round_the_cycle(way, bound, count):
    def wave(times):
        phase = 2 * np.pi * np.asarray(times) / 0.8
        return torch.from_numpy(np.stack([np.cos(phase), np.exp(1j * phase)], 1))

    times, at = even(count, first=0.013), np.linspace(0, 0.8, 50).tolist()
    got = interpolated(wave(times), times, at, period=0.8, weights=WEIGHTS[way])
    assert (got - wave(at)).abs().max() < bound


def test_band_limited_is_exact_up_to_its_last_frequency():
    """Odd counts hold (n - 1) / 2 turns a cycle; one more is out of reach."""
    times, at = even(9), np.linspace(0, 0.8, 30).tolist()
    for turns, exact in [(4, True), (5, False)]:
        phase = [2j * np.pi * turns * np.asarray(t) / 0.8 for t in (times, at)]
        error = band_limited(times, at, 0.8) @ np.exp(phase[0]) - np.exp(phase[1])
        assert (np.abs(error).max() < 1e-12) == exact


@pytest.mark.parametrize("count", [8, 9])
def test_band_limited_is_zero_filling_along_time(count):
    """By the DFT, three times as many frames; the frequency n / 2 of an even n goes half to either side."""
    x = np.random.default_rng(0).standard_normal(count)
    spectrum, half = np.fft.fft(x), (count + 1) // 2
    filled = np.zeros(3 * count, complex)
    filled[:half], filled[1 - half :] = spectrum[:half], spectrum[1 - half :]
    if count % 2 == 0:
        filled[half] = filled[-half] = spectrum[half] / 2
    expected = np.fft.ifft(filled).real * 3
    np.testing.assert_allclose(band_limited(even(count), even(3 * count), 0.8) @ x, expected, atol=1e-12)


def test_band_limited_takes_rounded_times_and_refuses_uneven_ones():
    rounded = [round(time, 3) for time in even(18, 0.83)]
    np.testing.assert_allclose(band_limited(rounded, rounded, 0.83), np.eye(18), atol=1e-9)
    with pytest.raises(InputError, match=r"steps from 0\.\d+ to .* use cubic"):
        band_limited(even(25)[::4], [0.1], 0.8)
    with pytest.raises(InputError, match="period"):
        band_limited(even(8), [0.1], None)


def test_the_spline_is_scipys():
    rng = np.random.default_rng(1)
    times, x = np.sort(rng.uniform(0, 0.7, 7)), rng.standard_normal((7, 2))
    inside = np.linspace(times[0], times[-1], 40)
    natural = CubicSpline(times, x, bc_type="natural")(inside)
    np.testing.assert_allclose(cubic(times.tolist(), inside.tolist(), None) @ x, natural, atol=1e-10)
    closed = CubicSpline([*times, times[0] + 0.8], [*x, x[0]], bc_type="periodic")
    at = np.linspace(-1, 2, 60)
    np.testing.assert_allclose(cubic(times.tolist(), at.tolist(), 0.8) @ x, closed(at), atol=1e-10)


def test_wrapping_by_hand():
    """Frames at 0, 0.2, 0.4 in a cycle of 1: at 0.7 the last and the first are 0.3 away."""
    times = [0.0, 0.2, 0.4]
    assert linear(times, [0.7, 1.1, -0.15], 1.0).tolist() == [
        pytest.approx(row) for row in [[0.5, 0, 0.5], [0.5, 0.5, 0], [0.75, 0, 0.25]]
    ]
    assert nearest(times, [0.7, 0.69, 0.1], 1.0).argmax(1).tolist() == [0, 2, 1]
    for way in (nearest, linear, cubic):  # a line ends with its frames
        assert way(times, [0.7, -0.15], None).tolist() == [
            pytest.approx(row, abs=1e-12) for row in [[0, 0, 1], [1, 0, 0]]
        ]


@pytest.mark.parametrize("way", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize(
    ("times", "at", "period", "says"),
    [
        ([0.0, 0.2, 0.1], [0.1], 1.0, "increasing"),
        ([0.0, 0.2, 0.2], [0.1], None, "increasing"),
        ([0.0, float("nan"), 0.2], [0.1], 1.0, "finite"),
        ([0.0, 0.1, 0.2], [float("inf")], 1.0, "finite"),
        ([0.0, 0.1, 0.2], [0.1], 0.2, "period 0.2 s"),
        ([0.0, 0.1], [0.1], 0.2, "as many frames as times, got 3 and 2"),
    ],
)
def test_refusals(way, times, at, period, says):
    with pytest.raises(InputError, match=says):
        interpolated(torch.zeros(3, 2), times, at, period=period, weights=WEIGHTS[way])
