"""What is counted of tasks, minute by minute, and where it is kept."""

from __future__ import annotations

import abc
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

MINUTE, HOUR = 60, 3_600
"""The two spans that counters are kept for, in seconds."""

KEPT_FOR = {MINUTE: 8 * 86_400, HOUR: 60 * 86_400}
"""Seconds for which the counters of a minute and of an hour are kept, from its beginning."""

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)
"""Upper bounds of the buckets of durations, in seconds, each bound within its bucket; one more bucket has no bound."""

BUCKETS = len(BOUNDS) + 1

FIRST_SWEEP = 10_000
"""Counters in memory at which expired ones are first dropped; then each time they have doubled."""


class Counters(NamedTuple):
    """What was counted in a span of time.

    Args:
        started: attempts whose function was entered.
        succeeded, failed: tasks that ended so; `failed` counts tasks that failed for good, their dead letters.
        retried: attempts that failed and are tried again.
        cancelled: tasks whose cancel a worker or a Lambda function carried out.
        expired: tasks that came after their `expires_in`.
        skipped: firings of a schedule that ended because the one before still ran.
        duration: seconds of all attempts that ended, together.
        longest: seconds of the longest of them.
        waits: first attempts among `started`.
        wait: seconds from the enqueue, or from `not_before` where that is later, to the start, of all `waits`.
        histogram: attempts that ended, by duration: one number for each of `BOUNDS`, and one for those above.
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
        """Tasks that came to their end."""
        return self.succeeded + self.failed + self.cancelled + self.expired + self.skipped

    @property
    def timed(self) -> int:
        """Attempts that ended: those that `duration` and `histogram` are made of."""
        return sum(self.histogram)

    @property
    def mean(self) -> float | None:
        """Seconds of an attempt on average, or None where none ended."""
        return self.duration / timed if (timed := self.timed) else None

    @property
    def mean_wait(self) -> float | None:
        """Seconds that a task waited to be started, on average, or None where none was."""
        return self.wait / self.waits if self.waits else None

    @property
    def failure_rate(self) -> float | None:
        """Share, 0 to 1, of attempts that failed among those that succeeded or failed; None where there is none."""
        failed = self.failed + self.retried
        return failed / tried if (tried := self.succeeded + failed) else None

    def percentile(self, share: float) -> float | None:
        """Seconds within which `share` (0 to 1) of the attempts ended; None where none ended.

        Estimated within the bucket, as evenly filled; never above `longest`.
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

    def plus(self, other: Counters) -> Counters:
        """Both together."""
        return Counters(
            self.started + other.started,
            self.succeeded + other.succeeded,
            self.failed + other.failed,
            self.retried + other.retried,
            self.cancelled + other.cancelled,
            self.expired + other.expired,
            self.skipped + other.skipped,
            self.duration + other.duration,
            max(self.longest, other.longest),
            self.waits + other.waits,
            self.wait + other.wait,
            tuple(map(int.__add__, self.histogram, other.histogram)),
        )

    @classmethod
    def together(cls, all: Sequence[Counters]) -> Counters:
        """One or more together, column by column: a week of many tasks is some ten thousand."""
        columns = dict(zip(cls._fields, zip(*all, strict=True), strict=True))
        longest, histograms = columns.pop("longest"), columns.pop("histogram")
        sums: dict[str, Any] = {name: sum(column) for name, column in columns.items()}
        return cls(**sums, longest=max(longest), histogram=tuple(map(sum, zip(*histograms, strict=True))))


NOTHING = Counters()


class CounterKey(NamedTuple):
    """Whose counters, and of when.

    Args:
        span: seconds that it covers: `MINUTE` or `HOUR`.
        time: its beginning in epoch seconds, a multiple of `span`.
        task: the task's name.
        queue: logical name of the queue that the task came from.
    """

    span: int
    time: int
    task: str
    queue: str

    @property
    def ttl(self) -> int:
        """Epoch seconds until which it is kept."""
        return self.time + KEPT_FOR[self.span]


class MetricStore(abc.ABC):
    """Counters of all apps that share a table. Implementations: DynamoDB and in-memory."""

    @abc.abstractmethod
    async def add(self, app: str, slot: CounterKey, counters: Counters) -> None:
        """Add to what is counted there. Repeating a call whose answer was lost may count it twice."""

    @abc.abstractmethod
    async def read(
        self, app: str, span: int, since: int, until: int, *, task: str | None = None, now: float
    ) -> list[tuple[CounterKey, Counters]]:
        """What was counted in the spans that begin at `since` or later and before `until`, in no order.

        Args:
            span: `MINUTE` or `HOUR`.
            task: only this task; a quarter of the reads.
        """


class MemoryMetrics(MetricStore):
    """Counters in this process. Safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, CounterKey], Counters] = {}
        self._sweep_at = FIRST_SWEEP

    async def add(self, app: str, slot: CounterKey, counters: Counters) -> None:
        with self._lock:
            self._kept[app, slot] = self._kept.get((app, slot), NOTHING).plus(counters)
            if len(self._kept) >= self._sweep_at:
                self._kept = {key: kept for key, kept in self._kept.items() if key[1].ttl > slot.time}
                self._sweep_at = max(FIRST_SWEEP, 2 * len(self._kept))

    async def read(
        self, app: str, span: int, since: int, until: int, *, task: str | None = None, now: float
    ) -> list[tuple[CounterKey, Counters]]:
        with self._lock:
            kept = [(slot, counters) for (name, slot), counters in self._kept.items() if name == app]
        return [
            (slot, counters)
            for slot, counters in kept
            if slot.span == span and since <= slot.time < until and task in (None, slot.task) and slot.ttl > now
        ]
