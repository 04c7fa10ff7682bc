"""The heartbeat: a thread of its own, with a client of its own.

It keeps every held message hidden and renews the lease of every attempt that outlives a beat. A task that blocks
the event loop, or computes in Python without a pause, is held all the same.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping

from ..aws.codes import DENIED_CODES
from ..client.services import Services
from ..core.clock import Clock
from ..core.context import TaskContext
from ..core.delivery import Delivery
from ..core.fault_log import FaultLog
from ..core.flow import drive
from ..engine.executor import Executor
from ..errors import AwsError, TaskQError
from ..middleware.logging import fields
from .in_flight import InFlight

logger = logging.getLogger("taskq_sls.worker")

TICK = 1.0
"""Seconds between two looks: progress is written at most this often."""

PARALLEL = 8
"""Renewals under way at once."""


class Heartbeat:
    """Beats every third of each queue's hold.

    Args:
        visibility: hold of each queue in seconds.
        services: blocking services with clients that nobody else uses.
        stop_attempt: told, on the heartbeat's thread, of an attempt that must end and why.
        report: called behind every look, on the heartbeat's thread; raises nothing.

    Attributes:
        ended: whether its thread has done everything.
    """

    def __init__(
        self,
        executor: Executor,
        holds: InFlight,
        visibility: Mapping[str, int],
        services: Services,
        clock: Clock,
        stop_attempt: Callable[[TaskContext, str], None],
        report: Callable[[], None] | None = None,
    ) -> None:
        self._report = report
        self._executor = executor
        self._holds = holds
        self._visibility = dict(visibility)
        self._services = services
        self._clock = clock
        self._stop_attempt = stop_attempt
        self._stopping = threading.Event()
        self._letting_go = False
        self.ended = False
        self._thread = threading.Thread(target=self._run, name="taskq-heartbeat", daemon=True)
        self._faults = FaultLog(logger, "the heartbeat cannot reach AWS", "heartbeat_fault")
        self._renewal_faults = FaultLog(logger, "leases of running attempts cannot be renewed", "renewal_fault")
        now = time.monotonic()
        self._next = {queue: now + seconds / 3 for queue, seconds in self._visibility.items()}
        self.last_success = now

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def stop(self) -> None:
        """Beat no more. Returns at once; a call under way may still end."""
        self._stopping.set()

    def let_go(self) -> None:
        """Beat no more, and return all held messages to their queues; leases are left to end. Returns at once."""
        self._letting_go = True
        self._stopping.set()

    @property
    def thread(self) -> int | None:
        """Its thread's identifier."""
        return self._thread.ident

    def join(self, timeout: float) -> None:
        """Wait for the thread to end."""
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def live(self, now: float) -> bool:
        """Whether the last round that succeeded is younger than the shortest hold (monotonic `now`)."""
        return now - self.last_success < min(self._visibility.values())

    def _run(self) -> None:
        while not self._stopping.wait(min(TICK, min(self._visibility.values()) / 6)):
            try:
                self._tick()
            except Exception as error:  # whatever happens, the thread that holds the messages goes on
                self._faults.failed(error)
        if self._letting_go:
            for queue in self._visibility:
                self._return_messages(queue)
        self.ended = True

    def _return_messages(self, queue: str) -> None:
        batch = self._holds.begin_beat(queue)
        try:
            if batch:
                drive(self._services.broker.extend(batch, 0))
        except Exception:  # not logged, since the worker ends over a lock of logging perhaps; they come by themselves
            pass
        finally:
            self._holds.end_beat(batch)

    def _tick(self) -> None:
        now = time.monotonic()
        well = True
        for queue, seconds in self._visibility.items():
            if now < self._next[queue]:
                continue
            started = time.monotonic()
            if self._beat(queue, seconds):
                self._next[queue] = started + seconds / 3
            else:
                well = False
                self._next[queue] = started + min(5.0, seconds / 12)
            took = time.monotonic() - started
            if took > seconds / 3:
                logger.warning(
                    "a heartbeat of queue %s took %.1f s, longer than its interval of %.1f s: fewer tasks at once, or "
                    "run_in='process' for code that keeps the interpreter lock, would help",
                    queue,
                    took,
                    seconds / 3,
                    extra={"action": "heartbeat_slow", "queue": queue},
                )
        well = self._renew_leases() and well
        if well:
            self.last_success = time.monotonic()
            self._faults.recovered()
        if self._report is not None:
            self._report()

    def _beat(self, queue: str, seconds: int) -> bool:
        batch = self._holds.begin_beat(queue)
        try:
            if not batch:
                return True
            answers = drive(self._services.broker.extend(batch, seconds))
        except Exception as error:  # whatever it is: the other queues and the leases are still to be renewed
            self._faults.failed(error)
            return False
        finally:
            self._holds.end_beat(batch)
        well = True
        for delivery, answer in zip(batch, answers, strict=True):
            if answer is None or not self._holds.holds(delivery):
                continue
            if answer.receipt_expired or answer.over_12_hours:
                self._cannot_hold(delivery, answer.message)
            else:
                self._faults.failed(AwsError("change_message_visibility_batch", answer.code, answer.message))
                well = False
        return well

    def _cannot_hold(self, delivery: Delivery, why: str) -> None:
        """The message may be delivered again; the record's lease keeps the task from running twice."""
        self._holds.drop(delivery)
        logger.warning(
            "message %s cannot be held any longer: %s",
            delivery.message_id,
            why,
            extra={"action": "hold_lost", "queue": delivery.queue},
        )

    def _renew_leases(self) -> bool:
        now, machine = self._clock.time(), time.monotonic()
        due = []
        for context in list(self._executor.running.values()):
            if context._fence is None:
                continue
            hold = self._visibility.get(context.queue, 60)
            # By both clocks: the wall clock may be set back, and the monotonic one stands still while the machine sleeps.
            outlived = context._lease_until - now <= hold * 2 / 3 or machine - context._leased_at >= hold / 3
            if outlived or context._progress is not context._progress_saved:
                due.append(context)
        if not due:
            return True
        renewed = drive(self._services.flow.map(self._renew, due, PARALLEL))
        if all(renewed):
            self._renewal_faults.recovered()
        # One attempt that cannot be renewed is no fault of the heartbeat.
        return any(renewed)

    async def _renew(self, context: TaskContext) -> bool:
        fence, progress = context._fence, context._progress
        assert fence is not None
        now, machine = self._clock.time(), time.monotonic()
        hold = self._visibility.get(context.queue, 60)
        # The lease never moves back with the wall clock: to workers whose clocks were not set it would have ended.
        lease_until = max(now + hold, context._lease_until + machine - context._leased_at)
        renew = self._services.results.renew
        try:
            try:
                renewed = await renew(fence, now=now, lease_until=lease_until, progress=progress)
            except Exception as error:
                if progress is None or (isinstance(error, TaskQError) and not _is_refusal(error)):
                    raise
                # Progress is the only part of a renewal that the task supplies: the lease must not end over it.
                logger.warning(
                    "%s: its progress cannot be stored: %s",
                    context.task,
                    error,
                    extra=fields(context, "progress_fault"),
                )
                renewed = await renew(fence, now=now, lease_until=lease_until)
        except Exception as error:  # whatever it is: the other attempts are still to be renewed
            self._renewal_faults.failed(error)
            return False
        if renewed is None:
            # Refused, or just finished: an attempt that is still running has lost its lease.
            if fence.owner in self._executor.running:
                self._stop_attempt(context, "lease_lost")
            return True
        context._lease_until, context._leased_at = lease_until, machine
        context._progress_saved = progress
        if renewed.cancel_requested:
            self._stop_attempt(context, "cancelled")
        return True


def _is_refusal(error: TaskQError) -> bool:
    """True if the table answered that it does not take this write."""
    return isinstance(error, AwsError) and not error.transient and error.code not in DENIED_CODES


def stopper(executor: Executor, loop: asyncio.AbstractEventLoop) -> Callable[[TaskContext, str], None]:
    """How another thread stops an attempt of `executor`: on its loop, if it still runs."""

    def stop(context: TaskContext, reason: str) -> None:
        try:
            loop.call_soon_threadsafe(executor.stop, context, reason)
        except RuntimeError:  # the loop is closed: nothing runs any more
            pass

    return stop
