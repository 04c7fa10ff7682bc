"""Whether the attempt of a delivery may start; where it may not, what becomes of the message."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..aws.codes import REFUSAL_CODES
from ..core.backoff import outage_seconds
from ..core.clock import Clock
from ..core.context import Fence
from ..core.delivery import DONE, DeadLetter, Delivery, Outcome, Release, RetryIn
from ..core.fault_log import FaultLog
from ..core.lifetimes import MIN_RESULT_TTL, RETENTION
from ..core.message import ErrorInfo, Message
from ..core.retry import SAFETY
from ..core.states import State
from ..errors import ArgumentsError, AwsError, MissingResource, PayloadMissing
from ..middleware.logging import fields
from ..results.base import ResultBackend
from ..results.records import AttemptEnd, Claim, Claimed, Refused, TaskRecord, of_another_task, replaceable
from .attempt import POISON_MAX_DELAY, poison_outcome
from .claim_refused import decide
from .plan import CompiledTask
from .recording import PERSIST_FOR, Attempt, Recorder
from .retention import LAST_WAIT, Waits

if TYPE_CHECKING:
    from ..metrics.meter import Meter

logger = logging.getLogger("taskq_sls.task")


class Admission:
    """Claims attempts, or counts them where nothing is claimed.

    Args:
        hold: seconds a message of a queue is held, by logical queue name.
        meter: what counts the tasks that end here, or None.

    Attributes:
        failing: logical names of queues whose last claim failed, though the table may take it another time.
    """

    def __init__(
        self,
        results: ResultBackend,
        recorder: Recorder,
        waits: Waits,
        clock: Clock,
        hold: Callable[[str], float],
        meter: Meter | None,
    ) -> None:
        self._results = results
        self._recorder = recorder
        self._waits = waits
        self._clock = clock
        self._hold = hold
        self._meter = meter
        self._faults = FaultLog(logger, "the state table cannot be reached", "claim_fault")
        self.failing: set[str] = set()

    async def claim(self, attempt: Attempt) -> Outcome | None:
        """Claim the attempt (recording ``started`` and ``queued``). An outcome: it is not ours to run."""
        claim, context = attempt.claim, attempt.context
        context._leased_at = time.monotonic()
        try:
            if _too_old(attempt) and await self._results.expire(claim):
                logger.info("%s expired", context.task, extra=fields(context, "task_expired"))
                if self._meter is not None:
                    self._meter.ended(context, claim.now, State.EXPIRED)
                return DONE
            try:
                answer = await self._results.claim(claim)
            except AwsError as error:
                if not error.ambiguous:
                    raise
                # Once more, since its answer was lost: the same token is recognised, and no attempt is used up.
                answer = await self._results.claim(claim)
            if isinstance(answer, Refused):
                return await self._refused(attempt, answer)
        except Exception as error:  # whatever it is: the message is released, or no other message of it would run
            return await self._cannot_claim(attempt, error)
        if self._faults.active:
            self._faults.recovered()
        if self.failing:
            self.failing.discard(attempt.delivery.queue)
        context.attempt = answer.attempt
        context._fence = Fence(claim.id, claim.run, answer.attempt, claim.owner)
        context._lease_until = claim.lease_until
        return None

    async def _cannot_claim(self, attempt: Attempt, error: Exception) -> Outcome:
        delivery = attempt.delivery
        if isinstance(error, AwsError) and error.code in REFUSAL_CODES:
            return await self.unknown(delivery, attempt.message, str(error), "claim_refused")
        self._faults.failed(error)
        self.failing.add(delivery.queue)
        return Release(outage_seconds())

    async def overlaps(self, attempt: Attempt) -> Outcome | None:
        """End a firing whose schedule lets no two run at once while the one before still does."""
        context, claim = attempt.context, attempt.claim
        if context._fence is None or claim.unique_key is None:
            return None
        from ..scheduler.overlap import holder

        try:
            other = await holder(self._results, claim)
        except Exception as error:
            self._faults.failed(error)
            given_back = await self._recorder.give_back(attempt)
            return Release(outage_seconds()) if isinstance(given_back, Release) else given_back
        if other is None:
            return None
        logger.info("%s skipped: %s still runs", context.task, other, extra=fields(context, "task_skipped"))
        return await self._recorder.store(attempt, self._recorder.end(attempt, State.CANCELLED, reason="overlap"), DONE)

    def count(self, attempt: Attempt) -> bool:
        """Count the attempt where no claim does (recording ``none`` and ``finished``). False: the task is too old.

        The receive count bounds the attempts from above: throttles and returns are in it too.
        """
        receives = attempt.delivery.receive_count
        attempt.context.attempt = attempt.message.attempt + receives
        return receives > 1 or not _too_old(attempt)

    async def expire(self, attempt: Attempt) -> Outcome:
        """End a task that is too old, and that no claim has refused."""
        logger.info("%s expired", attempt.plan.name, extra=fields(attempt.context, "task_expired"))
        return await self._recorder.store(
            attempt, AttemptEnd(State.EXPIRED, attempt.claim.now, attempt.claim.ttl), DONE
        )

    async def _refused(self, attempt: Attempt, refused: Refused) -> Outcome:
        verdict = decide(refused.record, attempt.claim, self._hold(attempt.delivery.queue))
        if verdict.cancel:
            claim = attempt.claim
            await self._results.cancel(claim.id, task=claim.task, queue=claim.queue, now=claim.now, ttl=claim.ttl)
        if verdict.close is None:
            if isinstance(verdict.outcome, DeadLetter) and not verdict.outcome.recorded:
                letter, context = verdict.outcome, attempt.context
                logger.error(
                    "%s: %s",
                    context.task,
                    letter.error.message if letter.error else letter.reason,
                    extra={**fields(context, "claim_refused"), "reason": letter.reason},
                )
            if not isinstance(verdict.outcome, RetryIn):
                return verdict.outcome
            last_moment = attempt.delivery.sent_at + RETENTION - SAFETY / 2
            if refused.record.status is State.RETRYING and attempt.claim.now > last_moment:
                return await self._out_of_time(attempt, refused.record)
            if verdict.outcome.reason == "unknown_state":
                why = refused.record.error.message if refused.record.error else f"its state is {refused.record.status}"
                text = "%s waits: its record is not one that this version can act upon (%s)"
                logger.warning(text, attempt.context.task, why, extra=fields(attempt.context, "unknown_state"))
            return self._waits.back_in(attempt.delivery, attempt.message, refused.record.attempt, *verdict.outcome[:2])
        if not await self._results.close_abandoned(refused.record, verdict.close):
            return RetryIn(1.0, "contended")
        context = attempt.context
        context.attempt = refused.record.attempt
        if self._meter is not None:
            self._meter.ended(context, attempt.claim.now, verdict.close.state)
        why = verdict.close.reason or verdict.close.state
        logger.warning("%s: %s", context.task, why, extra={**fields(context, "task_closed"), "reason": why})
        return verdict.outcome

    async def _out_of_time(self, attempt: Attempt, record: TaskRecord) -> Outcome:
        """A retry is due after its message is gone, and nothing could bring it: the task ends while it can be told."""
        end = AttemptEnd(State.FAILED, attempt.claim.now, attempt.claim.ttl, error=record.error, reason="retention")
        if not await self._results.close_idle(record, end):
            return RetryIn(LAST_WAIT, "contended")
        context = attempt.context
        context.attempt = record.attempt
        logger.error("%s: retention", context.task, extra={**fields(context, "task_closed"), "reason": "retention"})
        return DeadLetter("retention", record.error, record.attempt, recorded=True)

    async def unknown(self, delivery: Delivery, message: Message, detail: str, reason: str = "unknown_task") -> Outcome:
        """A task that cannot be run here: back off like any poison; in the end its record, if it has one, says FAILED.

        So its handle learns of the end, and a redrive can open the next run: it opens a failed task only.
        """
        outcome = poison_outcome(delivery, reason, detail, self._waits.poison_receives(delivery))
        if not isinstance(outcome, DeadLetter):
            return outcome
        try:
            ended = await self._end_unclaimed(delivery, message, (), outcome, create=reason == "unknown_task")
        except MissingResource:
            return outcome  # an app that records nothing may have no table
        except Exception as error:
            if isinstance(error, AwsError) and error.code in REFUSAL_CODES:
                return outcome  # no record that could be ended
            self._faults.failed(error)
            ended = False
        return RetryIn(POISON_MAX_DELAY, reason) if ended is False else outcome._replace(recorded=bool(ended))

    async def end_of_receives(
        self, delivery: Delivery, message: Message, plan: CompiledTask, outcome: Outcome
    ) -> Outcome:
        """End a task whose message was received for the last time, and is not done.

        SQS would move it without a reason, and its record would wait for ever. A task that runs elsewhere, and one that a
        schedule brings anew, goes on.
        """
        if not isinstance(outcome, RetryIn | Release) or (isinstance(outcome, RetryIn) and outcome.later is not None):
            return outcome
        why = f"hidden: {outcome.reason}" if isinstance(outcome, RetryIn) else "released"
        text = (
            f"its message was received {delivery.receive_count} times, the last one that queue {delivery.queue!r} allows, and "
            f"is not done ({why}); raise max_receive_count, or see what spends its receives"
        )
        letter = DeadLetter("receives", ErrorInfo("OutOfReceives", text))
        if plan.options.record in ("started", "queued"):
            try:
                ended = await self._end_unclaimed(delivery, message, (plan.name, *plan.aliases), letter)
            except Exception as error:
                self._faults.failed(error)
                return outcome
            if not ended:
                return outcome
            letter = letter._replace(recorded=True)
        logger.error(
            "%s: %s", plan.name, text, extra={"action": "task_closed", "task_id": message.id, "reason": "receives"}
        )
        return letter

    async def _end_unclaimed(
        self, delivery: Delivery, message: Message, names: tuple[str, ...], letter: DeadLetter, *, create: bool = True
    ) -> bool | None:
        """End the record of a task that nobody works on. False: somebody does. None: there is nothing to end.

        Args:
            names: the task's other names.
            create: make a record where there is none, so that a handle learns of the end.
        """
        now = self._clock.time()
        end = AttemptEnd(State.FAILED, now, now + MIN_RESULT_TTL, error=letter.error, reason=letter.reason)
        claim = Claim(
            message.id,
            message.run,
            names[0] if names else message.task,
            delivery.queue,
            os.urandom(8).hex(),
            now,
            now + PERSIST_FOR,
            1,
            end.ttl,
            message.enqueued_at or delivery.sent_at,
            message.labels,
            message.parent,
            message.unique_key,
            aliases=(message.task, *names),
        )
        record = await self._results.get(message.id, now=now)
        if record is None and create:
            await self._results.put_queued(claim)
            record = await self._results.get(message.id, now=now)
        if record is None or of_another_task(record, claim):
            return None
        if create and replaceable(record, claim):
            fence = Fence(claim.id, claim.run, 1, claim.owner)
            return await self._results.claim(claim) == Claimed(1) and await self._results.finish(fence, end) is not None
        if record.run != message.run or record.status.terminal:
            return None
        return await self._results.close_idle(record, end)

    async def unfit(self, attempt: Attempt, reason: str, error: ArgumentsError | PayloadMissing) -> Outcome:
        """Arguments that do not fit or are gone: back off like any poison; in the end the record says FAILED too."""
        outcome = poison_outcome(attempt.delivery, reason, str(error), self._waits.poison_receives(attempt.delivery))
        if not isinstance(outcome, DeadLetter) or attempt.plan.options.record == "none":
            return outcome
        outcome = outcome._replace(recorded=True)
        if attempt.plan.options.record != "finished" and (other := await self.claim(attempt)) is not None:
            return other
        claim = attempt.claim
        end = AttemptEnd(State.FAILED, claim.now, claim.ttl, error=outcome.error, reason=reason)
        return await self._recorder.fail(attempt, end, outcome)


def _too_old(attempt: Attempt) -> bool:
    # Who redrives a dead letter wants it run, however old it is by then.
    expires_at = attempt.message.expires_at if attempt.message.run == 0 else None
    return expires_at is not None and attempt.claim.now > expires_at
