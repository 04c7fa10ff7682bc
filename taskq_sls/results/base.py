"""The result backend interface: the state of tasks, each change one conditional write; and how records are listed."""

from __future__ import annotations

import abc
import logging
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..core.context import Progress
from ..core.number_checks import is_number, is_whole
from ..core.states import State
from ..errors import ConfigError
from .layout import INDEXED_STATES, MAX_MILLISECOND, time_bound
from .records import AttemptEnd, CancelAnswer, Claim, Claimed, Fence, KeyLock, Refused, Renewed, TaskRecord
from .rules import of_another_task, replaceable

if TYPE_CHECKING:
    from ..metrics.counters import MetricStore
    from .workers import WorkerReports


class Query(NamedTuple):
    """A listing, newest first.

    Args:
        tasks: only tasks of these names. Needed if `status` is None, QUEUED or RUNNING, which the status index lacks.
        status: only tasks in this state.
        since: epoch seconds; only tasks that entered the state (with `status` in the status index) or were
            enqueued (otherwise) at this time or later.
        until: epoch seconds, exclusive.
        limit: 1 to 1,000 records a page.
        cursor: ``Page.cursor`` of the page before.
        labels: only tasks with these labels, which no index covers.
        most_read: maximum records to read when a filter is not covered by an index. The page may then be shorter than
            `limit` and still have a cursor. None: no maximum.
    """

    tasks: tuple[str, ...] = ()
    status: State | None = None
    since: float | None = None
    until: float | None = None
    limit: int = 50
    cursor: str | None = None
    labels: Mapping[str, str] = {}
    most_read: int | None = None

    def matches(self, status: State, task: str, labels: Mapping[str, str]) -> bool:
        """True if status, task name and labels match. Times are not checked."""
        return (
            (self.status is None or status == self.status)
            and (not self.tasks or task in self.tasks)
            and self.labels.items() <= labels.items()
        )


class Page(list[TaskRecord]):
    """Some records, newest first. `cursor` leads to the next page; None if this is the last."""

    cursor: str | None

    def __init__(self, records: Sequence[TaskRecord] = (), cursor: str | None = None) -> None:
        super().__init__(records)
        self.cursor = cursor


class ResultBackend(abc.ABC):
    """State and results of tasks. Implementations: DynamoDB and in-memory.

    Every read treats a record past its `ttl` as absent. Transient faults raise AwsError.
    """

    @abc.abstractmethod
    async def claim(self, claim: Claim) -> Claimed | Refused:
        """Start an attempt, if :func:`~taskq_sls.results.rules.can_claim` allows it.

        Sets RUNNING, owner and lease, and adds one to the attempt. A record that is expired, or FAILED in a lower run, is
        replaced and counts from attempt 1. A RUNNING record with this claim's owner returns Claimed: the answer to an
        earlier try was lost.
        """

    @abc.abstractmethod
    async def renew(
        self, fence: Fence, *, now: float, lease_until: float, progress: Progress | None = None
    ) -> Renewed | None:
        """Extend the lease of a running attempt. None: the lease is lost; stop the attempt and settle nothing."""

    @abc.abstractmethod
    async def finish(self, fence: Fence, finish: AttemptEnd) -> State | None:
        """End an attempt and return the stored state; None if another attempt owns the record.

        RETRYING becomes CANCELLED if a cancel was requested; SUCCEEDED and FAILED win over a cancel. A repeated finish
        whose answer was lost returns the same again.
        """

    @abc.abstractmethod
    async def release(self, fence: Fence, *, now: float) -> bool:
        """Undo a claim: attempt - 1, no lease, and QUEUED (no attempt left) or RETRYING due now. False: not the owner."""

    @abc.abstractmethod
    async def close_abandoned(self, record: TaskRecord, finish: AttemptEnd) -> bool:
        """End a RUNNING record whose lease has ended, if it has not changed since `record` was read."""

    @abc.abstractmethod
    async def close_idle(self, record: TaskRecord, finish: AttemptEnd) -> bool:
        """End a task whose message is gone, if it has not changed since `record` was read.

        It must be QUEUED or RETRYING, or RUNNING with an ended lease.
        """

    @abc.abstractmethod
    async def expire(self, claim: Claim) -> bool:
        """Set EXPIRED, if there is no live record, or it is QUEUED in this run with no attempt started."""

    @abc.abstractmethod
    async def put_queued(self, claim: Claim) -> bool:
        """Put a QUEUED record if there is no live one. `owner` and `lease_until` of the claim are not used."""

    @abc.abstractmethod
    async def put_finished(self, claim: Claim, attempt: int, finish: AttemptEnd) -> None:
        """Write the end of an unclaimed attempt, unconditionally: recording level ``finished``."""

    @abc.abstractmethod
    async def cancel(self, id: str, *, task: str, queue: str, now: float, ttl: float) -> CancelAnswer:
        """Cancel a task, in one upsert.

        No record, QUEUED or RETRYING: becomes CANCELLED (``cancelled``); a missing record is created with `ttl`. RUNNING:
        the cancel flag is set (``requested``). Ended: nothing changes (``too_late``, or ``cancelled`` if it was CANCELLED).
        """

    @abc.abstractmethod
    async def lock_key(self, lock: KeyLock, replacing: KeyLock | None = None) -> KeyLock:
        """Lock a unique key and return its present lock: `lock`, or the one that is already there.

        `lock` is written if there is no other, the other has expired at ``lock.locked_at``, or it is `replacing` (same id
        and `locked_at`). A repeated call whose answer was lost returns `lock` again.
        """

    @abc.abstractmethod
    async def confirm_key(self, task: str, key: str, id: str) -> bool:
        """Mark the lock as confirmed: the message of task `id` was accepted. False: the key is not locked for it."""

    @abc.abstractmethod
    async def free_key(self, task: str, key: str, id: str, *, locked_at: float | None = None) -> bool:
        """Free a unique key if it is locked for task `id`; else False.

        Args:
            locked_at: free only the lock of the enqueue at this time; None frees any lock of the id.
        """

    @abc.abstractmethod
    async def get(self, id: str, *, now: float) -> TaskRecord | None:
        """The record, or None. A strongly consistent read."""

    @abc.abstractmethod
    async def get_many(self, ids: Sequence[str], *, now: float) -> dict[str, TaskRecord]:
        """The records that exist, by id, in strongly consistent reads of 100."""

    @abc.abstractmethod
    async def list(self, query: Query, *, now: float) -> Page:
        """A page of records, newest first. Indexes lag the table by a moment."""

    @property
    def workers(self) -> WorkerReports | None:
        """Reports of workers, or None if this backend does not keep them."""
        return None

    @property
    def metrics(self) -> MetricStore | None:
        """Counters of tasks over time, or None if this backend does not keep them."""
        return None

    async def close(self) -> None:
        """Release connections."""
        return


