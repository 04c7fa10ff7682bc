"""Queues, workers, and how the service does."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from ...operations.overview import QueueStats
from ...results.workers import WorkerReport
from ..problems import Check
from .tasks import TaskSummary, moment


class QueueState(BaseModel):
    """A queue. Counts are approximate, as SQS reports them."""

    name: str = Field(examples=["default"])
    visible: int = Field(description="Messages that wait.")
    in_flight: int = Field(description="Messages that somebody has received and not settled.")
    delayed: int = Field(description="Messages that are not due yet.")
    oldest_age: float | None = Field(description="Seconds that the oldest message waits, where CloudWatch knows.")
    dead_letters: int | None = Field(description="Messages in its dead-letter queue; null where it has none.")

    @classmethod
    def of(cls, stats: QueueStats) -> QueueState:
        return cls(**stats._asdict())


class Queues(BaseModel):
    """All queues of the app, and what its schedules could not deliver."""

    queues: list[QueueState]


class RunningTask(BaseModel):
    """A task that a worker was running when it last reported."""

    id: str
    task: str


class Worker(BaseModel):
    """A worker process that is alive."""

    id: str
    host: str
    pid: int
    version: str
    started_at: datetime | None
    beat_at: datetime | None = Field(description="When it last reported: once a minute.")
    running: int
    done: int
    concurrency: int
    queues: list[str]
    stopping: bool
    oldest: list[RunningTask] = Field(description="Its longest-running tasks.")

    @classmethod
    def of(cls, report: WorkerReport) -> Worker:
        return cls(
            id=report.id,
            host=report.host,
            pid=report.pid,
            version=report.version,
            started_at=moment(report.started_at),
            beat_at=moment(report.beat_at),
            running=report.running,
            done=report.done,
            concurrency=report.concurrency,
            queues=list(report.queues),
            stopping=report.stopping,
            oldest=[RunningTask(id=task.id, task=task.task) for task in report.oldest],
        )


class Workers(BaseModel):
    """Workers that have reported in the last 150 seconds. Lambda functions do not."""

    workers: list[Worker]


class Metrics(BaseModel):
    """How things stand."""

    at: datetime | None
    queues: list[QueueState]
    workers: list[Worker]
    running: int = Field(description="Tasks that workers run. What Lambda functions run is not among them.")
    failed: list[TaskSummary] = Field(description="The tasks that failed last.")


class Health(BaseModel):
    """Whether the API answers."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """All that the API needs can be reached."""

    ok: Literal[True] = True
    checks: list[Check]
