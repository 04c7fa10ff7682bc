"""State and results in DynamoDB.

Every operation is one conditional write. A refusal returns the present item, so that nothing is read before it is written.
Keys, attributes and indexes: :mod:`~taskq_sls.results.layout`.

The write units of a task, index writes included, for items up to 1 KB. An item of n KB costs n units in place of each
"item" below; an index entry holds keys only and always costs 1:

=========================  =====================================================  =====
recording level            writes                                                 units
=========================  =====================================================  =====
``none``                   nothing                                                    0
``finished``               put: item + ``by-task`` + ``by-status``                    3
``started`` (default)      claim: item + ``by-task``; finish: item + ``by-status``    4
``queued``                 put: item + ``by-task``; claim: item; finish as above      5
=========================  =====================================================  =====

More, at ``started`` and ``queued``: each retry 4 (finish: item + ``by-status``; claim: item + removal from
``by-status``); each renewal of a lease 1; a release 1 (2 after a retry); a cancel 2 (3 if it creates the record or ends a
retry, 1 for a running task); an expiry 3 (2 if the record was queued). A refused write costs the item's units too. A unique
key costs 3 more: lock, confirm and free, 1 each; an enqueue whose key is taken costs 1, and a strongly consistent read of
the holder's record.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ...aws.port import AwsClient
from ...core.context import Progress
from ...core.flow import Flow
from ...core.states import State
from ...errors import AwsError, ConfigError, TaskQError
from .. import layout
from ..base import Page, Query, ResultBackend
from ..layout import STATUS_INDEX, Item, check_result
from ..records import AttemptEnd, CancelAnswer, Claim, Claimed, Fence, KeyLock, Refused, Renewed, TaskRecord
from ..rules import (
    abandoned,
    can_claim,
    claimed_already,
    closed_already,
    finished_as,
    holds_lease,
    is_unclaimed,
    released_already,
)
from . import conditions, items
from .items import number, text
from .reader import Reader
from .stored_records import record_of
from .table import Refusal, Table, Update, Written

if TYPE_CHECKING:
    from ...metrics.counters import MetricStore
    from ..workers import WorkerReports

MAX_CONFLICTS = 5
"""Tries of one operation while the record changes between two of its writes."""

STATUS_KEYS = (STATUS_INDEX.shard, STATUS_INDEX.time)
ENDED_ATTEMPT_ATTRIBUTES = (
    "next_at",
    "error",
    "reason",
    "finished_at",
    "progress",
    "result",
    "result_key",
    *STATUS_KEYS,
)
REPLACED_IDENTITY = ("status", "run", "attempt", "owner", "ttl")
"""A record with the same values here has not changed since it was read."""

IDENTITY = ("status", "run", "attempt", "owner", "lease_until", "next_at")


class DynamoResults(ResultBackend):
    """Result backend on one DynamoDB table. It does not retry: callers do.

    Args:
        client: the ``dynamodb`` client of a port.
        flow: the port's way to wait and fan out.
        table: the table's name.
        describe: endpoint and region in words, for error messages.
    """

    def __init__(self, client: AwsClient, flow: Flow, table: str, describe: Callable[[], str]) -> None:
        self._table = Table(client, flow, table, describe)
        self._reader = Reader(self._table)

    async def claim(self, claim: Claim) -> Claimed | Refused:
        start = Update(
            items.claim_attributes(claim),
            defaults=items.first_attributes(claim),
            adds={"attempt": number(1)},
            removes=ENDED_ATTEMPT_ATTRIBUTES,
        )
        refusals_without_item = 0
        for _ in range(MAX_CONFLICTS):
            answer = await self._table.update(
                layout.record_key(claim.id), start, conditions.claimable(claim), returns="UPDATED_OLD"
            )
            if isinstance(answer, Written):
                before = answer.item.get("attempt")
                return Claimed(1 if before is None else int(before["N"]) + 1)
            if answer.item is None:
                refusals_without_item += 1
                continue
            record = record_of(answer.item)
            if claimed_already(record, claim):
                return Claimed(record.attempt)
            if not can_claim(record, claim):
                return Refused(record)
            if await self._replace(claim, answer.item):
                return Claimed(1)
        raise self._undecided("claim", claim.id, refusals_without_item)

    async def _replace(self, claim: Claim, seen: Item) -> bool:
        item = items.new_item(claim, State.RUNNING, 1) | items.claim_attributes(claim)
        return isinstance(await self._table.put(item, conditions.unchanged(seen, *REPLACED_IDENTITY)), Written)

    async def renew(
        self, fence: Fence, *, now: float, lease_until: float, progress: Progress | None = None
    ) -> Renewed | None:
        sets = {"lease_until": number(lease_until), "updated_at": number(now)}
        if progress is not None:
            sets |= items.progress_attribute(progress)
        answer = await self._table.update(
            layout.record_key(fence.id), Update(sets), conditions.lease_held(fence), returns="ALL_NEW"
        )
        return Renewed("cancel_requested" in answer.item) if isinstance(answer, Written) else None

    async def finish(self, fence: Fence, finish: AttemptEnd) -> State | None:
        check_result(fence.id, finish.result_json)
        condition = conditions.lease_held(fence)
        end = _end(fence.id, finish)
        if finish.state is State.RETRYING:
            condition = condition.also("attribute_not_exists(#cancel_requested)")
            end.sets.update(items.past_attempt_attribute(fence.attempt, finish))
        answer = await self._table.update(layout.record_key(fence.id), end, condition)
        if isinstance(answer, Written):
            return finish.state
        if answer.item is None:
            return None
        record = record_of(answer.item)
        if finish.state is State.RETRYING and record.cancel_requested and holds_lease(record, fence):
            return await self.finish(fence, finish._replace(state=State.CANCELLED, next_at=None))
        return finished_as(record, fence, finish.state)

    async def release(self, fence: Fence, *, now: float) -> bool:
        left = fence.attempt - 1
        state = State.RETRYING if left else State.QUEUED
        sets = {**items.state_attributes(fence.id, state, now), "attempt": number(left)}
        if left:
            sets["next_at"] = number(now)
        # The owner stays, so that a repeated release is recognised.
        update = Update(sets, removes=("lease_until", "started_at", "progress"))
        answer = await self._table.update(layout.record_key(fence.id), update, conditions.lease_held(fence))
        return isinstance(answer, Written) or _already_so(answer, lambda record: released_already(record, fence))

    async def close_abandoned(self, record: TaskRecord, finish: AttemptEnd) -> bool:
        if not abandoned(record, finish.now):
            return False
        check_result(record.id, finish.result_json)
        fence = Fence(record.id, record.run, record.attempt, record.owner or "")
        lease = number(record.lease_until or 0.0)
        condition = conditions.lease_held(fence).also("#lease_until = :if_lease", {":if_lease": lease})
        answer = await self._table.update(layout.record_key(record.id), _end(record.id, finish), condition)
        return isinstance(answer, Written) or _already_so(
            answer, lambda current: closed_already(current, fence, finish)
        )

    async def close_idle(self, record: TaskRecord, finish: AttemptEnd) -> bool:
        if not is_unclaimed(record, finish.now):
            return False
        update = Update(items.end_attributes(record.id, finish), removes=("lease_until", "next_at"))
        answer = await self._table.update(
            layout.record_key(record.id), update, conditions.unchanged(items.identity_attributes(record), *IDENTITY)
        )
        return isinstance(answer, Written)

    async def expire(self, claim: Claim) -> bool:
        item = items.new_item(claim, State.EXPIRED, 0) | {"owner": text(claim.owner)}
        answer = await self._table.put(item, conditions.unstarted(claim))
        return isinstance(answer, Written) or _already_so(
            answer, lambda record: record.status is State.EXPIRED and record.owner == claim.owner
        )

    async def put_queued(self, claim: Claim) -> bool:
        return await self._put_if_not_alive(items.new_item(claim, State.QUEUED, 0), claim.now)

    async def put_finished(self, claim: Claim, attempt: int, finish: AttemptEnd) -> None:
        check_result(claim.id, finish.result_json)
        item = items.new_item(claim, finish.state, attempt) | {"owner": text(claim.owner)}
        await self._overwrite(item | items.end_attributes(claim.id, finish))

    async def _overwrite(self, item: Item) -> None:
        await self._table.overwrite(item)

    async def cancel(self, id: str, *, task: str, queue: str, now: float, ttl: float) -> CancelAnswer:
        # Without a record, the task is cancelled before its first attempt.
        new_record = Claim(
            id=id,
            run=0,
            task=task,
            queue=queue,
            owner="",
            now=now,
            lease_until=now,
            max_attempts=0,
            ttl=ttl,
            enqueued_at=0.0,
        )
        refusals_without_item = 0
        for _ in range(MAX_CONFLICTS):
            answer = await self._table.update(layout.record_key(id), _cancel(new_record), conditions.waiting(now))
            if isinstance(answer, Written):
                return CancelAnswer("cancelled", State.CANCELLED)
            if answer.item is None:
                refusals_without_item += 1
                continue
            record = record_of(answer.item)
            if record.ttl <= now:
                if await self._put_if_not_alive(items.new_item(new_record, State.CANCELLED, 0), now):
                    return CancelAnswer("cancelled", State.CANCELLED)
            elif record.status is State.RUNNING:
                if await self._request_cancel(id, now):
                    return CancelAnswer("requested", State.RUNNING)
            else:
                return CancelAnswer(
                    "cancelled" if record.status is State.CANCELLED else "too_late",
                    record.status,
                )
        raise self._undecided("cancel", id, refusals_without_item)

    def _undecided(self, operation: str, id: str, refusals_without_item: int) -> TaskQError:
        """The error of an operation that was refused every time, though its condition allows an absent item."""
        if refusals_without_item < MAX_CONFLICTS:
            text = f"task {id} changed {MAX_CONFLICTS} times meanwhile; try again"
            return AwsError(operation, "Contended", text, transient=True)
        return ConfigError(
            f"table {self._table.name} at {self._table.describe()} refused a conditional write {MAX_CONFLICTS} times without "
            "returning the item: this endpoint ignores ReturnValuesOnConditionCheckFailure, which taskq needs; use "
            "DynamoDB itself, or an emulator that supports it, such as moto"
        )

    async def _request_cancel(self, id: str, now: float) -> bool:
        flag = Update({"cancel_requested": {"BOOL": True}, "updated_at": number(now)})
        return isinstance(await self._table.update(layout.record_key(id), flag, conditions.running()), Written)

    async def _put_if_not_alive(self, item: Item, now: float) -> bool:
        return isinstance(await self._table.put(item, conditions.not_alive(now)), Written)

    async def lock_key(self, lock: KeyLock, replacing: KeyLock | None = None) -> KeyLock:
        for _ in range(MAX_CONFLICTS):
            answer = await self._table.put(items.lock_item(lock), conditions.lockable(lock, replacing))
            if isinstance(answer, Written):
                return lock
            if answer.item is not None:
                return items.lock_of(lock.task, lock.key, answer.item)
        raise self._undecided("lock_key", lock.id, MAX_CONFLICTS)

    async def confirm_key(self, task: str, key: str, id: str) -> bool:
        confirm = Update({"confirmed": {"BOOL": True}})
        answer = await self._table.update(layout.lock_key(task, key), confirm, conditions.locked_for(id))
        return isinstance(answer, Written)

    async def free_key(self, task: str, key: str, id: str, *, locked_at: float | None = None) -> bool:
        condition = conditions.locked_for(id, locked_at)
        return isinstance(await self._table.delete(layout.lock_key(task, key), condition), Written)

    async def get(self, id: str, *, now: float) -> TaskRecord | None:
        return await self._reader.get(id, now)

    async def get_many(self, ids: Sequence[str], *, now: float) -> dict[str, TaskRecord]:
        return await self._reader.get_many(ids, now)

    async def list(self, query: Query, *, now: float) -> Page:
        return await self._reader.page(query, now)

    @functools.cached_property
    def workers(self) -> WorkerReports:
        from .workers import TableWorkers

        return TableWorkers(self._table)

    @functools.cached_property
    def metrics(self) -> MetricStore:
        from .counters import TableMetrics

        return TableMetrics(self._table)


def _cancel(new_record: Claim) -> Update:
    return Update(
        items.state_attributes(new_record.id, State.CANCELLED, new_record.now),
        defaults={
            **items.first_attributes(new_record),
            "run": number(0),
            "attempt": number(0),
            "ttl": number(items.ttl_seconds(new_record.ttl)),
        },
        removes=("next_at", "reason"),
    )


def _end(id: str, finish: AttemptEnd) -> Update:
    # The owner stays, so that a repeated finish is recognised.
    return Update(items.end_attributes(id, finish), removes=("lease_until",))


def _already_so(answer: Written | Refusal, rule: Callable[[TaskRecord], bool]) -> bool:
    return answer.item is not None and rule(record_of(answer.item))