MAX_LIMIT = 1_000
"""Records of one page."""

CURSOR = re.compile(r"\d{13}#.+", re.DOTALL)


class KeyRange(NamedTuple):
    """Time keys from `low` (inclusive) to `high` (exclusive), as text."""

    low: str
    high: str

    def holds(self, key: str) -> bool:
        return self.low <= key < self.high


def by_status(query: Query) -> bool:
    """True if the query uses the status index, False if it uses the name index."""
    return query.status in INDEXED_STATES


def check_query(query: Query) -> KeyRange:
    """The range of time keys to read.

    Raises:
        ConfigError: limit, cursor, times or tasks are malformed, or the query needs task names.
    """
    if not is_whole(query.limit, 1, MAX_LIMIT):
        raise ConfigError(f"limit={query.limit!r} must be a whole number of 1 to {MAX_LIMIT:,} records a page")
    if query.status is not None and query.status not in list(State):
        raise ConfigError(f"status={query.status!r} is not a state; use one of {', '.join(State)}")
    _check_tasks(query)
    if query.cursor is not None and not (isinstance(query.cursor, str) and CURSOR.fullmatch(query.cursor)):
        raise ConfigError(f"cursor={query.cursor!r} is not a cursor; pass on the .cursor of the page before")
    low = time_bound(_seconds("since", query.since, 0.0))
    high = time_bound(_seconds("until", query.until, MAX_MILLISECOND / 1000))
    return KeyRange(low, high if query.cursor is None else min(high, query.cursor))


def _check_tasks(query: Query) -> None:
    if not isinstance(query.tasks, tuple):
        raise ConfigError(f"tasks={query.tasks!r} must be a tuple of task names")
    if not by_status(query) and not query.tasks:
        asked = "without a status" if query.status is None else f"of status {query.status}"
        raise ConfigError(
            f"listing tasks {asked} needs task names: the status index holds only "
            f"{', '.join(sorted(INDEXED_STATES))}; give task=..., or one of these states"
        )


def _seconds(name: str, value: float | None, default: float) -> float:
    if value is None:
        return default
    if not is_number(value, 0, MAX_MILLISECOND / 1000):
        raise ConfigError(
            f"{name}={value!r} must be epoch seconds, 0 to {MAX_MILLISECOND // 1000:,} (milliseconds are too large)"
        )
    return value


logger = logging.getLogger("taskq_sls.task")

RESEND_AFTER_SECONDS = 60.0
"""An unconfirmed lock older than this (seconds) is treated as left by a crashed enqueue."""


async def free_unique_key(results: ResultBackend, task: str, key: str, id: str, locked_at: float | None = None) -> None:
    """Free a key that an ended task may hold. After a fault, the next enqueue frees it: it reads the task's record."""
    try:
        await results.free_key(task, key, id, locked_at=locked_at)
    except Exception as error:
        logger.warning(
            "the unique key %r of task %s %s could not be freed now: %s",
            key,
            task,
            id,
            error,
            extra={"action": "unique_key_fault", "task_id": id, "task": task},
        )


async def end_unclaimed(results: ResultBackend, claim: Claim, end: AttemptEnd, *, create: bool) -> bool | None:
    """End the record of a task that no attempt holds. False: an attempt holds it. None: there is nothing to end.

    Args:
        create: make a record if there is none, so that a handle learns of the end.
    """
    record = await results.get(claim.id, now=claim.now)
    if record is None and create:
        await results.put_queued(claim)
        record = await results.get(claim.id, now=claim.now)
    if record is None or of_another_task(record, claim):
        return None
    if create and replaceable(record, claim):
        fence = Fence(claim.id, claim.run, 1, claim.owner)
        return await results.claim(claim) == Claimed(1) and await results.finish(fence, end) is not None
    if record.run != claim.run or record.status.terminal:
        return None
    return await results.close_idle(record, end)
