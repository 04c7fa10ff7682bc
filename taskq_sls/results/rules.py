"""The rules of a record's changes, which all result backends share, and the outcome of a message whose claim was refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..core.delivery import DONE, DeadLetter, Outcome, RetryIn
from ..core.message import ErrorInfo
from ..core.retry import RETENTION_MARGIN_SECONDS
from ..core.states import CANCELLED, QUEUED, RETRYING, RUNNING, State
from ..core.times import RETENTION
from .records import AttemptEnd, Claim, Fence, TaskRecord

if TYPE_CHECKING:
    from .memory_row import MutableRecord

    Record = TaskRecord | MutableRecord

TAKEOVER_GRACE = 5.0
"""Seconds after the end of a lease before another attempt may start, which allows for clock skew."""

MAX_DUPLICATE_WAIT_SECONDS = 900.0
"""Longest time a duplicate waits before it tries the claim again under a live lease."""


def can_claim(record: Record, claim: Claim) -> bool:
    """True if a claim may start an attempt of the record."""
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


def replaceable(record: Record, claim: Claim) -> bool:
    """True if a claim replaces the whole record: it is past its ttl, or FAILED in the run before.

    A run further ahead is refused: a forged one would block all redrives that follow.
    """
    if record.ttl <= claim.now:
        return True
    return record.status is State.FAILED and record.run + 1 == claim.run and not of_another_task(record, claim)


def of_another_task(record: Record, claim: Claim) -> bool:
    """True if the record's id was used by another task first."""
    return record.task != claim.task and record.task not in claim.aliases


def unstarted(record: Record, claim: Claim) -> bool:
    """True if the task of a claim is queued in its run, and no attempt has started."""
    waits = record.status is QUEUED and record.run == claim.run and record.attempt == 0
    return waits and not of_another_task(record, claim)


def claimed_already(record: Record, claim: Claim) -> bool:
    """True if this claim already took effect and only its answer was lost."""
    return record.status is RUNNING and record.owner == claim.owner and record.run == claim.run


def abandoned(record: Record, now: float) -> bool:
    """True if the record is RUNNING and its lease ended at least the grace period ago."""
    return record.status is RUNNING and (record.lease_until or 0.0) <= now - TAKEOVER_GRACE


def is_unclaimed(record: Record, now: float) -> bool:
    """True if the task has not ended and no attempt holds a lease."""
    return record.status in (QUEUED, RETRYING) or abandoned(record, now)


def holds_lease(record: Record, fence: Fence) -> bool:
    """True if the attempt of `fence` is running."""
    return record.status is RUNNING and _written_by(record, fence, fence.attempt)


def finished_as(record: Record, fence: Fence, state: State) -> State | None:
    """The state that an earlier try of a refused finish stored; None if none did.

    For RETRYING it may be CANCELLED, since a requested cancel turns one into the other.
    """
    same = record.status is state or (state is RETRYING and record.status is CANCELLED)
    return record.status if same and _written_by(record, fence, fence.attempt) else None


def released_already(record: Record, fence: Fence) -> bool:
    """True if the release of this attempt already took effect and only its answer was lost."""
    waiting = record.status in (QUEUED, RETRYING)
    return waiting and _written_by(record, fence, fence.attempt - 1)


def closed_already(record: Record, fence: Fence, finish: AttemptEnd) -> bool:
    """True if an abandoned attempt was already ended in this way."""
    return record.reason == finish.reason and finished_as(record, fence, finish.state) is finish.state


def _written_by(record: Record, fence: Fence, attempt: int) -> bool:
    return record.owner == fence.owner and record.run == fence.run and record.attempt == attempt


class RefusalDecision(NamedTuple):
    """The outcome of a message whose claim was refused.

    Args:
        close: ends the record first, or None.
        cancel: cancel the record first.
    """

    outcome: Outcome
    close: AttemptEnd | None = None
    cancel: bool = False


def decide(record: TaskRecord, claim: Claim, visibility_timeout: float, sent_at: float) -> RefusalDecision:
    """Read the record that refused a claim.

    Args:
        visibility_timeout: of the queue, in seconds. A live holder renews its lease three times in that time.
        sent_at: when the message was sent, epoch seconds.
    """
    if of_another_task(record, claim):
        return RefusalDecision(_refused("id_taken", id_taken_by(record, claim.task)))
    if claim.run < record.run:
        return RefusalDecision(DONE)
    if record.status is State.FAILED and claim.run > record.run + 1:
        return RefusalDecision(
            _refused(
                "run_ahead",
                f"the message is of run {claim.run}, and the task has reached run {record.run}: only the next run is "
                "started; redrive the message with `taskq dlq redrive`",
            )
        )
    if record.status is State.FAILED:
        return RefusalDecision(DeadLetter(record.reason or "failed", record.error, record.attempt, recorded=True))
    if record.status.terminal:
        return RefusalDecision(DONE)
    if record.status is State.RUNNING:
        return _running(record, claim, visibility_timeout)
    if record.status not in (State.QUEUED, State.RETRYING):
        # Written by a later version, or unreadable: this one must not act on it.
        return RefusalDecision(RetryIn(MAX_DUPLICATE_WAIT_SECONDS, "unknown_state"))
    if record.cancel_requested:
        # A cancel was requested while it ran, and then it was released: nothing has ended it yet.
        return RefusalDecision(DONE, cancel=True)
    if record.status is State.RETRYING and claim.now > sent_at + RETENTION - RETENTION_MARGIN_SECONDS / 2:
        # The retry is due after its message is gone, and nothing could bring it: the task ends now.
        letter = DeadLetter("retention", record.error, record.attempt, recorded=True)
        end = AttemptEnd(State.FAILED, claim.now, claim.ttl, error=record.error, reason="retention")
        return RefusalDecision(letter, end)
    due = record.next_at if record.next_at is not None else claim.now
    return RefusalDecision(RetryIn(max(1.0, due - claim.now), "early"))


def id_taken_by(record: TaskRecord, task: str) -> str:
    """The error of a task that is not run, or has no state, because another one used its id first."""
    return (
        f"the id {record.id} belongs to task {record.task} ({record.status}), so task {task} is not run; enqueue it again "
        "with an id that no other task has"
    )


def _refused(reason: str, why: str) -> DeadLetter:
    return DeadLetter(reason, ErrorInfo("ClaimRefused", why))


def _running(record: TaskRecord, claim: Claim, visibility_timeout: float) -> RefusalDecision:
    if not abandoned(record, claim.now):
        left = (record.lease_until or claim.now) - claim.now
        wait = left + TAKEOVER_GRACE
        if left > visibility_timeout / 2 and record.started_at is not None:
            # The holder is alive. Waiting as long as it has been running doubles the wait each time.
            wait = max(wait, claim.now - record.started_at)
        return RefusalDecision(RetryIn(min(MAX_DUPLICATE_WAIT_SECONDS, max(1.0, wait)), "held"))
    if record.cancel_requested:
        return RefusalDecision(DONE, AttemptEnd(State.CANCELLED, claim.now, claim.ttl, reason="cancelled"))
    error = ErrorInfo(
        "Crashed",
        f"attempt {record.attempt} ended without a result (crash, kill or lost machine), and it was the last one allowed",
    )
    return RefusalDecision(
        DeadLetter("crashed", error, record.attempt, recorded=True),
        AttemptEnd(State.FAILED, claim.now, claim.ttl, error=error, reason="crashed"),
    )
