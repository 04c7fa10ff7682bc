"""Sends firings to their queues. Each queue has a sender of its own, so that a fault of one delays no other."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable, Sequence

from ...aws.port import QUEUE_DOES_NOT_EXIST
from ...brokers.base import MAX_BATCH, Answer, Broker, EntryError, Outgoing
from ...brokers.dead_letters import clean_text
from ...core.clock import Clock
from ...core.fault_log import FaultLog
from ...core.flow import Flow
from ...core.queues import SCHEDULES_DEAD_LETTERS
from ...errors import AwsError, MissingResource, PayloadTooLarge, TaskQError
from ..firing import scheduled_time, substitute
from .firing_log import FiringLog
from .retrying import new_backoff
from .timetable import ScheduleEntry

logger = logging.getLogger("taskq_sls.scheduler")

TRIES = 3
"""Tries of a firing that its queue refuses, or that has no queue, before it is dead-lettered."""

MAX_RETRY_SECONDS = 86_400.0
"""How long a firing is retried after transient faults; EventBridge Scheduler's default."""

MAX_BACKLOG = 100_000
"""Firings that wait for one queue. Above that, its schedules are processed later."""


class PendingFiring:
    """A firing that is being sent; with `attributes` its dead letter."""

    __slots__ = ("at", "attributes", "entry", "since", "tries")

    def __init__(self, entry: ScheduleEntry, at: float, since: float, attributes: dict[str, str] | None = None) -> None:
        self.entry = entry
        self.at = at
        self.since = since
        self.attributes = attributes
        self.tries = 0

    @property
    def group(self) -> str | None:
        """Message group; the dead-letter queue is not a FIFO queue."""
        return self.entry.stored.spec.group if self.attributes is None else None

    def message(self, queue: str) -> Outgoing:
        stored = self.entry.stored
        body = substitute(stored.spec.body, stored.arn, self.at)
        return Outgoing(queue=queue, body=body, id=self.entry.name, group=self.group, attributes=self.attributes)


class QueueSender:
    """Sends the firings for one queue in batches, each firing until it is accepted or rejected.

    On a FIFO queue a batch has one firing per message group, and a firing that was not accepted stays at the front of its
    group: otherwise a later firing of the group could overtake it.

    Args:
        queue: logical name or ARN.
        accepted: called for each firing that the queue has accepted.
        rejected: called for each firing that the queue will not accept.
    """

    def __init__(
        self,
        queue: str,
        broker: Broker,
        flow: Flow,
        clock: Clock,
        accepted: Callable[[PendingFiring], None],
        rejected: Callable[[PendingFiring, EntryError], None],
    ) -> None:
        self.queue = queue
        self.task: asyncio.Task[None] | None = None
        self.waiting = 0
        self._fifo = queue.endswith(".fifo")
        self._broker = broker
        self._flow = flow
        self._clock = clock
        self._accepted = accepted
        self._rejected = rejected
        self._groups: dict[str | None, deque[PendingFiring]] = {}
        self._backoff = new_backoff()
        name = queue.rpartition(":")[2]
        self._faults = FaultLog(logger, f"queue {name} does not take firings", "schedule_send_fault")

    def add(self, firing: PendingFiring) -> None:
        """Send a firing in the background."""
        self._groups.setdefault(firing.group if self._fifo else None, deque()).append(firing)
        self.waiting += 1
        if self.task is None:
            self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._groups:
                batch = self._take_batch()
                if self._settle(batch, await self._send(batch)):
                    self._backoff.reset()
                else:
                    await self._flow.sleep(self._backoff.next())
        finally:
            self.task = None

    def _take_batch(self) -> list[PendingFiring]:
        """Up to ten firings. Groups take turns, so that one with a fault delays no other."""
        batch: list[PendingFiring] = []
        for group in list(itertools.islice(self._groups, MAX_BATCH)):
            waiting = self._groups.pop(group)
            batch += [waiting.popleft() for _ in range(1 if self._fifo else min(MAX_BATCH, len(waiting)))]
            if waiting:
                self._groups[group] = waiting
        return batch

    def _put_back(self, firing: PendingFiring) -> None:
        waiting = self._groups.setdefault(firing.group if self._fifo else None, deque())
        if self._fifo:
            waiting.appendleft(firing)
        else:
            waiting.append(firing)  # last, so that its fault does not delay the others

    def _settle(self, batch: Sequence[PendingFiring], answers: Sequence[Answer]) -> bool:
        """Report accepted and rejected firings, put the others back. True if any was accepted or rejected."""
        settled = 0
        for firing, answer in zip(batch, answers, strict=True):
            if answer is not None and not self._is_final(firing, answer):
                self._faults.failed(AwsError("send_message_batch", answer.code, answer.message))
                self._put_back(firing)
                continue
            settled += 1
            if answer is None:
                self._faults.recovered()
                self._accepted(firing)
            else:
                self._rejected(firing, answer)
        self.waiting -= settled
        return settled > 0

    def _is_final(self, firing: PendingFiring, error: EntryError) -> bool:
        if error.transient:
            return self._clock.time() - firing.since > MAX_RETRY_SECONDS
        firing.tries += 1
        return firing.tries >= TRIES

    async def _send(self, batch: Sequence[PendingFiring]) -> list[Answer]:
        try:
            return await self._broker.send([firing.message(self.queue) for firing in batch])
        except MissingResource as error:
            fault = EntryError(QUEUE_DOES_NOT_EXIST, str(error))
        except PayloadTooLarge as error:
            if len(batch) > 1:  # the others fit
                return [answer for firing in batch for answer in await self._send([firing])]
            fault = EntryError(type(error).__name__, str(error))
        except AwsError as error:
            fault = EntryError(error.code, error.message, error.transient)
        except Exception as error:  # such as missing credentials: they may come, and no firing may be lost
            if not isinstance(error, TaskQError):
                logger.exception("an unexpected fault", extra={"action": "scheduler_error"})
            fault = EntryError(type(error).__name__, str(error), transient=True)
        return [fault] * len(batch)


