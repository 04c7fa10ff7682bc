"""What was counted when."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import BaseModel, Field

from ...metrics.counters import Counters as Counted
from ...metrics.window import Window


class Counters(BaseModel):
    """What was counted in a span of time. Seconds are of attempts that ended; null where none did."""

    started: int = Field(description="Attempts whose function was entered.")
    succeeded: int
    failed: int = Field(description="Tasks that failed for good.")
    retried: int = Field(description="Attempts that failed and are tried again.")
    cancelled: int
    expired: int
    skipped: int = Field(description="Firings of a schedule that ended because the one before still ran.")
    mean: float | None = Field(description="Seconds of an attempt, on average.")
    p50: float | None
    p95: float | None
    p99: float | None
    longest: float
    mean_wait: float | None = Field(description="Seconds from the enqueue, or the time it was due, to the start.")

    @classmethod
    def of(cls, counted: Counted) -> Counters:
        return cls(**{name: getattr(counted, name) for name in cls.model_fields})


class MetricPoint(BaseModel):
    """One step of time."""

    at: datetime = Field(description="Its beginning.")
    counters: Counters


class NamedCounters(BaseModel):
    """The counters of one task."""

    task: str
    counters: Counters


class MetricHistory(BaseModel):
    """A span of time in points of equal length, the oldest first."""

    since: datetime
    until: datetime
    step: int = Field(description="Seconds of a point.")
    points: list[MetricPoint]
    totals: Counters
    tasks: list[NamedCounters] = Field(description="The whole span, by task.")

    @classmethod
    def of(cls, window: Window) -> MetricHistory:
        return cls(
            since=_moment(window.since),
            until=_moment(window.until),
            step=window.step,
            points=[
                MetricPoint(at=_moment(point.time), counters=Counters.of(point.counters)) for point in window.points
            ],
            totals=Counters.of(window.totals),
            tasks=[NamedCounters(task=task.name, counters=Counters.of(task.counters)) for task in window.tasks],
        )


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
