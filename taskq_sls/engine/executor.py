"""One delivery in, one outcome out, and no queue I/O in between. Drivers carry the outcome out."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

from ..core.delivery import DeadLetter, Delivery, Outcome, Release, leaves_queue
from ..core.message import Message, decode
from ..core.thread_limiter import ThreadLimiter
from ..errors import ArgumentsError, ConfigError, PayloadMissing, UndecodableMessage
from .attempt import Attempt, CompiledTask, Engine
from .claiming import claim, reject_arguments
from .policies.poison import fail_after_last_receive, poison_outcome, reject_unknown_task
from .recording import record, release
from .running import run

if TYPE_CHECKING:
    from ..metrics.meter import Meter

logger = logging.getLogger("taskq_sls.task")

EARLY_START_TOLERANCE_SECONDS = 0.5
"""How long before its `not_before` a message is still started: clocks differ a little."""


class StartControl(Protocol):
    """Decides for a driver if a delivery's attempt may still start."""

    def may_start(self, task: CompiledTask) -> bool:
        """Return False to release the message unclaimed. A sync task asks when it has a thread."""

    def may_enter(self, task: CompiledTask) -> bool:
        """Return True if the claimed attempt may enter its function now."""

    async def wait_to_enter(self, task: CompiledTask) -> bool:
        """Wait until it may. Return False to release it: the attempt does not count."""


class Executor:
    """Runs deliveries, for a driver. Made on the event loop that it runs on.

    Args:
        threads: sync tasks that can run at once; further ones wait unclaimed.
        meter: counts the attempts, or None. The driver writes the counters.

    Attributes:
        running: the attempts under way, by owner token. The driver's heartbeat renews their leases.
    """

    def __init__(self, engine: Engine, threads: int = 32, meter: Meter | None = None) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()  # once: it is a system call
        self._logged_missing_time = False
        self.threads = ThreadLimiter(threads)
        self.running: dict[str, Attempt] = {}
        self.failing_queues = engine.failing_queues
        self.meter = meter

    async def process(
        self, delivery: Delivery, deadline: float | None = None, control: StartControl | None = None
    ) -> Outcome:
        """Run one delivery to its outcome. Raises nothing but the caller's own cancellation.

        Args:
            deadline: epoch seconds at which the process will be killed (Lambda); None if it will not.
            control: decides if the attempt may still start; None if it always may.
        """
        engine = self._engine
        dated: str | None = None
        try:
            message = decode(delivery.body)
            if message.schedule is not None and not message.id:
                from ..scheduler.firing import receive  # an app without schedules does not need it

                message, dated = receive(message, delivery.sent_at)
        except UndecodableMessage as error:
            return poison_outcome(engine, delivery, error.reason, str(error))
        problem = ""
        try:
            task = engine.find_task(message.task)
        except ConfigError as error:  # an annotation that still names nothing
            task, problem = None, str(error)
        if task is None:
            outcome = await reject_unknown_task(engine, delivery, message, problem)
        else:
            if task.is_async:
                outcome = await self._attempt(delivery, message, task, deadline, control)
            else:
                outcome = await self._attempt_with_thread(delivery, message, task, deadline, control)
            if not leaves_queue(outcome):
                outcome = await fail_after_last_receive(engine, delivery, message, task, outcome)
        if leaves_queue(outcome):
            await engine.observers.ask("message_done", engine, message)
        return outcome if dated is None else self._with_body(outcome, dated, message)

    async def _attempt(
        self,
        delivery: Delivery,
        message: Message,
        task: CompiledTask,
        deadline: float | None,
        control: StartControl | None,
        thread_wait: float = 0.0,
    ) -> Outcome:
        """The life of an attempt: claim, run, record."""
        engine = self._engine
        if control is not None and not control.may_start(task):
            return Release(0)
        problem: PayloadMissing | ArgumentsError | Release | None = None
        now = engine.clock.time()
        if message.not_before is not None and message.not_before > now + EARLY_START_TOLERANCE_SECONDS:
            return engine.retry_in(delivery, message, message.attempt, message.not_before - now, "early")
        if message.payload is not None:
            from ..payloads.claim_check import load_message  # hardly any message is that large

            message, problem = await load_message(engine.payloads, message, engine.payload_faults)
            now = engine.clock.time()  # the lease begins after the fetch
        attempt = Attempt(engine, delivery, message, task, now, deadline, thread_wait)
        problem = problem or attempt.decode_arguments()
        if problem is not None:
            return problem if isinstance(problem, Release) else await reject_arguments(engine, attempt, problem)
        refused = await claim(engine, attempt)
        return await self._run(attempt, control) if refused is None else refused

    async def _attempt_with_thread(
        self,
        delivery: Delivery,
        message: Message,
        task: CompiledTask,
        deadline: float | None,
        control: StartControl | None,
    ) -> Outcome:
        if (waited := await self.threads.acquire()) is None:
            return Release(0)
        try:
            return await self._attempt(delivery, message, task, deadline, control, waited)
        finally:
            self.threads.release()

    async def _run(self, attempt: Attempt, control: StartControl | None) -> Outcome:
        """Run a claimed attempt, and record its end; or release it if it may not start any more."""
        engine, task = self._engine, attempt.compiled
        refused: Outcome | None = await engine.observers.ask("admit", engine, attempt)
        if refused is not None:
            return refused
        if control is not None and not control.may_enter(task) and not await control.wait_to_enter(task):
            return await release(engine, attempt)
        # If the machine slept since the claim, another worker may run the task by now.
        now = engine.clock.time()
        if self.threads.draining or now >= attempt.claim.lease_until:
            return await release(engine, attempt)
        attempt.started_at = now
        self.running[attempt.claim.owner] = attempt
        try:
            ending = await run(engine, attempt, self._loop)
            return await (release(engine, attempt) if ending is None else record(engine, attempt, *ending))
        finally:
            del self.running[attempt.claim.owner]

    def _with_body(self, outcome: Outcome, body: str, message: Message) -> Outcome:
        """The outcome of a scheduled run whose clock omitted the scheduled time. Logs that once.

        Args:
            body: the message with its time, for a dead-letter copy.
        """
        if not self._logged_missing_time:
            self._logged_missing_time = True
            logger.warning(
                "the clock of schedule %s omits the scheduled time from its messages; the minute in which each was sent "
                "is used instead",
                (message.schedule or {}).get("name"),
                extra={"action": "scheduled_time_missing"},
            )
        return outcome._replace(body=body) if isinstance(outcome, DeadLetter) else outcome

    def stop(self, attempt: Attempt, reason: str) -> None:
        """Make a running attempt end: ``cancelled``, ``lease_lost``, ``shutdown`` or ``deadline``.

        To be called on the loop's thread. A sync task that a user cancels can only ask ``context.cancelled``. A lost
        lease wins over every other reason, since nothing may be written then.
        """
        execution = attempt.execution
        if execution.stop_reason in (reason, "lease_lost"):
            return
        execution.stop_reason = reason
        if execution.asyncio_task is not None and (reason != "cancelled" or attempt.compiled.killable):
            execution.asyncio_task.cancel()
