"""Counters in the DynamoDB table of the tasks.

What a task from a queue did in a minute or an hour is the item ``pk = M#<app>#<shard>``,
``sk = <span>#<time>#<task>#<queue>``, in no index; the span is ``0060`` or ``3600`` seconds, the time its beginning in
epoch seconds, of 10 digits. The shard, 0 to 3, follows from the task's name. Its attributes are the fields of
:class:`~taskq_sls.metrics.counters.Counters` under their own names, ``histogram`` as ``h0`` to ``h15``; what is 0 is left
out. ``ttl`` is 8 days after the beginning of a minute, 60 days after that of an hour.

A write adds: one unit, since an item stays below 1 KB. Where several processes count the same task in the same minute,
those that had the longest attempt so far write once more.
"""

from __future__ import annotations

import zlib
from typing import Any

from ...core.flow import Flow
from ...metrics.counters import BUCKETS, CounterKey, Counters, MetricStore
from ..layout import PARTITION_KEY, SORT_KEY, TTL_ATTRIBUTE, Item
from .expressions import Condition, Update
from .items import number, text
from .table import Table

SHARDS = 4
"""Partitions of an app's counters; each takes 1,000 writes a second (DynamoDB developer guide)."""

ADDED = tuple(name for name in Counters._fields if name not in ("longest", "histogram"))
SECONDS = ("duration", "wait")

LAST_SECOND = 9_999_999_999
"""The largest time of 10 digits, in the year 2286."""


class TableMetrics(MetricStore):
    """Counters in one table.

    Args:
        flow: the port's way to fan out.
    """

    def __init__(self, table: Table, flow: Flow) -> None:
        self._table = table
        self._flow = flow

    async def add(self, app: str, slot: CounterKey, counters: Counters) -> None:
        key = _key(app, slot)
        longest = number(counters.longest)
        update = Update({TTL_ATTRIBUTE: number(slot.ttl)}, {"longest": longest}, _added(counters))
        answer = await self._table.call(
            "update_item",
            TableName=self._table.name,
            Key=key,
            ReturnValues="ALL_NEW",
            **update.parameters(),
        )
        if float(answer["Attributes"]["longest"]["N"]) < counters.longest:
            shorter = Condition("#longest < :if_longest", {":if_longest": longest})
            await self._table.change(key, Update({"longest": longest}), shorter)

    async def read(
        self, app: str, span: int, since: int, until: int, *, task: str | None = None, now: float
    ) -> list[tuple[CounterKey, Counters]]:
        async def read_shard(shard: int) -> list[tuple[CounterKey, Counters]]:
            return await self._read(app, shard, span, since, until, now)

        shards = list(range(SHARDS)) if task is None else [_shard(task)]
        found = await self._flow.map(read_shard, shards, SHARDS)
        return [row for rows in found for row in rows if task in (None, row[0].task)]

    async def _read(
        self, app: str, shard: int, span: int, since: int, until: int, now: float
    ) -> list[tuple[CounterKey, Counters]]:
        parameters: dict[str, Any] = {
            "TableName": self._table.name,
            "KeyConditionExpression": "#pk = :pk AND #sk BETWEEN :since AND :until",
            "ExpressionAttributeNames": {"#pk": PARTITION_KEY, "#sk": SORT_KEY},
            "ExpressionAttributeValues": {
                ":pk": text(_partition(app, shard)),
                ":since": text(_moment(span, since)),
                # Before every key of that time, which goes on with the task's name.
                ":until": text(_moment(span, until)),
            },
        }
        found: list[tuple[CounterKey, Counters]] = []
        while True:
            answer = await self._table.call("query", **parameters)
            rows = ((_slot(item), item) for item in answer["Items"])
            found += [(slot, _counters(item)) for slot, item in rows if slot.ttl > now]
            if "LastEvaluatedKey" not in answer:
                return found
            parameters["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def _shard(task: str) -> int:
    # Python's own hash differs from process to process.
    return zlib.crc32(task.encode()) % SHARDS


def _partition(app: str, shard: int) -> str:
    return f"M#{app}#{shard}"


def _moment(span: int, time: int) -> str:
    return f"{span:04d}#{min(max(time, 0), LAST_SECOND):010d}#"


def _key(app: str, slot: CounterKey) -> Item:
    sort = f"{_moment(slot.span, slot.time)}{slot.task}#{slot.queue}"
    return {PARTITION_KEY: text(_partition(app, _shard(slot.task))), SORT_KEY: text(sort)}


def _slot(item: Item) -> CounterKey:
    span, time, task, queue = item[SORT_KEY]["S"].split("#")
    return CounterKey(int(span), int(time), task, queue)


def _added(counters: Counters) -> Item:
    item = {name: number(value) for name in ADDED if (value := _stored(name, counters))}
    return item | {f"h{bucket}": number(count) for bucket, count in enumerate(counters.histogram) if count}


def _stored(name: str, counters: Counters) -> float:
    value: float = getattr(counters, name)
    # A sum of floats has digits that say nothing, and every digit is stored.
    return round(value, 6) if name in SECONDS else value


def _counters(item: Item) -> Counters:
    def count(name: str) -> int:
        return int(item[name]["N"]) if name in item else 0

    def seconds(name: str) -> float:
        return float(item[name]["N"]) if name in item else 0.0

    values: dict[str, Any] = {name: seconds(name) if name in SECONDS else count(name) for name in ADDED}
    return Counters(
        **values, longest=seconds("longest"), histogram=tuple(count(f"h{bucket}") for bucket in range(BUCKETS))
    )
