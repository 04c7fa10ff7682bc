"""The core: one delivery in, one outcome out, and no queue I/O in between.

``process`` decodes, checks, claims, runs the task inside its hooks, stores the result and says what should
become of the message. Drivers carry that out.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from ..core.clock import Clock
from ..core.context import TaskContext
from ..core.delivery import DeadLetter, Delivery, Done, Outcome, Release
from ..core.fault_log import FaultLog
from ..core.flow import Flow
from ..core.message import Message, decode
from ..errors import ArgumentsError, ConfigError, PayloadMissing, UndecodableMessage
from ..results.base import ResultBackend, give_back
from ..results.records import Call, Claim
from .attempt import poison_outcome, unknown_task
from .claiming import Admission
from .plan import CompiledTask, FindTask
from .recording import Attempt, Recorder
from .retention import Waits
from .running import Execution, hiding
from .thread_limiter import ThreadLimiter

if TYPE_CHECKING:
    from ..metrics.meter import Meter
    from ..payloads.base import PayloadStore

logger = logging.getLogger("taskq_sls.task")

EARLY = 0.5
"""Seconds a message may come before its `not_before` and still be started: clocks differ a little."""

RECORDED_BODY = 4_000
"""Characters of a message whose arguments may be small enough to be recorded."""

DEADLINE_LEASE = 10.0
"""Seconds a Lambda lease lasts beyond the function's deadline."""


class StartControl(Protocol):
    """Decides for a driver whether a delivery's attempt may still start."""

    def may_start(self, plan: CompiledTask) -> bool:
        """Return False to release the message unclaimed. A sync task asks when it has a thread."""

    def may_enter(self, plan: CompiledTask) -> bool:
        """Return True if the claimed attempt may enter its function now."""

    async def wait_to_enter(self, plan: CompiledTask) -> bool:
        """Wait until it may. Return False to release it: the attempt does not count."""


