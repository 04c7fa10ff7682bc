"""Queues, workers, and what runs and fails: one look for a live view."""

from __future__ import annotations

from typing import NamedTuple

from ..client.app import App
from ..client.services import Services
from ..core.states import State
from ..errors import ConfigError
from ..results.base import Query
from ..results.records import TaskRecord
from ..results.workers import WorkerReport, WorkerReports
from .queues import QueueStats, queue_stats


class Running(NamedTuple):
    """A task that a worker named in its last report, and that has not ended since."""

    id: str
    task: str
    worker: WorkerReport
    record: TaskRecord | None


class Overview(NamedTuple):
    """How things stand at `at` (epoch seconds).

    Args:
        running: the longest-running tasks of each worker, the longest first. What Lambda runs is not among them.
        failed: the tasks that FAILED last.
    """

    at: float
    queues: list[QueueStats]
    workers: list[WorkerReport]
    running: list[Running]
    failed: list[TaskRecord]


async def live_workers(app: App, services: Services) -> list[WorkerReport]:
    """The workers of the app that have reported in the last 150 seconds, the oldest worker first.

    Raises:
        ConfigError: the table does not exist, or the result backend does not keep reports.
        AwsError: the table cannot be read.
    """
    return await _reports(services).alive(app.name, now=app.clock.time())


async def recent_workers(app: App, services: Services) -> list[WorkerReport]:
    """The same, and the workers that were lost in the last hour: they ended without a word.

    Raises:
        ConfigError, AwsError: as in `live_workers`.
    """
    return await _reports(services).recent(app.name, now=app.clock.time())


def _reports(services: Services) -> WorkerReports:
    if (reports := services.results.workers) is None:
        raise ConfigError(f"{type(services.results).__name__} keeps no reports of workers")
    return reports


async def overview(app: App, services: Services, *, ages: bool = True, failed: int = 5) -> Overview:
    """One look at everything.

    Args:
        ages: as in `queue_stats`.
        failed: how many of the last failures to show; 0 for none.

    Raises:
        ConfigError, AwsError: queues or table are missing, or cannot be read.
    """
    now = app.clock.time()
    queues = await queue_stats(app, services, ages=ages)
    workers = [] if services.results.workers is None else await live_workers(app, services)
    records = await services.results.get_many(
        list({one.id: None for worker in workers for one in worker.oldest}), now=now
    )
    running = [
        Running(one.id, one.task, worker, records.get(one.id))
        for worker in workers
        for one in worker.oldest
        if one.id not in records or records[one.id].status is State.RUNNING
    ]
    running.sort(key=lambda one: (one.record.started_at if one.record else None) or now)
    last = await services.results.list(Query((), State.FAILED, limit=failed), now=now) if failed else []
    return Overview(now, queues, workers, running, list(last))
