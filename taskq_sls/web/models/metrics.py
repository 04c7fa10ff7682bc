"""Counters of tasks over time."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

from pydantic import BaseModel, Field

from ...metrics.counters import Counters as Counted
from ...metrics.window import Window


class Counters(BaseModel):
    """Counters of a span of time. Durations are in seconds, of attempts that ended; null if none did."""

    started: int = Field(description="Attempts that called the function.")
    succeeded: int
    failed: int = Field(description="Tasks that failed for good.")
    retried: int = Field(description="Attempts that failed and are retried.")
    cancelled: int
    expired: int
    skipped: int = Field(description="Scheduled tasks that were skipped, as the one before was still running.")
    mean: float | None = Field(description="Average duration.")
    p50: float | None
    p95: float | None
    p99: float | None
    longest: float
    mean_wait: float | None = Field(description="Average seconds from the enqueue, or the due time, to the start.")

    @classmethod
    def of(cls, counted: Counted) -> Counters:
        return cls(**{name: getattr(counted, name) for name in cls.model_fields})


class MetricPoint(BaseModel):
    """The counters of one step."""

    at: datetime = Field(description="Start of the step.")
    counters: Counters


class NamedCounters(BaseModel):
    """The counters of one task."""

    task: str
    counters: Counters


class MetricHistory(BaseModel):
    """A span of time in steps of equal length, oldest first."""

    since: datetime
    until: datetime
    step: int = Field(description="Seconds of a step.")
    points: list[MetricPoint]
    totals: Counters
    tasks: list[NamedCounters] = Field(description="Totals by task.")

    @classmethod
    def of(cls, window: Window) -> MetricHistory:
        at = partial(datetime.fromtimestamp, tz=UTC)
        return cls(
            since=at(window.since),
            until=at(window.until),
            step=window.step,
            points=[MetricPoint(at=at(point.time), counters=Counters.of(point.counters)) for point in window.points],
            totals=Counters.of(window.totals),
            tasks=[NamedCounters(task=task.name, counters=Counters.of(task.counters)) for task in window.tasks],
        )
