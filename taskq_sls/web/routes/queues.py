"""Queues, workers and metrics."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from ...operations.overview import live_workers, overview, queue_stats
from ...operations.presenters import utc_time
from ..models.base import Timestamp
from ..models.queues import MetricHistory, Metrics, Queues, QueueState, Worker, Workers
from ..models.tasks import summary
from ..request_context import Context, allowed

router = APIRouter(prefix="/v1", tags=["queues"])


@router.get("/queues", operation_id="listQueues", summary="List queues", **allowed("read"))
async def list_queues(context: Context) -> Queues:
    """Counts come from SQS, the age of the oldest message from CloudWatch if it is available."""
    return Queues(queues=[QueueState.of(queue) for queue in await queue_stats(context.app, context.services)])


@router.get("/workers", operation_id="listWorkers", summary="List workers", **allowed("read"))
async def list_workers(context: Context) -> Workers:
    """Worker processes that have reported in the last 150 seconds."""
    return Workers(
        workers=[Worker.of(worker, context.now) for worker in await live_workers(context.app, context.services)]
    )


@router.get("/metrics", operation_id="getMetrics", summary="Overview", **allowed("read"))
async def metrics(context: Context) -> Metrics:
    """Queues, workers, running tasks and the latest failures in one answer."""
    seen = await overview(context.app, context.services)
    return Metrics(
        at=utc_time(seen.at),
        queues=[QueueState.of(queue) for queue in seen.queues],
        workers=[Worker.of(worker, context.now) for worker in seen.workers],
        running=sum(worker.running for worker in seen.workers),
        failed=[summary(context.app, record) for record in seen.failed],
    )


@router.get("/metrics/history", operation_id="getMetricHistory", summary="Counters over time", **allowed("read"))
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
) -> MetricHistory:
    """Counters of tasks by minute or hour. They are about a minute late."""
    start = timedelta(hours=1) if since is None else since
    return MetricHistory.of(
        await context.app.metrics.awindow(task=task, queue=queue, since=start, until=until, step=step)
    )
