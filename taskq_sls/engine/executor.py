"""One delivery in, one outcome out, and no queue I/O in between. Drivers carry the outcome out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from ..core.delivery import Delivery, Outcome, Release
from ..core.message import Message, decode
from ..core.redaction import mask_values, secret_values
from ..core.thread_limiter import ThreadLimiter
from ..errors import ArgumentsError, ConfigError, PayloadMissing, UndecodableMessage
from ..results.records import Call, Claim
from .attempt import Attempt, CompiledTask, Engine
from .claiming import (
    claim,
    fail_after_last_receive,
    poison_outcome,
    reject_arguments,
    reject_unknown_task,
    unknown_task,
)
from .recording import record, release
from .running import run
from .settling import is_last_receive, leaves_queue, retry_in

if TYPE_CHECKING:
    from ..metrics.meter import Meter
    from ..serialization.signature import Signature

logger = logging.getLogger("taskq_sls.task")

EARLY_START_TOLERANCE_SECONDS = 0.5
"""How long before its `not_before` a message is still started: clocks differ a little."""

MAX_RECORDED_BODY = 4_000
"""Characters of a message whose arguments may be small enough to be recorded: a longer one is not searched for them."""

DEADLINE_LEASE_SECONDS = 10.0
"""Time that a Lambda lease lasts beyond the function's deadline."""


class StartControl(Protocol):
    """Decides for a driver if a delivery's attempt may still start."""

    def may_start(self, task: CompiledTask) -> bool:
        """Return False to release the message unclaimed. A sync task asks when it has a thread."""

    def may_enter(self, task: CompiledTask) -> bool:
        """Return True if the claimed attempt may enter its function now."""

    async def wait_to_enter(self, task: CompiledTask) -> bool:
        """Wait until it may. Return False to release it: the attempt does not count."""


class Executor:
    """Runs deliveries, for a driver.

    Args:
        threads: sync tasks that can run at once; further ones wait unclaimed.
        meter: counts the attempts, or None. The driver writes the counters.

    Attributes:
        running: the attempts under way, by owner token. The driver's heartbeat renews their leases.
        threads: sync tasks that run, and wait for a thread.
    """

    def __init__(self, engine: Engine, threads: int = 32, meter: Meter | None = None) -> None:
        self._engine = engine
        self._loop: asyncio.AbstractEventLoop | None = None
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
        try:
            message = decode(delivery.body)
            if message.schedule is not None and not message.id:
                message = self._firing(message, delivery)
        except UndecodableMessage as error:
            return poison_outcome(engine, delivery, error.reason, str(error))
        problem = ""
        try:
            task = engine.find_task(message.task)
        except ConfigError as error:  # an annotation that still names nothing
            task, problem = None, str(error)
        outcome: Outcome
        if task is None:
            problem = problem or unknown_task(message.task, engine.task_names())
            outcome = await reject_unknown_task(engine, delivery, message, problem)
        elif (waited := 0.0 if task.is_async else await self.threads.acquire()) is None:
            outcome = Release(0)
        else:
            try:
                outcome = await self._attempt(delivery, message, task, deadline, control, waited)
            finally:
                if not task.is_async:
                    self.threads.release()
        leaves = leaves_queue(outcome)
        if not leaves and task is not None and is_last_receive(engine, delivery):
            outcome = await fail_after_last_receive(engine, delivery, message, task, outcome)
            leaves = leaves_queue(outcome)
        if leaves and (asked := engine.observers.ask("message_done", engine, message)):
            await asked
        return outcome

    async def _attempt(
        self,
        delivery: Delivery,
        message: Message,
        task: CompiledTask,
        deadline: float | None,
        control: StartControl | None,
        thread_wait: float,
    ) -> Outcome:
        """The life of an attempt: claim, run, record."""
        engine = self._engine
        if control is not None and not control.may_start(task):
            return Release(0)
        now = engine.clock.time()
        if message.not_before is not None and message.not_before > now + EARLY_START_TOLERANCE_SECONDS:
            return retry_in(engine, delivery, message, message.attempt, message.not_before - now, "early")
        problem: PayloadMissing | ArgumentsError | None = None
        if message.payload is not None:
            from ..payloads.claim_check import load_message  # hardly any message is that large

            loaded = await load_message(engine.payloads, message, engine.payload_faults)
            if isinstance(loaded, Release):
                return loaded
            if isinstance(loaded, PayloadMissing):
                problem = loaded
            else:
                message = loaded
            now = engine.clock.time()  # the lease begins after the fetch
        attempt = _new_attempt(engine, delivery, message, task, now, deadline)
        attempt.thread_wait = thread_wait
        if problem is None:
            problem = _decode_arguments(attempt)
        if problem is not None:
            return await reject_arguments(engine, attempt, problem)
        refused = await claim(engine, attempt)
        if refused is None and (asked := engine.observers.ask("admit", engine, attempt)):
            refused = await asked
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
            ending = await run(engine, attempt, self._running_loop())
            return await (release(engine, attempt) if ending is None else record(engine, attempt, *ending))
        finally:
            del self.running[attempt.claim.owner]

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        # Asking for the running loop is a system call, for each task.
        loop = self._loop
        if loop is None or not loop.is_running():
            loop = self._loop = asyncio.get_running_loop()
        return loop

    def _firing(self, message: Message, delivery: Delivery) -> Message:
        """The message of a scheduled run, with the id and the times that follow from schedule and scheduled time."""
        from ..scheduler.firing import receive  # an app without schedules does not need it

        message, exact = receive(message, delivery.sent_at)
        if not exact and not self._logged_missing_time:
            self._logged_missing_time = True
            logger.warning(
                "the clock of schedule %s omits the scheduled time from its messages; the minute in which each was sent "
                "is used instead",
                (message.schedule or {}).get("name"),
                extra={"action": "scheduled_time_missing"},
            )
        return message

    def drain(self) -> None:
        """Start nothing more, and release everything that waits for a thread or for its claim."""
        self.threads.drain()

    def resume(self) -> None:
        """Start tasks again after `drain`."""
        self.threads.draining = False

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


