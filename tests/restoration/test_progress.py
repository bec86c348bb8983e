"""How long work takes, from how long its first steps took."""

import pytest

from kfine.restoration.options import METHODS
from kfine.restoration.progress import FASTER, Forecast, duration


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_nothing_is_forecast_before_something_is_done(clock):
    forecast = Forecast(clock)
    assert (forecast.seconds, forecast.left, forecast.certain) == (None, None, False)
    forecast(0, 100)
    clock.now = 50.0
    assert (forecast.seconds, forecast.left, forecast.certain) == (None, None, False)


def test_the_first_group_warms_up_and_does_not_count(clock):
    forecast = Forecast(clock)
    forecast(0, 100)
    for group, seconds in enumerate((8.0, 2.0, 2.0)):
        forecast.group()
        clock.now += seconds
        forecast(10 * (group + 1), 100)
    forecast.group()
    # 12 s so far, 70 left at 10 in 2 s.
    assert forecast.seconds == pytest.approx(12 + 14)
    assert forecast.certain
    clock.now += 4
    assert forecast.left == pytest.approx(10)


def test_steps_within_the_first_group_are_enough_after_some_seconds(clock):
    forecast = Forecast(clock)
    forecast(0, 1000)
    forecast.group()
    for done, now in ((10, 3.0), (20, 4.0), (30, 5.0)):
        assert not forecast.certain
        clock.now = now
        forecast(done, 1000)
    assert forecast.certain
    assert forecast.seconds == pytest.approx(5 + 97)  # 10 in 1 s; the first took 3 s, which is warming up


def test_what_was_done_before_is_no_pace(clock):
    """A training that is resumed at step 900 is not nine tenths done within a second."""
    forecast = Forecast(clock)
    clock.now = 1.0
    forecast(901, 1000)
    assert forecast.seconds is None
    clock.now = 11.0
    forecast(911, 1000)
    assert forecast.left == pytest.approx(89)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "1 s"),
        (59.4, "59 s"),
        (60, "1 min 0 s"),
        (599, "9 min 59 s"),
        (3500, "58 min"),
        (8100, "2 h 15 min"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_faster_methods_are_methods():
    assert {*FASTER, *FASTER.values()} <= set(METHODS)
