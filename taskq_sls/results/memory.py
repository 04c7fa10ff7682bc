"""State and results in this process, for tests and local runs.

Rules, limits and pages are those of the DynamoDB backend, checked by one conformance suite.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Iterator, Sequence

from ..core.context import Progress
from ..core.states import CANCELLED, RETRYING, RUNNING, State
from ..metrics.counters import MemoryMetrics
from .base import Page, Query, ResultBackend, by_status, check_query
from .layout import check_result, time_key
from .memory_row import MutableRecord
from .records import AttemptEnd, CancelAnswer, Claim, Claimed, Fence, KeyLock, Refused, Renewed, TaskRecord
from .rules import (
    abandoned,
    can_claim,
    claimed_already,
    closed_already,
    finished_as,
    holds_lease,
    is_unclaimed,
    released_already,
    replaceable,
    unstarted,
)
from .workers import MemoryWorkers

FIRST_SWEEP_ROWS = 10_000
"""Expired rows are dropped at this many, then each time the rows have doubled."""

_FIRST_ATTEMPT = Claimed(1)

_IDENTITY = slice(TaskRecord._fields.index("next_at") + 1)
"""The fields up to `next_at` show if a record has changed since it was read."""


class MemoryResults(ResultBackend):
    """Result backend in memory. Safe between threads."""

    def __init__(self) -> None:
        self._rows: dict[str, MutableRecord] = {}
        self._keys: dict[tuple[str, str], KeyLock] = {}
        self._lock = threading.Lock()
        self._sweep_at = FIRST_SWEEP_ROWS
        self._sweep_keys_at = FIRST_SWEEP_ROWS
        self._workers = MemoryWorkers()
        self._metrics = MemoryMetrics()

    @property
    def workers(self) -> MemoryWorkers:
        return self._workers

    @property
    def metrics(self) -> MemoryMetrics:
        return self._metrics

    async def claim(self, claim: Claim) -> Claimed | Refused:
        with self._lock:
            row = self._rows.get(claim.id)
            if row is None:
                self._insert(claim).start(claim)
                return _FIRST_ATTEMPT
            if claimed_already(row, claim):
                return Claimed(row.attempt)
            if not can_claim(row, claim):
                return Refused(row.record())
            if replaceable(row, claim):
                row = self._insert(claim)
            else:
                row.begin_attempt(claim)
            row.start(claim)
            return Claimed(row.attempt)

    async def renew(
        self, fence: Fence, *, now: float, lease_until: float, progress: Progress | None = None
    ) -> Renewed | None:
        with self._lock:
            row = self._rows.get(fence.id)
            if row is None or not holds_lease(row, fence):
                return None
            row.renew(now, lease_until, progress)
            return Renewed(row.cancel_requested)

    async def finish(self, fence: Fence, finish: AttemptEnd) -> State | None:
        check_result(fence.id, finish.result_json)
        with self._lock:
            row = self._rows.get(fence.id)
            if row is None:
                return None
            if not holds_lease(row, fence):
                return finished_as(row, fence, finish.state)
            if finish.state is RETRYING and row.cancel_requested:
                finish = finish._replace(state=CANCELLED, next_at=None)
            row.end(finish)
            return finish.state

    async def release(self, fence: Fence, *, now: float) -> bool:
        with self._lock:
            row = self._rows.get(fence.id)
            if row is None:
                return False
            if not holds_lease(row, fence):
                return released_already(row, fence)
            row.release(now)
            return True

    async def close_abandoned(self, record: TaskRecord, finish: AttemptEnd) -> bool:
        if not abandoned(record, finish.now):
            return False
        check_result(record.id, finish.result_json)
        fence = Fence(record.id, record.run, record.attempt, record.owner or "")
        with self._lock:
            row = self._rows.get(record.id)
            if row is None:
                return False
            if not holds_lease(row, fence):
                return closed_already(row, fence, finish)
            if row.lease_until != record.lease_until:
                return False
            row.end(finish)
            return True

    async def close_idle(self, record: TaskRecord, finish: AttemptEnd) -> bool:
        if not is_unclaimed(record, finish.now):
            return False
        with self._lock:
            row = self._rows.get(record.id)
            if row is None or row.record()[_IDENTITY] != record[_IDENTITY]:
                return False
            row.end(finish)
            return True

    async def expire(self, claim: Claim) -> bool:
        with self._lock:
            row = self._alive(claim.id, claim.now)
            if row is not None and not unstarted(row, claim):
                return row.status is State.EXPIRED and row.owner == claim.owner
            row = self._insert(claim)
            row.owner = claim.owner
            row.enter(State.EXPIRED, claim.now)
            return True

    async def put_queued(self, claim: Claim) -> bool:
        with self._lock:
            if self._alive(claim.id, claim.now) is not None:
                return False
            self._insert(claim)
            return True

    async def put_finished(self, claim: Claim, attempt: int, finish: AttemptEnd) -> None:
        check_result(claim.id, finish.result_json)
        with self._lock:
            row = self._insert(claim)
            row.owner = claim.owner
            row.attempt = attempt
            row.end(finish)

    async def cancel(self, id: str, *, task: str, queue: str, now: float, ttl: float) -> CancelAnswer:
        with self._lock:
            row = self._alive(id, now)
            if row is None:
                row = self._insert(Claim(id, 0, task, queue, "", now, now, 0, ttl, 0.0))
            if row.status is RUNNING:
                row.cancel_requested = True
                row.updated_at = now
                return CancelAnswer("requested", RUNNING)
            if row.status.terminal and row.status is not CANCELLED:
                return CancelAnswer("too_late", row.status)
            if row.status is not CANCELLED:
                row.cancel(now)
            return CancelAnswer("cancelled", CANCELLED)

    async def lock_key(self, lock: KeyLock, replacing: KeyLock | None = None) -> KeyLock:
        with self._lock:
            found = self._keys.get((lock.task, lock.key))
            if (
                found is not None
                and found.ttl > lock.locked_at
                and not (replacing is not None and found.same(replacing))
            ):
                return found
            self._keys[lock.task, lock.key] = lock._replace(ttl=-(-lock.ttl // 1))
            if len(self._keys) >= self._sweep_keys_at:
                self._keys = {name: kept for name, kept in self._keys.items() if kept.ttl > lock.locked_at}
                self._sweep_keys_at = max(FIRST_SWEEP_ROWS, 2 * len(self._keys))
            return lock

    async def confirm_key(self, task: str, key: str, id: str) -> bool:
        with self._lock:
            found = self._keys.get((task, key))
            if found is None or found.id != id:
                return False
            self._keys[task, key] = found._replace(confirmed=True)
            return True

    async def free_key(self, task: str, key: str, id: str, *, locked_at: float | None = None) -> bool:
        with self._lock:
            found = self._keys.get((task, key))
            if found is None or found.id != id or locked_at not in (None, found.locked_at):
                return False
            del self._keys[task, key]
            return True

    async def get(self, id: str, *, now: float) -> TaskRecord | None:
        with self._lock:
            row = self._alive(id, now)
            return None if row is None else row.record()

    async def get_many(self, ids: Sequence[str], *, now: float) -> dict[str, TaskRecord]:
        with self._lock:
            rows = ((id, self._alive(id, now)) for id in dict.fromkeys(ids))
            return {id: row.record() for id, row in rows if row is not None}

    async def list(self, query: Query, *, now: float) -> Page:
        key_range = check_query(query)
        with self._lock:
            found = heapq.nlargest(
                query.limit + 1,
                ((key, row) for key, row in self._matching(query, now) if key_range.holds(key)),
                key=lambda entry: entry[0],
            )
            page = found[: query.limit]
            cursor = page[-1][0] if len(found) > len(page) else None
            return Page([row.record() for _, row in page], cursor)

    def _matching(self, query: Query, now: float) -> Iterator[tuple[str, MutableRecord]]:
        for row in self._rows.values():
            if row.ttl > now and query.matches(row.status, row.task, row.labels):
                yield time_key(row.updated_at if by_status(query) else row.created_at, row.id), row

    def _alive(self, id: str, now: float) -> MutableRecord | None:
        row = self._rows.get(id)
        return row if row is not None and row.ttl > now else None

    def _insert(self, claim: Claim) -> MutableRecord:
        row = self._rows[claim.id] = MutableRecord(claim)
        if len(self._rows) >= self._sweep_at:
            self._rows = {id: kept for id, kept in self._rows.items() if kept.ttl > claim.now or kept is row}
            self._sweep_at = max(FIRST_SWEEP_ROWS, 2 * len(self._rows))
        return row
