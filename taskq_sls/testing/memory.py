"""An app in memory: the driver for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from ..app import TaskQ
from ..brokers.base import Answer, Outgoing
from ..brokers.memory import MemoryBroker
from ..brokers.settling import send_to_dlq, visibility_seconds
from ..client.schedule_sync import adeclared_specs
from ..client.services import ServiceFactory, Services
from ..core.clock import ManualClock
from ..core.delivery import DeadLetter, Delivery, Done, Outcome, Release, RetryIn, leaves_queue
from ..core.flow import AsyncFlow, BlockingFlow
from ..core.queues import dead_letter_name
from ..errors import TaskQError
from ..payloads.memory import MemoryPayloads
from ..results.memory import MemoryResults
from ..scheduler.delays import reschedule
from ..scheduler.firing import SCHEDULED_TIME, firing_id, scheduled_time
from ..scheduler.memory import MemorySchedules

MOST_DELIVERIES = 100_000
"""Deliveries of one `run_until_idle` after which it raises, because the tasks never end."""

MOST_IDLE_WAITS = 200
"""Waits of up to 2 s in a row with nothing to run, after which `result()` raises instead of waiting on."""


def in_memory(
    app: TaskQ,
    *,
    immediate: bool = False,
    start: float = 1_800_000_000.0,
    bucket: bool | None = None,
    scheduler: bool = True,
    schedules: bool = False,
) -> InMemory:
    """Put an app on a broker, results and clock in memory, for the time of a ``with`` block.

    Args:
        immediate: run every task as soon as it is enqueued, its retries included.
        start: first time of the clock, in epoch seconds.
        bucket: provide a bucket for payloads that are too large. Default: only if the app has one.
        scheduler: provide a scheduler, for schedules and for delays above 15 minutes.
        schedules: create the declared schedules too, so that they fire as the clock travels. (A rate without a start
            fires at once, as it does when it is deployed.)
    """
    return InMemory(app, immediate=immediate, start=start, bucket=bucket, scheduler=scheduler, schedules=schedules)


class InMemory:
    """Runs the app's tasks through the real executor, when the test calls for it.

    Tasks with ``run_in="process"`` run in threads of this process, so that a test's patches apply to them too.

    Attributes:
        clock: a `ManualClock`; everything in the app reads it.
        broker: a `MemoryBroker` with the app's queues and their dead-letter queues.
        results: a `MemoryResults`.
        payloads: a `MemoryPayloads`, in use if there is a bucket.
        schedules: a `MemorySchedules`: delays and schedules, which fire when the clock gets there.
    """

    def __init__(
        self,
        app: TaskQ,
        *,
        immediate: bool,
        start: float,
        bucket: bool | None = None,
        scheduler: bool = True,
        schedules: bool = False,
    ) -> None:
        self.app = app
        self.clock = ManualClock(start)
        self.broker = _TestBroker(self)
        self.results = MemoryResults()
        self.payloads = MemoryPayloads(self.clock)
        self.schedules = MemorySchedules(self.clock, app.name)
        self.scheduler = scheduler or schedules
        self._undeclared = schedules
        self._bucket = bucket
        self.immediate = immediate
        self.busy = False
        self._idle_waits = 0
        self._saved: tuple[Any, Any, bool] | None = None

    def __enter__(self) -> InMemory:
        children = self.app.make_children()
        self._saved = (self.app.clock, self.app.services, children.inline)
        children.inline = True
        self.app.clock = self.clock
        self.app.services = _TestServices(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._saved is not None
        self.app.clock, self.app.services, self.app.make_children().inline = self._saved

    def has_bucket(self) -> bool:
        """True if payloads that are too large go to `payloads`."""
        return self.app.settings.bucket is not None if self._bucket is None else self._bucket

    def travel(self, seconds: float) -> None:
        """Move the clock forward, 0 or more seconds. Nothing runs by itself: call `run_until_idle`."""
        self.clock.travel(seconds)

    def run_until_idle(self, *, travel: bool = False) -> int:
        """Run every task that is due, and those they enqueue, one after the other; returns how many deliveries.

        Args:
            travel: move the clock to retries and delays that are due later, until the queues are empty.

        Raises:
            TaskQError: 100,000 deliveries did not come to an end.
        """
        if asyncio._get_running_loop() is not None:
            raise TaskQError("run_until_idle() cannot run inside an event loop: use `await memory.arun_until_idle()`")
        with asyncio.Runner() as runner:
            return runner.run(self.arun_until_idle(travel=travel))

    async def arun_until_idle(self, *, travel: bool = False) -> int:
        """`run_until_idle` for async tests."""
        if self.busy:
            return 0
        self.busy = True
        try:
            if self.app.lifespan is None:
                return await self._run(None, travel)
            async with self.app.lifespan(self.app) as state:
                return await self._run(state, travel)
        finally:
            self.busy = False

    def dead_letters(self, queue: str | None = None) -> list[Delivery]:
        """The messages in a queue's dead-letter queue (default: the app's first queue). They stay there."""
        name = dead_letter_name(queue or next(iter(self.app.queues)))
        return [
            Delivery(
                name,
                message.body,
                "",
                message.message_id,
                message.receive_count,
                message.sent_at,
                message.group,
                message.attributes,
            )
            for message in self.broker.messages(name)
        ]

    async def _run(self, state: Any, travel: bool) -> int:
        services = await self.app.services.on_loop()
        executor = self.app.executor(services, state)
        count = 0
        while True:
            await self._fire()
            deliveries = [delivery for queue in self.app.queues for delivery in await self._receive(queue)]
            blocked: set[tuple[str, str | None]] = set()
            for delivery in deliveries:
                fifo = self.app.queues[delivery.queue].fifo
                if fifo and (delivery.queue, delivery.group) in blocked:
                    await self._carry_out(delivery, Release(0))
                    continue
                outcome = await executor.process(delivery)
                if not leaves_queue(outcome):
                    blocked.add((delivery.queue, delivery.group))
                await self._carry_out(delivery, outcome)
            count += len(deliveries)
            if deliveries:
                self._idle_waits = 0
            if count > MOST_DELIVERIES:
                raise TaskQError(
                    f"run_until_idle: {count} deliveries and no end; do the tasks enqueue each other forever?"
                )
            if executor.meter is not None:
                await executor.meter.flush(self.clock.time(), everything=True)
            if not deliveries and not (travel and self._travel_to_next()):
                return count

    async def _fire(self) -> None:
        """Send the messages of all schedules that are due."""
        if self._undeclared:
            self._undeclared = False
            for spec in await adeclared_specs(self.app, await self.app.services.on_loop()):
                await self.schedules.create(spec)
        for schedule, at in self.schedules.due(self.clock.time()):
            spec = schedule.spec
            body = spec.body.replace(SCHEDULED_TIME, scheduled_time(at))
            fifo = spec.queue.endswith(".fifo")
            id = firing_id(self.schedules.group, spec.name, at)
            await MemoryBroker.send(self.broker, [Outgoing(spec.queue, body, id, 0, spec.group, id if fifo else None)])

    async def _receive(self, queue: str) -> list[Delivery]:
        hold = self.app.queues[queue].visibility_timeout
        return await self.broker.receive(queue, max_messages=10, wait=0, visibility=hold)

    async def _carry_out(self, delivery: Delivery, outcome: Outcome) -> None:
        gone = isinstance(outcome, DeadLetter) and (await send_to_dlq(self.broker, [(delivery, outcome)]))[0]
        if isinstance(outcome, RetryIn) and outcome.later is not None:
            gone = (await reschedule(self.schedules, [(delivery, outcome)]))[0]
        if gone or isinstance(outcome, Done):
            await self.broker.ack([delivery])
        elif isinstance(outcome, RetryIn | Release):
            await self.broker.change_visibility([(delivery, visibility_seconds(outcome))])

    def next_due(self) -> float | None:
        """When the next message can be received, in epoch seconds; None when the queues are empty.

        Delays count, schedules that repeat do not: they never come to an end.
        """
        times = [self.broker.next_visible_at(queue) for queue in self.app.queues]
        times.append(self.schedules.next_due(once=True))
        return min((time for time in times if time is not None), default=None)

    def _travel_to_next(self) -> bool:
        due = self.next_due()
        if due is None:
            return False
        self.clock.travel_to(due)
        return True

    def pass_time(self, seconds: float) -> None:
        """Stand in for a blocking wait: run all due tasks; if there was none, move the clock to the next message."""
        if not self.busy and asyncio._get_running_loop() is None and self.run_until_idle():
            return
        due = None if self.busy else self.next_due()
        if due is not None:
            self.clock.block(min(max(seconds, due - self.clock.time()), max(seconds, 60.0)))
            return
        self._idle_waits += 1
        if self._idle_waits > MOST_IDLE_WAITS:
            raise TaskQError(
                "a task waits here for another one, which cannot run before it has ended: in memory tasks run one "
                "after the other"
                if self.busy
                else "this waits for a task that is in no queue: it was lost, or ran in another app"
            )
        self.clock.block(seconds)


class _TestServices(ServiceFactory):
    """Hands out the same broker, results and payloads to everybody."""

    def __init__(self, memory: InMemory) -> None:
        super().__init__(
            lambda: memory.app.settings,
            memory.clock,
            memory.broker,
            memory.results,
            {},
            schedules=memory.schedules if memory.scheduler else None,
        )
        self._memory = memory

    def new_blocking(self, **aws_options: Any) -> Services:
        services = super().new_blocking(**aws_options)
        services.flow = _TestBlockingFlow(self._memory)
        services._make_payloads = self._payloads_if_any
        return services

    def new_async(self, *, threads: bool = False, prepare: bool = False, **aws_options: Any) -> Services:
        services = super().new_async(threads=threads, prepare=prepare, **aws_options)
        services.flow = _TestAsyncFlow(self._memory)
        services._make_payloads = self._payloads_if_any
        return services

    def _payloads_if_any(self) -> MemoryPayloads | None:
        return self._memory.payloads if self._memory.has_bucket() else None


class _TestBlockingFlow(BlockingFlow):
    def __init__(self, memory: InMemory) -> None:
        super().__init__(memory.clock)
        self._memory = memory

    async def sleep(self, seconds: float) -> None:
        self._memory.pass_time(seconds)


class _TestAsyncFlow(AsyncFlow):
    def __init__(self, memory: InMemory) -> None:
        super().__init__(memory.clock)
        self._memory = memory

    async def sleep(self, seconds: float) -> None:
        if not await self._memory.arun_until_idle():
            self._memory.pass_time(seconds)
        await asyncio.sleep(0)


class _TestBroker(MemoryBroker):
    """Runs tasks as they are sent, in immediate mode."""

    def __init__(self, memory: InMemory) -> None:
        super().__init__(memory.clock, memory.app.queues.values())
        self._memory = memory

    async def send(self, messages: Sequence[Outgoing]) -> list[Answer]:
        answers = await super().send(messages)
        if self._memory.immediate and not self._memory.busy:
            if asyncio._get_running_loop() is None:
                self._memory.run_until_idle(travel=True)
            else:
                await self._memory.arun_until_idle(travel=True)
        return answers
