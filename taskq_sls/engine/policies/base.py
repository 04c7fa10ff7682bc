"""The interface of policies beside the engine."""

from __future__ import annotations

from collections.abc import Awaitable

from ...core.delivery import Outcome
from ...core.message import Message
from ...results.records import AttemptEnd
from ..attempt import Attempt, Engine


class Observer:
    """A policy beside the engine. Override the hooks that it needs.

    Hooks are called on the event loop and return at once. An exception in a hook is logged, and changes no outcome.
    """

    def admit(self, engine: Engine, attempt: Attempt) -> Awaitable[Outcome | None] | None:
        """Decide if an attempt that was just claimed may start. Called last before its function.

        Returns:
            None to let it start, or an awaitable of None or of an outcome: the message's, if the attempt must not start.
            The outcome must be durable then (`recording.record` or `recording.release`).
        """

    def attempt_started(self, attempt: Attempt) -> None:
        """The function is about to be entered."""

    def attempt_failing(self, attempt: Attempt, end: AttemptEnd) -> None:
        """The attempt has no result, and its end is not stored yet: a retry, a failure, a cancel or an expiry.

        Called again, with a failure, if the record has no room for the retry or for the result.
        """

    def attempt_ended(self, attempt: Attempt, end: AttemptEnd) -> None:
        """The end is stored. `attempt.started_at` is 0 if the task ended without this delivery's attempt."""

    def attempt_dropped(self, attempt: Attempt, reason: str) -> None:
        """The attempt has no end: ``released`` to the queue, or ``lease_lost`` to another holder."""

    def message_done(self, engine: Engine, message: Message) -> Awaitable[None] | None:
        """The task is over, and its message leaves the queue."""
