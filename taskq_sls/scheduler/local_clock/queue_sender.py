"""What waits for one queue."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from ...aws.codes import QUEUE_DOES_NOT_EXIST
from ...aws.port import AwsClient
from ...brokers.base import MAX_BATCH, Answer, EntryError, Outgoing
from ...brokers.sqs_batches import Batch, call_batch
from ...brokers.sqs_limits import message_bytes, pack, validate
from ...core.backoff import Backoff
from ...core.clock import Clock
from ...core.fault_log import FaultLog
from ...core.flow import Flow
from ...errors import AwsError, ConfigError
from ..firing import substitute
from .timetable import ScheduleEntry

logger = logging.getLogger("taskq_sls.scheduler")

TRIES = 3
"""Tries of a firing that its queue refuses, or whose queue does not exist, before it is given up."""

MOST_AGE = 86_400.0
"""Seconds for which a firing is tried while its fault may pass, as EventBridge Scheduler does by default."""

BACKOFF, LONGEST_BACKOFF = 0.5, 30.0
"""Seconds before a lane goes on after a fault: the first, doubling, and the longest. Up to half is left out."""


class PendingFiring:
    """One firing on its way; with `attributes` its dead letter."""

    __slots__ = ("at", "attributes", "row", "since", "tries")

    def __init__(self, row: ScheduleEntry, at: float, since: float, attributes: dict[str, str] | None = None) -> None:
        self.row = row
        self.at = at
        self.since = since
        self.attributes = attributes
        self.tries = 0


class QueueSender:
    """Sends the firings for one queue in batches, each until it is accepted or given up.

    Args:
        queue: physical name of the queue.
        done: told of each parcel that the queue has accepted.
        give_up: told of each that it will not accept, with code and message.
    """

    def __init__(
        self,
        queue: str,
        sqs: AwsClient,
        flow: Flow,
        clock: Clock,
        done: Callable[[PendingFiring], None],
        give_up: Callable[[PendingFiring, str, str], None],
    ) -> None:
        self.queue = queue
        self.task: asyncio.Task[None] | None = None
        self._fifo = queue.endswith(".fifo")
        self._sqs = sqs
        self._flow = flow
        self._clock = clock
        self._done = done
        self._give_up = give_up
        self._parcels: deque[PendingFiring] = deque()
        self._url: str | None = None
        self._backoff = Backoff(BACKOFF, LONGEST_BACKOFF)
        self._faults = FaultLog(logger, f"queue {queue} does not take firings", "schedule_send_fault")

    @property
    def waiting(self) -> int:
        """Parcels that wait for their turn."""
        return len(self._parcels)

    def add(self, parcel: PendingFiring) -> None:
        """Send a parcel in the background."""
        self._parcels.append(parcel)
        if self.task is None:
            self.task = asyncio.create_task(self._pump())

    async def _pump(self) -> None:
        try:
            while self._parcels:
                parcels = [self._parcels.popleft() for _ in range(min(MAX_BATCH, len(self._parcels)))]
                if self._settle(parcels, await self._send(parcels)):
                    self._backoff.reset()
                else:
                    await self._flow.sleep(self._backoff.next())
        finally:
            self.task = None

    def _settle(self, parcels: list[PendingFiring], answers: Sequence[Answer]) -> bool:
        """Only what was not accepted is sent again. Whether any of it is settled."""
        again = []
        for parcel, answer in zip(parcels, answers, strict=True):
            if answer is None:
                self._faults.recovered()
                self._done(parcel)
            elif self._hopeless(parcel, answer):
                self._give_up(parcel, answer.code, answer.message)
            else:
                self._faults.failed(AwsError("send_message_batch", answer.code, answer.message))
                again.append(parcel)
        settled = len(again) < len(parcels)
        if settled or not self._fifo:
            self._parcels.extend(again)  # behind the others, which their fault must not hold up
        else:
            self._parcels.extendleft(reversed(again))
        return settled

    def _hopeless(self, parcel: PendingFiring, answer: EntryError) -> bool:
        if answer.transient:
            return self._clock.time() - parcel.since > MOST_AGE
        parcel.tries += 1
        return parcel.tries >= TRIES

    async def _send(self, parcels: Sequence[PendingFiring]) -> list[Answer]:
        messages = [self._message(parcel) for parcel in parcels]
        answers: list[Answer] = [validate(message, self._fifo) for message in messages]
        fit = [index for index, answer in enumerate(answers) if answer is None]
        sizes = [message_bytes(messages[index].body, parcels[index].attributes) for index in fit]
        for part in pack(sizes):
            indexes = [fit[position] for position in part]
            entries = [_entry(messages[index], parcels[index].attributes) for index in indexes]
            for index, answer in zip(indexes, await self._send_batch(entries), strict=True):
                answers[index] = answer
        return answers

    async def _send_batch(self, entries: list[dict[str, Any]]) -> Sequence[Answer]:
        try:
            if self._url is None:
                self._url = str((await self._sqs.call("get_queue_url", QueueName=self.queue))["QueueUrl"])
            batch = Batch(self.queue, self._url, list(range(len(entries))), entries)
            return await call_batch(self._sqs, self._flow, "send_message_batch", batch)
        except AwsError as error:
            if error.code == QUEUE_DOES_NOT_EXIST:
                self._url = None
            fault = EntryError(error.code, error.message, error.transient)
        except Exception as error:  # such as no credentials now: others may come, and no firing is to be lost
            if not isinstance(error, ConfigError):
                logger.exception("an unexpected fault", extra={"action": "scheduler_error"})
            fault = EntryError(type(error).__name__, str(error), transient=True)
        return [fault] * len(entries)

    def _message(self, parcel: PendingFiring) -> Outgoing:
        row = parcel.row
        # The dead-letter queue is no FIFO queue.
        group = row.group if parcel.attributes is None else None
        return Outgoing(self.queue, substitute(row.body, row.arn, parcel.at), row.name, group=group)


def _entry(message: Outgoing, attributes: dict[str, str] | None) -> dict[str, Any]:
    entry: dict[str, Any] = {"MessageBody": message.body}
    if message.group is not None:
        entry["MessageGroupId"] = message.group
    if attributes:
        entry["MessageAttributes"] = {
            name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
        }
    return entry
