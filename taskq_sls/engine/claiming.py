"""Claims attempts, and ends tasks whose message cannot be run."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from ..aws.codes import REFUSAL_CODES
from ..core.backoff import outage_seconds
from ..core.delivery import DONE, DeadLetter, Delivery, Outcome, Release, RetryIn
from ..core.lifetimes import MIN_RESULT_TTL, RETENTION
from ..core.message import ErrorInfo, Message
from ..core.retry import RETENTION_MARGIN_SECONDS
from ..core.states import FAILED, RETRYING, State
from ..errors import ArgumentsError, AwsError, MissingResource, PayloadMissing
from ..middleware.logging import fields
from ..results.claim_refused import decide
from ..results.records import AttemptEnd, Claim, Claimed, Fence, Refused, of_another_task, replaceable
from .attempt import Attempt, CompiledTask, Engine
from .recording import STORE_SECONDS, record
from .settling import MIN_SCHEDULE_WAIT_SECONDS, retry_in

logger = logging.getLogger("taskq_sls.task")

POISON_RECEIVES = 10
"""Receives after which a message that cannot be run here goes to the dead-letter queue."""

POISON_DELAY = 30.0
POISON_MAX_DELAY = 900.0
"""Seconds such a message is hidden: the first time, and at most. A deploy may be under way."""


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
            return await _refused(engine, attempt, answer)
    except Exception as error:  # whatever it is: the message is released, or no other message of it would run
        return await _cannot_claim(engine, attempt, error)
    if engine.claim_faults.active:
        engine.claim_faults.recovered()
    if engine.failing_queues:
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


async def _refused(engine: Engine, attempt: Attempt, refused: Refused) -> Outcome:
    claim, context, record = attempt.claim, attempt.context, refused.record
    decision = decide(record, claim, engine.visibility_timeout(attempt.delivery.queue))
    outcome = decision.outcome
    if decision.cancel:
        await engine.results.cancel(claim.id, task=claim.task, queue=claim.queue, now=claim.now, ttl=claim.ttl)
    if decision.close is not None:
        if not await engine.results.close_abandoned(record, decision.close):
            return RetryIn(1.0, "contended")
        context.attempt = record.attempt
        _close(engine, attempt, decision.close)
        return outcome
    if isinstance(outcome, DeadLetter) and not outcome.recorded:
        text = outcome.error.message if outcome.error else outcome.reason
        extra = {**fields(context, "claim_refused"), "reason": outcome.reason}
        logger.error("%s: %s", context.task, text, extra=extra)
    if not isinstance(outcome, RetryIn):
        return outcome
    if record.status is RETRYING and claim.now > attempt.delivery.sent_at + RETENTION - RETENTION_MARGIN_SECONDS / 2:
        # The retry is due after its message is gone, and nothing could bring it: the task ends now.
        end = AttemptEnd(FAILED, claim.now, claim.ttl, error=record.error, reason="retention")
        if not await engine.results.close_idle(record, end):
            return RetryIn(MIN_SCHEDULE_WAIT_SECONDS, "contended")
        context.attempt = record.attempt
        _close(engine, attempt, end)
        return DeadLetter("retention", record.error, record.attempt, recorded=True)
    if outcome.reason == "unknown_state":
        why = record.error.message if record.error else f"its state is {record.status}"
        text = "%s waits: its record is not one that this version can act upon (%s)"
        logger.warning(text, context.task, why, extra=fields(context, "unknown_state"))
    return retry_in(engine, attempt.delivery, attempt.message, record.attempt, outcome.delay, outcome.reason)


# -- messages that cannot be run --------------------------------------------------------------------------------------


def poison_outcome(engine: Engine, delivery: Delivery, reason: str, detail: str) -> Outcome:
    """The outcome of a message that cannot be decoded, found or bound: back off, and in the end dead-letter.

    Args:
        reason: ``undecodable``, ``unknown_version``, ``unknown_task``, ``arguments``, ``payload_missing`` or
            ``claim_refused``.
    """
    extra = {
        "action": "message_poison",
        "reason": reason,
        "queue": delivery.queue,
        "message_id": delivery.message_id,
    }
    # Before SQS would move it, without a reason.
    if delivery.receive_count >= min(POISON_RECEIVES, engine.max_receives(delivery.queue)):
        logger.error("a message goes to the dead-letter queue (%s): %s", reason, detail, extra=extra)
        return DeadLetter(reason, ErrorInfo(reason, detail))
    delay = min(POISON_MAX_DELAY, POISON_DELAY * 2 ** max(0, delivery.receive_count - 1))
    logger.warning("a message cannot be run here (%s), hidden for %.0f s: %s", reason, delay, detail, extra=extra)
    return RetryIn(delay, reason)


def unknown_task(name: str, known: Iterable[str]) -> str:
    """The error about a message of an unknown task, with the known name that it may have meant."""
    import difflib  # only an unknown task needs it, and a cold start should not pay for it

    close = difflib.get_close_matches(name, list(known), n=1)
    return f"no task is named {name!r} in this app" + (f"; did you mean {close[0]!r}?" if close else "")


async def reject_unknown_task(
    engine: Engine, delivery: Delivery, message: Message, detail: str, reason: str = "unknown_task"
) -> Outcome:
    """Back off as for any poison message. In the end its record, if it has one, becomes FAILED.

    So its handle learns of the end, and a redrive can open the next run: it opens a failed task only.
    """
    outcome = poison_outcome(engine, delivery, reason, detail)
    if not isinstance(outcome, DeadLetter):
        return outcome
    try:
        ended = await _end_unclaimed(engine, delivery, message, (), outcome, create=reason == "unknown_task")
    except MissingResource:
        return outcome  # an app that records nothing may have no table
    except Exception as error:
        if isinstance(error, AwsError) and error.code in REFUSAL_CODES:
            return outcome  # no record that could be ended
        engine.claim_faults.failed(error)
        ended = False
    return RetryIn(POISON_MAX_DELAY, reason) if ended is False else outcome._replace(recorded=bool(ended))


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


async def fail_after_last_receive(
    engine: Engine, delivery: Delivery, message: Message, task: CompiledTask, outcome: Outcome
) -> Outcome:
    """End a task whose message was received for the last time, and is not done.

    SQS would move it without a reason, and its record would wait for ever. A task that runs elsewhere goes on, and so
    does one that a schedule brings again.
    """
    if not isinstance(outcome, RetryIn | Release) or (isinstance(outcome, RetryIn) and outcome.later is not None):
        return outcome
    why = f"hidden: {outcome.reason}" if isinstance(outcome, RetryIn) else "released"
    text = (
        f"its message was received {delivery.receive_count} times, the last one that queue {delivery.queue!r} allows, and "
        f"is not done ({why}); raise max_receive_count, or see what spends its receives"
    )
    letter = DeadLetter("receives", ErrorInfo("OutOfReceives", text))
    if task.is_claimed:
        try:
            ended = await _end_unclaimed(engine, delivery, message, (task.name, *task.aliases), letter)
        except Exception as error:
            engine.claim_faults.failed(error)
            return outcome
        if not ended:
            return outcome
        letter = letter._replace(recorded=True)
    logger.error(
        "%s: %s", task.name, text, extra={"action": "task_closed", "task_id": message.id, "reason": "receives"}
    )
    return letter


async def _end_unclaimed(
    engine: Engine,
    delivery: Delivery,
    message: Message,
    names: tuple[str, ...],
    letter: DeadLetter,
    *,
    create: bool = True,
) -> bool | None:
    """End the record of a task that no attempt holds. False: an attempt holds it. None: there is nothing to end.

    Args:
        names: the task's other names.
        create: make a record if there is none, so that a handle learns of the end.
    """
    results, now = engine.results, engine.clock.time()
    end = AttemptEnd(FAILED, now, now + MIN_RESULT_TTL, error=letter.error, reason=letter.reason)
    claim = Claim(
        id=message.id,
        run=message.run,
        task=names[0] if names else message.task,
        queue=delivery.queue,
        owner=engine.new_owner(),
        now=now,
        lease_until=now + STORE_SECONDS,
        max_attempts=1,
        ttl=end.ttl,
        enqueued_at=message.enqueued_at or delivery.sent_at,
        labels=message.labels,
        parent=message.parent,
        unique_key=message.unique_key,
        aliases=(message.task, *names),
    )
    record = await results.get(message.id, now=now)
    if record is None and create:
        await results.put_queued(claim)
        record = await results.get(message.id, now=now)
    if record is None or of_another_task(record, claim):
        return None
    if create and replaceable(record, claim):
        fence = Fence(claim.id, claim.run, 1, claim.owner)
        return await results.claim(claim) == Claimed(1) and await results.finish(fence, end) is not None
    if record.run != message.run or record.status.terminal:
        return None
    return await results.close_idle(record, end)
