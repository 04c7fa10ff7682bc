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

from ..aws.port import AwsClient
from ..core.flow import Flow
from ..results.dynamodb.items import number, text, ttl_seconds
from ..results.dynamodb.table import MAX_BATCH, Condition, Table, Update
from ..results.layout import PARTITION_KEY, SORT_KEY, TTL_ATTRIBUTE, Item, time_bound
from .clock_state import ALIVE_FOR, CHANGES_FOR, CLOCK_TOLERANCE, Change, ClockState, fired_for

BEAT = "BEAT"
CHANGED = "N#"
FIRED = "F#"
AFTER_ALL = "~"
"""Sorts behind every digit and every character of a schedule's name."""

BATCHES_AT_ONCE = 16


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
        self._table = Table(client, flow, table, describe)
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
        await self._table.update(self._key(FIRED + name), update, later)

    async def last_fired(self, names: Sequence[str] | None = None) -> dict[str, float]:
        if names is None:
            items = await self._query(FIRED, FIRED + AFTER_ALL)
        else:
            keys = [self._key(FIRED + name) for name in dict.fromkeys(names)]
            batches = [keys[start : start + MAX_BATCH] for start in range(0, len(keys), MAX_BATCH)]
            found = await self._table.flow.map(self._table.batch_get, batches, BATCHES_AT_ONCE)
            items = [item for batch in found for item in batch]
        return {_sort_key(item).removeprefix(FIRED): float(item["at"]["N"]) for item in items}

    def _key(self, sort: str) -> Item:
        return {PARTITION_KEY: self._partition, SORT_KEY: text(sort)}

    async def _query(self, low: str, high: str) -> list[Item]:
        return await self._table.query(
            "#pk = :pk AND #sk BETWEEN :low AND :high",
            {":pk": self._partition, ":low": text(low), ":high": text(high)},
            # A change that was noted before this read must be seen.
            ConsistentRead=True,
        )


def _ttl(time: float) -> Item:
    return {TTL_ATTRIBUTE: number(ttl_seconds(time))}


def _change(item: Item) -> Change:
    milliseconds, _, name = _sort_key(item).removeprefix(CHANGED).partition("#")
    return Change(name, int(milliseconds) / 1000)


def _sort_key(item: Item) -> str:
    key: str = item[SORT_KEY]["S"]
    return key
