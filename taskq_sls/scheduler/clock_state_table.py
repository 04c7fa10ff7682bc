"""Notes about schedules in the DynamoDB table of the tasks.

All notes of a schedule group have the partition key ``pk = C#<group>``; times are epoch seconds, ``ttl`` whole ones:

- ``sk = BEAT``: ``at``, when a local clock last said that it is alive.
- ``sk = N#<milliseconds>#<name>``: the schedule was made, changed or removed at that time.
- ``sk = F#<name>``: ``at``, the scheduled time of the latest firing that is in its queue. It only ever grows, unless
  it is in the future.

None of them is in an index. A beat costs a write unit every 20 seconds and clock, a firing one, a change one while a
clock beats.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..aws.port import AwsClient
from ..core.flow import Flow
from ..errors import AwsError
from ..results.dynamodb.expressions import Condition, Update
from ..results.dynamodb.items import number, text, whole_ttl
from ..results.dynamodb.table import Table
from ..results.layout import PARTITION_KEY, SORT_KEY, TTL_ATTRIBUTE, Item, time_bound
from .clock_state import ALIVE_FOR, CHANGES_FOR, CLOCK_TOLERANCE, Change, ClockState, fired_for

BEAT = "BEAT"
CHANGED = "N#"
FIRED = "F#"
AFTER_ALL = "~"
"""Sorts behind every digit and every character of a schedule's name."""

MAX_BATCH = 100
"""Most items of one BatchGetItem (DynamoDB API reference)."""

BATCHES_AT_ONCE = 16

BACKOFFS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""Seconds to wait before asking again for unprocessed keys, while no item comes at all."""


class TableClockState(ClockState):
    """Notes of one schedule group in one table.

    Args:
        client: the ``dynamodb`` client of a port.
        flow: the port's way to wait and fan out.
        table: the table's name.
        group: name of the schedule group.
        describe: endpoint and region in words, for error messages.
    """

    def __init__(self, client: AwsClient, flow: Flow, table: str, group: str, describe: Callable[[], str]) -> None:
        self._table = Table(client, table, describe)
        self._flow = flow
        self._partition = text(f"C#{group}")

    async def beat(self, now: float) -> None:
        await self._table.overwrite({**self._key(BEAT), "at": number(now), **_ttl(now + CHANGES_FOR)})

    async def clock_alive(self, now: float) -> bool:
        answer = await self._table.call("get_item", TableName=self._table.name, Key=self._key(BEAT))
        item = answer.get("Item")
        return item is not None and float(item["at"]["N"]) > now - ALIVE_FOR

    async def changed(self, name: str, now: float) -> None:
        key = self._key(f"{CHANGED}{time_bound(now)}#{name}")
        await self._table.overwrite({**key, **_ttl(now + CHANGES_FOR)})

    async def changes(self, since: float) -> list[Change]:
        items = await self._query(f"{CHANGED}{time_bound(since)}", CHANGED + AFTER_ALL)
        return [_change(item) for item in items]

    async def fired(self, name: str, at: float, now: float) -> None:
        update = Update({"at": number(at), **_ttl(now + fired_for(name))})
        later = Condition(
            "attribute_not_exists(#pk) OR #at < :if_at OR #at > :if_future",
            {":if_at": number(at), ":if_future": number(now + CLOCK_TOLERANCE)},
        )
        await self._table.change(self._key(FIRED + name), update, later)

    async def last_fired(self, names: Sequence[str] | None = None) -> dict[str, float]:
        if names is None:
            items = await self._query(FIRED, FIRED + AFTER_ALL)
        else:
            keys = [self._key(FIRED + name) for name in dict.fromkeys(names)]
            batches = [keys[start : start + MAX_BATCH] for start in range(0, len(keys), MAX_BATCH)]
            found = await self._flow.map(self._batch, batches, BATCHES_AT_ONCE)
            items = [item for batch in found for item in batch]
        return {_sort_key(item).removeprefix(FIRED): float(item["at"]["N"]) for item in items}

    def _key(self, sort: str) -> Item:
        return {PARTITION_KEY: self._partition, SORT_KEY: text(sort)}

    async def _query(self, low: str, high: str) -> list[Item]:
        parameters: dict[str, Any] = {
            "TableName": self._table.name,
            "KeyConditionExpression": "#pk = :pk AND #sk BETWEEN :low AND :high",
            "ExpressionAttributeNames": {"#pk": PARTITION_KEY, "#sk": SORT_KEY},
            "ExpressionAttributeValues": {":pk": self._partition, ":low": text(low), ":high": text(high)},
            # What was noted before the look is seen by it.
            "ConsistentRead": True,
        }
        items: list[Item] = []
        while True:
            answer = await self._table.call("query", **parameters)
            items += answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return items
            parameters["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    async def _batch(self, keys: Sequence[Item]) -> list[Item]:
        found: list[Item] = []
        waits = iter(BACKOFFS)
        while True:
            request = {self._table.name: {"Keys": keys, "ConsistentRead": True}}
            answer = await self._table.call("batch_get_item", RequestItems=request)
            items = answer.get("Responses", {}).get(self._table.name, [])
            found += items
            left = answer.get("UnprocessedKeys", {}).get(self._table.name)
            if not left:
                return found
            keys = left["Keys"]
            if items:
                waits = iter(BACKOFFS)
            elif (wait := next(waits, None)) is not None:
                await self._flow.sleep(wait)
            else:
                message = f"table {self._table.name} is throttled: {len(keys)} keys were not read"
                raise AwsError("batch_get_item", "UnprocessedKeys", message, transient=True)


def _ttl(time: float) -> Item:
    return {TTL_ATTRIBUTE: number(whole_ttl(time))}


def _change(item: Item) -> Change:
    milliseconds, _, name = _sort_key(item).removeprefix(CHANGED).partition("#")
    return Change(name, int(milliseconds) / 1000)


def _sort_key(item: Item) -> str:
    key: str = item[SORT_KEY]["S"]
    return key
