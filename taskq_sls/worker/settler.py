"""Outcomes of the worker, carried out in batches. Nobody waits for an acknowledgement, so it may wait a little."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

from ..brokers.base import MAX_BATCH, Broker
from ..core.delivery import DONE, DeadLetter, Delivery, Done, Outcome, Release, RetryIn
from ..core.fault_log import FaultLog
from ..engine.settling import change_visibility, hide_faults, reschedule, send_to_dlq, visibility_seconds
from ..errors import AwsError
from .in_flight import InFlight

if TYPE_CHECKING:
    from ..scheduler.store import ScheduleStore

logger = logging.getLogger("taskq_sls.worker")

ACK_DELAY = 0.1
"""Seconds a delete waits for others to share its call."""

HIDE_DELAY = 0.01
"""Seconds a visibility change waits for others; short, since a message given back should be seen at once."""

ACK_TRIES = 20
"""Times a delete is tried, a second or more apart, before the message is left to come again as a duplicate."""

T = TypeVar("T")


class Batcher(Generic[T]):
    """Collects items and hands them over in batches of ten, or after a delay.

    Args:
        lost: called with the items of a batch whose `handle` raised or was cancelled.
    """

    def __init__(
        self,
        handle: Callable[[list[T]], Awaitable[None]],
        delay: float,
        lost: Callable[[list[T]], None] = lambda items: None,
    ) -> None:
        self._handle = handle
        self._lost = lost
        self._delay = delay
        self._items: list[T] = []
        self._timer: asyncio.TimerHandle | None = None
        self._running: set[asyncio.Task[None]] = set()

    def add(self, item: T) -> None:
        """Hand the item over with the next batch."""
        self._items.append(item)
        if len(self._items) >= MAX_BATCH:
            self._flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._delay, self._flush)

    async def drain(self) -> None:
        """Hand over what is left, and wait until all of it has been dealt with."""
        while self._items or self._running:
            self._flush()
            if self._running:
                await asyncio.wait(self._running)

    def close(self) -> None:
        """Give up what waits or is under way."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._items = []
        for task in self._running:
            task.cancel()

    @property
    def empty(self) -> bool:
        """Whether nothing waits or is under way."""
        return not self._items and not self._running

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        items, self._items = self._items, []
        if items:
            self._spawn(items)

    def _spawn(self, items: list[T]) -> None:
        async def run() -> None:
            # Called here: a batch that is given up before it began leaves no coroutine that nobody awaits.
            await self._handle(items)

        def ended(task: asyncio.Task[None]) -> None:
            self._running.discard(task)
            error = None if task.cancelled() else task.exception()
            if error is not None:
                logger.error(
                    "a batch of outcomes was not carried out", exc_info=error, extra={"action": "settle_fault"}
                )
            if error is not None or task.cancelled():
                self._lost(items)

        task = asyncio.get_running_loop().create_task(run())
        self._running.add(task)
        task.add_done_callback(ended)


