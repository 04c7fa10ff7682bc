"""Records as items of the table, and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ...core.context import Progress
from ...core.states import State
from ..layout import (
    INDEXED_STATES,
    Item,
    fit_call,
    fit_error,
    fit_past,
    fit_progress,
    lock_key,
    record_key,
    status_keys,
    task_keys,
)
from ..records import KEPT_ATTEMPTS, AttemptEnd, Claim, KeyLock, TaskRecord


def text(value: str) -> dict[str, Any]:
    """A string attribute."""
    return {"S": value}


def number(value: float) -> dict[str, Any]:
    """A number attribute; a float keeps every digit."""
    if type(value) is int:
        return {"N": str(value)}
    digits = repr(float(value))
    # Emulators cannot add numbers written like 5e-05.
    if "e" in digits:
        from decimal import Decimal  # rare, and its import costs cold start

        digits = format(Decimal(digits), "f")
    return {"N": digits}


def given(write: Callable[[Any], dict[str, Any]], **values: Any) -> Item:
    """Attributes for the values that are not None."""
    return {name: write(value) for name, value in values.items() if value is not None}


def ttl_seconds(ttl: float) -> int:
    """Epoch seconds for DynamoDB's time to live, which takes whole ones; rounded up."""
    return math.ceil(ttl)


def first_attributes(claim: Claim) -> Item:
    """Attributes that the first write sets and later ones keep: names, labels, keys of the name index."""
    item = {
        "task": text(claim.task),
        "queue": text(claim.queue),
        **task_keys(claim.task, claim.enqueued_at or claim.now, claim.id),
    }
    if claim.enqueued_at:
        item["enqueued_at"] = number(claim.enqueued_at)
    if claim.labels:
        item["labels"] = {"M": {name: text(str(value)) for name, value in claim.labels.items()}}
    return item | given(text, parent=claim.parent, unique_key=claim.unique_key, call=fit_call(claim.call))


def claim_attributes(claim: Claim) -> Item:
    """Attributes that a claim sets, except the attempt count."""
    return {
        "status": text(State.RUNNING),
        "run": number(claim.run),
        "owner": text(claim.owner),
        "lease_until": number(claim.lease_until),
        "started_at": number(claim.now),
        "updated_at": number(claim.now),
        "ttl": number(ttl_seconds(claim.ttl)),
    }


def identity_attributes(record: TaskRecord) -> Item:
    """The attributes that show if a record has changed since it was read."""
    numbers = given(
        number, run=record.run, attempt=record.attempt, lease_until=record.lease_until, next_at=record.next_at
    )
    return numbers | given(text, status=record.status, owner=record.owner)


def end_attributes(id: str, finish: AttemptEnd) -> Item:
    """Attributes that the end of an attempt sets."""
    item = {
        **state_attributes(id, finish.state, finish.now),
        "ttl": number(ttl_seconds(finish.ttl)),
    }
    if finish.next_at is not None and finish.state is State.RETRYING:
        item["next_at"] = number(finish.next_at)
    if finish.error is not None:
        fitted = fit_error(finish.error)
        item["error"] = {"M": {name: text(value) for name, value in fitted._asdict().items()}}
    if finish.progress is not None:
        item |= progress_attribute(finish.progress)
    return item | given(text, result=finish.result_json, result_key=finish.result_key, reason=finish.reason)


def past_attempt_attribute(attempt: int, finish: AttemptEnd) -> Item:
    """The ring-buffer attribute (10 slots) for a failed attempt."""
    if finish.started_at is None:
        return {}
    past = fit_past(attempt, finish.started_at, finish.now, finish.error)
    fields = [number(past.attempt), number(past.started_at), number(past.ended_at), text(past.error)]
    return {f"past_{attempt % KEPT_ATTEMPTS}": {"L": fields}}


def state_attributes(id: str, status: State, now: float) -> Item:
    """Attributes of a task that enters a state at `now`, keys of the status index included."""
    item = {"status": text(status), "updated_at": number(now)}
    if status in INDEXED_STATES:
        item |= status_keys(status, now, id)
    if status.terminal:
        item["finished_at"] = number(now)
    return item


def progress_attribute(progress: Progress) -> Item:
    """The progress attribute; empty if DynamoDB cannot store its numbers."""
    fitted = fit_progress(progress)
    if fitted is None:
        return {}
    fields = given(number, done=fitted.done, total=fitted.total) | given(text, note=fitted.note)
    return {"progress": {"M": fields}}


def new_item(claim: Claim, status: State, attempt: int) -> Item:
    """A new item. The caller adds attributes that only some states have."""
    return {
        **record_key(claim.id),
        **first_attributes(claim),
        **state_attributes(claim.id, status, claim.now),
        "run": number(claim.run),
        "attempt": number(attempt),
        "ttl": number(ttl_seconds(claim.ttl)),
    }


def is_complete(item: Item) -> bool:
    """True if an item has every required attribute. Some emulators return bare keys while another client writes."""
    return all(name in item for name in ("task", "queue", "status", "run", "attempt", "updated_at"))


def lock_item(lock: KeyLock) -> Item:
    """A unique key's lock as an item."""
    item = {
        **lock_key(lock.task, lock.key),
        "id": text(lock.id),
        "queue": text(lock.queue),
        "locked_at": number(lock.locked_at),
        "ttl": number(ttl_seconds(lock.ttl)),
    }
    if lock.confirmed:
        item["confirmed"] = {"BOOL": True}
    return item


def lock_of(task: str, key: str, item: Item) -> KeyLock:
    """The lock in an item."""
    return KeyLock(
        task=task,
        key=key,
        id=item["id"]["S"],
        queue=item["queue"]["S"],
        locked_at=float(item["locked_at"]["N"]),
        ttl=float(item["ttl"]["N"]),
        confirmed="confirmed" in item,
    )
