"""A worker that can be crashed between any two of its steps, and stopped like a machine that sleeps.

It runs the real executor, settler, in-flight table, group locks and beats of the heartbeat; only its polls and its threads
are simulated.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from taskq_sls import TaskQ
from taskq_sls.brokers.base import Broker
from taskq_sls.client.services import Services
from taskq_sls.core.clock import Clock
from taskq_sls.core.context import TaskContext
from taskq_sls.core.delivery import Delivery, Outcome, Release
from taskq_sls.core.flow import AsyncFlow, BlockingFlow
from taskq_sls.engine.attempt import Attempt
from taskq_sls.errors import TaskQError
from taskq_sls.results.base import ResultBackend
from taskq_sls.results.records import Fence
from taskq_sls.worker.heartbeat import Heartbeat
from taskq_sls.worker.in_flight import FifoGroups, InFlight
from taskq_sls.worker.settler import Settler
from tests.model.ledger import Run

T = TypeVar("T")

SLOTS = 8
"""Messages that a worker holds at once."""

SLOW_CALL = 3.0
"""Most seconds that a call takes to get there, and as many to come back."""


class Crashed(BaseException):
    """The process is no more: nothing behind this line happens."""


class SimWorker:
    """One worker process.

    Args:
        broker, results: shared by all; calls through them are made slow, and may be this worker's last.
        beat_broker, beat_results: the heartbeat's own.
        crash: chance, at each step, to die there.
        next_visible: when the next message of a queue can be received.
    """

    def __init__(
        self,
        number: int,
        app: TaskQ,
        clock: Clock,
        broker: Broker,
        results: ResultBackend,
        beats: Services,
        *,
        dice: random.Random,
        crash: float,
        slow: float,
        next_visible: Callable[[str], float | None],
        processed: Callable[[Delivery, Outcome], None],
    ) -> None:
        self.number = number
        self.app = app
        self.clock = clock
        self.dice = dice
        self.crash_chance = crash
        self.slow_chance = slow
        self.dead = False
        self.stopping = False
        self.lazy = False
        self.frozen_until = 0.0
        self.paused_until = -math.inf
        self.runs: list[Run] = []
        self._next_visible = next_visible
        self._processed = processed
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._work: dict[asyncio.Task[Any], None] = {}
        view = _seen_from(self, broker, Broker)
        self._broker = view
        self._in_flight = InFlight()
        self._settler = Settler(view, self._in_flight)
        self._groups = FifoGroups()
        results_view = _seen_from(self, results, ResultBackend)
        services = Services(AsyncFlow(clock), lambda: view, lambda: results_view, _nothing)
        self.executor = app.executor(services, self)
        self._heartbeat = Heartbeat(
            self.executor,
            self._in_flight,
            {name: queue.visibility_timeout for name, queue in app.queues.items()},
            beats,
            clock,
            self._stop_attempt,
        )

    def start(self) -> None:
        for queue in self.app.queues:
            self._spawn(self._poll(queue), self._tasks)
        self._spawn(self._beat(), self._tasks)

    # -- fate ---------------------------------------------------------------------------------------------------

    def crash(self) -> None:
        """kill -9: everything it holds is dropped, nothing is said to anybody."""
        if self.dead:
            return
        self.dead = True
        now = self.clock.time()
        for run in self.runs:
            run.ended = run.ended or now
        self._settler.close()
        current = asyncio.current_task()
        for task in [*self._tasks, *self._work]:
            if task is not current:
                task.cancel()

    def pause(self, seconds: float, *, long: bool) -> None:
        """The machine sleeps: no step is made until it wakes, and none of its beats either."""
        self.frozen_until = max(self.frozen_until, self.clock.time() + seconds)
        if long:
            self.paused_until = self.frozen_until

    def fence(self, context: TaskContext) -> Fence | None:
        return next(each.fence for each in self.executor.running.values() if each.context is context)

    def was_paused_during(self, run: Run) -> bool:
        """Whether it slept longer than a lease while it ran this, or right before."""
        return self.paused_until >= run.began - 4 * SLOW_CALL

    async def stop(self, grace: float) -> None:
        """SIGTERM: fetch no more, finish what runs, give back the rest."""
        self.stopping = True
        self.executor.threads.drain()
        if self._work:
            await asyncio.wait(list(self._work), timeout=grace)
        for attempt in list(self.executor.running.values()):
            self.executor.stop(attempt, "shutdown")
        while self._work and not self.dead:
            await asyncio.wait(list(self._work))
        if self.dead:
            return
        await self._settler.drain()
        self.dead = True
        for task in self._tasks:
            task.cancel()

    async def step(self) -> None:
        """Between two steps of the process. Here it sleeps, is slow, or dies."""
        if self.dead:
            raise Crashed
        if self.crash_chance and self.dice.random() < self.crash_chance:
            self.crash()
            raise Crashed
        if self.slow_chance and self.dice.random() < self.slow_chance:
            await asyncio.sleep(self.dice.uniform(0, SLOW_CALL))
        while self.frozen_until > self.clock.time() and not self.dead:  # noqa: ASYNC110  # it may be set again meanwhile
            await asyncio.sleep(self.frozen_until - self.clock.time())
        if self.dead:
            raise Crashed

    async def call(self, call: Callable[[], Awaitable[T]]) -> T:
        """A request and its answer, each a step."""
        await self.step()
        try:
            return await call()
        finally:
            await self.step()

    # -- life ---------------------------------------------------------------------------------------------------

    async def _poll(self, queue: str) -> None:
        hold = self.app.queues[queue].visibility_timeout
        while not self.stopping:
            free = SLOTS - len(self._work)
            if free > 0:
                try:
                    deliveries = await self._broker.receive(queue, max_messages=min(10, free), wait=0, visibility=hold)
                except TaskQError:
                    deliveries = []
                if deliveries:
                    self._deliver(deliveries)
                    continue
            due = self._next_visible(queue)
            longest = 300.0 if self.lazy else 5.0
            wait = longest if due is None else min(longest, max(0.5, due - self.clock.time()))
            await asyncio.sleep(self.dice.uniform(0.5, 1) * wait)

    def _deliver(self, deliveries: list[Delivery]) -> None:
        self._in_flight.add(deliveries)
        for delivery in deliveries:
            self._groups.enter(delivery)
            self._spawn(self._handle(delivery), self._work)

    async def _handle(self, delivery: Delivery) -> None:
        try:
            await self._groups.run(delivery, self._process, self._settle, lambda: self.stopping)
        finally:
            self._groups.leave(delivery)

    async def _process(self, delivery: Delivery) -> Outcome:
        if self.stopping:
            return Release(0)
        outcome = await self.executor.process(delivery)
        self._processed(delivery, outcome)
        return outcome

    async def _settle(self, delivery: Delivery, outcome: Outcome) -> None:
        await self.step()
        await self._settler.settle(delivery, outcome)

    async def _beat(self) -> None:
        """What the heartbeat's thread does, once a second."""
        next_beat = dict.fromkeys(self.app.queues, 0.0)
        while True:
            await asyncio.sleep(1.0)
            await self.step()
            for name, queue in self.app.queues.items():
                if self.clock.time() >= next_beat[name] and self._heartbeat._beat(name, queue.visibility_timeout):
                    next_beat[name] = self.clock.time() + queue.visibility_timeout / 3
            self._heartbeat._renew_leases()

    def _stop_attempt(self, attempt: Attempt, reason: str) -> None:
        self.executor.stop(attempt, reason)

    def _spawn(self, work: Coroutine[Any, Any, None], kept: dict[asyncio.Task[Any], None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        kept[task] = None
        task.add_done_callback(lambda task: kept.pop(task, None))


class BeatFlow(BlockingFlow):
    """Of the heartbeat's thread: one call after the other, and no time passes while it waits."""

    async def sleep(self, seconds: float) -> None:
        return

    async def map(self, fn: Callable[[Any], Awaitable[T]], items: Sequence[Any], limit: int) -> list[T]:
        return [await fn(item) for item in items]


async def _nothing() -> None:
    return


def _seen_from(worker: SimWorker, inner: Any, interface: type) -> Any:
    """A backend as one process reaches it: each call a request and an answer."""

    def method(name: str) -> Any:
        async def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            return await worker.call(lambda: getattr(inner, name)(*args, **kwargs))

        return call

    methods = {name: method(name) for name in interface.__abstractmethods__}  # type: ignore[attr-defined]  # an ABC
    return type(f"{interface.__name__}View", (interface,), methods)()
