"""Exponential backoff with jitter, for everything that is tried again."""

from __future__ import annotations

import math
import random

OUTAGE_SECONDS = 5.0, 60.0
"""Shortest and longest time for which a message returns to its queue while AWS cannot be reached."""


class Backoff:
    """Waits that grow from try to try. A random part of up to a half is left out, so that clients spread.

    Args:
        first: seconds of the first wait.
        longest: most seconds of any wait.
        factor: how much longer each wait is than the one before.
    """

    def __init__(self, first: float, longest: float = math.inf, factor: float = 2.0) -> None:
        self._first = self._next = first
        self._longest = longest
        self._factor = factor

    def next(self) -> float:
        """Seconds to wait now; the following wait is longer."""
        seconds = self._next
        self._next = min(self._longest, seconds * self._factor)
        return seconds * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Begin with the first wait again, after a success."""
        self._next = self._first


def outage_seconds() -> float:
    """Seconds for which a message returns to its queue in an outage. Random, so that messages come back one by one."""
    return random.uniform(*OUTAGE_SECONDS)
