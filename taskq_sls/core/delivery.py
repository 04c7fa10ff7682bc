"""A received message, and the possible outcomes of processing it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from .message import ErrorInfo

if TYPE_CHECKING:
    from .schedule_spec import ScheduleSpec


class Delivery(NamedTuple):
    """One received message, the same whether it came from ReceiveMessage or a Lambda record.

    Times are epoch seconds. `queue` is the logical name, or the physical one if the app does not declare the queue.
    """

    queue: str
    body: str
    receipt: str
    message_id: str
    receive_count: int
    sent_at: float
    group: str | None = None
    attributes: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Done:
    """The result is stored, or the message is a duplicate: delete the message."""


class RetryIn(NamedTuple):
    """Set the visibility timeout to `delay` seconds, after which the message is redelivered.

    If `later` is given, make that one-time schedule, which sends the message again, and delete this one. If the schedule
    cannot be made, change the visibility timeout all the same.
    """

    delay: float
    reason: str
    later: ScheduleSpec | None = None


class DeadLetter(NamedTuple):
    """Copy the message with the reason to the dead-letter queue, and only then delete it.

    Args:
        recorded: the table holds the failure, so a message without a dead-letter queue is deleted without a copy.
        body: the message to copy; None for the one that was delivered.
    """

    reason: str
    error: ErrorInfo | None = None
    attempts: int = 0
    recorded: bool = False
    body: str | None = None


class Release(NamedTuple):
    """Return a message that was not started to its queue, visible again after `delay` seconds."""

    delay: float = 0


@dataclass(frozen=True, slots=True)
class Lost:
    """The attempt lost its lease, or its state is unknown: leave the message, which is redelivered."""


Outcome = Done | RetryIn | DeadLetter | Release | Lost

DONE = Done()
LOST = Lost()

_LEAVING = (Done, DeadLetter)


def leaves_queue(outcome: Outcome) -> bool:
    """True if the message leaves the queue, so that the next of its FIFO group may run."""
    return isinstance(outcome, _LEAVING)
