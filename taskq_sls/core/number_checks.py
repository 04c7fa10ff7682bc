"""Checks of numbers that users give. True and False are refused: Python counts them as 1 and 0."""

from __future__ import annotations

import math
import sys
from typing import TypeGuard

MAX_FLOAT = sys.float_info.max
"""Upper bound for numbers that must be finite."""


def is_whole(value: object, low: float = -math.inf, high: float = math.inf) -> TypeGuard[int]:
    """True for an int from `low` to `high`."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def is_number(value: object, low: float | None = None, high: float | None = None) -> TypeGuard[float]:
    """True for an int or float, from `low` to `high` if they are given. NaN is outside of every range."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return (low is None or low <= value) and (high is None or value <= high)
