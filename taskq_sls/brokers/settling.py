"""How drivers carry out outcomes: dead-letter copies and visibility changes."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from ..core.delivery import DeadLetter, Delivery, Release, RetryIn
from ..core.fault_log import FaultLog
from ..core.times import MAX_VISIBILITY_STEP
from ..errors import AwsError, TaskQError
from .base import MAX_VISIBILITY, Answer, Broker

logger = logging.getLogger("taskq_sls.delivery")

MIN_VISIBILITY_STEP = 60
"""Seconds below which no shorter visibility timeout is tried."""


def visibility_seconds(outcome: RetryIn | Release) -> int:
    """Whole seconds of visibility for an outcome. Rounded up: a message that came early would have to wait again."""
    return min(MAX_VISIBILITY_STEP, MAX_VISIBILITY, max(0, math.ceil(outcome.delay)))


async def send_to_dlq(broker: Broker, entries: Sequence[tuple[Delivery, DeadLetter]]) -> list[bool]:
    """Send dead-letter copies; for each entry, True if its original may be deleted now.

    Without a dead-letter queue a recorded failure is done, an unrecorded one stays. If its copy cannot be sent, the
    message stays too: SQS's own redrive will move it.
    """
    try:
        answers: list[Answer] = await broker.dead_letter(entries)
    except TaskQError as error:
        logger.warning("no dead-letter copies could be sent: %s", error, extra={"action": "dead_letter_fault"})
        return [False] * len(entries)
    except Exception:
        logger.exception("no dead-letter copies could be made", extra={"action": "dead_letter_fault"})
        return [False] * len(entries)
    return [_is_copied(delivery, letter, answer) for (delivery, letter), answer in zip(entries, answers, strict=True)]


def _is_copied(delivery: Delivery, letter: DeadLetter, answer: Answer) -> bool:
    if answer is None or (answer.code == "NoDeadLetterQueue" and letter.recorded):
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


def hide_faults() -> FaultLog:
    """The fault log that a driver passes to every `change_visibility`, so that a missing permission is logged once."""
    return FaultLog(logger, "the visibility of messages cannot be changed", "hide_fault")


async def change_visibility(broker: Broker, entries: Sequence[tuple[Delivery, int]], faults: FaultLog) -> None:
    """Hide messages; a fault leaves them to the visibility timeout they have.

    If SQS answers that its 12 hours would be passed, half the time is asked for, and so on: a message that came back
    after every visibility timeout instead would spend its receives and end in the dead-letter queue.
    """
    try:
        answers = await broker.change_visibility(entries)
    except Exception as error:
        faults.failed(error)
        return
    shorter: list[tuple[Delivery, int]] = []
    refused: list[AwsError] = []
    for (delivery, seconds), answer in zip(entries, answers, strict=True):
        if answer is None:
            continue
        if answer.over_12_hours and seconds > MIN_VISIBILITY_STEP:
            shorter.append((delivery, seconds // 2))
        elif not answer.receipt_expired:
            refused.append(AwsError("change_message_visibility_batch", answer.code, answer.message))
    if shorter:
        await change_visibility(broker, shorter, faults)
    for refusal in refused:
        faults.failed(refusal)
    if not refused:
        faults.recovered()
