"""Queues, workers, counters, and the health of the API."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Literal

from pydantic import BaseModel, Field

from ...metrics.counters import Counters as Counted
from ...metrics.window import Window
from ...operations.overview import QueueStats
from ...operations.presenters import worker_fields
from ...results.workers import WorkerReport
from ..problems import Check
from .tasks import TaskSummary


class QueueState(BaseModel):
    """A queue. Counts are approximate, as SQS reports them."""

    name: str = Field(examples=["default"])
    visible: int = Field(description="Messages waiting.")
    in_flight: int = Field(description="Messages that were received and not yet deleted.")
    delayed: int = Field(description="Messages with a delay that is not over.")
    oldest_age: float | None = Field(
        description="Age of the oldest message in seconds, from CloudWatch if it is available."
    )
    dead_letters: int | None = Field(description="Messages in its dead-letter queue; null if it has none.")

    @classmethod
    def of(cls, stats: QueueStats) -> QueueState:
        return cls(**stats._asdict())


class Queues(BaseModel):
    """All queues of the app, and the dead-letter queue of its schedules."""

    queues: list[QueueState]


class RunningTask(BaseModel):
    """A task that was running at a worker's last report."""

    id: str
    task: str


class Worker(BaseModel):
    """A running worker process."""

    id: str
    host: str
    pid: int
    version: str
    started_at: datetime | None
    beat_at: datetime | None = Field(description="Time of its last report; it reports once a minute.")
    running: int
    done: int
    concurrency: int
    queues: list[str]
    stopping: bool
    oldest: list[RunningTask] = Field(description="Its longest-running tasks.")

    @classmethod
    def of(cls, report: WorkerReport, now: float) -> Worker:
        return cls(**worker_fields(report, now))


class Workers(BaseModel):
    """Workers that reported in the last 150 seconds. Lambda functions do not report."""

    workers: list[Worker]


class Metrics(BaseModel):
    """An overview."""

    at: datetime | None
    queues: list[QueueState]
    workers: list[Worker]
    running: int = Field(description="Tasks running in workers; those in Lambda functions are not counted.")
    failed: list[TaskSummary] = Field(description="The latest failed tasks.")


class Health(BaseModel):
    """The API answers."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """All services that the API needs can be reached."""

    ok: Literal[True] = True
    checks: list[Check]


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
