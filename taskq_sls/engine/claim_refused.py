"""What a refused claim means for the message that asked."""

from __future__ import annotations

from typing import NamedTuple

from ..core.delivery import DONE, DeadLetter, Outcome, RetryIn
from ..core.message import ErrorInfo
from ..core.states import State
from ..results.records import TAKEOVER_GRACE, AttemptEnd, Claim, TaskRecord, abandoned, of_another_task

LONGEST_WAIT = 900.0
"""Most seconds a duplicate waits before it looks at a live lease again."""


class RefusalDecision(NamedTuple):
    """`outcome` for the message.

    Where `close` is set, the record is to be ended with it first; where `cancel` is, it is to be cancelled first.
    """

    outcome: Outcome
    close: AttemptEnd | None = None
    cancel: bool = False


def decide(record: TaskRecord, claim: Claim, hold: float) -> RefusalDecision:
    """Read the record that refused a claim.

    Args:
        hold: the queue's hold in seconds. A live holder renews its lease three times in that time.
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
        return _running(record, claim, hold)
    if record.status not in (State.QUEUED, State.RETRYING):
        return RefusalDecision(
            RetryIn(LONGEST_WAIT, "unknown_state")
        )  # a later version's, or unreadable: not ours to act upon
    if record.cancel_requested:
        # It was asked to cancel while it ran, and given back: nobody has ended it yet.
        return RefusalDecision(DONE, cancel=True)
    due = record.next_at if record.next_at is not None else claim.now
    return RefusalDecision(RetryIn(max(1.0, due - claim.now), "early"))


def id_taken_by(record: TaskRecord, task: str) -> str:
    """Why a task is not run, or has no state: another one has used its id first."""
    return (
        f"the id {record.id} belongs to task {record.task} ({record.status}), so task {task} is not run; enqueue it again "
        "with an id that no other task has"
    )


def _refused(reason: str, why: str) -> DeadLetter:
    return DeadLetter(reason, ErrorInfo("ClaimRefused", why))


def _running(record: TaskRecord, claim: Claim, hold: float) -> RefusalDecision:
    if not abandoned(record, claim.now):
        left = (record.lease_until or claim.now) - claim.now
        wait = left + TAKEOVER_GRACE
        if left > hold / 2 and record.started_at is not None:
            # The holder is alive. Waiting as long as it has been running doubles the wait each time.
            wait = max(wait, claim.now - record.started_at)
        return RefusalDecision(RetryIn(min(LONGEST_WAIT, max(1.0, wait)), "held"))
    if record.cancel_requested:
        return RefusalDecision(DONE, AttemptEnd(State.CANCELLED, claim.now, claim.ttl, reason="cancelled"))
    error = ErrorInfo(
        "Crashed",
        f"attempt {record.attempt} ended without a word (crash, kill or lost machine), and it was the last one allowed",
    )
    return RefusalDecision(
        DeadLetter("crashed", error, record.attempt, recorded=True),
        AttemptEnd(State.FAILED, claim.now, claim.ttl, error=error, reason="crashed"),
    )
