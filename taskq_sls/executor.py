"""The core: one delivery in, one outcome out, and no queue I/O in between.

``process`` decodes, checks, claims, runs the task inside its hooks, stores the result and says what should
become of the message. Drivers carry that out.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from .clock import Clock
from .context import TaskContext, _current
from .delivery import DONE, LOST, DeadLetter, Delivery, Done, Outcome, Release, RetryIn
from .episodes import Episode
from .errors import (
    ArgumentsError,
    AttemptStopped,
    AwsError,
    ConfigError,
    PayloadMissing,
    ResultError,
    TaskTimeout,
    UndecodableMessage,
)
from .failures import POISON_MAX_DELAY, describe, poison
from .flow import Flow
from .message import Message, decode
from .middleware.logging import fields
from .plan import Plan, PlanOf
from .recorder import Attempt, Recorder
from .results.base import ResultBackend
from .results.keys import give_back
from .results.records import MIN_RESULT_TTL, RETENTION, Call, Claim, Claimed, Fence, Finish, Refused, State, TaskRecord
from .results.verdicts import read_refusal
from .retry import SAFETY
from .settle import LONGEST_HOP

if TYPE_CHECKING:
    from .metrics.meter import Meter
    from .payloads.base import PayloadStore

logger = logging.getLogger("taskq_sls.task")

EARLY = 0.5
"""Seconds a message may come before its `not_before` and still be started: clocks differ a little."""

RECORDED_BODY = 4_000
"""Characters of a message whose arguments may be small enough to be recorded."""

LAST_WAIT = 60.0
"""Seconds between two tries to have a schedule bring a message that its queue will drop before long."""

DEADLINE_LEASE = 10.0
"""Seconds a Lambda lease lasts beyond the function's deadline."""


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

    Attributes:
        running: attempts under way, by owner token. A driver's heartbeat renews their leases.
    """

    def __init__(
        self,
        plan_of: PlanOf,
        results: ResultBackend,
        flow: Flow,
        clock: Clock,
        hold: Callable[[str], float],
        state: object = None,
        threads: int = 32,
        payloads: Callable[[], PayloadStore | None] = lambda: None,
        scheduling: Callable[[], bool] = lambda: False,
        meter: Meter | None = None,
    ) -> None:
        self.meter = meter
        self._scheduling = scheduling
        self._plan_of = plan_of
        self._results = results
        self._payloads = payloads
        self._recorder = Recorder(results, flow, clock, payloads, meter)
        self._clock = clock
        self._hold = hold
        self.state = state
        self.running: dict[str, TaskContext] = {}
        # An owner token is unique: random for the executor, counted for the attempt. Drawing each at random would
        # give the interpreter lock away in the middle of every attempt. An executor is made by a running driver,
        # so that neither a fork nor a restored snapshot can share its token.
        self._token = os.urandom(8).hex() + "-"
        self._serial = itertools.count()
        self._gate = asyncio.Semaphore(threads)
        self._at_gate: set[asyncio.Task[object]] = set()
        self._draining = False
        self._said_unfilled = False
        self._claim_faults = Episode(logger, "the state table cannot be reached", "claim_fault")
        self._payload_faults = Episode(logger, "the arguments of large messages cannot be fetched", "payload_fault")

    async def process(
        self, delivery: Delivery, deadline: float | None = None, may_start: Callable[[Plan], bool] | None = None
    ) -> Outcome:
        """Run one delivery to its outcome. Raises nothing but the caller's own cancellation.

        Args:
            deadline: epoch seconds at which the process will be killed (Lambda); None where it will not.
            may_start: asked when the attempt could start, for a sync task when a thread is free; False gives
                the message back.
        """
        try:
            message = decode(delivery.body)
            if message.schedule is not None and not message.id:
                message = self._fired(message, delivery)
        except UndecodableMessage as error:
            return poison(delivery, error.reason, str(error))
        outcome = await self._process(delivery, message, deadline, may_start)
        if message.unique_key is not None and isinstance(outcome, Done | DeadLetter):
            # The task is over, whoever ended it; and its end is written, so that nothing is freed too early.
            await give_back(self._results, message.task, message.unique_key, message.id)
        return outcome

    def _fired(self, message: Message, delivery: Delivery) -> Message:
        """The message of a firing, with the id and the times that follow from schedule and scheduled time."""
        from .scheduler.firing import receive  # an app without schedules does not need it

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

    def _back_in(self, delivery: Delivery, message: Message, attempt: int, delay: float, reason: str) -> RetryIn:
        """The wait for a retry or a start; handed to a schedule, where there can be one, if the queue cannot keep it.

        Args:
            attempt: the last one that was started.
        """
        now = self._clock.time()
        lasts = now + delay <= delivery.sent_at + RETENTION - SAFETY
        # In a FIFO queue the message keeps its place as long as it can.
        if (lasts and (delay <= LONGEST_HOP or delivery.queue.endswith(".fifo"))) or not self._scheduling():
            return RetryIn(delay, reason)
        from .scheduler.delays import late_retry  # few tasks wait that long

        later = late_retry(delivery, message, attempt, now + delay, now)
        # Where the schedule cannot be made, the message comes again while there is time to try anew.
        hide = min(delay, max(LAST_WAIT, delivery.sent_at + RETENTION - SAFETY - now))
        return RetryIn(hide, reason, later)

    async def _process(
        self, delivery: Delivery, message: Message, deadline: float | None, may_start: Callable[[Plan], bool] | None
    ) -> Outcome:
        try:
            plan = self._plan_of(message.task)
        except ConfigError as error:  # an annotation that still names nothing
            return await self._unknown(delivery, message, str(error))
        if plan is None:
            return await self._unknown(delivery, message, f"no task is named {message.task!r} in this app")
        if plan.is_async:
            if may_start is not None and not may_start(plan):
                return Release(0)
            return await self._start(delivery, message, plan, deadline)
        if not await self._pass_gate():
            return Release(0)
        try:
            if may_start is not None and not may_start(plan):
                return Release(0)
            return await self._start(delivery, message, plan, deadline)
        finally:
            self._gate.release()

    def drain(self) -> None:
        """Start nothing more: what waits for a thread or for its claim is given back."""
        self._draining = True
        for task in self._at_gate:
            task.cancel()

    def resume(self) -> None:
        """Start tasks again after `drain`."""
        self._draining = False

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

    async def _start(self, delivery: Delivery, message: Message, plan: Plan, deadline: float | None) -> Outcome:
        now = self._clock.time()
        if message.not_before is not None and message.not_before > now + EARLY:
            return self._back_in(delivery, message, message.attempt, message.not_before - now, "early")
        call: Call | None = None
        missing: PayloadMissing | None = None
        if message.payload is None:
            # A record holds only small arguments: a long body is not looked through for them.
            if plan.options.record_arguments and len(delivery.body) <= RECORDED_BODY:
                call = plan.signature.shown(message.args, message.kwargs)
        else:
            from .claim_check import load_message  # hardly any message is that large

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
            return await self._unfit(attempt, "payload_missing", missing)
        context = attempt.context
        try:
            context._args, context._kwargs = plan.signature.decode(message.args, message.kwargs)
            context._call = message.args, message.kwargs
        except ArgumentsError as error:
            return await self._unfit(attempt, "arguments", error)
        if plan.options.record in ("started", "queued"):
            outcome = await self._claim(attempt)
        else:
            outcome = await self._count(attempt)
        if outcome is None and message.schedule is not None:
            outcome = await self._overlaps(attempt)
        if outcome is not None:
            return outcome
        # Where the machine slept between the claim and here, somebody else may run the task by now.
        if self._draining or self._clock.time() >= attempt.claim.lease_until:
            return await self._recorder.give_back(attempt)
        running = attempt.claim.owner
        self.running[running] = context
        try:
            return await self._run(attempt)
        finally:
            del self.running[running]

    async def _pass_gate(self) -> bool:
        """Wait, unclaimed, until a thread is free. False: the driver is draining, the message goes back."""
        if self._is_draining():
            return False
        if not self._gate.locked():
            return await self._gate.acquire()
        task = asyncio.current_task()
        assert task is not None
        self._at_gate.add(task)
        try:
            return await self._gate.acquire()
        except asyncio.CancelledError:
            if not self._is_draining():
                raise
            task.uncancel()
            return False
        finally:
            self._at_gate.discard(task)

    def _is_draining(self) -> bool:
        return self._draining

    # -- before the function ------------------------------------------------------------------------------------

    def _attempt(
        self,
        delivery: Delivery,
        message: Message,
        plan: Plan,
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
            max(now, message.not_before or 0.0) + options.result_ttl,
            message.enqueued_at or delivery.sent_at,
            message.labels,
            message.parent,
            message.unique_key,
            call,
        )
        return Attempt(delivery, message, plan, context, deadline, claim)

    async def _claim(self, attempt: Attempt) -> Outcome | None:
        """Claim the attempt (recording ``started`` and ``queued``). An outcome: it is not ours to run."""
        claim, context = attempt.claim, attempt.context
        try:
            if self._too_old(attempt) and await self._results.expire(claim):
                logger.info("%s expired", context.task, extra=fields(context, "task_expired"))
                if self.meter is not None:
                    self.meter.ended(context, claim.now, State.EXPIRED)
                return DONE
            answer = await self._claim_surely(claim)
            if isinstance(answer, Refused):
                return await self._refused(attempt, answer)
        except (AwsError, ConfigError) as error:
            self._claim_faults.fault(error)
            return Release(random.uniform(5, 60))
        if self._claim_faults.open:
            self._claim_faults.clear()
        context.attempt = answer.attempt
        context._fence = Fence(claim.id, claim.run, answer.attempt, claim.owner)
        context._lease_until = claim.lease_until
        return None

    async def _overlaps(self, attempt: Attempt) -> Outcome | None:
        """End a firing whose schedule lets no two run at once while the one before still does."""
        context, claim = attempt.context, attempt.claim
        if context._fence is None or claim.unique_key is None:
            return None
        from .scheduler.overlap import holder

        try:
            other = await holder(self._results, claim)
        except (AwsError, ConfigError) as error:
            self._claim_faults.fault(error)
            given_back = await self._recorder.give_back(attempt)
            return Release(random.uniform(5, 60)) if isinstance(given_back, Release) else given_back
        if other is None:
            return None
        logger.info("%s skipped: %s still runs", context.task, other, extra=fields(context, "task_skipped"))
        return await self._recorder.store(attempt, self._recorder.end(attempt, State.CANCELLED, reason="overlap"), DONE)

    async def _claim_surely(self, claim: Claim) -> Claimed | Refused:
        """Claim; where the answer is lost, ask once more: the same token is recognised, and no attempt is used up."""
        try:
            return await self._results.claim(claim)
        except AwsError as error:
            if not error.ambiguous:
                raise
        return await self._results.claim(claim)

    async def _count(self, attempt: Attempt) -> Outcome | None:
        """Count the attempt where no claim does (recording ``none`` and ``finished``).

        The receive count bounds the attempts from above: throttles and returns are in it too.
        """
        receives = attempt.delivery.receive_count
        attempt.context.attempt = attempt.message.attempt + receives
        if receives > 1 or not self._too_old(attempt):
            return None
        logger.info("%s expired", attempt.plan.name, extra=fields(attempt.context, "task_expired"))
        return await self._recorder.store(attempt, Finish(State.EXPIRED, attempt.claim.now, attempt.claim.ttl), DONE)

    @staticmethod
    def _too_old(attempt: Attempt) -> bool:
        # Who redrives a dead letter wants it run, however old it is by then.
        expires_at = attempt.message.expires_at if attempt.message.run == 0 else None
        return expires_at is not None and attempt.claim.now > expires_at

    async def _refused(self, attempt: Attempt, refused: Refused) -> Outcome:
        verdict = read_refusal(refused.record, attempt.claim, self._hold(attempt.delivery.queue))
        if verdict.cancel:
            claim = attempt.claim
            await self._results.cancel(claim.id, task=claim.task, queue=claim.queue, now=claim.now, ttl=claim.ttl)
        if verdict.close is None:
            if not isinstance(verdict.outcome, RetryIn):
                return verdict.outcome
            last_moment = attempt.delivery.sent_at + RETENTION - SAFETY / 2
            if refused.record.status is State.RETRYING and attempt.claim.now > last_moment:
                return await self._out_of_time(attempt, refused.record)
            return self._back_in(attempt.delivery, attempt.message, refused.record.attempt, *verdict.outcome[:2])
        if not await self._results.close_abandoned(refused.record, verdict.close):
            return RetryIn(1.0, "contended")
        context = attempt.context
        context.attempt = refused.record.attempt
        if self.meter is not None:
            self.meter.ended(context, attempt.claim.now, verdict.close.state)
        why = verdict.close.reason or verdict.close.state
        logger.warning("%s: %s", context.task, why, extra={**fields(context, "task_closed"), "reason": why})
        return verdict.outcome

    async def _out_of_time(self, attempt: Attempt, record: TaskRecord) -> Outcome:
        """A retry is due after its message is gone, and nothing could bring it: the task ends while it can be told."""
        end = Finish(State.FAILED, attempt.claim.now, attempt.claim.ttl, error=record.error, reason="retention")
        if not await self._results.close_idle(record, end):
            return RetryIn(LAST_WAIT, "contended")
        context = attempt.context
        context.attempt = record.attempt
        logger.error("%s: retention", context.task, extra={**fields(context, "task_closed"), "reason": "retention"})
        return DeadLetter("retention", record.error, record.attempt, recorded=True)

    async def _unknown(self, delivery: Delivery, message: Message, detail: str) -> Outcome:
        """A task that is not known here: back off like any poison; in the end its record, if it has one, says FAILED.

        A redrive opens a failed task only: one left RETRYING by code that has gone would wait for ever.
        """
        outcome = poison(delivery, "unknown_task", detail)
        if not isinstance(outcome, DeadLetter):
            return outcome
        now = self._clock.time()
        try:
            record = await self._results.get(message.id, now=now)
            if record is None or record.run != message.run or record.status.terminal:
                return outcome
            end = Finish(State.FAILED, now, now + MIN_RESULT_TTL, error=outcome.error, reason=outcome.reason)
            if await self._results.close_idle(record, end):
                return outcome._replace(recorded=True)
        except (AwsError, ConfigError) as error:
            self._claim_faults.fault(error)
        return RetryIn(POISON_MAX_DELAY, "unknown_task")

    async def _unfit(self, attempt: Attempt, reason: str, error: ArgumentsError | PayloadMissing) -> Outcome:
        """Arguments that do not fit or are gone: back off like any poison; in the end the record says FAILED too."""
        outcome = poison(attempt.delivery, reason, str(error))
        if not isinstance(outcome, DeadLetter) or attempt.plan.options.record == "none":
            return outcome
        outcome = outcome._replace(recorded=True)
        if attempt.plan.options.record != "finished" and (other := await self._claim(attempt)) is not None:
            return other
        claim = attempt.claim
        end = Finish(State.FAILED, claim.now, claim.ttl, error=outcome.error, reason=reason)
        return await self._recorder.store(attempt, end, outcome)

    # -- the function and its end -------------------------------------------------------------------------------

    async def _run(self, attempt: Attempt) -> Outcome:
        """Run the function inside its hooks, and store how it ended."""
        context = attempt.context
        if self.meter is not None:
            # A repeated attempt, or one of a dead letter, did not wait since the enqueue.
            first = context.attempt == 1 and context.run == 0
            self.meter.started(
                context,
                self._clock.time(),
                (attempt.message.not_before or attempt.claim.enqueued_at) if first else None,
            )
        context._task = task = asyncio.current_task()
        token = _current.set(context)
        result: object = None
        error: BaseException | None = None
        try:
            result = await attempt.plan.onion(context)
        except BaseException as raised:  # even SystemExit is only the end of an attempt
            if isinstance(raised, asyncio.CancelledError) and context._stop is None and task and task.cancelling():
                raise
            error = raised
        finally:
            context._task = None
            _current.reset(token)
            if context._stop is not None and task is not None:
                # Our own stop has done its work; what follows must be able to wait.
                while task.cancelling():
                    task.uncancel()
        # From here on no stop can interrupt: the end must become durable.
        return await (self._succeeded(attempt, result) if error is None else self._failed(attempt, error))

    async def _succeeded(self, attempt: Attempt, result: object) -> Outcome:
        try:
            result_json = attempt.plan.signature.encode_result(result)
        except ArgumentsError as error:
            return await self._failed(attempt, ResultError(str(error)))
        end = self._recorder.end(attempt, State.SUCCEEDED, result_json=result_json)
        try:
            return await self._recorder.store(attempt, end, DONE)
        except ResultError as error:
            return await self._failed(attempt, error)

    async def _failed(self, attempt: Attempt, error: BaseException) -> Outcome:
        context = attempt.context
        stop = context._stop
        if stop == "lease_lost":
            return LOST
        if isinstance(error, asyncio.CancelledError):
            if stop == "shutdown":
                if attempt.plan.options.retry.max_attempts > 1:
                    return await self._recorder.give_back(attempt)
                # At most once: what has entered its function is not started again.
                error = AttemptStopped("the attempt was stopped because its worker shut down")
            elif stop == "cancelled":
                logger.info("%s cancelled", context.task, extra=fields(context, "task_cancelled"))
                return await self._recorder.store(
                    attempt, self._recorder.end(attempt, State.CANCELLED, reason="cancelled"), DONE
                )
            if stop == "deadline":
                error = TaskTimeout("the attempt was stopped by the deadline of its Lambda function")
        info = describe(error)
        retry = attempt.plan.options.retry
        reason = "result" if isinstance(error, ResultError) else retry.refuses(context.attempt, error)
        delay = retry.delay(context.attempt, error)
        if reason is None and self._clock.time() + delay > attempt.delivery.sent_at + RETENTION - SAFETY:
            # The message would be gone before it came back, if nothing else could bring it.
            reason = None if self._scheduling() else "retention"
        if reason is None:
            logger.warning(
                "%s failed (attempt %d of %d), again in %.1f s: %s: %s",
                context.task,
                context.attempt,
                retry.max_attempts,
                delay,
                info.type,
                info.message,
                extra={**fields(context, "task_retrying"), "delay": round(delay, 3)},
            )
            end = self._recorder.end(attempt, State.RETRYING, error=info, next_in=delay)
            again = self._back_in(attempt.delivery, attempt.message, context.attempt, delay, "failed")
            return await self._recorder.store(attempt, end, again)
        logger.error(
            "%s failed for good (%s, attempt %d): %s: %s",
            context.task,
            reason,
            context.attempt,
            info.type,
            info.message,
            extra={**fields(context, "task_failed"), "reason": reason, "traceback": info.traceback},
        )
        end = self._recorder.end(attempt, State.FAILED, error=info, reason=reason)
        recorded = attempt.plan.options.record != "none"
        return await self._recorder.store(attempt, end, DeadLetter(reason, info, context.attempt, recorded))
