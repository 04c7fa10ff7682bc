"""The record of a task: its states, its fields, and what a refused claim means.

These rules are shared by every result backend; a backend only makes each write conditional.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from ..core.context import Progress
from ..core.message import ErrorInfo
from ..core.states import CANCELLED, QUEUED, RETRYING, RUNNING, State

TAKEOVER_GRACE = 5.0
"""Seconds after the end of a lease before another holder may take over: room for clock skew."""

STALL_AFTER = 15 * 60.0
"""Seconds after the end of a lease or a due retry before a task counts as stalled."""


class Fence(NamedTuple):
    """What every write of one attempt is compared with. `owner` is a random token per attempt."""

    id: str
    run: int
    attempt: int
    owner: str


class PastAttempt(NamedTuple):
    """An attempt of this run that failed and was tried again. Times are epoch seconds; `error` is type and message."""

    attempt: int
    started_at: float
    ended_at: float
    error: str


KEPT_ATTEMPTS = 10
"""The last attempts before the present one that a record tells of."""


class TaskRecord(NamedTuple):
    """One task as the table holds it. Times are epoch seconds.

    `call` is the JSON of its arguments, ``{"args": [...], "kwargs": {...}}``, those that are redacted hidden; None where
    they are not recorded or too large. `past` are the attempts before, oldest first: one that is missing among them
    never said how it ended (its process died), or was too long ago. `result` is the decoded value; by the task's return
    annotation where the app knows the task, else as plain JSON. `next_at` is when a retrying task is due; `lease_until`
    when a running one is lost.
    `result_key` is the key of the object that holds a result too large for the table; listings leave it there.
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
        """Whether the lease or the due retry ended more than 15 minutes before `now`."""
        due = self.lease_until if self.status is State.RUNNING else self.next_at
        return self.status in (State.RUNNING, State.RETRYING) and due is not None and due < now - STALL_AFTER


Call = tuple[Sequence[Any], Mapping[str, Any]]
"""Arguments of a task, as JSON values."""


class Claim(NamedTuple):
    """The wish to start an attempt of a task.

    Args:
        lease_until: epoch seconds until which nobody else may start it.
        max_attempts: attempts a run may have; an ended lease at this count is not taken over.
        ttl: epoch seconds at which the record may be dropped.
        call: the arguments as they may be shown, as JSON values; None: not to be recorded.
        aliases: former names of the task. A record of any other name belongs to another task, and is never claimed.
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
    """The attempt is ours; `attempt` counts from 1 within the run."""

    attempt: int


class Refused(NamedTuple):
    """The attempt is not ours; `record` is what stands in the table."""

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
    """The lease moved; `cancel_requested` tells that somebody asked to cancel."""

    cancel_requested: bool


class CancelAnswer(NamedTuple):
    """What a cancel did.

    `answer` is ``cancelled`` (it will not run again), ``requested`` (it runs now and was told), or
    ``too_late`` (it had ended, as `status` says).
    """

    answer: str
    status: State


class KeyLock(NamedTuple):
    """A unique key, held for a task from its enqueue to its end. A key counts within the task's name.

    Args:
        id: of the task that holds the key.
        queue: the logical queue the task was sent to.
        locked_at: epoch seconds of the enqueue that locked it; with `id` it names this very lock.
        ttl: epoch seconds at which the key is free whatever became of the task; whole.
        confirmed: whether the queue is known to have accepted the task's message.
    """

    task: str
    key: str
    id: str
    queue: str
    locked_at: float
    ttl: float
    confirmed: bool = False

    def same(self, other: KeyLock) -> bool:
        """Whether both are the lock of one enqueue, confirmed or not."""
        return (self.id, self.locked_at) == (other.id, other.locked_at)


class RecordState(Protocol):
    """What the rules below look at: a :class:`TaskRecord`, or a backend's own row."""

    @property
    def task(self) -> str: ...
    @property
    def status(self) -> State: ...
    @property
    def run(self) -> int: ...
    @property
    def attempt(self) -> int: ...
    @property
    def owner(self) -> str | None: ...
    @property
    def lease_until(self) -> float | None: ...
    @property
    def next_at(self) -> float | None: ...
    @property
    def cancel_requested(self) -> bool: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def ttl(self) -> float: ...


def can_claim(record: RecordState, claim: Claim) -> bool:
    """Whether a claim may take the record as it stands (protocol: claim)."""
    if replaceable(record, claim):
        return True
    if of_another_task(record, claim):
        return False
    if record.run != claim.run or record.cancel_requested:
        return False
    if record.status is QUEUED:
        return True
    if record.status is RETRYING:
        return record.next_at is None or record.next_at <= claim.now
    return record.attempt < claim.max_attempts and abandoned(record, claim.now)


def replaceable(record: RecordState, claim: Claim) -> bool:
    """True if a claim replaces the whole record: it is past its ttl, or FAILED in the run before.

    A run further ahead is refused: a forged one would turn away the redrives that follow.
    """
    if record.ttl <= claim.now:
        return True
    return record.status is State.FAILED and record.run + 1 == claim.run and not of_another_task(record, claim)


def of_another_task(record: RecordState, claim: Claim) -> bool:
    """True if the record's id was used by another task first."""
    return record.task != claim.task and record.task not in claim.aliases


def unstarted(record: RecordState, claim: Claim) -> bool:
    """True if the task of a claim is queued in its run, and no attempt has started."""
    waits = record.status is QUEUED and record.run == claim.run and record.attempt == 0
    return waits and not of_another_task(record, claim)


def claimed_already(record: RecordState, claim: Claim) -> bool:
    """Whether this very claim took effect before and only its answer was lost."""
    return record.status is RUNNING and record.owner == claim.owner and record.run == claim.run


def abandoned(record: RecordState, now: float) -> bool:
    """Whether the record is RUNNING under a lease that ended at least the grace ago."""
    return record.status is RUNNING and (record.lease_until or 0.0) <= now - TAKEOVER_GRACE


def is_unclaimed(record: RecordState, now: float) -> bool:
    """Whether the task has not ended and nobody works on it."""
    return record.status in (QUEUED, RETRYING) or abandoned(record, now)


def holds_lease(record: RecordState, fence: Fence) -> bool:
    """Whether the attempt of `fence` is the one that runs."""
    return record.status is RUNNING and _written_by(record, fence, fence.attempt)


def finished_as(record: RecordState, fence: Fence, state: State) -> State | None:
    """The state that a refused finish had reached already, its answer lost; None when it never did.

    CANCELLED stands for RETRYING, since a cancel turns the one into the other.
    """
    same = record.status is state or (state is RETRYING and record.status is CANCELLED)
    return record.status if same and _written_by(record, fence, fence.attempt) else None


def released_already(record: RecordState, fence: Fence) -> bool:
    """Whether the release of this attempt took effect before and only its answer was lost."""
    waiting = record.status in (QUEUED, RETRYING)
    return waiting and _written_by(record, fence, fence.attempt - 1)


def closed_already(record: RecordState, fence: Fence, finish: AttemptEnd) -> bool:
    """Whether an abandoned attempt was ended in just this way before."""
    return record.reason == finish.reason and finished_as(record, fence, finish.state) is finish.state


def _written_by(record: RecordState, fence: Fence, attempt: int) -> bool:
    return record.owner == fence.owner and record.run == fence.run and record.attempt == attempt
