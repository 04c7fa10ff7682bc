"""Paired timing: two pieces of code in turn, CPU time, the median of their ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple


class Ratio(NamedTuple):
    """CPU `microseconds` per unit of work, and its ratio to the reference (median, low, high)."""

    microseconds: float
    reference: float
    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return (
            f"{self.microseconds:8.2f} us   reference {self.reference:6.2f} us   "
            f"ratio {self.median:6.2f}  ({self.low:.2f} to {self.high:.2f})"
        )


def compare(work: Callable[[int], None], reference: Callable[[int], None], units: int, rounds: int = 31) -> Ratio:
    """Run both alternately.

    Args:
        work, reference: run the given number of units of work.
        units: per round; the reference does ten times as many, since it is short.
        rounds: pairs; the first is a warm-up and not counted.
    """
    ratios, works, references = [], [], []
    for index in range(rounds + 1):
        started = time.process_time()
        work(units)
        spent = (time.process_time() - started) / units
        started = time.process_time()
        reference(units * 10)
        base = (time.process_time() - started) / (units * 10)
        if index:
            works.append(spent)
            references.append(base)
            ratios.append(spent / base)
    low, high = statistics.quantiles(ratios, n=10)[0], statistics.quantiles(ratios, n=10)[-1]
    return Ratio(
        statistics.median(works) * 1e6, statistics.median(references) * 1e6, statistics.median(ratios), low, high
    )
