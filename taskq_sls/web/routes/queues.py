"""Queues, workers and metrics, with their JSON."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from ...operations.overview import live_workers, overview, queue_stats
from ...operations.presenters import utc_time, worker_fields
from ..models.tasks import TaskSummary, summary
from ..request_context import Context, Timestamp, allowed

router = APIRouter(prefix="/v1", tags=["queues"])


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


@router.get("/queues", operation_id="listQueues", summary="List queues", response_model=Queues, **allowed("read"))
async def list_queues(context: Context) -> Any:
    """Counts come from SQS, the age of the oldest message from CloudWatch if it is available."""
    return {"queues": await queue_stats(context.app, context.services)}


@router.get("/workers", operation_id="listWorkers", summary="List workers", response_model=Workers, **allowed("read"))
async def list_workers(context: Context) -> Any:
    """Worker processes that have reported in the last 150 seconds."""
    reports = await live_workers(context.app, context.services)
    return {"workers": [worker_fields(report, context.now) for report in reports]}


@router.get("/metrics", operation_id="getMetrics", summary="Overview", response_model=Metrics, **allowed("read"))
async def metrics(context: Context) -> Any:
    """Queues, workers, running tasks and the latest failures in one answer."""
    seen = await overview(context.app, context.services)
    return {
        "at": utc_time(seen.at),
        "queues": seen.queues,
        "workers": [worker_fields(report, context.now) for report in seen.workers],
        "running": sum(report.running for report in seen.workers),
        "failed": [summary(context.app, record) for record in seen.failed],
    }


@router.get(
    "/metrics/history",
    operation_id="getMetricHistory",
    summary="Counters over time",
    response_model=MetricHistory,
    **allowed("read"),
)
async def metric_history(
    context: Context,
    task: Annotated[str | None, Query(max_length=200, description="Only this task.")] = None,
    queue: Annotated[str | None, Query(max_length=80, description="Only tasks from this queue.")] = None,
    since: Annotated[Timestamp | None, Query(description="Default: an hour ago. Minutes are kept 8 days.")] = None,
    until: Annotated[Timestamp | None, Query(description="Exclusive. Default: now.")] = None,
    step: Annotated[
        int | None,
        Query(ge=60, le=86_400, description="Seconds of a step, in whole minutes. Default: depends on the time span."),
    ] = None,
) -> Any:
    """Counters of tasks by minute or hour. They are about a minute late."""
    start = timedelta(hours=1) if since is None else since
    window = await context.app.metrics.awindow(task=task, queue=queue, since=start, until=until, step=step)
    return {
        "since": utc_time(window.since),
        "until": utc_time(window.until),
        "step": window.step,
        "points": [{"at": utc_time(point.time), "counters": point.counters} for point in window.points],
        "totals": window.totals,
        "tasks": [{"task": entry.name, "counters": entry.counters} for entry in window.tasks],
    }
