"""Queues, workers, and what runs and fails: one look for a live view."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from ..client.app import App
from ..client.services import Services
from ..core.states import State
from ..errors import ConfigError, TaskQError
from ..results.base import Query
from ..results.records import TaskRecord
from ..results.workers import WorkerReport, WorkerReports
from .browse import dead_letter_queues


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


MAX_PARALLEL_CALLS = 16

AGE_WINDOW_SECONDS = 900.0
"""Seconds in which the last age is looked for. CloudWatch learns it once a minute, and only of queues in use."""

MAX_METRIC_QUERIES = 500
"""Queries of one GetMetricData (CloudWatch API reference)."""


class QueueStats(NamedTuple):
    """One queue. Counts are approximate, as SQS reports them.

    Args:
        name: logical name; ``schedules-dlq`` for firings that never reached their queue.
        visible: messages that wait.
        in_flight: messages that somebody has received and not settled.
        delayed: messages that are not due yet.
        oldest_age: seconds that the oldest message waits, as CloudWatch last knew it; None where it says nothing.
            SQS itself does not tell, and finding out would mean to receive.
        dead_letters: messages in its dead-letter queue; None where it has none.
    """

    name: str
    visible: int
    in_flight: int
    delayed: int
    oldest_age: float | None
    dead_letters: int | None


async def queue_stats(app: App, services: Services, *, ages: bool = True) -> list[QueueStats]:
    """All queues of the app, and the dead-letter queue of its schedules, with one small call for each.

    Args:
        ages: ask CloudWatch how old the oldest messages are, in one call more (cloudwatch:GetMetricData).

    Raises:
        ConfigError: a queue does not exist.
        AwsError: a queue cannot be asked.
    """
    broker = services.broker
    dead = {letters.source: letters.name for letters in (await dead_letter_queues(app, services)).found}
    names = list(app.queues)
    asked = [*names, *dead.values()]
    depths = dict(zip(asked, await services.flow.map(broker.depth, asked, MAX_PARALLEL_CALLS), strict=True))
    shown = [*names, *([dead[None]] if None in dead else [])]
    known = await oldest_ages(app, services, shown) if ages else {}
    found = []
    for name in shown:
        letters = dead.get(name)
        counts = depths[name]
        found.append(QueueStats(name, *counts, known.get(name), None if letters is None else sum(depths[letters])))
    return found


async def oldest_ages(app: App, services: Services, queues: Sequence[str]) -> dict[str, float]:
    """ApproximateAgeOfOldestMessage of each queue that CloudWatch knows of; nothing where it cannot be asked."""
    if services.client is None:
        return {}
    now = app.clock.time()
    found: dict[str, float] = {}
    try:
        arns = await services.flow.map(services.broker.queue_arn, queues, MAX_PARALLEL_CALLS)
        cloudwatch = services.client("cloudwatch")
        for start in range(0, len(queues), MAX_METRIC_QUERIES):
            part = range(start, min(start + MAX_METRIC_QUERIES, len(queues)))
            answer = await cloudwatch.call(
                "get_metric_data",
                MetricDataQueries=[
                    {
                        "Id": f"q{index}",
                        "MetricStat": {
                            "Metric": {
                                "Namespace": "AWS/SQS",
                                "MetricName": "ApproximateAgeOfOldestMessage",
                                "Dimensions": [{"Name": "QueueName", "Value": arns[index].rpartition(":")[2]}],
                            },
                            "Period": 60,
                            "Stat": "Maximum",
                        },
                    }
                    for index in part
                ],
                StartTime=datetime.fromtimestamp(now - AGE_WINDOW_SECONDS, UTC),
                # The minute that has not ended counts too.
                EndTime=datetime.fromtimestamp(now + 60, UTC),
                ScanBy="TimestampDescending",
            )
            for result in answer.get("MetricDataResults", ()):
                if values := result.get("Values"):
                    found[queues[int(result["Id"][1:])]] = float(values[0])
    except TaskQError:
        # An emulator without CloudWatch, or no permission: the depths are worth more than the ages.
        return found
    return found
