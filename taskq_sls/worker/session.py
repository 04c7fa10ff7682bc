"""One run of a worker, from the first poll to the last acknowledgement."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..client.services import Services
from ..core.context import uncancel
from ..core.delivery import LOST, Delivery, Outcome, Release, RetryIn
from ..engine.executor import Executor
from ..errors import AwsError, TaskQError
from .attempt_watches import STUCK_CHECK_SECONDS, SaturationWatch, StuckWatch
from .event_loop import in_new_thread
from .health import HealthServer
from .heartbeat import Heartbeat, stopper
from .in_flight import FifoGroups, InFlight
from .options import DRAINED, FAULT, RECYCLE, STUCK, WorkerOptions
from .poller import ClaimOutage, Poller
from .reporting import Reporter
from .settler import Settler
from .slots import Slots
from .watchdog import LoopWatch, Watchdog

if TYPE_CHECKING:
    from ..metrics.meter import Meter


logger = logging.getLogger("taskq_sls.worker")

STOP_SECONDS = 5.0
"""Time that attempts may take to end after they were stopped at the end of the grace period."""

UNREGISTER_SECONDS = 30.0
"""Time that the heartbeat may take to end, and the report to be deleted. AWS calls have shorter limits."""

CANCEL_SECONDS = 1.0
"""Time that cancelled tasks may take to end. After it the worker ends without them."""

MAX_BURST_RETRY_SECONDS = 900.0
"""A worker with `burst` waits for its own retries that are due within this time."""

COUNTERS_CHECK_SECONDS = 10.0
"""Time between two checks if the counters of a minute must be written."""

LAST_COUNTERS_SECONDS = 5.0
"""Longest time in which a stopping worker writes its last counters."""

HOUR_COUNTERS_SECONDS = 300.0
"""Time between two writes of the counters of an hour that is not over."""

MAX_SILENCE_SECONDS = 60.0
"""Time without an answered poll after which the health endpoint returns 503. A long poll takes up to 20."""


class WorkerRun:
    """Assembles the parts of a worker for one run, and runs it.

    Args:
        state: the value of the app's lifespan.
    """

    def __init__(self, worker: WorkerOptions, services: Services, state: Any) -> None:
        self._worker = worker
        self._services = services
        self._slots = Slots(worker.concurrency, {queue.name: queue.weight for queue in worker.queues})
        self._in_flight = InFlight()
        self._settler = Settler(services.broker, self._in_flight, lambda: services.schedules)
        self._groups = FifoGroups()
        self._stopping = False
        self._ending = False
        self._running: dict[asyncio.Task[None], Delivery] = {}
        self._retry_due = 0.0
        app = worker.app
        app.threads.limit = worker.threads
        self._executor: Executor = app.executor(services, state, hours_every=HOUR_COUNTERS_SECONDS)
        self._stuck = StuckWatch(self._executor, lambda: worker.ask_to_end(STUCK))
        self._beat_services = app.services.new_blocking(read_timeout=5.0, connect_timeout=3.0)
        self._reporter = Reporter(worker, self._executor, self._beat_services, lambda: self._stopping)
        self._heartbeat = Heartbeat(
            self._executor,
            self._in_flight,
            {queue.name: queue.visibility_timeout for queue in worker.queues},
            self._beat_services,
            app.clock,
            stopper(self._executor, asyncio.get_running_loop()),
            self._reporter.report_if_due,
        )
        self._loop_watch = LoopWatch(asyncio.get_running_loop(), self._executor.running.values)
        self._watchdog = Watchdog(
            self._loop_watch,
            self._heartbeat,
            min(queue.visibility_timeout for queue in worker.queues),
            lambda: worker.ask_to_end(STUCK),
            ends_process=worker.owns_process,
        )
        wait = 1 if worker.burst else worker.poll_wait
        self._pollers = [
            Poller(
                services.broker,
                queue.name,
                queue.visibility_timeout,
                wait,
                self._slots,
                self._deliver,
                ClaimOutage(queue.name, self._executor.failing_queues, services.results, app.clock),
            )
            for queue in worker.queues
        ]

    async def work(self, stop_asked: asyncio.Event) -> str:
        """Work until `stop_asked` is set or a poll fails for good. Returns the reason for the end."""
        worker = self._worker
        if worker._health_address is not None:
            worker.health = HealthServer(*worker._health_address, self._status)
            worker.health.start()
        self._heartbeat.start()
        self._watchdog.start()
        polls = [asyncio.create_task(poller.run()) for poller in self._pollers]
        saturation = SaturationWatch(worker, self._executor, self._slots, self._pollers, self._services.broker)
        helpers = [asyncio.create_task(self._stuck.run()), asyncio.create_task(saturation.run())]
        if self._executor.meter is not None:
            helpers.append(asyncio.create_task(self._write_counters(self._executor.meter)))
        if worker.burst:
            helpers.append(asyncio.create_task(self._watch_burst()))
        stopped = asyncio.create_task(stop_asked.wait())
        logger.info(
            "worker of %s started: queues %s, concurrency %d",
            worker.app.name,
            ", ".join(queue.name for queue in worker.queues),
            worker.concurrency,
            extra={"action": "worker_started"},
        )
        try:
            await self._wait_for_end([stopped, *polls])
            await self._shut_down(polls)
        finally:
            await self._end([stopped, *helpers, *polls])
            self._heartbeat.stop()
            self._watchdog.stop()
            await in_new_thread(self._unregister, UNREGISTER_SECONDS)
            await self._beat_services.close()
        return worker.why

    def _unregister(self) -> None:
        """Free the port of the health endpoint, and delete the report once the heartbeat has ended."""
        if self._worker.health is not None:
            self._worker.health.stop()
        self._heartbeat.join(6.0)
        self._reporter.unregister()

    async def _wait_for_end(self, tasks: list[asyncio.Task[Any]]) -> None:
        """Wait until the worker is asked to stop, or a poll ends because of a fault."""
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if not self._worker.outlives_cancel():
                raise
        else:
            if not any(task.cancelled() for task in tasks):
                return
        logger.error(
            "other code cancelled a poll or the worker itself: the worker ends. Does a task cancel all tasks of the event "
            "loop?",
            extra={"action": "worker_fault"},
        )
        self._worker.ask_to_end(FAULT)

    async def _shut_down(self, polls: list[asyncio.Task[None]]) -> None:
        """Stop polling, wait for the running tasks, then settle all messages."""
        self._stopping = True
        for poller in self._pollers:
            poller.stop()
        self._slots.close()
        self._executor.threads.drain()
        polling = sum(poller.polling for poller in self._pollers)
        if self._running or polling:
            logger.info(
                "stopping: %d tasks run (up to %.0f s), %d polls are open (up to %d s); signal again to stop at once",
                len(self._executor.running),
                self._worker.grace,
                polling,
                self._worker.poll_wait,
                extra={"action": "worker_stopping"},
            )
        until = time.monotonic() + self._worker.grace
        await self._wait_for_tasks(until)
        for attempt in list(self._executor.running.values()):
            self._executor.stop(attempt, "shutdown")
        await self._wait_for_tasks(time.monotonic() + STOP_SECONDS)
        failures = await asyncio.gather(*polls, return_exceptions=True)
        await self._wait_for_tasks(time.monotonic() + STOP_SECONDS)
        await self._settler.drain()
        if self._executor.meter is not None:
            await self._write_last_counters(self._executor.meter)
        for failure in failures:
            if isinstance(failure, BaseException) and not isinstance(failure, asyncio.CancelledError):
                raise failure

    async def _write_counters(self, meter: Meter) -> None:
        while True:
            await asyncio.sleep(COUNTERS_CHECK_SECONDS)
            if meter.due(now := self._worker.app.clock.time()):
                await meter.flush(now)

    async def _write_last_counters(self, meter: Meter) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_COUNTERS_SECONDS):
                await meter.flush(self._worker.app.clock.time(), everything=True)

    async def _end(self, tasks: list[asyncio.Task[Any]]) -> None:
        """End without the code that still runs. After a clean stop, this is only code that could not be stopped.

        Its message is redelivered after the visibility timeout, and its lease ends: the code may still do something.
        """
        self._ending = True
        for attempt in list(self._executor.running.values()):
            self._executor.stop(attempt, "lease_lost")
        tasks += self._running
        for task in tasks:
            task.cancel()
        app = self._worker.app
        app.threads.interrupt_all()
        if app.children is not None:
            app.children.kill()
        self._settler.close()
        await asyncio.wait(tasks, timeout=CANCEL_SECONDS)
        app.threads.close()
        if app.children is not None:
            app.children.close()

    async def _wait_for_tasks(self, until: float) -> None:
        """Wait for the running tasks, except those that are stuck."""
        while len(self._running) > self._stuck.count() and (left := until - time.monotonic()) > 0:
            await asyncio.wait(self._running, timeout=min(left, STUCK_CHECK_SECONDS))

    # -- deliveries ---------------------------------------------------------------------------------------------

    def _deliver(self, deliveries: list[Delivery]) -> None:
        self._worker.has_received = True
        self._in_flight.add(deliveries)
        for delivery in deliveries:
            if _is_fifo(delivery):
                self._groups.enter(delivery)
            task = asyncio.create_task(self._handle(delivery))
            self._running[task] = delivery
            task.add_done_callback(self._handled)

    async def _handle(self, delivery: Delivery) -> None:
        if _is_fifo(delivery):
            await self._groups.run(delivery, self._process, self._settle, lambda: self._stopping)
        else:
            await self._settle(delivery, Release(0) if self._stopping else await self._process(delivery))

    def _handled(self, task: asyncio.Task[None]) -> None:
        """Free the slot of a message, and let it be redelivered if it was not settled.

        This is also called for a task that was cancelled before its first step.
        """
        delivery = self._running.pop(task)
        self._slots.release(delivery.queue)
        if _is_fifo(delivery):
            self._groups.leave(delivery)
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or error is not None:
            self._in_flight.discard(delivery)
        if error is not None:
            text = "message %s was not settled"
            logger.error(text, delivery.message_id, exc_info=error, extra={"action": "settle_fault"})

    async def _process(self, delivery: Delivery) -> Outcome:
        try:
            outcome = await self._executor.process(delivery)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._ending or task is None:
                raise
            # A task has cancelled itself. Its slot must become free, and its message must be redelivered.
            uncancel(task)
            logger.error(
                "message %s: its task cancelled itself", delivery.message_id, extra={"action": "process_fault"}
            )
            outcome = LOST
        except GeneratorExit:
            raise
        except BaseException:
            # A fault of this library or of a backend: the message is redelivered, the worker goes on.
            logger.exception("message %s was not processed", delivery.message_id, extra={"action": "process_fault"})
            outcome = LOST
        if not isinstance(outcome, Release):
            self._count()
        return outcome

    async def _settle(self, delivery: Delivery, outcome: Outcome) -> None:
        retry_delay = outcome.delay if isinstance(outcome, RetryIn) and outcome.reason == "failed" else None
        if retry_delay is not None and retry_delay <= MAX_BURST_RETRY_SECONDS:
            self._retry_due = max(self._retry_due, time.monotonic() + retry_delay + 1.5)
        await self._settler.settle(delivery, outcome)

    def _count(self) -> None:
        worker = self._worker
        worker.done += 1
        if worker.max_tasks is not None and worker.done >= worker.max_tasks:
            worker.ask_to_end(RECYCLE)
        if worker.max_memory is not None and worker.done % 10 == 0 and resident_bytes() > worker.max_memory:
            worker.ask_to_end(RECYCLE)

    # -- burst and health ---------------------------------------------------------------------------------------

    async def _watch_burst(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            if self._is_busy():
                for poller in self._pollers:
                    poller.empty_polls = 0
                continue
            if all(poller.empty_polls > 0 for poller in self._pollers) and await self._drained():
                self._worker.ask_to_end(DRAINED)
                return

    async def _drained(self) -> bool:
        for queue in self._worker.queues:
            try:
                depth = await self._services.broker.depth(queue.name)
            except Exception as error:
                logger.warning("burst: queue %s cannot be measured: %s", queue.name, error)
                return isinstance(error, TaskQError) and not (isinstance(error, AwsError) and error.transient)
            if depth.visible or depth.delayed:
                return False
        return not self._is_busy()

    def _is_busy(self) -> bool:
        if any(poller.outage.active for poller in self._pollers):
            return True
        return bool(self._running) or not self._settler.empty or time.monotonic() < self._retry_due

    def _status(self) -> dict[str, Any]:
        now = time.monotonic()
        # Silence counts only while a poll should be open. A worker does not poll while it is busy, while it stops, while
        # claims fail, or while a task blocks its loop.
        polls = self._stopping or all(
            now - max(poller.last_success, self._loop_watch.blocked_until) < MAX_SILENCE_SECONDS
            or (self._slots.free == 0 and not poller.polling)
            or poller.outage.active
            for poller in self._pollers
        )
        beats, loop = self._heartbeat.live(now), self._watchdog.live
        return {
            "live": polls and beats and loop,
            "polls": polls,
            "heartbeat": beats,
            "claims": not any(poller.outage.active for poller in self._pollers),
            "loop": loop,
            "stopping": self._stopping,
            "running": len(self._executor.running),
            "done": self._worker.done,
        }


def resident_bytes() -> int:
    """Resident memory of this process. Without /proc (macOS), the highest value so far."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")


def _is_fifo(delivery: Delivery) -> bool:
    return delivery.queue.endswith(".fifo")
