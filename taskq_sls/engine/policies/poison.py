"""Messages whose task cannot be run here: they wait, since a deploy may be under way, and are dead-lettered in the end."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from ...aws.port import REFUSAL_CODES
from ...core.delivery import DeadLetter, Delivery, Outcome, Release, RetryIn
from ...core.message import ErrorInfo, Message
from ...core.states import FAILED
from ...core.times import MIN_RESULT_TTL
from ...errors import AwsError, MissingResource
from ...results.base import end_unclaimed
from ...results.records import AttemptEnd, Claim
from ..attempt import CompiledTask, Engine
from ..recording import STORE_SECONDS

logger = logging.getLogger("taskq_sls.task")

POISON_RECEIVES = 10
"""Receives after which a message that cannot be run here goes to the dead-letter queue."""

POISON_DELAY = 30.0
POISON_MAX_DELAY = 900.0
"""Seconds such a message is hidden: the first time, and at most. A deploy may be under way."""


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
    outcome = poison_outcome(engine, delivery, reason, detail or unknown_task(message.task, engine.task_names()))
    if not isinstance(outcome, DeadLetter):
        return outcome
    try:
        ended = await _end_record(engine, delivery, message, (), outcome, create=reason == "unknown_task")
    except MissingResource:
        return outcome  # an app that records nothing may have no table
    except Exception as error:
        if isinstance(error, AwsError) and error.code in REFUSAL_CODES:
            return outcome  # no record that could be ended
        engine.claim_faults.failed(error)
        ended = False
    return RetryIn(POISON_MAX_DELAY, reason) if ended is False else outcome._replace(recorded=bool(ended))


async def fail_after_last_receive(
    engine: Engine, delivery: Delivery, message: Message, task: CompiledTask, outcome: Outcome
) -> Outcome:
    """End a task whose message, which stays in the queue, was received for the last time.

    SQS would move it without a reason, and its record would wait for ever. A task that runs elsewhere goes on, and so
    does one that a schedule brings again.
    """
    if not engine.is_last_receive(delivery) or not isinstance(outcome, RetryIn | Release):
        return outcome
    if isinstance(outcome, RetryIn) and outcome.later is not None:
        return outcome
    why = f"hidden: {outcome.reason}" if isinstance(outcome, RetryIn) else "released"
    text = (
        f"its message was received {delivery.receive_count} times, the last one that queue {delivery.queue!r} allows, and "
        f"is not done ({why}); raise max_receive_count, or see what spends its receives"
    )
    letter = DeadLetter("receives", ErrorInfo("OutOfReceives", text))
    if task.is_claimed:
        try:
            ended = await _end_record(engine, delivery, message, (task.name, *task.aliases), letter)
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


async def _end_record(
    engine: Engine,
    delivery: Delivery,
    message: Message,
    names: tuple[str, ...],
    letter: DeadLetter,
    *,
    create: bool = True,
) -> bool | None:
    """End the record of a task without an attempt; see `end_unclaimed`.

    Args:
        names: the task's other names.
    """
    now = engine.clock.time()
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
    return await end_unclaimed(engine.results, claim, end, create=create)
