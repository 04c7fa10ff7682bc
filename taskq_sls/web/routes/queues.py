"""Queues, workers, and all of it at a glance."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from ...operations.overview import live_workers, overview, queue_stats
from ..models.base import Timestamp
from ..models.metrics import MetricHistory
from ..models.queues import Metrics, Queues, QueueState, Worker, Workers
from ..models.tasks import moment, summary
from ..request_context import Context, allowed

router = APIRouter(prefix="/v1", tags=["queues"])


@router.get(
    "/queues", operation_id="listQueues", summary="How full the queues are", response_model=Queues, **allowed("read")
)
async def list_queues(context: Context) -> Queues:
    """Counts are those of SQS; the age of the oldest message is CloudWatch's, where it can be asked."""
    return Queues(queues=[QueueState.of(queue) for queue in await queue_stats(context.app, context.services)])


@router.get("/workers", operation_id="listWorkers", summary="Who works", response_model=Workers, **allowed("read"))
async def list_workers(context: Context) -> Workers:
    """Worker processes that report themselves."""
    return Workers(workers=[Worker.of(worker) for worker in await live_workers(context.app, context.services)])


@router.get(
    "/metrics", operation_id="getMetrics", summary="How things stand", response_model=Metrics, **allowed("read")
)
async def metrics(context: Context) -> Metrics:
    """Queues, workers, what runs and what failed last, in one look."""
    seen = await overview(context.app, context.services)
    return Metrics(
        at=moment(seen.at),
        queues=[QueueState.of(queue) for queue in seen.queues],
        workers=[Worker.of(worker) for worker in seen.workers],
        running=sum(worker.running for worker in seen.workers),
        failed=[summary(context.app, record) for record in seen.failed],
    )


@router.get(
    "/metrics/history",
    operation_id="getMetricHistory",
    summary="What was counted when",
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
        int | None, Query(ge=60, le=86_400, description="Seconds of a point; whole minutes. Default: what fits.")
    ] = None,
) -> MetricHistory:
    """Counters of tasks by the minute or the hour. They arrive about a minute late."""
    start = timedelta(hours=1) if since is None else since
    return MetricHistory.of(
        await context.app.metrics.awindow(task=task, queue=queue, since=start, until=until, step=step)
    )
