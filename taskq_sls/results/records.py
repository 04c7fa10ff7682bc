"""The record of a task, and the values of its changes, which all result backends share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..core.context import Progress
from ..core.message import ErrorInfo
from ..core.states import State

STALL_AFTER = 15 * 60.0
"""Seconds after the end of a lease or a due retry before a task counts as stalled."""


class Fence(NamedTuple):
    """The token that every write of an attempt is conditional on. `owner` is a random token per attempt."""

    id: str
    run: int
    attempt: int
    owner: str


class PastAttempt(NamedTuple):
    """A failed attempt of this run before the present one. Times are epoch seconds; `error` is type and message."""

    attempt: int
    started_at: float
    ended_at: float
    error: str


KEPT_ATTEMPTS = 10
"""A record keeps so many attempts before the present one."""


class TaskRecord(NamedTuple):
    """One task as the table holds it. Times are epoch seconds.

    Attributes:
        call: its arguments as JSON, ``{"args": [...], "kwargs": {...}}``, redacted values masked; None if they are not
            recorded or too large.
        past: earlier attempts of this run, oldest first. Missing ones crashed, or are more than 10 attempts old.
        result: the decoded value, by the task's return annotation if the app has the task, else as plain JSON.
        result_key: key of the object with a result too large for the table; listings do not fetch it.
        next_at: when a RETRYING task is due.
        lease_until: when a RUNNING task is lost.
    """

    id: str
    task: str
    queue: str
    status: State
    run: int = 0
    attempt: int = 0
    owner: str | None = None
    lease_until: float | None = None
    next_at: float | None = None
    enqueued_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    updated_at: float = 0.0
    cancel_requested: bool = False
    progress: Progress | None = None
    result: Any = None
    result_json: str | None = None
    result_key: str | None = None
    error: ErrorInfo | None = None
    reason: str | None = None
    labels: Mapping[str, str] = {}
    parent: str | None = None
    ttl: float = 0.0
    unique_key: str | None = None
    call: str | None = None
    past: tuple[PastAttempt, ...] = ()

    def stalled(self, now: float) -> bool:
        """True if the lease or the due retry ended more than 15 minutes before `now`."""
        due = self.lease_until if self.status is State.RUNNING else self.next_at
        return self.status in (State.RUNNING, State.RETRYING) and due is not None and due < now - STALL_AFTER


Call = tuple[Sequence[Any], Mapping[str, Any]]
"""Arguments of a task, as JSON values."""


class Claim(NamedTuple):
    """A request to start an attempt of a task.

    Args:
        lease_until: epoch seconds until which no other attempt may start.
        max_attempts: attempts of a run; an ended lease at this count is not taken over.
        ttl: epoch seconds at which the record may be dropped.
        call: the arguments as JSON values, redacted ones masked; None: not recorded.
        aliases: former names of the task. A record of any other name belongs to another task and is not claimed.
    """

    id: str
    run: int
    task: str
    queue: str
    owner: str
    now: float
    lease_until: float
    max_attempts: int
    ttl: float
    enqueued_at: float
    labels: Mapping[str, str] = {}
    parent: str | None = None
    unique_key: str | None = None
    call: Call | None = None
    aliases: tuple[str, ...] = ()


class Claimed(NamedTuple):
    """The attempt has started; `attempt` counts from 1 within the run."""

    attempt: int


class Refused(NamedTuple):
    """The attempt may not start; `record` is the present record."""

    record: TaskRecord


class AttemptEnd(NamedTuple):
    """The end of an attempt: a terminal state, or RETRYING with `next_at`.

    The result is `result_json`, or the object under `result_key`. `started_at` is when the attempt began, epoch seconds.
    """

    state: State
    now: float
    ttl: float
    result_json: str | None = None
    error: ErrorInfo | None = None
    reason: str | None = None
    next_at: float | None = None
    progress: Progress | None = None
    result_key: str | None = None
    started_at: float | None = None


class Renewed(NamedTuple):
    """The lease was extended. `cancel_requested`: the task should be cancelled."""

    cancel_requested: bool


class CancelAnswer(NamedTuple):
    """The answer to a cancel.

    `answer` is ``cancelled`` (it will not run again), ``requested`` (it is running; the flag is set), or ``too_late`` (it
    had ended in `status`).
    """

    answer: str
    status: State


class KeyLock(NamedTuple):
    """The lock of a unique key, from the enqueue of a task to its end. Keys are unique within a task name.

    Args:
        id: of the task that holds the key.
        queue: the logical queue the task was sent to.
        locked_at: epoch seconds of the enqueue that locked it; with `id` it identifies the lock.
        ttl: whole epoch seconds at which the key becomes free even if the task has not ended.
        confirmed: True once the queue has accepted the task's message.
    """

    task: str
    key: str
    id: str
    queue: str
    locked_at: float
    ttl: float
    confirmed: bool = False

    def same(self, other: KeyLock) -> bool:
        """True if both are the lock of the same enqueue, confirmed or not."""
        return (self.id, self.locked_at) == (other.id, other.locked_at)
