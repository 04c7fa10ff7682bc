"""How messages wait for the next start of their task, and how drivers carry out outcomes, in order within FIFO groups."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from ..brokers.base import MAX_VISIBILITY, Answer, Broker
from ..core.delivery import DeadLetter, Delivery, Done, Outcome, Release, RetryIn
from ..core.fault_log import FaultLog
from ..core.lifetimes import RETENTION
from ..core.message import Message
from ..core.queues import Queue
from ..core.retry import RETENTION_MARGIN_SECONDS, Retry
from ..errors import AwsError, ConfigError, TaskQError
from .attempt import Engine

if TYPE_CHECKING:
    from ..scheduler.store import ScheduleStore

logger = logging.getLogger("taskq_sls.delivery")

MAX_VISIBILITY_STEP = 11 * 3600
"""Longest visibility timeout that is asked for, in seconds: SQS counts its 12 hours from the receive. A retry that is due
later takes several steps."""

MIN_VISIBILITY_STEP = 60
"""Seconds below which no shorter visibility timeout is tried."""

MIN_SCHEDULE_WAIT_SECONDS = 60.0
"""Seconds between two tries to make the schedule of a message that its queue will drop before long."""


# -- waiting ----------------------------------------------------------------------------------------------------------


def is_last_receive(engine: Engine, delivery: Delivery) -> bool:
    """True if SQS will move the message to the dead-letter queue in place of another receive."""
    return delivery.receive_count >= engine.max_receives(delivery.queue)


def exceeds_retention(engine: Engine, delivery: Delivery, delay: float) -> bool:
    """True if the queue drops the message before `delay` seconds have passed, and no schedule could bring it."""
    return not _within_retention(engine, delivery, delay) and not engine.can_schedule()


def _within_retention(engine: Engine, delivery: Delivery, delay: float) -> bool:
    return engine.clock.time() + delay <= delivery.sent_at + RETENTION - RETENTION_MARGIN_SECONDS


def retry_in(engine: Engine, delivery: Delivery, message: Message, attempt: int, delay: float, reason: str) -> RetryIn:
    """The wait for a start in `delay` seconds; by a schedule if there can be one and the queue cannot keep the message.

    Args:
        attempt: the last one that was started.
    """
    # In a FIFO queue the message keeps its place as long as it can.
    keeps = delay <= MAX_VISIBILITY_STEP or delivery.queue.endswith(".fifo")
    if (keeps and _within_retention(engine, delivery, delay)) or not engine.can_schedule():
        return RetryIn(delay, reason)
    from ..scheduler.delays import late_retry  # few tasks wait that long

    now = engine.clock.time()
    later = late_retry(delivery, message, attempt, now + delay, now)
    # If the schedule cannot be made, the message comes again while there is time to try anew.
    visible_in = min(
        delay, max(MIN_SCHEDULE_WAIT_SECONDS, delivery.sent_at + RETENTION - RETENTION_MARGIN_SECONDS - now)
    )
    return RetryIn(visible_in, reason, later)


def check_receives(where: str, retry: Retry, queue: Queue) -> None:
    """Refuse more attempts than the queue has receives: SQS would move the message while its task waits for a retry.

    Raises:
        ConfigError: it has not enough of them.
    """
    needed, most = retry.receives(MAX_VISIBILITY_STEP), queue.receives_for_attempts
    if needed > most:
        wait = f" and waits above {MAX_VISIBILITY_STEP // 3600} h" if needed > retry.max_attempts else ""
        raise ConfigError(
            f"{where}: max_attempts={retry.max_attempts}{wait} take {needed} receives, and queue {queue.name!r} has "
            f"{most} for attempts, of max_receive_count={queue.receives_before_redrive} (a tenth is kept for receives that are "
            "no attempts): SQS would move the message to the dead-letter queue before the last one. Lower max_attempts, or "
            "raise Queue(max_receive_count=...), up to 1,000"
        )


# -- carrying out -----------------------------------------------------------------------------------------------------


def visibility_seconds(outcome: RetryIn | Release) -> int:
    """Whole seconds of visibility for an outcome. Rounded up: a message that came early would have to wait again."""
    return min(MAX_VISIBILITY_STEP, MAX_VISIBILITY, max(0, math.ceil(outcome.delay)))


async def send_to_dlq(broker: Broker, entries: Sequence[tuple[Delivery, DeadLetter]]) -> list[bool]:
    """Send dead-letter copies; for each entry, True if its original may be deleted now.

    Without a dead-letter queue a recorded failure is done, an unrecorded one stays. If its copy cannot be sent, the
    message stays too: SQS's own redrive will move it.
    """
    try:
        answers: list[Answer] = await broker.dead_letter([(_dated(delivery), letter) for delivery, letter in entries])
    except TaskQError as error:
        logger.warning("no dead-letter copies could be sent: %s", error, extra={"action": "dead_letter_fault"})
        return [False] * len(entries)
    except Exception:
        logger.exception("no dead-letter copies could be made", extra={"action": "dead_letter_fault"})
        return [False] * len(entries)
    return [_is_copied(delivery, letter, answer) for (delivery, letter), answer in zip(entries, answers, strict=True)]


def _dated(delivery: Delivery) -> Delivery:
    """A firing without its scheduled time gets it, so that its copy, which is sent later, is the same task."""
    if "<aws.scheduler." not in delivery.body:
        return delivery
    from ..scheduler.firing import dated  # few clocks leave the time out

    return delivery._replace(body=dated(delivery.body, delivery.sent_at))


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


async def reschedule(schedules: ScheduleStore | None, entries: Sequence[tuple[Delivery, RetryIn]]) -> list[bool]:
    """Make the schedules that bring messages again; for each entry, True if its original may be deleted now.

    A schedule that exists already counts as made. A message without one stays in its queue, and is hidden instead.
    """
    return [await _has_schedule(schedules, delivery, outcome) for delivery, outcome in entries]


async def _has_schedule(schedules: ScheduleStore | None, delivery: Delivery, outcome: RetryIn) -> bool:
    if schedules is None or outcome.later is None:
        return False
    try:
        await schedules.create(outcome.later)
    except Exception as error:
        logger.warning(
            "message %s could not be rescheduled, and is hidden instead: %s",
            delivery.message_id,
            error,
            extra={"action": "schedule_fault", "queue": delivery.queue},
        )
        return False
    return True


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


# -- order within FIFO groups -----------------------------------------------------------------------------------------

Process = Callable[[Delivery], Awaitable[Outcome]]


def fifo_groups(deliveries: Sequence[Delivery], fifo: Callable[[str], bool]) -> list[list[Delivery]]:
    """Split a batch into chains that run one message after the other: a FIFO group each, or a single message."""
    by_group: dict[tuple[str, str], list[Delivery]] = {}
    result: list[list[Delivery]] = []
    for delivery in deliveries:
        if delivery.group is None or not fifo(delivery.queue):
            result.append([delivery])
            continue
        key = (delivery.queue, delivery.group)
        if key not in by_group:
            by_group[key] = []
            result.append(by_group[key])
        by_group[key].append(delivery)
    return result


_LEAVING = (Done, DeadLetter)


def leaves_queue(outcome: Outcome) -> bool:
    """True if the message leaves the queue, so that the next of its group may run."""
    return isinstance(outcome, _LEAVING)


class GroupLocks:
    """Serialises deliveries of a group that came with different polls.

    SQS delivers nothing of a group while a message of it is in flight, so a second one can only come after a visibility
    timeout has ended too early; then order still holds here.
    """

    def __init__(self) -> None:
        self._locks: dict[tuple[str, str], _GroupLock] = {}

    async def run_chain(
        self,
        chain: Sequence[Delivery],
        process: Process,
        done: Callable[[Delivery, Outcome], Awaitable[None]],
        released: Callable[[], bool],
    ) -> None:
        """Process a chain in order; after a message that stays in the queue, release the rest untouched.

        Args:
            done: called with every outcome, in order.
            released: True once the driver stops, so that messages that have not started are released.
        """
        head = chain[0]
        key = (head.queue, head.group or head.message_id)
        lock = self._locks.setdefault(key, _GroupLock())
        lock.users += 1
        try:
            async with lock:
                blocked = False
                for delivery in chain:
                    if blocked or released():
                        await done(delivery, Release(0))
                        continue
                    outcome = await process(delivery)
                    blocked = not leaves_queue(outcome)
                    await done(delivery, outcome)
        finally:
            # A lock that another chain waits for must stay: a new one would let a third chain run beside that one.
            lock.users -= 1
            if lock.users == 0:
                del self._locks[key]


class _GroupLock(asyncio.Lock):
    users = 0
