"""Which dead letters are meant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from .dead_letter_view import DeadLetterView


class Selection(NamedTuple):
    """Dead letters that fit all that is given; an empty selection means all.

    Args:
        tasks: names of tasks.
        reasons: such as ``exhausted`` or ``crashed``.
        older_than: seconds since they were given up (where that is not known, sent).
        labels: all of these.
        ids: ids of tasks.
        message_ids: SQS's ids of messages, as a listing shows them.
        before: epoch seconds; given up (where that is not known, sent) before that time. With the time at which
            one began, a redrive in several steps leaves what fails again meanwhile.
        newer_than: seconds since they were given up at most, as with `older_than`.
    """

    tasks: frozenset[str] = frozenset()
    reasons: frozenset[str] = frozenset()
    older_than: float | None = None
    labels: Mapping[str, str] = {}
    ids: frozenset[str] = frozenset()
    message_ids: frozenset[str] = frozenset()
    before: float | None = None
    newer_than: float | None = None

    def holds(self, one: DeadLetterView, now: float) -> bool:
        """Whether a dead letter is meant."""
        return (
            (not self.tasks or one.task in self.tasks)
            and (not self.reasons or one.reason in self.reasons)
            and (self.older_than is None or now - one.since >= self.older_than)
            and (self.before is None or one.since < self.before)
            and (self.newer_than is None or now - one.since <= self.newer_than)
            and all(one.labels.get(name) == value for name, value in self.labels.items())
            and (not self.ids or one.id in self.ids)
            and (not self.message_ids or one.message_id in self.message_ids)
        )

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return self == Selection()

    @property
    def most(self) -> int | None:
        """The most dead letters that can fit, where that is known."""
        return len(self.message_ids) or None


ALL = Selection()
