"""Browse a dead-letter queue without removing its messages.

SQS has no peek. Each message is therefore received, kept invisible while the browser is open, and returned to the
queue when it closes, also after an error. If the return fails, the visibility timeout ends by itself.

A browser can miss messages: those that another consumer has received; all but the first ten of a FIFO group, which
wait behind the ones received here; and, now and then, a message of a standard queue that SQS did not return in time.
Each message's receive count rises by one, which has no effect in a queue without a redrive policy.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple

from ..brokers.base import MAX_BATCH
from ..client.app import App
from ..client.services import Services
from ..core.delivery import Delivery
from ..core.queues import SCHEDULES_DEAD_LETTERS, dead_letter_name
from ..errors import ConfigError, MissingResource, TaskQError
from .dead_letter_view import DeadLetterQueue

logger = logging.getLogger("taskq_sls.operations")

VISIBILITY_TIMEOUT_SECONDS = 60
"""Short, so that messages come back soon if the process dies; it is extended while the browser is open."""

RENEW_BEFORE_SECONDS = 30.0
"""The visibility timeout is extended when less than this is left of it."""

LONG_POLL_SECONDS = 1
"""A long poll asks all servers of a queue, a short one only some. Used while more messages are expected."""

SHORT_POLLS_WHEN_EMPTY = 3
"""Empty short polls after which a queue counts as empty, if no more messages are expected."""

MAX_RECEIVES_WITHOUT_NEWS = 10
"""Receives in a row without a new message, after which the queue counts as read to its end."""

_SCHEDULES = SCHEDULES_DEAD_LETTERS.removesuffix("-dlq")


class FoundQueues(NamedTuple):
    """The dead-letter queues that exist, and the logical names of those that do not."""

    found: list[DeadLetterQueue]
    missing: list[str]


async def existing_queues(app: App, services: Services, queue: str | None = None) -> FoundQueues:
    """The dead-letter queues to read; `queue` as in `dead_letter_queues`.

    Raises:
        ConfigError: there is no such queue.
        MissingResource: none of them exists: the prefix or the region is wrong, or nothing was provisioned.
    """
    queues = await dead_letter_queues(app, services, queue)
    if not queues.found:
        names = ", ".join(app.settings.queue_name(name) for name in queues.missing)
        raise MissingResource(
            f"app {app.name!r} has no dead-letter queue: none of {names} exists. Check TASKQ_PREFIX, the region and the "
            "endpoint; `taskq provision` or the template creates them"
        )
    return queues


async def dead_letter_queues(app: App, services: Services, queue: str | None = None) -> FoundQueues:
    """The dead-letter queues of an app's queues and of its schedules.

    Args:
        queue: only the dead-letter queue of this queue, or the name of a dead-letter queue such as ``schedules-dlq``.

    Raises:
        ConfigError: there is no such queue, or it has no dead-letter queue.
    """
    known = {dead_letter_name(name): name for name in app.queues}
    sources: dict[str, str | None] = {SCHEDULES_DEAD_LETTERS: None, **known}
    if queue is not None:
        name = dead_letter_name(queue) if queue in app.queues and queue not in sources else queue
        if name not in sources:
            raise ConfigError(
                f"queue {queue!r} is not declared; app {app.name!r} has {', '.join(map(repr, app.queues))} and "
                f"{SCHEDULES_DEAD_LETTERS!r}"
            )
        await services.broker.depth(name)  # raises ConfigError if the queue does not exist
        return FoundQueues([DeadLetterQueue(name, sources[name])], [])

    async def exists(name: str) -> bool:
        return await services.broker.has_dead_letter_queue(sources[name] or _SCHEDULES)

    names = [*known, *({SCHEDULES_DEAD_LETTERS} - known.keys())]
    existing = dict(zip(names, await services.flow.map(exists, names, MAX_BATCH), strict=True))
    return FoundQueues(
        [DeadLetterQueue(name, sources[name]) for name in names if existing[name]],
        [name for name in names if not existing[name]],
    )


class DeadLetterBrowser:
    """Reads one queue: an async context manager that returns all received messages to the queue when it closes.

    Attributes:
        expected: approximate number of messages in the queue at the start, invisible ones included.
    """

    def __init__(self, app: App, services: Services, queue: str) -> None:
        self._clock = app.clock
        self._broker = services.broker
        self._queue = queue
        self._received: dict[str, tuple[Delivery, float]] = {}  # and when its visibility timeout ends
        self._seen: set[str] = set()
        self._deleted: set[str] = set()
        self._visible = 0
        self.expected = 0

    @property
    def seen(self) -> int:
        """Number of different messages received so far."""
        return len(self._seen)

    @property
    def missed(self) -> int:
        """Approximate number of messages that were not received."""
        return max(0, self.expected - self.seen)

    async def __aenter__(self) -> DeadLetterBrowser:
        depth = await self._broker.depth(self._queue)
        self._visible, self.expected = depth.visible, sum(depth)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        received = [delivery for delivery, _ in self._received.values()]
        self._received.clear()
        if not received:
            return
        try:
            await self._broker.change_visibility([(delivery, 0) for delivery in received])
        except TaskQError as fault:
            logger.warning(
                "%d messages of queue %s could not be returned; they are visible again in at most %d s: %s",
                len(received),
                self._queue,
                VISIBILITY_TIMEOUT_SECONDS,
                fault,
                extra={"action": "give_back_fault", "queue": self._queue},
            )

    async def next(self, most: int = MAX_BATCH) -> list[Delivery]:
        """Receive up to `most` (1 to 10) messages not seen before; empty at the end of the queue."""
        for _ in range(MAX_RECEIVES_WITHOUT_NEWS):
            await self.extend()
            received = await self._receive(min(most, MAX_BATCH))
            if not received:
                return []
            until = self._clock.time() + VISIBILITY_TIMEOUT_SECONDS
            new = []
            for delivery in received:
                if delivery.message_id in self._deleted:
                    # A standard queue may deliver a deleted message once more.
                    await self._broker.ack([delivery])
                    continue
                self._received[delivery.message_id] = (delivery, until)
                if delivery.message_id not in self._seen:
                    self._seen.add(delivery.message_id)
                    new.append(delivery)
            if new:
                return new
        return []

    async def _receive(self, most: int) -> list[Delivery]:
        expecting = self.seen < self._visible
        for _ in range(1 if expecting else SHORT_POLLS_WHEN_EMPTY):
            received = await self._broker.receive(
                self._queue,
                max_messages=most,
                wait=LONG_POLL_SECONDS if expecting else 0,
                visibility=VISIBILITY_TIMEOUT_SECONDS,
            )
            if received:
                return received
        return []

    async def extend(self) -> None:
        """Extend visibility timeouts that end soon. If SQS refuses one, the message may be received again."""
        now = self._clock.time()
        due = [delivery for delivery, until in self._received.values() if until - now < RENEW_BEFORE_SECONDS]
        if not due:
            return
        answers = await self._broker.extend(due, VISIBILITY_TIMEOUT_SECONDS)
        for delivery, answer in zip(due, answers, strict=True):
            if answer is None:
                self._received[delivery.message_id] = (delivery, now + VISIBILITY_TIMEOUT_SECONDS)
            elif answer.receipt_expired or answer.over_12_hours:
                del self._received[delivery.message_id]

    async def delete(self, deliveries: Sequence[Delivery]) -> list[str | None]:
        """Delete messages. Returns one entry for each: None if it was deleted, else the error's text."""
        answers = await self._broker.ack(deliveries)
        for delivery, answer in zip(deliveries, answers, strict=True):
            if answer is None:
                self._received.pop(delivery.message_id, None)
                self._deleted.add(delivery.message_id)
        return [None if answer is None else answer.message for answer in answers]
