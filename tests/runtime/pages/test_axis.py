from __future__ import annotations

import pytest

from segan.runtime.pages.axis import Axis, Frame, axis_of, log_span_axis, number_text, span_axis


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.0, 1.0], (0.0, 0.25, 0.5, 0.75, 1.0)),
        ([0.3, 9.7], (0.0, 2.5, 5.0, 7.5, 10.0)),
        ([-3.0, 5.0], (-4.0, -2.0, 0.0, 2.0, 4.0, 6.0)),
        ([1e6, 5e6], (1e6, 2e6, 3e6, 4e6, 5e6)),
    ],
)
def test_ticks_are_round_and_hold_all_values(values: list[float], ticks: tuple[float, ...]) -> None:
    axis = axis_of(values)
    assert axis.ticks == pytest.approx(ticks)
    assert all(0 <= axis.place(value) <= 1 for value in values)
    assert (axis.place(axis.low), axis.place(axis.high)) == (0, 1)


@pytest.mark.parametrize("values", [[], [0.0], [5.0, 5.0], [-1e-12, 0.0], [1e-30], [1e300, 1e300]])
@pytest.mark.parametrize("from_zero", [False, True])
def test_any_values_give_an_axis(values: list[float], from_zero: bool) -> None:
    axis = axis_of(values, from_zero=from_zero, may_log=True)
    assert axis.low < axis.high
    assert 2 <= len(axis.ticks) <= 10
    assert all(-1e-6 <= axis.place(value) <= 1 + 1e-6 for value in values)


def test_a_wide_range_is_logarithmic_where_that_is_allowed() -> None:
    values = [0.002, 0.1, 30.0]
    assert not axis_of(values).log
    axis = axis_of(values, may_log=True)
    assert axis.log
    assert axis.ticks == pytest.approx((1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0))
    assert axis.place(0.1) == pytest.approx(2 / 5)  # two of five decades
    assert not axis_of([0.0, *values], may_log=True).log  # 0 has no place there
    wide = axis_of([1e-9, 1e9], may_log=True).ticks
    assert wide == pytest.approx((1e-9, 1e-6, 1e-3, 1, 1e3, 1e6, 1e9))  # not one a decade


def test_zero_is_shown_when_asked_for() -> None:
    assert axis_of([0.4, 0.5], from_zero=True).low == 0
    assert axis_of([0.4, 0.5]).low == pytest.approx(0.4)


def test_a_span_is_kept_exactly() -> None:
    axis = span_axis(0.0, 2.3)
    assert (axis.low, axis.high) == (0, 2.3)
    assert axis.ticks == pytest.approx((0, 0.5, 1, 1.5, 2))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (12345.6, "12,346"),
        (0.12346, "0.1235"),
        (3.21e-6, "3.21e-06"),
        (-1.5, "−1.5"),
        (2e12, "2.00e+12"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number_text(value) == text


def test_a_logarithmic_span_is_kept_exactly() -> None:
    axis = log_span_axis(0.03, 2.5)
    assert (axis.low, axis.high, axis.log) == (0.03, 2.5, True)
    assert axis.ticks == pytest.approx((0.05, 0.1, 0.2, 0.5, 1, 2))
    assert axis.place(0.03) == 0
    assert axis.place((0.03 * 2.5) ** 0.5) == pytest.approx(0.5)  # halfway in the logarithm


def test_places_in_a_frame() -> None:
    frame = Frame(width=200, height=100, left=30, right=10, top=5, bottom=15)
    axis = Axis(10.0, 20.0, ())
    assert [frame.x(axis, value) for value in (10, 12.5, 20)] == [30, 70, 190]
    assert [frame.y(axis, value) for value in (10, 12.5, 20)] == [85, 65, 5]  # from the top
    assert (frame.end, frame.base) == (190, 85)