class Sender:
    """Sends firings to all queues, and firings that a queue rejects to the dead-letter queue.

    Args:
        log: records delivered firings.
    """

    def __init__(self, broker: Broker, log: FiringLog, flow: Flow, clock: Clock) -> None:
        self._broker = broker
        self._log = log
        self._flow = flow
        self._clock = clock
        self._queues: dict[str, QueueSender] = {}
        self._dead_letters = QueueSender(SCHEDULES_DEAD_LETTERS, broker, flow, clock, self._delivered, self._lost)

    def send(self, entry: ScheduleEntry, at: float) -> None:
        """Send a firing in the background."""
        target = entry.stored.target
        queue = self._queues.get(target)
        if queue is None:
            queue = QueueSender(target, self._broker, self._flow, self._clock, self._fired, self._dead_letter)
            self._queues[target] = queue
        self._log.started(entry)
        queue.add(PendingFiring(entry, at, self._clock.time()))

    def is_full(self, target: str) -> bool:
        """True if no more firings should be added for a queue."""
        queue = self._queues.get(target)
        return queue is not None and queue.waiting >= MAX_BACKLOG

    async def drain(self) -> None:
        """Return when everything is sent."""
        while tasks := self._tasks():
            await asyncio.wait(tasks)

    async def stop(self) -> None:
        """Stop sending."""
        tasks = self._tasks()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [queue.task for queue in (*self._queues.values(), self._dead_letters) if queue.task is not None]

    def _delivered(self, firing: PendingFiring) -> None:
        self._log.delivered(firing.entry, firing.at)

    def _fired(self, firing: PendingFiring) -> None:
        name = firing.entry.name
        fields = {"action": "schedule_fired", "schedule": name}
        logger.info("schedule %s fired for %s", name, scheduled_time(firing.at), extra=fields)
        self._delivered(firing)

    def _dead_letter(self, firing: PendingFiring, error: EntryError) -> None:
        _log_rejected(firing, "schedule_dead_letter", "goes to the dead-letter queue", error)
        stored = firing.entry.stored
        attributes = {
            "ERROR_CODE": error.code,
            "ERROR_MESSAGE": clean_text(error.message) or error.code,
            "SCHEDULE_ARN": stored.arn,
            "SCHEDULED_TIME": scheduled_time(firing.at),
            "TARGET_ARN": stored.target,
        }
        self._dead_letters.add(PendingFiring(firing.entry, firing.at, self._clock.time(), attributes))

    def _lost(self, firing: PendingFiring, error: EntryError) -> None:
        _log_rejected(firing, "schedule_lost", "is lost, since the dead-letter queue does not take it", error)
        self._delivered(firing)


def _log_rejected(firing: PendingFiring, action: str, consequence: str, error: EntryError) -> None:
    name = firing.entry.name
    logger.error(
        "schedule %s: the firing for %s %s: %s: %s",
        name,
        scheduled_time(firing.at),
        consequence,
        error.code,
        error.message,
        extra={"action": action, "schedule": name},
    )
