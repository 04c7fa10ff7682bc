"""Outcomes carried out, for every driver: what each one means for the message."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..brokers.base import MAX_VISIBILITY, Answer, Broker
from ..core.delivery import DeadLetter, Delivery, Release, RetryIn
from ..core.fault_log import FaultLog
from ..errors import AwsError, TaskQError

if TYPE_CHECKING:
    from ..scheduler.store import ScheduleStore

logger = logging.getLogger("taskq_sls.delivery")

MAX_VISIBILITY_STEP = 11 * 3600
"""Longest visibility asked for, in seconds: SQS counts its 12 hours from the receive. A retry beyond it hops."""


MIN_VISIBILITY_STEP = 60
"""Seconds of visibility below which no shorter ones are tried."""


def visibility_seconds(outcome: RetryIn | Release) -> int:
    """Whole seconds of visibility for an outcome. Rounded up: a message that came early would have to wait again."""
    return min(MAX_VISIBILITY_STEP, MAX_VISIBILITY, max(0, math.ceil(outcome.delay)))


async def send_to_dlq(broker: Broker, entries: Sequence[tuple[Delivery, DeadLetter]]) -> list[bool]:
    """Send dead-letter copies; for each entry, whether its original may be deleted now.

    Without a dead-letter queue a recorded failure is done, an unrecorded one stays. A copy that cannot be sent
    stays too: the queue's own redrive is the net below.
    """
    try:
        answers: list[Answer] = await broker.dead_letter([(_dated(delivery), letter) for delivery, letter in entries])
    except TaskQError as error:
        logger.warning("no dead-letter copies could be sent: %s", error, extra={"action": "dead_letter_fault"})
        return [False] * len(entries)
    except Exception:
        logger.exception("no dead-letter copies could be made", extra={"action": "dead_letter_fault"})
        return [False] * len(entries)
    return [_buried(delivery, letter, answer) for (delivery, letter), answer in zip(entries, answers, strict=True)]


def _dated(delivery: Delivery) -> Delivery:
    """A firing without its scheduled time gets it, so that its copy, which is sent later, is the same task."""
    if "<aws.scheduler." not in delivery.body:
        return delivery
    from ..scheduler.firing import dated

    return delivery._replace(body=dated(delivery.body, delivery.sent_at))


def _buried(delivery: Delivery, letter: DeadLetter, answer: Answer) -> bool:
    if answer is None:
        return True
    if answer.code == "NoDeadLetterQueue" and letter.recorded:
        return True
    logger.warning(
        "message %s (%s) has no dead-letter copy and stays: %s: %s",
        delivery.message_id,
        letter.reason,
        answer.code,
        answer.message,
        extra={"action": "dead_letter_fault", "queue": delivery.queue, "reason": letter.reason},
    )
    return False


async def reschedule(schedules: ScheduleStore | None, entries: Sequence[tuple[Delivery, RetryIn]]) -> list[bool]:
    """Make the schedules that bring messages anew; for each entry, whether its original may be deleted now.

    A schedule that stands already is as good as a new one. What has none stays, and is hidden instead.
    """
    return [await _put_off(schedules, delivery, outcome) for delivery, outcome in entries]


async def _put_off(schedules: ScheduleStore | None, delivery: Delivery, outcome: RetryIn) -> bool:
    if schedules is None or outcome.later is None:
        return False
    try:
        await schedules.create(outcome.later)
    except Exception as error:
        logger.warning(
            "message %s could not be put off by a schedule, and is hidden instead: %s",
            delivery.message_id,
            error,
            extra={"action": "schedule_fault", "queue": delivery.queue},
        )
        return False
    return True


def hide_faults() -> FaultLog:
    """What a driver passes to every `change_visibility`, so that a permission that is missing is logged once."""
    return FaultLog(logger, "the visibility of messages cannot be changed", "hide_fault")


async def change_visibility(broker: Broker, entries: Sequence[tuple[Delivery, int]], faults: FaultLog) -> None:
    """Hide messages; a fault leaves them to the visibility timeout they have.

    Where SQS says that its 12 hours would be passed, half the time is asked for, and so on: a message that came back
    with every hold instead would spend its receives and end in the dead-letter queue.
    """
    try:
        answers = await broker.change_visibility(entries)
    except Exception as error:
        faults.failed(error)
        return
    shorter = [
        (delivery, seconds // 2)
        for (delivery, seconds), answer in zip(entries, answers, strict=True)
        if answer is not None and answer.over_12_hours and seconds > MIN_VISIBILITY_STEP
    ]
    if shorter:
        await change_visibility(broker, shorter, faults)
        answers = [
            None if answer is not None and answer.over_12_hours and seconds > MIN_VISIBILITY_STEP else answer
            for (_, seconds), answer in zip(entries, answers, strict=True)
        ]
    refused = [answer for answer in answers if answer is not None and not answer.receipt_expired]
    for answer in refused:
        faults.failed(AwsError("change_message_visibility_batch", answer.code, answer.message))
    if not refused:
        faults.recovered()
