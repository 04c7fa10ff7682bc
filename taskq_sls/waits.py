"""How a message waits for the next start of its task."""

from __future__ import annotations

from collections.abc import Callable

from .clock import Clock
from .delivery import Delivery, RetryIn
from .message import Message
from .results.records import RETENTION
from .retry import SAFETY
from .settle import LONGEST_HOP

LAST_WAIT = 60.0
"""Seconds between two tries to have a schedule bring a message that its queue will drop before long."""


class Waits:
    """Decides between hiding a message and handing it to a schedule.

    Args:
        scheduling: whether a one-time schedule can bring a message back; asked when one is wanted.
    """

    def __init__(self, clock: Clock, scheduling: Callable[[], bool]) -> None:
        self._clock = clock
        self._scheduling = scheduling

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
            self._kept(delivery, delay) and (delay <= LONGEST_HOP or delivery.queue.endswith(".fifo"))
        ) or not self._scheduling():
            return RetryIn(delay, reason)
        from .scheduler.delays import late_retry  # few tasks wait that long

        now = self._clock.time()
        later = late_retry(delivery, message, attempt, now + delay, now)
        # Where the schedule cannot be made, the message comes again while there is time to try anew.
        hide = min(delay, max(LAST_WAIT, delivery.sent_at + RETENTION - SAFETY - now))
        return RetryIn(hide, reason, later)