class Settler:
    """Carries out outcomes over a broker.

    A deleted message leaves the hold table only when it is deleted; one that is hidden or given back leaves it first.
    """

    def __init__(
        self, broker: Broker, holds: InFlight, schedules: Callable[[], ScheduleStore | None] = lambda: None
    ) -> None:
        self._broker = broker
        self._holds = holds
        self._schedules = schedules
        self._acks: Batcher[tuple[Delivery, int]] = Batcher(self._ack, ACK_DELAY, self._drop)
        self._hides: Batcher[tuple[Delivery, int]] = Batcher(self._hide, HIDE_DELAY, self._drop)
        self._letters: Batcher[tuple[Delivery, DeadLetter]] = Batcher(self._bury, HIDE_DELAY, self._drop)
        self._put_offs: Batcher[tuple[Delivery, RetryIn]] = Batcher(self._put_off, HIDE_DELAY, self._drop)
        self._hide_faults = hide_faults()
        self._ack_faults = FaultLog(logger, "messages cannot be deleted", "ack_fault")
        self._stopping = False

    async def settle(self, delivery: Delivery, outcome: Outcome) -> None:
        """Do what `outcome` says. Returns when it is under way; `drain` waits for it."""
        if isinstance(outcome, Done):
            self._acks.add((delivery, 0))
        elif isinstance(outcome, DeadLetter):
            self._letters.add((delivery, outcome))
        elif isinstance(outcome, RetryIn) and outcome.later is not None:
            self._put_offs.add((delivery, outcome))
        elif isinstance(outcome, RetryIn | Release):
            await self._holds.take_out(delivery)
            self._hides.add((delivery, visibility_seconds(outcome)))
        else:
            self._holds.drop(delivery)

    async def drain(self) -> None:
        """Carry out everything that is under way."""
        self._stopping = True
        while not self.empty:
            await self._letters.drain()
            await self._put_offs.drain()
            await self._acks.drain()
            await self._hides.drain()

    def close(self) -> None:
        """Give up what is under way: those messages come again."""
        for batcher in (self._letters, self._put_offs, self._acks, self._hides):
            batcher.close()

    @property
    def empty(self) -> bool:
        """Whether nothing is under way."""
        return self._letters.empty and self._put_offs.empty and self._acks.empty and self._hides.empty

    def _drop(self, entries: Sequence[tuple[Delivery, object]]) -> None:
        """Hold these no longer: a message that nobody lets go would stay with this worker for ever."""
        for delivery, _ in entries:
            self._holds.drop(delivery)

    async def _ack(self, entries: list[tuple[Delivery, int]]) -> None:
        deliveries = [delivery for delivery, _ in entries]
        again = []
        self._holds.leave(deliveries)
        try:
            answers = await self._broker.ack(deliveries)
        except Exception as error:  # whatever it is: a message that nobody lets go would be held for ever
            self._ack_faults.failed(error)
            again = entries
        else:
            for entry, answer in zip(entries, answers, strict=True):
                if answer is None or answer.receipt_expired or not answer.transient:
                    self._holds.drop(entry[0])
                    if answer is not None:
                        logger.warning(
                            "message %s could not be deleted and may come again: %s: %s",
                            entry[0].message_id,
                            answer.code,
                            answer.message,
                            extra={"action": "ack_fault", "queue": entry[0].queue},
                        )
                else:
                    self._ack_faults.failed(AwsError("delete_message_batch", answer.code, answer.message))
                    again.append(entry)
        if again:
            await self._ack_again(again)
        else:
            self._ack_faults.recovered()

    async def _ack_again(self, entries: list[tuple[Delivery, int]]) -> None:
        """Deleting is tried for long, and the messages held meanwhile: a duplicate costs more than a request."""
        await asyncio.sleep(random.uniform(0.5, 1.5) * (0.2 if self._stopping else 1))
        for delivery, tries in entries:
            if tries >= ACK_TRIES or (self._stopping and tries >= 3):
                self._holds.drop(delivery)
            else:
                self._acks.add((delivery, tries + 1))

    async def _hide(self, entries: list[tuple[Delivery, int]]) -> None:
        await change_visibility(self._broker, entries, self._hide_faults)

    async def _bury(self, entries: list[tuple[Delivery, DeadLetter]]) -> None:
        for (delivery, _), buried in zip(entries, await send_to_dlq(self._broker, entries), strict=True):
            if buried:
                self._acks.add((delivery, 0))
            else:
                self._holds.drop(delivery)

    async def _put_off(self, entries: list[tuple[Delivery, RetryIn]]) -> None:
        """Held until its schedule stands, so that nobody else gets a message that is about to be deleted."""
        for (delivery, outcome), accepted in zip(entries, await reschedule(self._schedules(), entries), strict=True):
            await self.settle(delivery, DONE if accepted else outcome._replace(later=None))
