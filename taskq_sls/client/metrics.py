"""``app.metrics``: counters per task and queue over time, as drivers have written them.

There are counters of whole minutes (kept 8 days) and of whole hours (kept 60 days), in UTC. They arrive a minute late: a
worker writes a minute when it is over, a Lambda container at the end of an invocation.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, TypedDict, Unpack

from ..core.flow import call_sync
from ..core.times import TimeLike
from ..metrics.window import Named, Point, Window, read_window
from .runtime import Runtime

if TYPE_CHECKING:
    from ..metrics.counters import Counters
    from .services import Services

LAST_HOUR = timedelta(hours=1)


class Span(TypedDict, total=False):
    """The arguments that select counters; see `Metrics.window`."""

    task: str | None
    queue: str | None
    since: TimeLike
    until: TimeLike | None


class SteppedSpan(Span, total=False):
    """A span, cut into steps."""

    step: float | timedelta | None


class Metrics:
    """Counters of tasks, for reading. Async methods have the prefix ``a``.

    To get several figures for the same time, use `window`: it reads once.
    Every method raises ConfigError if a time or a step is malformed.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def window(
        self,
        *,
        task: str | None = None,
        queue: str | None = None,
        since: TimeLike = LAST_HOUR,
        until: TimeLike | None = None,
        step: float | timedelta | None = None,
    ) -> Window:
        """Read all counters of a span of time, once.

        Args:
            task: only the task of this name.
            queue: only tasks from this queue (logical name).
            since: an aware datetime, epoch seconds, or a timedelta back from now; rounded down to whole steps.
            until: the same, exclusive, rounded up to whole steps. Default: now, including the current step.
            step: seconds of a point: whole minutes below an hour, else whole hours. Default: by the span, 1 minute up
                to 3 hours, 5 minutes up to 12 hours, 1 hour up to 14 days, else a day.

        Raises:
            ConfigError: a time or step is malformed, or there would be more than 1,500 points.
            MissingResource: the table does not exist.
        """
        span = SteppedSpan(task=task, queue=queue, since=since, until=until, step=step)
        return call_sync("window", self._window(self._runtime.services.blocking(), **span))

    async def awindow(self, **span: Unpack[SteppedSpan]) -> Window:
        """`window` for async code."""
        return await self._window(await self._runtime.services.on_loop(), **span)

    def series(self, **span: Unpack[SteppedSpan]) -> Sequence[Point]:
        """A point for every step, empty ones included, the oldest first. Arguments as of `window`.

        ``point.time`` is the beginning of the step, ``point.counters`` has the counts, ``p50``, ``p95``, ``p99``.
        """
        return self.window(**span).points

    async def aseries(self, **span: Unpack[SteppedSpan]) -> Sequence[Point]:
        """`series` for async code."""
        return (await self.awindow(**span)).points

    def totals(self, **span: Unpack[Span]) -> Counters:
        """The sum over the span. Arguments as of `window`, without `step`."""
        return self.window(**span).totals

    async def atotals(self, **span: Unpack[Span]) -> Counters:
        """`totals` for async code."""
        return (await self.awindow(**span)).totals

    def failing(
        self, *, queue: str | None = None, since: TimeLike = LAST_HOUR, until: TimeLike | None = None, limit: int = 10
    ) -> list[Named]:
        """The tasks with the most failures, the worst first: by tasks that failed, then by attempts that are retried.

        Tasks without a failure are left out.
        """
        return self.window(queue=queue, since=since, until=until).failing(limit)

    async def afailing(
        self, *, queue: str | None = None, since: TimeLike = LAST_HOUR, until: TimeLike | None = None, limit: int = 10
    ) -> list[Named]:
        """`failing` for async code."""
        return (await self.awindow(queue=queue, since=since, until=until)).failing(limit)

    async def _window(
        self,
        services: Services,
        task: str | None = None,
        queue: str | None = None,
        since: TimeLike = LAST_HOUR,
        until: TimeLike | None = None,
        step: float | timedelta | None = None,
    ) -> Window:
        store, now = services.results.metrics, self._runtime.clock.time()
        return await read_window(
            store,
            services.flow,
            self._runtime.name,
            now,
            task=task,
            queue=queue,
            since=since,
            until=until,
            step=step,
        )
