"""Records as items of the table, and back."""

from __future__ import annotations

import math
from typing import Any

from ...core.context import Progress
from ...core.states import State
from ..layout import INDEXED_STATES, Item, lock_key, record_key, status_keys, task_keys
from ..limits import fit_call, fit_error, fit_past, fit_progress
from ..records import KEPT_ATTEMPTS, AttemptEnd, Claim, KeyLock, TaskRecord


def text(value: str) -> dict[str, Any]:
    """A string attribute."""
    return {"S": value}


def number(value: float) -> dict[str, Any]:
    """A number attribute; floats keep every digit."""
    if type(value) is int:
        return {"N": str(value)}
    digits = repr(float(value))
    # Emulators do not add to a number what is written like 5e-05.
    if "e" in digits:
        from decimal import Decimal  # such numbers are rare, and its import is not for free

        digits = format(Decimal(digits), "f")
    return {"N": digits}


def whole_ttl(ttl: float) -> int:
    """Epoch seconds as DynamoDB's time to live wants them: whole, here rounded up."""
    return math.ceil(ttl)


def described(claim: Claim) -> Item:
    """The attributes that the first write sets and that later ones leave: names, labels, place in the name index."""
    item = {
        "task": text(claim.task),
        "queue": text(claim.queue),
        **task_keys(claim.task, claim.enqueued_at or claim.now, claim.id),
    }
    if claim.enqueued_at:
        item["enqueued_at"] = number(claim.enqueued_at)
    if claim.labels:
        item["labels"] = {"M": {name: text(str(value)) for name, value in claim.labels.items()}}
    if claim.parent is not None:
        item["parent"] = text(claim.parent)
    if claim.unique_key is not None:
        item["unique_key"] = text(claim.unique_key)
    if (call := fit_call(claim.call)) is not None:
        item["call"] = text(call)
    return item


def started(claim: Claim) -> Item:
    """The attributes that a claim sets, besides the count of attempts."""
    return {
        "status": text(State.RUNNING),
        "run": number(claim.run),
        "owner": text(claim.owner),
        "lease_until": number(claim.lease_until),
        "started_at": number(claim.now),
        "updated_at": number(claim.now),
        "ttl": number(whole_ttl(claim.ttl)),
    }


def standing(record: TaskRecord) -> Item:
    """The attributes by which a record that was read is known again, as they stand in its item."""
    item = {"status": text(record.status), "run": number(record.run), "attempt": number(record.attempt)}
    if record.owner is not None:
        item["owner"] = text(record.owner)
    for name, time in (("lease_until", record.lease_until), ("next_at", record.next_at)):
        if time is not None:
            item[name] = number(time)
    return item


def ended(id: str, finish: AttemptEnd) -> Item:
    """The attributes that the end of an attempt sets."""
    item = {
        **entered(id, finish.state, finish.now),
        "ttl": number(whole_ttl(finish.ttl)),
    }
    if finish.next_at is not None and finish.state is State.RETRYING:
        item["next_at"] = number(finish.next_at)
    if finish.result_json is not None:
        item["result"] = text(finish.result_json)
    if finish.result_key is not None:
        item["result_key"] = text(finish.result_key)
    if finish.error is not None:
        fitted = fit_error(finish.error)
        item["error"] = {"M": {name: text(value) for name, value in fitted._asdict().items()}}
    if finish.reason is not None:
        item["reason"] = text(finish.reason)
    if finish.progress is not None:
        item |= progressed(finish.progress)
    return item


def retried(attempt: int, finish: AttemptEnd) -> Item:
    """The attribute that remembers a failed attempt; each takes the place of the one so many attempts before it."""
    if finish.started_at is None:
        return {}
    past = fit_past(attempt, finish.started_at, finish.now, finish.error)
    fields = [number(past.attempt), number(past.started_at), number(past.ended_at), text(past.error)]
    return {f"past_{attempt % KEPT_ATTEMPTS}": {"L": fields}}


def entered(id: str, status: State, now: float) -> Item:
    """The attributes of a task that enters a state at `now`, its place in the status index included."""
    item = {"status": text(status), "updated_at": number(now)}
    if status in INDEXED_STATES:
        item |= status_keys(status, now, id)
    if status.terminal:
        item["finished_at"] = number(now)
    return item


def progressed(progress: Progress) -> Item:
    """The attribute that holds progress; nothing for numbers that cannot be stored."""
    fitted = fit_progress(progress)
    if fitted is None:
        return {}
    fields = {"done": number(fitted.done)}
    if fitted.total is not None:
        fields["total"] = number(fitted.total)
    if fitted.note is not None:
        fields["note"] = text(fitted.note)
    return {"progress": {"M": fields}}


def whole(claim: Claim, status: State, attempt: int) -> Item:
    """A whole new item; what else its state needs is added by the caller."""
    return {
        **record_key(claim.id),
        **described(claim),
        **entered(claim.id, status, claim.now),
        "run": number(claim.run),
        "attempt": number(attempt),
        "ttl": number(whole_ttl(claim.ttl)),
    }


def is_complete(item: Item) -> bool:
    """Whether an item holds a record.

    Some emulators show an item with nothing but its keys while another client writes it.
    """
    return all(name in item for name in ("task", "queue", "status", "run", "attempt", "updated_at"))


def key_lock(lock: KeyLock) -> Item:
    """A unique key's lock as an item."""
    item = {
        **lock_key(lock.task, lock.key),
        "id": text(lock.id),
        "queue": text(lock.queue),
        "locked_at": number(lock.locked_at),
        "ttl": number(whole_ttl(lock.ttl)),
    }
    if lock.confirmed:
        item["confirmed"] = {"BOOL": True}
    return item


def key_lock_of(task: str, key: str, item: Item) -> KeyLock:
    """The lock in an item."""
    return KeyLock(
        task,
        key,
        item["id"]["S"],
        item["queue"]["S"],
        float(item["locked_at"]["N"]),
        float(item["ttl"]["N"]),
        "confirmed" in item,
    )
