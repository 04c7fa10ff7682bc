"""The conditions of the writes: the state of the table in which each takes effect."""

from __future__ import annotations

from ...core.states import State
from ..layout import Item
from ..records import Claim, Fence, KeyLock
from ..rules import TAKEOVER_GRACE
from .items import number, text
from .table import Condition

ABSENT = "attribute_not_exists(#pk)"
EXPIRED = "#ttl <= :if_now"
LEASE_HELD = "#owner = :if_owner AND #run = :if_run AND #attempt = :if_attempt AND #status = :if_running"
CLAIMABLE = (
    f"{ABSENT} OR (#ttl > :if_now AND {{same_task}} AND #run = :if_run AND attribute_not_exists(#cancel_requested) AND ("
    "#status = :if_queued"
    " OR (#status = :if_retrying AND (attribute_not_exists(#next_at) OR #next_at <= :if_now))"
    " OR (#status = :if_running AND #owner <> :if_owner AND #attempt < :if_max AND #lease_until <= :if_takeover)))"
)

SAME_TASK = "#task = :if_task"
CLAIMABLE_BY_NAME = CLAIMABLE.format(same_task=SAME_TASK)

_RUNNING = text(State.RUNNING)
_QUEUED = text(State.QUEUED)
_RETRYING = text(State.RETRYING)


def claimable(claim: Claim) -> Condition:
    """There is no record, or a live one whose next attempt may start. Records that a claim replaces do not match."""
    names = _names_of(claim)
    return Condition(
        CLAIMABLE.format(same_task=_same_task(names)) if claim.aliases else CLAIMABLE_BY_NAME,
        {
            **names,
            ":if_now": number(claim.now),
            ":if_run": number(claim.run),
            ":if_queued": _QUEUED,
            ":if_retrying": _RETRYING,
            ":if_running": _RUNNING,
            ":if_owner": text(claim.owner),
            ":if_max": number(claim.max_attempts),
            ":if_takeover": number(claim.now - TAKEOVER_GRACE),
        },
    )


def lease_held(fence: Fence) -> Condition:
    """The attempt of the fence is running."""
    return Condition(
        LEASE_HELD,
        {
            ":if_owner": text(fence.owner),
            ":if_run": number(fence.run),
            ":if_attempt": number(fence.attempt),
            ":if_running": _RUNNING,
        },
    )


def unstarted(claim: Claim) -> Condition:
    """There is no live record, or one that is queued in the claim's run with no attempt started."""
    names = _names_of(claim)
    return Condition(
        f"{ABSENT} OR {EXPIRED}"
        f" OR (#status = :if_queued AND #run = :if_run AND #attempt = :if_zero AND {_same_task(names)})",
        {
            **names,
            ":if_now": number(claim.now),
            ":if_queued": _QUEUED,
            ":if_run": number(claim.run),
            ":if_zero": number(0),
        },
    )


def _names_of(claim: Claim) -> Item:
    """The claim's task name and its aliases as values of a condition."""
    names = {":if_task": text(claim.task)}
    for index, alias in enumerate(claim.aliases):
        names[f":if_alias{index}"] = text(alias)
    return names


def _same_task(names: Item) -> str:
    return SAME_TASK if len(names) == 1 else f"#task IN ({', '.join(names)})"


def not_alive(now: float) -> Condition:
    """There is no record, or an expired one."""
    return Condition(f"{ABSENT} OR {EXPIRED}", {":if_now": number(now)})


def waiting(now: float) -> Condition:
    """There is no record, or a live one that is QUEUED or RETRYING."""
    return Condition(
        f"{ABSENT} OR (#ttl > :if_now AND #status IN (:if_queued, :if_retrying))",
        {":if_now": number(now), ":if_queued": _QUEUED, ":if_retrying": _RETRYING},
    )


def running() -> Condition:
    return Condition("#status = :if_running", {":if_running": _RUNNING})


def unchanged(item: Item, *attributes: str) -> Condition:
    """The attributes still have the values they have in `item`."""
    clauses = [f"#{name} = :if_{name}" if name in item else f"attribute_not_exists(#{name})" for name in attributes]
    return Condition(" AND ".join(clauses), {f":if_{name}": item[name] for name in attributes if name in item})


def lockable(lock: KeyLock, replacing: KeyLock | None) -> Condition:
    """There is no live lock, or it is still `replacing`."""
    free = not_alive(lock.locked_at)
    if replacing is None:
        return free
    same = locked_for(replacing.id, replacing.locked_at)
    return Condition(f"{free.expression} OR ({same.expression})", free.values | same.values)


def locked_for(id: str, locked_at: float | None = None) -> Condition:
    """The unique key is locked for this task; if `locked_at` is given, by the enqueue of that time."""
    condition = Condition("#id = :if_id", {":if_id": text(id)})
    return condition if locked_at is None else condition.also("#locked_at = :if_at", {":if_at": number(locked_at)})
