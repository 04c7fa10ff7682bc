"""Queues, workers, and all of it at a glance."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from ...operations.overview import live_workers, overview
from ...operations.queues import queue_stats
from ..models.metrics import MetricHistory
from ..models.queues import Metrics, Queues, QueueState, Worker, Workers
from ..models.tasks import moment, summary
from ..models.times import Moment
from ..request_context import Caller, allowed

router = APIRouter(prefix="/v1", tags=["queues"])


@router.get(
    "/queues", operation_id="listQueues", summary="How full the queues are", response_model=Queues, **allowed("read")
)
async def list_queues(call: Caller) -> Queues:
    """Counts are those of SQS; the age of the oldest message is CloudWatch's, where it can be asked."""
    return Queues(queues=[QueueState.of(one) for one in await queue_stats(call.app, call.services)])


@router.get("/workers", operation_id="listWorkers", summary="Who works", response_model=Workers, **allowed("read"))
async def list_workers(call: Caller) -> Workers:
    """Worker processes that report themselves."""
    return Workers(workers=[Worker.of(one) for one in await live_workers(call.app, call.services)])


@router.get(
    "/metrics", operation_id="getMetrics", summary="How things stand", response_model=Metrics, **allowed("read")
)
async def metrics(call: Caller) -> Metrics:
    """Queues, workers, what runs and what failed last, in one look."""
    seen = await overview(call.app, call.services)
    return Metrics(
        at=moment(seen.at),
        queues=[QueueState.of(one) for one in seen.queues],
        workers=[Worker.of(one) for one in seen.workers],
        running=sum(one.running for one in seen.workers),
        failed=[summary(call.app, one) for one in seen.failed],
    )


@router.get(
    "/metrics/history",
    operation_id="getMetricHistory",
    summary="What was counted when",
    response_model=MetricHistory,
    **allowed("read"),
)
async def metric_history(
    call: Caller,
    task: Annotated[str | None, Query(max_length=200, description="Only this task.")] = None,
    queue: Annotated[str | None, Query(max_length=80, description="Only tasks from this queue.")] = None,
    since: Annotated[Moment | None, Query(description="Default: an hour ago. Minutes are kept 8 days.")] = None,
    until: Annotated[Moment | None, Query(description="Exclusive. Default: now.")] = None,
    step: Annotated[
        int | None, Query(ge=60, le=86_400, description="Seconds of a point; whole minutes. Default: what fits.")
    ] = None,
) -> MetricHistory:
    """Counters of tasks by the minute or the hour. They arrive about a minute late."""
    start = timedelta(hours=1) if since is None else since
    return MetricHistory.of(await call.app.metrics.awindow(task=task, queue=queue, since=start, until=until, step=step))