class Executor:
    """Runs deliveries.

    Args:
        plan_of: the compiled task of a name, or None.
        results: where state is kept.
        hold: seconds a message of a queue is held, by logical queue name; the first lease lasts as long.
        state: what the app's lifespan yielded; `TaskContext.state`.
        threads: sync tasks that can run at once; further ones wait unclaimed.
        payloads: where arguments and results are that were too large, or None; asked when there is one.
        scheduling: whether a one-time schedule can bring a message back; asked when one is wanted.
        meter: what counts the attempts, or None. Its driver writes what it has counted.
        names: of all tasks, for the log: a near one is offered for a name that is unknown.
        receives: receives of a message before SQS moves it to the dead-letter queue, by logical queue name.

    Attributes:
        running: attempts under way, by owner token. A driver's heartbeat renews their leases.
    """

    def __init__(
        self,
        plan_of: FindTask,
        results: ResultBackend,
        flow: Flow,
        clock: Clock,
        hold: Callable[[str], float],
        state: object = None,
        threads: int = 32,
        payloads: Callable[[], PayloadStore | None] = lambda: None,
        scheduling: Callable[[], bool] = lambda: False,
        meter: Meter | None = None,
        names: Callable[[], Iterable[str]] = tuple,
        receives: Callable[[str], float] = lambda queue: math.inf,
    ) -> None:
        self._names = names
        self.meter = meter
        self._plan_of = plan_of
        self._results = results
        self._payloads = payloads
        self._recorder = Recorder(results, flow, clock, payloads, meter)
        self._waits = Waits(clock, scheduling, receives)
        self._admission = Admission(results, self._recorder, self._waits, clock, hold, meter)
        self._execution = Execution(self._recorder, self._waits, clock, meter)
        self._clock = clock
        self._hold = hold
        self.state = state
        self.running: dict[str, TaskContext] = {}
        # An owner token is unique: random for the executor, counted for the attempt. Drawing each at random would
        # give the interpreter lock away in the middle of every attempt. An executor is made by a running driver,
        # so that neither a fork nor a restored snapshot can share its token.
        self._token = os.urandom(8).hex() + "-"
        self._serial = itertools.count()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gate = ThreadLimiter(threads)
        self._said_unfilled = False
        self._payload_faults = FaultLog(logger, "the arguments of large messages cannot be fetched", "payload_fault")

    async def process(
        self, delivery: Delivery, deadline: float | None = None, control: StartControl | None = None
    ) -> Outcome:
        """Run one delivery to its outcome. Raises nothing but the caller's own cancellation.

        Args:
            deadline: epoch seconds at which the process will be killed (Lambda); None where it will not.
            control: decides whether the attempt may still start; None if it always may.
        """
        try:
            message = decode(delivery.body)
            if message.schedule is not None and not message.id:
                message = self._fired(message, delivery)
        except UndecodableMessage as error:
            return poison_outcome(delivery, error.reason, str(error), self._waits.poison_receives(delivery))
        problem = ""
        try:
            plan = self._plan_of(message.task)
        except ConfigError as error:  # an annotation that still names nothing
            plan, problem = None, str(error)
        outcome: Outcome
        if plan is None:
            problem = problem or unknown_task(message.task, self._names())
            outcome = await self._admission.unknown(delivery, message, problem)
        elif not plan.is_async:
            outcome = await self._start_in_thread(delivery, message, plan, deadline, control)
        elif control is None or control.may_start(plan):
            outcome = await self._start(delivery, message, plan, deadline, control)
        else:
            outcome = Release(0)
        if plan is not None and self._waits.is_last_receive(delivery):
            outcome = await self._admission.end_of_receives(delivery, message, plan, outcome)
        if message.unique_key is not None and isinstance(outcome, Done | DeadLetter):
            # The task is over, whoever ended it; and its end is written, so that nothing is freed too early.
            await give_back(self._results, message.task, message.unique_key, message.id)
        return outcome

    def _fired(self, message: Message, delivery: Delivery) -> Message:
        """The message of a firing, with the id and the times that follow from schedule and scheduled time."""
        from ..scheduler.firing import receive  # an app without schedules does not need it

        message, exact = receive(message, delivery.sent_at)
        if not exact and not self._said_unfilled:
            self._said_unfilled = True
            logger.warning(
                "the clock of schedule %s leaves the scheduled time out of its messages; the minute in which each was "
                "sent is taken for it",
                (message.schedule or {}).get("name"),
                extra={"action": "scheduled_time_missing"},
            )
        return message

    async def _start_in_thread(
        self,
        delivery: Delivery,
        message: Message,
        plan: CompiledTask,
        deadline: float | None,
        control: StartControl | None,
    ) -> Outcome:
        if not await self._gate.enter():
            return Release(0)
        try:
            if control is not None and not control.may_start(plan):
                return Release(0)
            return await self._start(delivery, message, plan, deadline, control)
        finally:
            self._gate.leave()

    @property
    def thread_line(self) -> tuple[int, int]:
        """Deliveries that wait for a thread, and how many got one so far."""
        return self._gate.waiting, self._gate.admitted

    @property
    def failing(self) -> set[str]:
        """Logical names of queues whose last claim failed over a fault that may pass."""
        return self._admission.failing

    def drain(self) -> None:
        """Start nothing more: what waits for a thread or for its claim is given back."""
        self._gate.close()

    def resume(self) -> None:
        """Start tasks again after `drain`."""
        self._gate.open()

    def stop(self, context: TaskContext, reason: str) -> None:
        """Make a running attempt end: ``cancelled``, ``lease_lost``, ``shutdown`` or ``deadline``.

        To be called on the loop's thread. A sync task that a user cancels is only told: it can look at
        ``context.cancelled``. A lost lease wins over every other reason, since nothing may be written then.
        """
        if context._stop in (reason, "lease_lost"):
            return
        context._stop = reason
        plan = self._plan_of(context.task)
        if context._task is not None and (reason != "cancelled" or plan is None or plan.killable):
            context._task.cancel()

    async def _start(
        self,
        delivery: Delivery,
        message: Message,
        plan: CompiledTask,
        deadline: float | None,
        control: StartControl | None,
    ) -> Outcome:
        now = self._clock.time()
        if message.not_before is not None and message.not_before > now + EARLY:
            return self._waits.back_in(delivery, message, message.attempt, message.not_before - now, "early")
        call: Call | None = None
        missing: PayloadMissing | None = None
        if message.payload is None:
            # A record holds only small arguments: a long body is not looked through for them.
            if plan.options.record_arguments and len(delivery.body) <= RECORDED_BODY:
                call = plan.signature.shown(message.args, message.kwargs)
        else:
            from ..payloads.claim_check import load_message  # hardly any message is that large

            loaded = await load_message(self._payloads, message, self._payload_faults)
            if isinstance(loaded, Release):
                return loaded
            if isinstance(loaded, PayloadMissing):
                missing = loaded
            else:
                message = loaded
            now = self._clock.time()  # the lease begins where the fetch has ended
        attempt = self._attempt(delivery, message, plan, now, deadline, call)
        if missing is not None:
            return await self._admission.unfit(attempt, "payload_missing", missing)
        context = attempt.context
        try:
            context._args, context._kwargs = plan.signature.decode(message.args, message.kwargs)
            context._call = message.args, message.kwargs
            if plan.signature.redact:
                context._hide = hiding(plan.signature, message)
        except ArgumentsError as error:
            return await self._admission.unfit(attempt, "arguments", error)
        outcome: Outcome | None = None
        if plan.options.record in ("started", "queued"):
            outcome = await self._admission.claim(attempt)
            if outcome is None and message.schedule is not None:
                outcome = await self._admission.overlaps(attempt)
        elif not self._admission.count(attempt):
            outcome = await self._admission.expire(attempt)
        if outcome is not None:
            return outcome
        if control is not None and not control.may_enter(plan) and not await control.wait_to_enter(plan):
            return await self._recorder.give_back(attempt)
        # Where the machine slept between the claim and here, somebody else may run the task by now.
        now = self._clock.time()
        if self._gate.closed or now >= attempt.claim.lease_until:
            return await self._recorder.give_back(attempt)
        # Asking for the running loop is a system call, for each task.
        loop = self._loop
        if loop is None or not loop.is_running():
            loop = self._loop = asyncio.get_running_loop()
        running = attempt.claim.owner
        self.running[running] = context
        try:
            return await self._execution.run(attempt, now, loop)
        finally:
            del self.running[running]

    def _attempt(
        self,
        delivery: Delivery,
        message: Message,
        plan: CompiledTask,
        now: float,
        deadline: float | None,
        call: Call | None,
    ) -> Attempt:
        options = plan.options
        timeout = options.timeout
        context = TaskContext(
            message.id,
            plan.name,
            queue=delivery.queue,
            run=message.run,
            labels=message.labels,
            depth=message.depth,
            parent=message.parent,
            state=self.state,
            timeout=timeout,
            options=options.extra,
        )
        if message.schedule is not None:
            context._scheduled_for = message.schedule.get("at")
        if timeout is None:
            context.deadline = deadline
        else:
            context._stuck_after = options.stuck_after
            context.deadline = now + timeout if deadline is None else min(deadline, now + timeout)
        claim = Claim(
            message.id,
            message.run,
            plan.name,
            delivery.queue,
            f"{self._token}{next(self._serial):x}",
            now,
            now + self._hold(delivery.queue) if deadline is None else deadline + DEADLINE_LEASE,
            options.retry.max_attempts,
            (now if message.not_before is None else max(now, message.not_before)) + options.result_ttl,
            message.enqueued_at or delivery.sent_at,
            message.labels,
            message.parent,
            message.unique_key,
            call,
            plan.aliases,
        )
        return Attempt(delivery, message, plan, context, deadline, claim)
