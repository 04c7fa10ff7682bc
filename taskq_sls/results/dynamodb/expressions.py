"""DynamoDB expressions. Every attribute goes by a ``#name``, since many of ours are reserved words.

In an expression ``#status`` stands for the attribute ``status``; ``:set_status`` is the value an update
gives it, and the values of conditions are named ``:if_...``, so that the two cannot collide.
"""

from __future__ import annotations

import functools
import re
from typing import Any, NamedTuple

from ...core.states import State
from ..layout import Item
from ..records import TAKEOVER_GRACE, Claim, Fence, KeyLock
from .items import number, text

NAME = re.compile(r"#(\w+)")


class Update(NamedTuple):
    """What an UpdateItem changes.

    Args:
        sets: attributes to write.
        defaults: attributes to write only where they are absent.
        adds: numbers to add to attributes (absent counts as 0).
        removes: attributes to remove.
    """

    sets: Item
    defaults: Item = {}
    adds: Item = {}
    removes: tuple[str, ...] = ()

    def expression(self) -> str:
        """The UpdateExpression."""
        sets = [f"#{name} = :set_{name}" for name in self.sets]
        sets += [f"#{name} = if_not_exists(#{name}, :set_{name})" for name in self.defaults]
        parts = [f"SET {', '.join(sets)}"]
        if self.adds:
            parts.append("ADD " + ", ".join(f"#{name} :set_{name}" for name in self.adds))
        if self.removes:
            parts.append("REMOVE " + ", ".join(f"#{name}" for name in self.removes))
        return " ".join(parts)

    def values(self) -> Item:
        """Its ExpressionAttributeValues."""
        values = self.sets | self.defaults | self.adds
        return {f":set_{name}": value for name, value in values.items()}

    def parameters(self) -> dict[str, Any]:
        """The parameters of an UpdateItem without a condition."""
        expression = self.expression()
        return {
            "UpdateExpression": expression,
            "ExpressionAttributeNames": _names(expression),
            "ExpressionAttributeValues": self.values(),
        }


class Condition(NamedTuple):
    """A ConditionExpression and the values it names."""

    expression: str
    values: Item

    def also(self, expression: str, values: Item = {}) -> Condition:
        """This condition and another one."""
        return Condition(f"({self.expression}) AND {expression}", self.values | values)

    def parameters(self, update: Update | None = None) -> dict[str, Any]:
        """The parameters of a conditional PutItem, or of an UpdateItem with `update`."""
        parameters: dict[str, Any] = {
            "ConditionExpression": self.expression,
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        values = self.values
        names = _names(self.expression)
        if update is not None:
            parameters["UpdateExpression"] = update.expression()
            values = values | update.values()
            names = names | _names(parameters["UpdateExpression"])
        parameters["ExpressionAttributeNames"] = names
        if values:
            parameters["ExpressionAttributeValues"] = values
        return parameters


@functools.lru_cache(maxsize=256)
def _names(expression: str) -> dict[str, str]:
    return {f"#{name}": name for name in NAME.findall(expression)}


ABSENT = "attribute_not_exists(#pk)"
EXPIRED = "#ttl <= :if_now"
HELD = "#owner = :if_owner AND #run = :if_run AND #attempt = :if_attempt AND #status = :if_running"
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
    """A claim starts the next attempt of what stands; what it replaces whole is not among it."""
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


def held(fence: Fence) -> Condition:
    """The attempt of the fence is the one that runs."""
    return Condition(
        HELD,
        {
            ":if_owner": text(fence.owner),
            ":if_run": number(fence.run),
            ":if_attempt": number(fence.attempt),
            ":if_running": _RUNNING,
        },
    )


def unstarted(claim: Claim) -> Condition:
    """Nothing is alive, or it is queued in the claim's run and no attempt has started."""
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
    """The names of the claim's task, former ones too, as values of a condition."""
    names = {":if_task": text(claim.task)}
    for place, alias in enumerate(claim.aliases):
        names[f":if_alias{place}"] = text(alias)
    return names


def _same_task(names: Item) -> str:
    return SAME_TASK if len(names) == 1 else f"#task IN ({', '.join(names)})"


def not_alive(now: float) -> Condition:
    """There is no record, or it is past its time to live."""
    return Condition(f"{ABSENT} OR {EXPIRED}", {":if_now": number(now)})


def waiting(now: float) -> Condition:
    """There is no record, or a live one that waits for its next attempt."""
    return Condition(
        f"{ABSENT} OR (#ttl > :if_now AND #status IN (:if_queued, :if_retrying))",
        {":if_now": number(now), ":if_queued": _QUEUED, ":if_retrying": _RETRYING},
    )


def running() -> Condition:
    """An attempt runs, whoever holds it."""
    return Condition("#status = :if_running", {":if_running": _RUNNING})


def unchanged(item: Item, *attributes: str) -> Condition:
    """The condition that these attributes still stand as `item` shows them."""
    clauses = [f"#{name} = :if_{name}" if name in item else f"attribute_not_exists(#{name})" for name in attributes]
    return Condition(" AND ".join(clauses), {f":if_{name}": item[name] for name in attributes if name in item})


def lockable(lock: KeyLock, over: KeyLock | None) -> Condition:
    """No lock is alive, or it is still the one of `over`."""
    free = not_alive(lock.locked_at)
    if over is None:
        return free
    same = locked_for(over.id, over.locked_at)
    return Condition(f"{free.expression} OR ({same.expression})", free.values | same.values)


def locked_for(id: str, locked_at: float | None = None) -> Condition:
    """A unique key is locked for this task; by the enqueue at `locked_at`, where it is given."""
    condition = Condition("#id = :if_id", {":if_id": text(id)})
    return condition if locked_at is None else condition.also("#locked_at = :if_at", {":if_at": number(locked_at)})
