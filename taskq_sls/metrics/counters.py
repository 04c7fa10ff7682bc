"""Counters of tasks by minute and hour, and the interface of their store."""

from __future__ import annotations

import abc
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

MINUTE, HOUR = 60, 3_600
"""The two spans of counters, in seconds."""

LIFETIME_SECONDS = {MINUTE: 8 * 86_400, HOUR: 60 * 86_400}
"""Lifetime of counters from the beginning of their minute or hour."""

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)
"""Upper bounds of the duration buckets in seconds, inclusive. One more bucket has no bound."""

BUCKETS = len(BOUNDS) + 1

FIRST_SWEEP_ROWS = 10_000
"""Expired counters in memory are dropped at this many, then each time their number has doubled."""


class Counters(NamedTuple):
    """Counts of a span of time.

    Args:
        started: attempts that entered their function.
        succeeded: tasks that succeeded.
        failed: tasks that failed for good.
        retried: failed attempts that are retried.
        cancelled: tasks cancelled by a worker or a Lambda function.
        expired: tasks received later than their `expires_in`.
        skipped: scheduled runs dropped because the one before was still running.
        duration: total seconds of all ended attempts.
        longest: seconds of the longest ended attempt.
        waits: first attempts among `started`.
        wait: total seconds of `waits` from the enqueue, or from a later `not_before`, to the start.
        histogram: ended attempts by duration: one number for each of `BOUNDS`, and one for longer attempts.
    """

    started: int = 0
    succeeded: int = 0
    failed: int = 0
    retried: int = 0
    cancelled: int = 0
    expired: int = 0
    skipped: int = 0
    duration: float = 0.0
    longest: float = 0.0
    waits: int = 0
    wait: float = 0.0
    histogram: tuple[int, ...] = (0,) * BUCKETS

    @property
    def ended(self) -> int:
        """Tasks that ended, in any state."""
        return self.succeeded + self.failed + self.cancelled + self.expired + self.skipped

    @property
    def timed(self) -> int:
        """Ended attempts: the number behind `duration` and `histogram`."""
        return sum(self.histogram)

    @property
    def mean(self) -> float | None:
        """Average seconds of an attempt, or None if none ended."""
        return self.duration / timed if (timed := self.timed) else None

    @property
    def mean_wait(self) -> float | None:
        """Average seconds from enqueue to start, or None if no task started."""
        return self.wait / self.waits if self.waits else None

    @property
    def failure_rate(self) -> float | None:
        """Failed attempts as a share, 0 to 1, of those that succeeded or failed; None if there were none."""
        failed = self.failed + self.retried
        return failed / tried if (tried := self.succeeded + failed) else None

    def percentile(self, share: float) -> float | None:
        """Seconds within which `share` (0 to 1) of the attempts ended; None if none ended.

        Interpolated within a bucket, and never above `longest`.
        """
        timed = self.timed
        if not timed:
            return None
        rank, below = share * timed, 0
        for bucket, count in enumerate(self.histogram):
            if count and below + count >= rank:
                low = BOUNDS[bucket - 1] if bucket else 0.0
                high = min(BOUNDS[bucket], self.longest) if bucket < len(BOUNDS) else self.longest
                return min(self.longest, low + max(0.0, high - low) * (rank - below) / count)
            below += count
        return self.longest

    @property
    def p50(self) -> float | None:
        """The median duration in seconds."""
        return self.percentile(0.5)

    @property
    def p95(self) -> float | None:
        """Seconds within which 95 % of the attempts ended."""
        return self.percentile(0.95)

    @property
    def p99(self) -> float | None:
        """Seconds within which 99 % of the attempts ended."""
        return self.percentile(0.99)

    def __add__(self, other: Counters) -> Counters:  # type: ignore[override]  # adds as numbers do, not as tuples
        return Counters.sum((self, other))

    @classmethod
    def sum(cls, all: Sequence[Counters]) -> Counters:
        """The sum of one or more counters. Adds by column: a week of many tasks has some ten thousand counters."""
        columns = dict(zip(cls._fields, zip(*all, strict=True), strict=True))
        longest, histograms = columns.pop("longest"), columns.pop("histogram")
        sums: dict[str, Any] = {name: sum(column) for name, column in columns.items()}
        return cls(**sums, longest=max(longest), histogram=tuple(map(sum, zip(*histograms, strict=True))))


EMPTY = Counters()


class CounterKey(NamedTuple):
    """The task, queue and time of counters.

    Args:
        span: length in seconds, `MINUTE` or `HOUR`.
        time: beginning in epoch seconds, a multiple of `span`.
        task: the task's name.
        queue: logical name of the queue that the task came from.
    """

    span: int
    time: int
    task: str
    queue: str

    @property
    def ttl(self) -> int:
        """Epoch seconds after which the counters may be dropped."""
        return self.time + LIFETIME_SECONDS[self.span]


class MetricStore(abc.ABC):
    """Counters of all apps that share a table. Implementations: DynamoDB and in-memory."""

    @abc.abstractmethod
    async def add(self, app: str, key: CounterKey, counters: Counters) -> None:
        """Add to the stored counters. A repeated call whose answer was lost may count twice."""

    @abc.abstractmethod
    async def read(
        self, app: str, span: int, since: int, until: int, *, task: str | None = None, now: float
    ) -> list[tuple[CounterKey, Counters]]:
        """The counters of all spans that begin at `since` or later and before `until`, in no order.

        Args:
            span: `MINUTE` or `HOUR`.
            task: only this task, which takes a quarter of the reads.
        """


class MemoryMetrics(MetricStore):
    """Counters in this process. Safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, CounterKey], Counters] = {}
        self._sweep_at = FIRST_SWEEP_ROWS

    async def add(self, app: str, key: CounterKey, counters: Counters) -> None:
        with self._lock:
            self._kept[app, key] = self._kept.get((app, key), EMPTY) + counters
            if len(self._kept) >= self._sweep_at:
                self._kept = {name: kept for name, kept in self._kept.items() if name[1].ttl > key.time}
                self._sweep_at = max(FIRST_SWEEP_ROWS, 2 * len(self._kept))

    async def read(
        self, app: str, span: int, since: int, until: int, *, task: str | None = None, now: float
    ) -> list[tuple[CounterKey, Counters]]:
        with self._lock:
            kept = [(key, counters) for (name, key), counters in self._kept.items() if name == app]
        return [
            (key, counters)
            for key, counters in kept
            if key.span == span and since <= key.time < until and task in (None, key.task) and key.ttl > now
        ]
