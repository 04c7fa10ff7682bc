"""How full the queues are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from ..client.app import App
from ..client.services import Services
from ..errors import TaskQError
from .browse import dead_letter_queues

CALLS_AT_ONCE = 16

AGE_WINDOW = 900.0
"""Seconds in which the last age is looked for. CloudWatch learns it once a minute, and only of queues in use."""

MOST_METRICS = 500
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
    depths = dict(zip(asked, await services.flow.map(broker.depth, asked, CALLS_AT_ONCE), strict=True))
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
        arns = await services.flow.map(services.broker.queue_arn, queues, CALLS_AT_ONCE)
        cloudwatch = services.client("cloudwatch")
        for start in range(0, len(queues), MOST_METRICS):
            part = range(start, min(start + MOST_METRICS, len(queues)))
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
                StartTime=datetime.fromtimestamp(now - AGE_WINDOW, UTC),
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
