"""Queue depths, workers, running tasks and recent failures, read once for a live view."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from ..aws.port import AwsClient
from ..client.app import App
from ..client.services import Services
from ..core.states import State
from ..errors import ConfigError, TaskQError
from ..results.base import Query
from ..results.records import TaskRecord
from ..results.workers import WorkerReport, WorkerReports
from .browse import dead_letter_queues

MAX_PARALLEL_CALLS = 16

AGE_WINDOW_SECONDS = 900.0
"""How far back the latest age is searched. SQS sends it to CloudWatch once a minute, and only for queues in use."""

MAX_METRIC_QUERIES = 500
"""Queries of one GetMetricData (CloudWatch API reference)."""


class QueueStats(NamedTuple):
    """One queue. Counts are approximate, as SQS reports them.

    Args:
        name: logical name; ``schedules-dlq`` for firings that never reached their queue.
        visible: messages that wait.
        in_flight: messages that a consumer has received and not settled.
        delayed: messages that are not due yet.
        oldest_age: seconds since the oldest message was sent, the latest value in CloudWatch; None if unknown. SQS
            itself does not return it.
        dead_letters: messages in its dead-letter queue; None if it has none.
    """

    name: str
    visible: int
    in_flight: int
    delayed: int
    oldest_age: float | None
    dead_letters: int | None


class Running(NamedTuple):
    """A task that a worker named in its last report, and that has not ended since."""

    id: str
    task: str
    worker: WorkerReport
    record: TaskRecord | None


class Overview(NamedTuple):
    """Queues, workers and tasks at `at` (epoch seconds).

    Args:
        running: the longest-running tasks of each worker, the longest first; without tasks on Lambda.
        failed: the tasks that FAILED last.
    """

    at: float
    queues: list[QueueStats]
    workers: list[WorkerReport]
    running: list[Running]
    failed: list[TaskRecord]


async def overview(app: App, services: Services, *, ages: bool = True, failed: int = 5) -> Overview:
    """Read queues, workers, running tasks and the last failures.

    Args:
        ages: as in `queue_stats`.
        failed: number of failures to return; 0 for none.

    Raises:
        ConfigError, AwsError: queues or table are missing, or cannot be read.
    """
    now = app.clock.time()
    queues = await queue_stats(app, services, ages=ages)
    workers = [] if services.results.workers is None else await live_workers(app, services)
    running = await _running(services, workers, now)
    last = await services.results.list(Query((), State.FAILED, limit=failed), now=now) if failed else []
    return Overview(now, queues, workers, running, failed=list(last))


async def _running(services: Services, workers: Sequence[WorkerReport], now: float) -> list[Running]:
    reported = [(worker, task) for worker in workers for task in worker.oldest]
    records = await services.results.get_many(list({task.id: None for _, task in reported}), now=now)
    running = [
        Running(task.id, task.task, worker, records.get(task.id))
        for worker, task in reported
        if task.id not in records or records[task.id].status is State.RUNNING
    ]
    return sorted(running, key=lambda task: (task.record.started_at if task.record else None) or now)


async def live_workers(app: App, services: Services) -> list[WorkerReport]:
    """The workers of the app that have reported in the last 150 seconds, the oldest worker first.

    Raises:
        ConfigError: the table does not exist, or the result backend stores no reports.
        AwsError: the table cannot be read.
    """
    return await _reports(services).alive(app.name, now=app.clock.time())


async def recent_workers(app: App, services: Services) -> list[WorkerReport]:
    """The live workers, and those lost in the last hour: they stopped reporting without unregistering.

    Raises:
        ConfigError, AwsError: as in `live_workers`.
    """
    return await _reports(services).recent(app.name, now=app.clock.time())


def _reports(services: Services) -> WorkerReports:
    if (reports := services.results.workers) is None:
        raise ConfigError(f"{type(services.results).__name__} stores no worker reports")
    return reports


async def queue_stats(app: App, services: Services, *, ages: bool = True) -> list[QueueStats]:
    """All queues of the app, and the dead-letter queue of its schedules. One GetQueueAttributes for each queue.

    Args:
        ages: read the age of the oldest messages from CloudWatch, with a call more (cloudwatch:GetMetricData).

    Raises:
        ConfigError: a queue does not exist.
        AwsError: a queue cannot be read.
    """
    broker = services.broker
    dead = {queue.source: queue.name for queue in (await dead_letter_queues(app, services)).found}
    names = list(app.queues)
    every = [*names, *dead.values()]
    depths = dict(zip(every, await services.flow.map(broker.depth, every, MAX_PARALLEL_CALLS), strict=True))
    shown = [*names, *([dead[None]] if None in dead else [])]
    known = await oldest_ages(app, services, shown) if ages else {}
    return [
        QueueStats(
            name,
            *depths[name],
            oldest_age=known.get(name),
            dead_letters=sum(depths[dead[name]]) if name in dead else None,
        )
        for name in shown
    ]


async def oldest_ages(app: App, services: Services, queues: Sequence[str]) -> dict[str, float]:
    """ApproximateAgeOfOldestMessage in seconds of each queue that CloudWatch has a value for.

    Empty if CloudWatch cannot be reached: an emulator may lack it, or a permission may be missing, and the caller's
    queue depths should still be shown.
    """
    if services.client is None:
        return {}
    now = app.clock.time()
    found: dict[str, float] = {}
    try:
        arns = await services.flow.map(services.broker.queue_arn, queues, MAX_PARALLEL_CALLS)
        for start in range(0, len(queues), MAX_METRIC_QUERIES):
            part = slice(start, start + MAX_METRIC_QUERIES)
            names = [arn.rpartition(":")[2] for arn in arns[part]]
            ages = await _read_ages(services.client("cloudwatch"), names, now)
            found |= {queues[part][number]: age for number, age in ages.items()}
    except TaskQError:
        return found
    return found


async def _read_ages(cloudwatch: AwsClient, queue_names: Sequence[str], now: float) -> dict[int, float]:
    """The latest age by the number of the queue."""
    answer = await cloudwatch.call(
        "get_metric_data",
        MetricDataQueries=[
            {
                "Id": f"q{number}",
                "MetricStat": {
                    "Metric": {
                        "Namespace": "AWS/SQS",
                        "MetricName": "ApproximateAgeOfOldestMessage",
                        "Dimensions": [{"Name": "QueueName", "Value": name}],
                    },
                    "Period": 60,
                    "Stat": "Maximum",
                },
            }
            for number, name in enumerate(queue_names)
        ],
        StartTime=datetime.fromtimestamp(now - AGE_WINDOW_SECONDS, UTC),
        # Includes the current minute.
        EndTime=datetime.fromtimestamp(now + 60, UTC),
        ScanBy="TimestampDescending",
    )
    results = answer.get("MetricDataResults", ())
    return {int(result["Id"][1:]): float(result["Values"][0]) for result in results if result.get("Values")}
