"""How a message waits for the next start of its task."""

from __future__ import annotations

from collections.abc import Callable

from ..core.clock import Clock
from ..core.delivery import Delivery, RetryIn
from ..core.lifetimes import RETENTION
from ..core.message import Message
from ..core.queues import Queue
from ..core.retry import SAFETY, Retry
from ..errors import ConfigError
from .attempt import POISON_RECEIVES
from .settling import MAX_VISIBILITY_STEP

LAST_WAIT = 60.0
"""Seconds between two tries to have a schedule bring a message that its queue will drop before long."""


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


class Waits:
    """Decides between hiding a message and handing it to a schedule.

    Args:
        scheduling: whether a one-time schedule can bring a message back; asked when one is wanted.
        receives: receives of a message before SQS moves it to the dead-letter queue, by logical queue name.
    """

    def __init__(self, clock: Clock, scheduling: Callable[[], bool], receives: Callable[[str], float]) -> None:
        self._clock = clock
        self._scheduling = scheduling
        self._receives = receives

    def is_last_receive(self, delivery: Delivery) -> bool:
        """True if SQS will move the message to the dead-letter queue in place of another receive."""
        return delivery.receive_count >= self._receives(delivery.queue)

    def poison_receives(self, delivery: Delivery) -> float:
        """Receives after which a message that nobody here can run is dead-lettered: before SQS would move it."""
        return min(POISON_RECEIVES, self._receives(delivery.queue))

    def outlasts(self, delivery: Delivery, delay: float) -> bool:
        """Whether the wait ends after the queue has dropped the message, and nothing else could bring it."""
        return not self._kept(delivery, delay) and not self._scheduling()

    def _kept(self, delivery: Delivery, delay: float) -> bool:
        return self._clock.time() + delay <= delivery.sent_at + RETENTION - SAFETY

    def back_in(self, delivery: Delivery, message: Message, attempt: int, delay: float, reason: str) -> RetryIn:
        """The wait for a retry or a start; handed to a schedule, where there can be one, if the queue cannot keep it.

        Args:
            attempt: the last one that was started.
        """
        # In a FIFO queue the message keeps its place as long as it can.
        if (
            self._kept(delivery, delay) and (delay <= MAX_VISIBILITY_STEP or delivery.queue.endswith(".fifo"))
        ) or not self._scheduling():
            return RetryIn(delay, reason)
        from ..scheduler.delays import late_retry  # few tasks wait that long

        now = self._clock.time()
        later = late_retry(delivery, message, attempt, now + delay, now)
        # Where the schedule cannot be made, the message comes again while there is time to try anew.
        hide = min(delay, max(LAST_WAIT, delivery.sent_at + RETENTION - SAFETY - now))
        return RetryIn(hide, reason, later)
