"""Claims attempts, and ends or postpones those whose claim is refused."""

from __future__ import annotations

import logging
import time

from ..aws.port import REFUSAL_CODES
from ..core.backoff import outage_seconds
from ..core.context import TaskContext
from ..core.delivery import DONE, DeadLetter, Outcome, Release, RetryIn
from ..core.states import FAILED, State
from ..errors import ArgumentsError, AwsError, PayloadMissing
from ..middleware.logging import fields
from ..results.records import AttemptEnd, Fence, Refused, TaskRecord
from ..results.rules import decide
from .attempt import Attempt, Engine
from .policies.poison import poison_outcome, reject_unknown_task
from .recording import record

logger = logging.getLogger("taskq_sls.task")


async def claim(engine: Engine, attempt: Attempt) -> Outcome | None:
    """Claim the attempt, or count it if nothing is recorded at the start.

    Returns:
        None if the attempt may start; else the outcome of its message.
    """
    if not attempt.compiled.is_claimed:
        return await _count(engine, attempt)
    claim = attempt.claim
    attempt.leased_at = time.monotonic()
    try:
        if attempt.message.expires_at is not None and _too_old(attempt) and await engine.results.expire(claim):
            _close(engine, attempt, AttemptEnd(State.EXPIRED, claim.now, claim.ttl))
            return DONE
        try:
            answer = await engine.results.claim(claim)
        except AwsError as error:
            if not error.ambiguous:
                raise
            # Again, since the answer was lost: the same token is recognised, and no attempt is used up.
            answer = await engine.results.claim(claim)
        if isinstance(answer, Refused):
            return await _refused(engine, attempt, answer.record)
    except Exception as error:  # whatever it is: the message is released, or no other message of it would run
        return await _cannot_claim(engine, attempt, error)
    engine.claim_faults.recovered()
    engine.failing_queues.discard(attempt.delivery.queue)
    number = answer.attempt
    attempt.context.attempt = number
    attempt.fence = Fence(claim.id, claim.run, number, claim.owner)
    attempt.lease_until = claim.lease_until
    return None


async def _count(engine: Engine, attempt: Attempt) -> Outcome | None:
    """Count an attempt without a claim. Throttles and returns are in the receive count too: it is an upper bound."""
    receives = attempt.delivery.receive_count
    attempt.context.attempt = attempt.message.attempt + receives
    if receives > 1 or not _too_old(attempt):
        return None
    end = AttemptEnd(State.EXPIRED, attempt.claim.now, attempt.claim.ttl)
    engine.observers.notify("attempt_failing", attempt, end)
    return await record(engine, attempt, end, DONE)


def _too_old(attempt: Attempt) -> bool:
    # A dead letter that is redriven is wanted, however old it is by then.
    expires_at = attempt.message.expires_at if attempt.message.run == 0 else None
    return expires_at is not None and attempt.claim.now > expires_at


def _close(engine: Engine, attempt: Attempt, end: AttemptEnd) -> None:
    """Report a task that ended without an attempt of this delivery; its end is stored."""
    engine.observers.notify("attempt_failing", attempt, end)
    engine.observers.notify("attempt_ended", attempt, end)


async def _cannot_claim(engine: Engine, attempt: Attempt, error: Exception) -> Outcome:
    if isinstance(error, AwsError) and error.code in REFUSAL_CODES:
        return await reject_unknown_task(engine, attempt.delivery, attempt.message, str(error), "claim_refused")
    engine.claim_faults.failed(error)
    engine.failing_queues.add(attempt.delivery.queue)
    return Release(outage_seconds())


async def _refused(engine: Engine, attempt: Attempt, refused: TaskRecord) -> Outcome:
    """Do as `decide` says about the record that refused the claim."""
    claim, context, delivery, results = attempt.claim, attempt.context, attempt.delivery, engine.results
    decision = decide(refused, claim, engine.visibility_timeout(delivery.queue), delivery.sent_at)
    outcome = decision.outcome
    if decision.cancel:
        await results.cancel(claim.id, task=claim.task, queue=claim.queue, now=claim.now, ttl=claim.ttl)
    if decision.close is not None:
        close = results.close_abandoned if refused.status is State.RUNNING else results.close_idle
        if not await close(refused, decision.close):
            return RetryIn(1.0, "contended")
        context.attempt = refused.attempt
        _close(engine, attempt, decision.close)
    _log_refusal(context, refused, outcome)
    if not isinstance(outcome, RetryIn):
        return outcome
    return engine.retry_in(delivery, attempt.message, refused.attempt, outcome.delay, outcome.reason)


def _log_refusal(context: TaskContext, refused: TaskRecord, outcome: Outcome) -> None:
    if isinstance(outcome, DeadLetter) and not outcome.recorded:
        extra = {**fields(context, "claim_refused"), "reason": outcome.reason}
        logger.error("%s: %s", context.task, outcome.error and outcome.error.message, extra=extra)
    elif isinstance(outcome, RetryIn) and outcome.reason == "unknown_state":
        why = refused.error.message if refused.error else f"its state is {refused.status}"
        text = "%s waits: its record is not one that this version can act upon (%s)"
        logger.warning(text, context.task, why, extra=fields(context, "unknown_state"))


async def reject_arguments(engine: Engine, attempt: Attempt, error: ArgumentsError | PayloadMissing) -> Outcome:
    """Back off as for any poison message, over arguments that do not fit or are gone. In the end the record fails."""
    reason = "payload_missing" if isinstance(error, PayloadMissing) else "arguments"
    outcome = poison_outcome(engine, attempt.delivery, reason, str(error))
    if not isinstance(outcome, DeadLetter) or attempt.compiled.options.record == "none":
        return outcome
    if attempt.compiled.options.record != "finished" and (other := await claim(engine, attempt)) is not None:
        return other
    end = AttemptEnd(FAILED, attempt.claim.now, attempt.claim.ttl, error=outcome.error, reason=reason)
    return await record(engine, attempt, end, outcome._replace(recorded=True))