def _new_attempt(
    engine: Engine, delivery: Delivery, message: Message, task: CompiledTask, now: float, deadline: float | None
) -> Attempt:
    options = task.options
    call: Call | None = None
    if options.record_arguments and message.payload is None and len(delivery.body) <= MAX_RECORDED_BODY:
        call = task.signature.shown(message.args, message.kwargs)
    # Positional, since keywords cost a microsecond per attempt.
    claim = Claim(
        message.id,
        message.run,
        task.name,
        delivery.queue,
        engine.new_owner(),
        now,
        now + engine.visibility_timeout(delivery.queue) if deadline is None else deadline + DEADLINE_LEASE_SECONDS,
        options.retry.max_attempts,
        (now if message.not_before is None else max(now, message.not_before)) + options.result_ttl,
        message.enqueued_at or delivery.sent_at,
        message.labels,
        message.parent,
        message.unique_key,
        call,
        task.aliases,
    )
    return Attempt(delivery, message, task, claim, engine.state, deadline)


def _decode_arguments(attempt: Attempt) -> ArgumentsError | None:
    """Decode the arguments of the function; return the error if they do not fit it."""
    execution, message, signature = attempt.execution, attempt.message, attempt.compiled.signature
    try:
        execution.args, execution.kwargs = signature.decode(message.args, message.kwargs)
    except ArgumentsError as error:
        return error
    if signature.redact:
        execution.mask = _mask_of(signature, message)
    return None


def _mask_of(signature: Signature, message: Message) -> Callable[[str], str]:
    """A function that removes the values of redacted arguments and labels from a text, such as that of an exception."""
    args = [{name: value} for name, value in zip(signature.positions(len(message.args)), message.args, strict=False)]
    values = set(secret_values([args, message.kwargs, message.labels], signature.redact))
    return lambda text: mask_values(text, values)
