"""Keeping and averaging frames: which frames, when, and the exact inverse whatever the counts."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kfine.operators.frames import AverageFrames, KeepFrames, times_of
from kfine.operators.kspace import KSpaceCrop


@st.composite
def frame_operators(draw):
    frames = draw(st.integers(1, 24))
    count = draw(st.integers(1, frames))
    if draw(st.booleans()):
        return KeepFrames((frames, 2), count, first=draw(st.integers(0, frames - 1)), real=True)
    return AverageFrames((frames, 2), count, wrap=draw(st.booleans()), real=True)


def dense(operator):
    """The operator as a matrix over time."""
    frames = operator.domain[0]
    return operator(torch.eye(frames, dtype=torch.float64)[:, :, None].expand(-1, -1, 2))[..., 0].T


@given(frame_operators())
def test_pseudo_inverse_is_the_dense_one(op):
    y = torch.randn(3, *op.range, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.einsum("nm,bmp->bnp", torch.linalg.pinv(dense(op)), y)
    torch.testing.assert_close(op.pseudo_inverse(y), expected)


@given(frame_operators())
def test_single_precision_is_enough_however_much_groups_share(op):
    x, truth = (torch.randn(op.domain, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    assert op.residual(op.project(x, op(truth)), op(truth)) < 1e-5


@given(frame_operators())
def test_groups_say_which_frames_are_weighed(op):
    rows = dense(op)
    assert len(op.groups) == op.range[0] == len(rows)
    for row, group in zip(rows, op.groups, strict=True):
        expected = torch.zeros_like(row)
        expected[[number % len(row) for number in group]] = 1 / len(group)
        torch.testing.assert_close(row, expected)


@given(st.integers(1, 24), st.data())
def test_times_increase_and_span_less_than_a_period(frames, data):
    gaps = data.draw(st.lists(st.floats(0.01, 1), min_size=frames, max_size=frames))
    times = torch.tensor(gaps, dtype=torch.float64).cumsum(0).tolist()
    period = times[-1] - times[0] + data.draw(st.floats(0.01, 1))
    count = data.draw(st.integers(1, frames))
    for op in (AverageFrames((frames,), count, real=True), KeepFrames((frames,), count, real=True)):
        got = times_of(op.groups, times, period)
        assert all(a < b for a, b in pairwise(got))
        assert got[-1] - got[0] < period


def test_by_hand():
    """Seven frames by three: kept are 0, 3, 6; the last mean takes frames 6, 0, 1, or 6 alone without wrapping."""
    x = torch.tensor([0.0, 1, 2, 3, 4, 5, 6], dtype=torch.float64)
    keep, wrap, stop = (
        KeepFrames((7,), 3, real=True),
        AverageFrames((7,), 3, real=True),
        AverageFrames((7,), 3, wrap=False, real=True),
    )
    assert keep(x).tolist() == [0, 3, 6]
    assert KeepFrames((7,), 3, first=2, real=True)(x).tolist() == [2, 5]
    assert wrap(x).tolist() == pytest.approx([1, 4, 7 / 3])
    assert stop(x).tolist() == pytest.approx([1, 4, 6])
    assert stop.pseudo_inverse(stop(x)).tolist() == pytest.approx([1, 1, 1, 4, 4, 4, 6])
    times = [0.1 * number for number in range(7)]
    assert times_of(wrap.groups, times, 0.8) == pytest.approx([0.1, 0.4, (0.6 + 0.8 + 0.9) / 3])
    assert times_of(stop.groups, times, None) == pytest.approx([0.1, 0.4, 0.6])
    assert times_of(keep.groups, times, None) == pytest.approx([0, 0.3, 0.6])


@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize("frames", [KeepFrames, AverageFrames])
def test_time_and_space_commute(frames, real):
    crop = KSpaceCrop((9, 8), (4, 5), real=real)
    one, other = crop @ frames((7, 9, 8), 3, real=real), frames((7, 4, 5), 3, real=real) @ crop
    assert (one.domain, one.range) == (other.domain, other.range) == ((7, 9, 8), (3, 4, 5))
    x = torch.randn(2, 7, 9, 8, dtype=torch.float64 if real else torch.complex128)
    y = one(x)
    torch.testing.assert_close(other(x), y)
    torch.testing.assert_close(other.adjoint(y), one.adjoint(y))
    torch.testing.assert_close(other.pseudo_inverse(y), one.pseudo_inverse(y))


@pytest.mark.parametrize(
    "make",
    [
        lambda: KeepFrames((5,), 0, real=True),
        lambda: KeepFrames((5,), 6, real=True),
        lambda: KeepFrames((5,), 2, first=5, real=True),
        lambda: KeepFrames((5,), 2, first=-1, real=True),
        lambda: AverageFrames((5,), 0, real=True),
        lambda: AverageFrames((5,), 6, real=True),
        lambda: times_of(((4, 5),), [0.0] * 5, None),
    ],
)
def test_refusals(make):
    with pytest.raises(ValueError, match="expected"):
        make()
