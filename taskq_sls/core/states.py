"""The states of a task."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, cast


class State(StrEnum):
    """The states of a task."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    RETRYING = "RETRYING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"

    @property
    def terminal(self) -> bool:
        """True if a task in this state is finished for its run."""
        return self in TERMINAL

    @classmethod
    def read(cls, text: str) -> State:
        """The state of a stored record. A state of a later version is kept as it is, and no rule here acts upon it."""
        if (known := cls._value2member_map_.get(text)) is not None:
            return cast(State, known)
        other = str.__new__(cls, text)
        other._name_ = other._value_ = text
        return other

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return State.read, (self.value,)


# Looking a member up in its class costs more than a call does (Python 3.11), and these are looked up for every task.
QUEUED, RUNNING, RETRYING = State.QUEUED, State.RUNNING, State.RETRYING


SUCCEEDED, FAILED, CANCELLED = State.SUCCEEDED, State.FAILED, State.CANCELLED


UNREADABLE = State.read("UNREADABLE")
"""Shown for a record whose attributes cannot be read. No record has it, and nothing acts upon it."""


TERMINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED})
