"""Queues, workers, and all of it at a glance."""

from __future__ import annotations

from fastapi import APIRouter

from ...operations.overview import live_workers, overview
from ...operations.queues import queue_stats
from ..calls import Caller, allowed
from ..models.queues import Metrics, Queues, QueueState, Worker, Workers
from ..models.tasks import moment, summary

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
