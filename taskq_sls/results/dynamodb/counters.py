"""Counters in the DynamoDB table of the tasks.

The counters of a task from a queue in a minute or an hour are the item ``pk = M#<app>#<shard>``,
``sk = <span>#<time>#<task>#<queue>``, in no index. The span is ``0060`` or ``3600`` seconds, the time its beginning in
epoch seconds, of 10 digits. The shard, 0 to 3, is a hash of the task's name. The attributes are the fields of
:class:`~taskq_sls.metrics.counters.Counters` under their own names, ``histogram`` as ``h0`` to ``h15``; zeros are left out.
``ttl`` is 8 days after the beginning of a minute, 60 days after that of an hour.

A write adds to the item and costs one unit, since an item stays below 1 KB. If several processes count the same task in the
same minute, a process whose attempt is the longest so far writes a second time.
"""

from __future__ import annotations

import zlib
from typing import Any

from ...metrics.counters import BUCKETS, CounterKey, Counters, MetricStore
from ..layout import PARTITION_KEY, SORT_KEY, TTL_ATTRIBUTE, Item
from .items import number, text
from .table import Condition, Table, Update

SHARDS = 4
"""Partitions of an app's counters; each takes 1,000 writes a second (DynamoDB developer guide)."""

ADDED_FIELDS = tuple(name for name in Counters._fields if name not in ("longest", "histogram"))
SECONDS_FIELDS = ("duration", "wait", "longest")

_ZERO = number(0)

MAX_SECOND = 9_999_999_999
"""The largest time of 10 digits, in the year 2286."""


class TableMetrics(MetricStore):
    """Counters in one table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def add(self, app: str, key: CounterKey, counters: Counters) -> None:
        item_key = _item_key(app, key)
        longest = number(counters.longest)
        update = Update({TTL_ATTRIBUTE: number(key.ttl)}, {"longest": longest}, _added(counters))
        answer = await self._table.call(
            "update_item",
            TableName=self._table.name,
            Key=item_key,
            ReturnValues="ALL_NEW",
            **update.parameters(),
        )
        if float(answer["Attributes"]["longest"]["N"]) < counters.longest:
            shorter = Condition("#longest < :if_longest", {":if_longest": longest})
            await self._table.update(item_key, Update({"longest": longest}), shorter)

    async def read(
        self, app: str, span: int, since: int, until: int, *, task: str | None = None, now: float
    ) -> list[tuple[CounterKey, Counters]]:
        async def read_shard(shard: int) -> list[tuple[CounterKey, Counters]]:
            return await self._read(app, shard, span, since, until, now)

        shards = list(range(SHARDS)) if task is None else [_shard(task)]
        found = await self._table.flow.map(read_shard, shards, SHARDS)
        return [row for rows in found for row in rows if task in (None, row[0].task)]

    async def _read(
        self, app: str, shard: int, span: int, since: int, until: int, now: float
    ) -> list[tuple[CounterKey, Counters]]:
        items = await self._table.query(
            "#pk = :pk AND #sk BETWEEN :since AND :until",
            {
                ":pk": text(_partition(app, shard)),
                ":since": text(_sort_prefix(span, since)),
                # Sorts before every key of that time: those go on with the task's name.
                ":until": text(_sort_prefix(span, until)),
            },
        )
        rows = [(_counter_key(item), _counters(item)) for item in items]
        return [(key, counters) for key, counters in rows if key.ttl > now]


def _shard(task: str) -> int:
    # Python's own hash differs from process to process.
    return zlib.crc32(task.encode()) % SHARDS


def _partition(app: str, shard: int) -> str:
    return f"M#{app}#{shard}"


def _sort_prefix(span: int, time: int) -> str:
    return f"{span:04d}#{min(max(time, 0), MAX_SECOND):010d}#"


def _item_key(app: str, key: CounterKey) -> Item:
    sort = f"{_sort_prefix(key.span, key.time)}{key.task}#{key.queue}"
    return {PARTITION_KEY: text(_partition(app, _shard(key.task))), SORT_KEY: text(sort)}


def _counter_key(item: Item) -> CounterKey:
    span, time, task, queue = item[SORT_KEY]["S"].split("#")
    return CounterKey(int(span), int(time), task, queue)


def _added(counters: Counters) -> Item:
    item = {name: number(value) for name in ADDED_FIELDS if (value := _stored(name, counters))}
    return item | {f"h{bucket}": number(count) for bucket, count in enumerate(counters.histogram) if count}


def _stored(name: str, counters: Counters) -> float:
    value: float = getattr(counters, name)
    # Sums of floats end in meaningless digits, and each digit takes a byte.
    return round(value, 6) if name in SECONDS_FIELDS else value


def _counters(item: Item) -> Counters:
    def read(name: str) -> Any:
        return (float if name in SECONDS_FIELDS else int)(item.get(name, _ZERO)["N"])

    values = {name: read(name) for name in Counters._fields if name != "histogram"}
    return Counters(**values, histogram=tuple(read(f"h{bucket}") for bucket in range(BUCKETS)))
