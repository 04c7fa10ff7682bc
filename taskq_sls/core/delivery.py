"""A received message, and what can become of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from .message import ErrorInfo

if TYPE_CHECKING:
    from .schedule_spec import ScheduleSpec


class Delivery(NamedTuple):
    """One received message, the same whether it came from ReceiveMessage or a Lambda record.

    Times are epoch seconds. `queue` is the logical name the app knows (physical where it does not).
    """

    queue: str
    body: str
    receipt: str
    message_id: str
    receive_count: int
    sent_at: float
    group: str | None = None
    attributes: Mapping[str, str] = {}


class _Bare:
    """An outcome that says no more than what it is. No tuple, since empty tuples of all types are equal."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Done(_Bare):
    """The outcome is durable (or the message is a harmless duplicate): delete the message."""

    __slots__ = ()


class RetryIn(NamedTuple):
    """Hide the message for `delay` seconds, then it comes again.

    Where `later` is set, make that one-time schedule, which brings the message anew, and delete this one then; if it
    cannot be made, hide all the same.
    """

    delay: float
    reason: str
    later: ScheduleSpec | None = None


class DeadLetter(NamedTuple):
    """Copy the message to the dead-letter queue with its reason; only then delete it.

    `recorded` tells that the table holds the failure: without a dead-letter queue it is then done all the same.
    """

    reason: str
    error: ErrorInfo | None = None
    attempts: int = 0
    recorded: bool = False


class Release(NamedTuple):
    """Not started: give the message back, visible again after `delay` seconds."""

    delay: float = 0


class Lost(_Bare):
    """Another holder owns the task now: touch nothing."""

    __slots__ = ()


Outcome = Done | RetryIn | DeadLetter | Release | Lost

DONE = Done()
LOST = Lost()
