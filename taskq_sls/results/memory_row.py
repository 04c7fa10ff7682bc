"""The mutable record of the in-memory backend."""

from __future__ import annotations

from collections.abc import Mapping

from ..core.context import Progress
from ..core.message import ErrorInfo
from ..core.states import CANCELLED, QUEUED, RETRYING, RUNNING, State
from .layout import fit_call, fit_error, fit_past, fit_progress
from .records import KEPT_ATTEMPTS, AttemptEnd, Call, Claim, PastAttempt, TaskRecord

_FIELDS = tuple(name for name in TaskRecord._fields if name not in ("result", "call", "past"))


class MutableRecord:
    """The fields of a :class:`TaskRecord`, and `created_at`, its time in the name index. New records are QUEUED."""

    attempt = 0
    status = QUEUED
    owner: str | None = None
    lease_until: float | None = None
    next_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    cancel_requested = False
    progress: Progress | None = None
    result_json: str | None = None
    result_key: str | None = None
    error: ErrorInfo | None = None
    reason: str | None = None
    past: tuple[PastAttempt, ...] = ()

    def __init__(self, claim: Claim) -> None:
        self.id = claim.id
        self.task = claim.task
        self.queue = claim.queue
        self.run = claim.run
        self.enqueued_at = claim.enqueued_at or None
        self.created_at = claim.enqueued_at or claim.now
        self.updated_at = claim.now
        self.labels: Mapping[str, str] = claim.labels
        self.parent = claim.parent
        self.unique_key = claim.unique_key
        self.call: Call | None = claim.call
        # Whole seconds, as in the table.
        self.ttl = -(-claim.ttl // 1)

    def start(self, claim: Claim) -> None:
        self.status = RUNNING
        self.attempt += 1
        self.owner = claim.owner
        self.lease_until = claim.lease_until
        self.started_at = self.updated_at = claim.now

    def begin_attempt(self, claim: Claim) -> None:
        """Drop the values of the attempt before, and fill in values that the first write lacked."""
        self.ttl = -(-claim.ttl // 1)
        self.next_at = self.finished_at = None
        self.progress = self.result_json = self.result_key = self.error = self.reason = None
        self.enqueued_at = self.enqueued_at or claim.enqueued_at or None
        self.labels = self.labels or claim.labels
        self.parent = claim.parent if self.parent is None else self.parent
        self.unique_key = claim.unique_key if self.unique_key is None else self.unique_key
        self.call = claim.call if self.call is None else self.call

    def renew(self, now: float, lease_until: float, progress: Progress | None) -> None:
        self.lease_until = lease_until
        self.updated_at = now
        self._advance(progress)

    def end(self, finish: AttemptEnd) -> None:
        """End the running attempt. The owner stays, so that a repeated finish is recognised."""
        if finish.state is RETRYING and finish.started_at is not None:
            past = fit_past(self.attempt, finish.started_at, finish.now, finish.error)
            self.past = (*(kept for kept in self.past if kept.attempt > self.attempt - KEPT_ATTEMPTS), past)
        self.enter(finish.state, finish.now)
        self.ttl = -(-finish.ttl // 1)
        self.lease_until = None
        self.next_at = finish.next_at if finish.state is RETRYING else None
        if finish.result_json is not None:
            self.result_json = finish.result_json
        if finish.result_key is not None:
            self.result_key = finish.result_key
        if finish.error is not None:
            self.error = fit_error(finish.error)
        if finish.reason is not None:
            self.reason = finish.reason
        self._advance(finish.progress)

    def release(self, now: float) -> None:
        """Undo the claim of the running attempt. The owner stays, so that a repeated release is recognised."""
        self.attempt -= 1
        self.enter(RETRYING if self.attempt else QUEUED, now)
        self.next_at = now if self.attempt else None
        self.lease_until = self.started_at = self.progress = None

    def cancel(self, now: float) -> None:
        self.enter(CANCELLED, now)
        self.next_at = self.reason = None

    def enter(self, status: State, now: float) -> None:
        self.status = status
        self.updated_at = now
        if status is not RETRYING and status is not QUEUED:
            self.finished_at = now

    def record(self) -> TaskRecord:
        fields = {name: getattr(self, name) for name in _FIELDS}
        return TaskRecord(**fields, call=fit_call(self.call), past=self.past)

    def _advance(self, progress: Progress | None) -> None:
        if progress is not None and (fitted := fit_progress(progress)) is not None:
            self.progress = fitted
