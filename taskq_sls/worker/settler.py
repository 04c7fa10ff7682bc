"""Carries out outcomes in batches: deletes, visibility changes, dead-letter copies, schedules."""

from __future__ import annotations

import asyncio
import functools
import logging
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..brokers.base import MAX_BATCH, Broker
from ..brokers.settling import change_visibility, hide_faults, send_to_dlq, visibility_seconds
from ..core.delivery import DONE, DeadLetter, Delivery, Done, Outcome, Release, RetryIn
from ..core.fault_log import FaultLog
from ..errors import AwsError
from ..scheduler.delays import reschedule
from .in_flight import InFlight

if TYPE_CHECKING:
    from ..scheduler.store import ScheduleStore

logger = logging.getLogger("taskq_sls.worker")

DELETE_DELAY_SECONDS = 0.1
"""Time that a delete waits for others to share its call."""

CHANGE_DELAY_SECONDS = 0.01
"""The same for the other calls. Short: a released message should be visible at once."""

MAX_DELETE_TRIES = 20
"""Tries of a delete, about a second apart. Then the message is redelivered as a duplicate."""

MAX_FINAL_DELETE_TRIES = 3
"""The same while the worker stops, with a fifth of the pauses."""

T = TypeVar("T")


class Batcher(Generic[T]):
    """Collects items, and handles them in batches of ten or after a delay.

    Args:
        handle: takes a batch.
        delay: seconds after the first item at which a partial batch is handled.
        lost: called with the items of a batch whose `handle` raised or was cancelled.
    """

    def __init__(
        self,
        handle: Callable[[list[T]], Coroutine[Any, Any, None]],
        delay: float,
        lost: Callable[[list[T]], None],
    ) -> None:
        self._handle = handle
        self._lost = lost
        self._delay = delay
        self._items: list[T] = []
        self._timer: asyncio.TimerHandle | None = None
        self._running: set[asyncio.Task[None]] = set()

    def add(self, item: T) -> None:
        """Handle the item with the next batch."""
        self._items.append(item)
        if len(self._items) >= MAX_BATCH:
            self._flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._delay, self._flush)

    async def drain(self) -> None:
        """Handle the remaining items, and wait for the end of all batches."""
        while self._items or self._running:
            self._flush()
            if self._running:
                await asyncio.wait(self._running)

    def close(self) -> None:
        """Drop all items, and cancel the batches under way."""
        self._take()
        for task in self._running:
            task.cancel()

    @property
    def empty(self) -> bool:
        """True if no item waits or is being handled."""
        return not self._items and not self._running

    def _flush(self) -> None:
        if items := self._take():
            task = asyncio.get_running_loop().create_task(self._handle(items))
            self._running.add(task)
            task.add_done_callback(functools.partial(self._ended, items))

    def _take(self) -> list[T]:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        items, self._items = self._items, []
        return items

    def _ended(self, items: list[T], task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.error("a batch of outcomes was not carried out", exc_info=error, extra={"action": "settle_fault"})
        if error is not None or task.cancelled():
            self._lost(items)


class Settler:
    """Carries out the outcomes of messages.

    A message stays in flight until its delete has succeeded. It is removed before its visibility is changed, so that no
    heartbeat undoes the change.
    """

    def __init__(
        self, broker: Broker, in_flight: InFlight, schedules: Callable[[], ScheduleStore | None] = lambda: None
    ) -> None:
        self._broker = broker
        self._in_flight = in_flight
        self._schedules = schedules
        self._deletes: Batcher[tuple[Delivery, int]] = Batcher(self._delete, DELETE_DELAY_SECONDS, self._discard)
        self._changes: Batcher[tuple[Delivery, int]] = Batcher(self._change, CHANGE_DELAY_SECONDS, self._discard)
        self._dead_letters: Batcher[tuple[Delivery, DeadLetter]] = Batcher(
            self._dead_letter, CHANGE_DELAY_SECONDS, self._discard
        )
        self._reschedules: Batcher[tuple[Delivery, RetryIn]] = Batcher(
            self._reschedule, CHANGE_DELAY_SECONDS, self._discard
        )
        # In the order in which one leads to another.
        self._batchers = (self._dead_letters, self._reschedules, self._deletes, self._changes)
        self._change_faults = hide_faults()
        self._delete_faults = FaultLog(logger, "messages cannot be deleted", "ack_fault")
        self._stopping = False

    async def settle(self, delivery: Delivery, outcome: Outcome) -> None:
        """Begin to carry out an outcome. `drain` waits for the end."""
        if isinstance(outcome, Done):
            self._deletes.add((delivery, 0))
        elif isinstance(outcome, DeadLetter):
            self._dead_letters.add((delivery, outcome))
        elif isinstance(outcome, RetryIn) and outcome.later is not None:
            self._reschedules.add((delivery, outcome))
        elif isinstance(outcome, RetryIn | Release):
            await self._in_flight.remove_after_heartbeat(delivery)
            self._changes.add((delivery, visibility_seconds(outcome)))
        else:
            self._in_flight.discard(delivery)

    async def drain(self) -> None:
        """Carry out all outcomes to the end. Called when the worker stops."""
        self._stopping = True
        while not self.empty:
            for batcher in self._batchers:
                await batcher.drain()

    def close(self) -> None:
        """Drop the outcomes that are not carried out: their messages are redelivered."""
        for batcher in self._batchers:
            batcher.close()

    @property
    def empty(self) -> bool:
        """True if all outcomes are carried out."""
        return all(batcher.empty for batcher in self._batchers)

    def _discard(self, entries: Sequence[tuple[Delivery, object]]) -> None:
        """Let messages be redelivered: while they are in flight, their visibility timeout is extended for ever."""
        for delivery, _ in entries:
            self._in_flight.discard(delivery)

    async def _delete(self, entries: list[tuple[Delivery, int]]) -> None:
        deliveries = [delivery for delivery, _ in entries]
        again = []
        self._in_flight.mark_deleting(deliveries)
        try:
            answers = await self._broker.ack(deliveries)
        except Exception as error:  # of any kind: the messages must leave the in-flight table in the end
            self._delete_faults.failed(error)
            again = entries
        else:
            for entry, answer in zip(entries, answers, strict=True):
                if answer is None or answer.receipt_expired or not answer.transient:
                    self._in_flight.discard(entry[0])
                    if answer is not None:
                        logger.warning(
                            "message %s could not be deleted and may be redelivered: %s: %s",
                            entry[0].message_id,
                            answer.code,
                            answer.message,
                            extra={"action": "ack_fault", "queue": entry[0].queue},
                        )
                else:
                    self._delete_faults.failed(AwsError("delete_message_batch", answer.code, answer.message))
                    again.append(entry)
        if again:
            await self._delete_again(again)
        else:
            self._delete_faults.recovered()

    async def _delete_again(self, entries: list[tuple[Delivery, int]]) -> None:
        """Try to delete for long, with the messages in flight: a duplicate costs more than a request."""
        await asyncio.sleep(random.uniform(0.5, 1.5) * (0.2 if self._stopping else 1))
        for delivery, tries in entries:
            if tries >= (MAX_FINAL_DELETE_TRIES if self._stopping else MAX_DELETE_TRIES):
                self._in_flight.discard(delivery)
            else:
                self._deletes.add((delivery, tries + 1))

    async def _change(self, entries: list[tuple[Delivery, int]]) -> None:
        await change_visibility(self._broker, entries, self._change_faults)

    async def _dead_letter(self, entries: list[tuple[Delivery, DeadLetter]]) -> None:
        for (delivery, _), copied in zip(entries, await send_to_dlq(self._broker, entries), strict=True):
            if copied:
                self._deletes.add((delivery, 0))
            else:
                self._in_flight.discard(delivery)

    async def _reschedule(self, entries: list[tuple[Delivery, RetryIn]]) -> None:
        """Make the schedules. The messages stay in flight until then: another worker must not receive them."""
        for (delivery, outcome), accepted in zip(entries, await reschedule(self._schedules(), entries), strict=True):
            await self.settle(delivery, DONE if accepted else outcome._replace(later=None))
