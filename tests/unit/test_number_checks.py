"""Which values pass as numbers in options."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest

from taskq_sls.core.number_checks import MAX_FLOAT, is_number, is_whole


@pytest.mark.parametrize("value", [True, False, 1.0, "1", None, math.nan, Decimal(1)])
def test_only_an_int_is_a_whole_number(value: Any) -> None:
    assert not is_whole(value)


def test_a_whole_number_lies_within_its_bounds_which_are_included() -> None:
    assert [value for value in range(6) if is_whole(value, 2, 4)] == [2, 3, 4]
    assert is_whole(10**400, 1)


@pytest.mark.parametrize("value", [True, False, "1", None, Decimal(1), 1j])
def test_only_an_int_or_a_float_is_a_number(value: Any) -> None:
    assert not is_number(value)


def test_a_number_lies_within_its_bounds_which_are_included() -> None:
    assert [value for value in (0.4, 0.5, 1, 2.5, 2.6) if is_number(value, 0.5, 2.5)] == [0.5, 1, 2.5]


def test_nan_is_outside_of_every_range_and_infinity_is_not_finite() -> None:
    assert not is_number(math.nan, 0)
    assert not is_number(math.nan, None, 0)
    assert is_number(math.inf, 0)
    assert not is_number(math.inf, 0, MAX_FLOAT)
    assert not is_number(-math.inf, -MAX_FLOAT)
