"""The heartbeat: extends the visibility timeout of messages in flight, and renews the leases of running attempts.

It has a thread and an AWS client of its own, so that it also works while a task blocks the event loop or holds the GIL.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping

from ..aws.port import DENIED_CODES
from ..client.services import Services
from ..core.clock import Clock
from ..core.fault_log import FaultLog
from ..core.flow import drive
from ..core.queues import VISIBILITY_TIMEOUT
from ..engine.attempt import Attempt
from ..engine.executor import Executor
from ..errors import AwsError, TaskQError
from ..middleware.logging import fields
from .in_flight import InFlight

logger = logging.getLogger("taskq_sls.worker")

CHECK_SECONDS = 1.0
"""Seconds between two checks for due heartbeats and renewals. Progress is written at most this often."""

MAX_PARALLEL_RENEWALS = 8


class Heartbeat:
    """Sends a heartbeat for each queue, every third of its visibility timeout.

    Args:
        visibility_timeouts: of each queue, in seconds.
        services: blocking services with clients that no other thread uses.
        stop_attempt: called on the heartbeat's thread with an attempt that must end, and the reason.
        report: called after every check, on the heartbeat's thread; raises nothing.

    Attributes:
        ended: True once its thread has done everything.
        last_success: when every call of a check last succeeded, by the monotonic clock.
    """

    def __init__(
        self,
        executor: Executor,
        in_flight: InFlight,
        visibility_timeouts: Mapping[str, int],
        services: Services,
        clock: Clock,
        stop_attempt: Callable[[Attempt, str], None],
        report: Callable[[], None] | None = None,
    ) -> None:
        self._report = report
        self._executor = executor
        self._in_flight = in_flight
        self._visibility_timeouts = dict(visibility_timeouts)
        self._shortest_timeout = min(visibility_timeouts.values())
        self._services = services
        self._clock = clock
        self._stop_attempt = stop_attempt
        self._stopping = threading.Event()
        self._releasing = False
        self.ended = False
        self._thread = threading.Thread(target=self._run, name="taskq-heartbeat", daemon=True)
        self._faults = FaultLog(logger, "the heartbeat cannot reach AWS", "heartbeat_fault")
        self._renewal_faults = FaultLog(logger, "leases of running attempts cannot be renewed", "renewal_fault")
        now = time.monotonic()
        self._next = {queue: now + seconds / 3 for queue, seconds in self._visibility_timeouts.items()}
        self.last_success = now

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Send no more heartbeats. Returns at once; a call under way may still end."""
        self._stopping.set()

    def stop_and_release(self) -> None:
        """Stop, and return all messages in flight to their queues. Leases are left to end. Returns at once."""
        self._releasing = True
        self._stopping.set()

    @property
    def thread(self) -> int | None:
        """The identifier of its thread."""
        return self._thread.ident

    def join(self, timeout: float) -> None:
        """Wait for the thread to end."""
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def live(self, now: float) -> bool:
        """True if a check succeeded within the shortest visibility timeout (monotonic `now`)."""
        return now - self.last_success < self._shortest_timeout

    def _run(self) -> None:
        while not self._stopping.wait(min(CHECK_SECONDS, self._shortest_timeout / 6)):
            try:
                self._check()
            except Exception as error:  # of any kind: without this thread the messages in flight would be redelivered
                self._faults.failed(error)
        if self._releasing:
            for queue in self._visibility_timeouts:
                self._release(queue)
        self.ended = True

    def _release(self, queue: str) -> None:
        batch = self._in_flight.begin_heartbeat(queue)
        try:
            if batch:
                drive(self._services.broker.extend(batch, 0))
        # Not logged: the worker may end because of a lock of `logging`. These messages are redelivered by themselves.
        except Exception:
            pass
        finally:
            self._in_flight.end_heartbeat(batch)

    def _check(self) -> None:
        now = time.monotonic()
        succeeded = True
        for queue, seconds in self._visibility_timeouts.items():
            if now < self._next[queue]:
                continue
            started = time.monotonic()
            if self._beat(queue, seconds):
                self._next[queue] = started + seconds / 3
            else:
                succeeded = False
                self._next[queue] = started + min(5.0, seconds / 12)
            took = time.monotonic() - started
            if took > seconds / 3:
                logger.warning(
                    "the heartbeat of queue %s took %.1f s, longer than its interval of %.1f s: lower concurrency, or "
                    "use run_in='process' for code that holds the GIL",
                    queue,
                    took,
                    seconds / 3,
                    extra={"action": "heartbeat_slow", "queue": queue},
                )
        succeeded = self._renew_leases() and succeeded
        if succeeded:
            self.last_success = time.monotonic()
            self._faults.recovered()
        if self._report is not None:
            self._report()

    def _beat(self, queue: str, seconds: int) -> bool:
        batch = self._in_flight.begin_heartbeat(queue)
        try:
            if not batch:
                return True
            answers = drive(self._services.broker.extend(batch, seconds))
        except Exception as error:  # of any kind: the other queues and the leases must still be renewed
            self._faults.failed(error)
            return False
        finally:
            self._in_flight.end_heartbeat(batch)
        succeeded = True
        for delivery, answer in zip(batch, answers, strict=True):
            if answer is None or not self._in_flight.needs_heartbeat(delivery):
                continue
            if answer.receipt_expired or answer.over_12_hours:
                # It may be redelivered. The lease in the record keeps the task from running twice.
                self._in_flight.discard(delivery)
                logger.warning(
                    "the visibility timeout of message %s cannot be extended any more: %s",
                    delivery.message_id,
                    answer.message,
                    extra={"action": "hold_lost", "queue": queue},
                )
            else:
                self._faults.failed(AwsError("change_message_visibility_batch", answer.code, answer.message))
                succeeded = False
        return succeeded

    def _renew_leases(self) -> bool:
        now, machine = self._clock.time(), time.monotonic()
        due = []
        for attempt in list(self._executor.running.values()):
            if attempt.fence is None:
                continue
            seconds = self._visibility_timeouts.get(attempt.delivery.queue, VISIBILITY_TIMEOUT)
            # By both clocks: the wall clock may be set back, and the monotonic one stops while the machine sleeps.
            outlived = attempt.lease_until - now <= seconds * 2 / 3 or machine - attempt.leased_at >= seconds / 3
            if outlived or attempt.execution.progress is not attempt.progress_saved:
                due.append(attempt)
        if not due:
            return True
        renewed = drive(self._services.flow.map(self._renew, due, MAX_PARALLEL_RENEWALS))
        if all(renewed):
            self._renewal_faults.recovered()
        # A single attempt that cannot be renewed is not a fault of the heartbeat.
        return any(renewed)

    async def _renew(self, attempt: Attempt) -> bool:
        fence, progress = attempt.fence, attempt.execution.progress
        assert fence is not None
        now, machine = self._clock.time(), time.monotonic()
        seconds = self._visibility_timeouts.get(attempt.delivery.queue, VISIBILITY_TIMEOUT)
        # The lease never moves back with the wall clock: for workers with a correct clock it would have ended.
        lease_until = max(now + seconds, attempt.lease_until + machine - attempt.leased_at)
        renew = self._services.results.renew
        try:
            try:
                renewed = await renew(fence, now=now, lease_until=lease_until, progress=progress)
            except Exception as error:
                if progress is None or (isinstance(error, TaskQError) and not _is_refusal(error)):
                    raise
                # Only the progress comes from the task: without it the renewal can succeed.
                logger.warning(
                    "%s: its progress cannot be stored: %s",
                    attempt.context.task,
                    error,
                    extra=fields(attempt.context, "progress_fault"),
                )
                renewed = await renew(fence, now=now, lease_until=lease_until)
        except Exception as error:  # of any kind: the other attempts must still be renewed
            self._renewal_faults.failed(error)
            return False
        if renewed is None:
            # The write was refused. Unless the attempt has just ended, it has lost its lease.
            if fence.owner in self._executor.running:
                self._stop_attempt(attempt, "lease_lost")
            return True
        attempt.lease_until, attempt.leased_at = lease_until, machine
        attempt.progress_saved = progress
        if renewed.cancel_requested:
            self._stop_attempt(attempt, "cancelled")
        return True


def _is_refusal(error: TaskQError) -> bool:
    """True if the table refused this write for good, other than for missing permissions."""
    return isinstance(error, AwsError) and not error.transient and error.code not in DENIED_CODES


def stopper(executor: Executor, loop: asyncio.AbstractEventLoop) -> Callable[[Attempt, str], None]:
    """A function with which another thread stops an attempt, on the loop of `executor`, if it still runs."""

    def stop(attempt: Attempt, reason: str) -> None:
        try:
            loop.call_soon_threadsafe(executor.stop, attempt, reason)
        except RuntimeError:  # the loop is closed: no attempt runs
            pass

    return stop
