"""Rows of the table of results, and how contenders are run in turn to fill them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .contend import Spread, cost, run
from .endpoints import Endpoints

US = "us of processor time per task"


class Row(NamedTuple):
    """One comparison.

    Attributes:
        what: the figure that is compared.
        against: the other contender.
        ours, theirs: the figures in `unit`; None without another contender.
        ratio: of pairs measured one after the other. `times` says which way: True for theirs / ours (higher is
            better for us), False for ours / theirs (lower is better).
        target: the goal for the ratio, or for our figure if there is no ratio.
    """

    what: str
    against: str
    ours: Spread
    theirs: Spread | None
    ratio: Spread | None
    times: bool
    target: float | None
    unit: str = US

    @property
    def met(self) -> bool | None:
        """True if the median reaches the target; None without a target."""
        if self.target is None:
            return None
        reached = (self.ratio or self.ours).median
        return reached >= self.target if self.times else reached <= self.target


class Case(NamedTuple):
    """A contender with its options. `fill` is how its queue is filled first, for workers."""

    name: str
    contender: str
    role: str
    tasks: int
    options: dict[str, Any] = {}
    fill: tuple[str, str, dict[str, Any]] | None = None


def measure(endpoints: Endpoints, case: Case) -> dict[str, Any]:
    """Run a case once, on a queue of its own."""
    with endpoints.queue() as queue:
        if case.fill is not None:
            contender, role, options = case.fill
            warm = case.tasks // 10
            run(endpoints, contender, role, queue, tasks=case.tasks - warm, warm=warm, **options)
        warm = {} if case.fill is not None else {"warm": case.tasks // 10}
        return run(endpoints, case.contender, case.role, queue, **{"tasks": case.tasks, **warm, **case.options})


def in_turn(
    endpoints: Endpoints, cases: Sequence[Case], rounds: int, figure: Callable[[dict[str, Any]], float] = cost
) -> dict[str, list[float]]:
    """Run all cases, one after the other, `rounds` times: the figures of each by its name."""
    figures: dict[str, list[float]] = {case.name: [] for case in cases}
    for number in range(rounds):
        for case in cases:
            figures[case.name].append(figure(measure(endpoints, case)))
            print(f"  {number + 1}/{rounds} {case.name}: {figures[case.name][-1]:.4g}", flush=True)
    return figures


def compare(
    what: str,
    figures: dict[str, list[float]],
    ours: str,
    theirs: str,
    target: float | None,
    *,
    times: bool = False,
    unit: str = US,
) -> Row:
    """A row of two cases; the ratios are of pairs from the same round."""
    mine, other = figures[ours], figures[theirs]
    ratios = [b / a if times else a / b for a, b in zip(mine, other, strict=True)]
    return Row(what, theirs, Spread.of(mine), Spread.of(other), Spread.of(ratios), times, target, unit)
