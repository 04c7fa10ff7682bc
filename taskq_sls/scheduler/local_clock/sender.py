"""Firings on their way to the queues, one lane per queue, and those that no queue takes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from ...aws.port import AwsClient
from ...brokers.dead_letters import clean_text
from ...core.clock import Clock
from ...core.flow import Flow
from ..firing import scheduled_time
from .queue_sender import PendingFiring, QueueSender
from .timetable import ScheduleEntry

logger = logging.getLogger("taskq_sls.scheduler")

BACKLOG = 100_000
"""Firings that wait for one queue; schedules that come due above that are looked at again later."""


class Sender:
    """Sends firings to the queues of their schedules. A fault of one queue holds up no other.

    Args:
        sqs: the ``sqs`` client of a port.
        dead_letters: physical name of the queue for firings that cannot be delivered.
        settled: told of each firing that is in its queue, or in the dead-letter queue.
    """

    def __init__(
        self,
        sqs: AwsClient,
        flow: Flow,
        clock: Clock,
        dead_letters: str,
        settled: Callable[[ScheduleEntry, float], None],
    ) -> None:
        self._sqs = sqs
        self._flow = flow
        self._clock = clock
        self._settled = settled
        self._lanes: dict[str, QueueSender] = {}
        self._dead_letters = QueueSender(dead_letters, sqs, flow, clock, self._buried, self._lost)

    def send(self, row: ScheduleEntry, at: float) -> None:
        """Send a firing in the background."""
        lane = self._lanes.get(row.target)
        if lane is None:
            queue = row.target.rpartition(":")[2]
            lane = QueueSender(queue, self._sqs, self._flow, self._clock, self._delivered, self._bury)
            self._lanes[row.target] = lane
        lane.add(PendingFiring(row, at, self._clock.time()))

    def full(self, target: str) -> bool:
        """Whether so many firings wait for a queue that no more should be added."""
        lane = self._lanes.get(target)
        return lane is not None and lane.waiting >= BACKLOG

    async def drain(self) -> None:
        """Return when everything is settled."""
        while tasks := self._tasks():
            await asyncio.wait(tasks)

    async def stop(self) -> None:
        """Give up what is not settled."""
        tasks = self._tasks()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [lane.task for lane in (*self._lanes.values(), self._dead_letters) if lane.task is not None]

    def _delivered(self, parcel: PendingFiring) -> None:
        logger.info("schedule %s fired for %s", *_words(parcel), extra=_fields("schedule_fired", parcel))
        self._settled(parcel.row, parcel.at)

    def _bury(self, parcel: PendingFiring, code: str, message: str) -> None:
        logger.error(
            "schedule %s: the firing for %s goes to the dead-letter queue %s: %s: %s",
            *_words(parcel),
            self._dead_letters.queue,
            code,
            message,
            extra=_fields("schedule_dead_letter", parcel),
        )
        attributes = {
            "ERROR_CODE": code,
            "ERROR_MESSAGE": clean_text(message) or code,
            "SCHEDULE_ARN": parcel.row.arn,
            "SCHEDULED_TIME": scheduled_time(parcel.at),
            "TARGET_ARN": parcel.row.target,
        }
        self._dead_letters.add(PendingFiring(parcel.row, parcel.at, self._clock.time(), attributes))

    def _buried(self, parcel: PendingFiring) -> None:
        self._settled(parcel.row, parcel.at)

    def _lost(self, parcel: PendingFiring, code: str, message: str) -> None:
        logger.error(
            "schedule %s: the firing for %s is lost, since the dead-letter queue %s does not take it: %s: %s",
            *_words(parcel),
            self._dead_letters.queue,
            code,
            message,
            extra=_fields("schedule_lost", parcel),
        )
        self._settled(parcel.row, parcel.at)


def _words(parcel: PendingFiring) -> tuple[str, str]:
    return parcel.row.name, scheduled_time(parcel.at)


def _fields(action: str, parcel: PendingFiring) -> dict[str, str]:
    return {"action": action, "schedule": parcel.row.name}
