"""A look through a dead-letter queue that leaves everything where it was.

SQS has no peek. So each message is received and kept hidden while the look lasts, and given back at its end, however
that comes. Should not even that be possible, it is visible again when the hold ends.

What a look can miss: messages that somebody else has received and not settled; all but the first ten of a FIFO group,
which wait behind those that are held here; and on a standard queue, now and then, one that SQS did not find in time.
A look adds one to the receive count of each message, which has no consequence in a queue without redrive of its own.
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
"""Seconds for which a received message stays hidden unless it is held again: short, should nobody give it back."""

RENEW_BEFORE_SECONDS = 30.0
"""Seconds before the end of a hold at which it is renewed."""

LONG_POLL_SECONDS = 1
"""Seconds of a long poll while more is expected: it asks all servers of a queue, which a short one does not."""

SHORT_POLLS_WHEN_EMPTY = 3
"""Short polls before a queue from which nothing more is expected counts as empty; each asks some of its servers."""

MAX_RECEIVES_WITHOUT_NEWS = 10
"""Receives in a row with nothing new after which the end is reached."""

_SCHEDULES = SCHEDULES_DEAD_LETTERS.removesuffix("-dlq")


class FoundQueues(NamedTuple):
    """The dead-letter queues that exist, and the logical names of those that do not."""

    found: list[DeadLetterQueue]
    missing: list[str]


async def existing_queues(app: App, services: Services, queue: str | None = None) -> FoundQueues:
    """The dead-letter queues to read.

    Args:
        queue: as in `dead_letter_queues`.

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
    """The dead-letter queues of all queues of the app and of its schedules.

    Args:
        queue: only that of this queue; also the name of a dead-letter queue itself, such as ``schedules-dlq``.

    Raises:
        ConfigError: there is no such queue, or it has no dead-letter queue.
    """
    known = {dead_letter_name(name): name for name in app.queues}
    wanted: dict[str, str | None] = {SCHEDULES_DEAD_LETTERS: None, **known}
    if queue is not None:
        name = queue if queue in wanted else dead_letter_name(queue) if queue in app.queues else None
        if name is None:
            raise ConfigError(
                f"queue {queue!r} is not declared; app {app.name!r} has {', '.join(map(repr, app.queues))} and "
                f"{SCHEDULES_DEAD_LETTERS!r}"
            )
        await services.broker.depth(name)  # says what is wrong where it does not exist
        return FoundQueues([DeadLetterQueue(name, wanted[name])], [])

    async def exists(name: str) -> bool:
        return await services.broker.has_dead_letter_queue(wanted[name] or _SCHEDULES)

    names = [*known, *({SCHEDULES_DEAD_LETTERS} - known.keys())]
    there = await services.flow.map(exists, names, MAX_BATCH)
    found = [name for name, exists in zip(names, there, strict=True) if exists]
    missing = [name for name in names if name not in found]
    return FoundQueues([DeadLetterQueue(name, wanted[name]) for name in found], missing)


class DeadLetterBrowser:
    """One look through one queue: an async context manager, at whose end all that is still held is given back.

    Attributes:
        seen: messages that it has come across.
        expected: messages that the queue held when it began, hidden ones included, approximately.
    """

    def __init__(self, app: App, services: Services, queue: str) -> None:
        self._clock = app.clock
        self._broker = services.broker
        self._queue = queue
        self._held: dict[str, tuple[Delivery, float]] = {}
        self._met: set[str] = set()
        self._settled: set[str] = set()
        self._visible = 0
        self.expected = 0

    @property
    def seen(self) -> int:
        return len(self._met)

    @property
    def missed(self) -> int:
        """Messages that it has not come across, approximately."""
        return max(0, self.expected - self.seen)

    async def __aenter__(self) -> DeadLetterBrowser:
        depth = await self._broker.depth(self._queue)
        self._visible, self.expected = depth.visible, sum(depth)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        held = [delivery for delivery, _ in self._held.values()]
        self._held.clear()
        if not held:
            return
        try:
            await self._broker.change_visibility([(delivery, 0) for delivery in held])
        except TaskQError as fault:
            logger.warning(
                "%d messages of queue %s are visible again only in up to %d s: %s",
                len(held),
                self._queue,
                VISIBILITY_TIMEOUT_SECONDS,
                fault,
                extra={"action": "give_back_fault", "queue": self._queue},
            )

    async def next(self, most: int = MAX_BATCH) -> list[Delivery]:
        """Messages not met before, 1 to 10, held from now on; none at the end of the queue."""
        for _ in range(MAX_RECEIVES_WITHOUT_NEWS):
            await self.keep()
            received = await self._receive(min(most, MAX_BATCH))
            if not received:
                return []
            until = self._clock.time() + VISIBILITY_TIMEOUT_SECONDS
            fresh = []
            for delivery in received:
                if delivery.message_id in self._settled:
                    # A standard queue may deliver once more what was deleted.
                    await self._broker.ack([delivery])
                    continue
                self._held[delivery.message_id] = (delivery, until)
                if delivery.message_id not in self._met:
                    self._met.add(delivery.message_id)
                    fresh.append(delivery)
            if fresh:
                return fresh
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

    async def keep(self) -> None:
        """Renew the holds that end soon. One that cannot be renewed ends: the message may be met again."""
        now = self._clock.time()
        due = [delivery for delivery, until in self._held.values() if until - now < RENEW_BEFORE_SECONDS]
        if not due:
            return
        answers = await self._broker.extend(due, VISIBILITY_TIMEOUT_SECONDS)
        for delivery, answer in zip(due, answers, strict=True):
            if answer is None:
                self._held[delivery.message_id] = (delivery, now + VISIBILITY_TIMEOUT_SECONDS)
            elif answer.receipt_expired or answer.over_12_hours:
                del self._held[delivery.message_id]

    async def delete(self, deliveries: Sequence[Delivery]) -> list[str | None]:
        """Delete messages for good. Answers None for each that is gone, else why it is not."""
        answers = await self._broker.ack(deliveries)
        for delivery, answer in zip(deliveries, answers, strict=True):
            if answer is None:
                self._held.pop(delivery.message_id, None)
                self._settled.add(delivery.message_id)
        return [None if answer is None else answer.message for answer in answers]
