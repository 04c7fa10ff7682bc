"""Reads of the table: one record, many, and pages over the indexes."""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from itertools import islice
from typing import Any

from ...core.flow import Flow
from ...core.states import UNREADABLE
from ...errors import AwsError, TaskQError
from .. import layout
from ..base import Page, Query, Window, by_status, check_query
from ..layout import STATUS_INDEX, TASK_INDEX, Index, Item
from ..records import TaskRecord
from .items import is_complete
from .stored_records import is_unreadable, record_of, unreadable_item
from .table import Table

MAX_BATCH = 100
"""Most items of one BatchGetItem (DynamoDB API reference)."""

PARALLEL = 16
"""Calls of one read that may be under way at once."""

SPREAD = 8
"""Keys that are read of every shard beyond its part, so that one that holds a few more is not asked twice."""

FIRST_BACKOFF = 0.05
"""Seconds to wait, with full jitter, before asking again for unprocessed keys; doubles up to 3.2."""

MAX_REFUSALS = 8
"""Answers in a row without a single item before a batch read gives up: about 10 seconds."""


class Reader:
    """Reads records; one past its ``ttl`` counts as absent."""

    def __init__(self, table: Table, flow: Flow) -> None:
        self._table = table
        self._flow = flow

    async def get(self, id: str, now: float) -> TaskRecord | None:
        try:
            answer = await self._table.call(
                "get_item", TableName=self._table.name, Key=layout.record_key(id), ConsistentRead=True
            )
        except TaskQError:
            raise
        except Exception as error:
            return _alive(unreadable_item(id, error), now)
        return _alive(answer.get("Item"), now)

    async def get_many(self, ids: Sequence[str], now: float) -> dict[str, TaskRecord]:
        found = await self._items(ids)
        records = ((id, _alive(found.get(id), now)) for id in dict.fromkeys(ids))
        return {id: record for id, record in records if record is not None}

    async def page(self, query: Query, now: float) -> Page:
        """A page of records, newest first.

        Keys come from the index, in order over all its shards; the records are then read from the table and
        looked at again, since one may have changed its state, and so its place, after the index was written.
        """
        window = check_query(query)
        status = by_status(query)
        index = STATUS_INDEX if status else TASK_INDEX
        filtered = bool(query.labels) or (bool(query.tasks) if status else query.status is not None)
        records: list[tuple[str, TaskRecord]] = []
        read = 0
        while True:
            wanted = query.limit - len(records)
            # What a filter may drop is read in larger steps.
            step = max(wanted, MAX_BATCH) if filtered else wanted
            keys = await self._keys(index, _shards(query), window, step + 1)
            more, keys = len(keys) > step, keys[:step]
            items = await self._items([_id(key) for key in keys])
            for key in keys:
                item = items.get(_id(key))
                record = _alive(item, now)
                if item is None or record is None:
                    continue
                if record.status == UNREADABLE:  # shown in every listing that its keys lead to
                    asked_for = True
                else:
                    asked_for = query.asks_for(record.status, record.task, record.labels)
                if asked_for and item.get(index.time, {"S": key}) == {"S": key}:
                    records.append((key, record))
            if len(records) > query.limit or (more and len(records) == query.limit):
                page = records[: query.limit]
                return Page([record for _, record in page], page[-1][0])
            read += len(keys)
            if not more or (query.most_read is not None and read >= query.most_read):
                return Page([record for _, record in records], keys[-1] if more else None)
            window = window._replace(high=keys[-1])

    async def _keys(self, index: Index, shards: Sequence[str], window: Window, count: int) -> list[str]:
        """The newest `count` time keys in the window, over all shards."""
        # Ids spread evenly, so that about twice a shard's part is enough of nearly every shard.
        first = min(count, 2 * count // len(shards) + SPREAD)
        found = await self._flow.map(lambda shard: self._shard_keys(index, shard, window, first), shards, PARALLEL)
        newest = _newest(found, count)
        last = newest[-1] if len(newest) == count else ""
        # Of these there may be more that belong in between.
        short = [place for place, keys in enumerate(found) if len(keys) >= first < count and keys[-1] >= last]
        if not short:
            return newest

        async def rest(place: int) -> None:
            keys = found[place]
            older = window._replace(high=keys[-1])
            keys += await self._shard_keys(index, shards[place], older, count - len(keys))

        await self._flow.map(rest, short, PARALLEL)
        return _newest(found, count)

    async def _shard_keys(self, index: Index, shard: str, window: Window, count: int) -> list[str]:
        if window.low >= window.high:
            return []
        parameters: dict[str, Any] = {
            "TableName": self._table.name,
            "IndexName": index.name,
            # BETWEEN includes its end, which the window does not: hence one more, dropped below.
            "KeyConditionExpression": "#shard = :shard AND #time BETWEEN :low AND :high",
            "ExpressionAttributeNames": {"#shard": index.shard, "#time": index.time},
            "ExpressionAttributeValues": {
                ":shard": {"S": shard},
                ":low": {"S": window.low},
                ":high": {"S": window.high},
            },
            "ScanIndexForward": False,
        }
        keys: list[str] = []
        while True:
            answer = await self._table.call("query", **parameters, Limit=count + 1 - len(keys))
            found = (item[index.time]["S"] for item in answer["Items"])
            keys += [key for key in found if window.holds(key)]
            if len(keys) >= count or "LastEvaluatedKey" not in answer:
                return keys
            parameters["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    async def _items(self, ids: Sequence[str]) -> dict[str, Item]:
        # BatchGetItem refuses a key that is named twice.
        unique = list(dict.fromkeys(ids))
        batches = [unique[start : start + MAX_BATCH] for start in range(0, len(unique), MAX_BATCH)]
        found: dict[str, Item] = {}
        for items in await self._flow.map(self._batch, batches, PARALLEL):
            found |= items
        return found

    async def _batch(self, ids: Sequence[str]) -> dict[str, Item]:
        try:
            return await self._read_batch(ids)
        except TaskQError:
            raise
        except Exception as error:
            # botocore cannot parse the answer: one item must not keep the others from being read.
            if len(ids) == 1:
                return {ids[0]: unreadable_item(ids[0], error)}
            half = len(ids) // 2
            return await self._batch(ids[:half]) | await self._batch(ids[half:])

    async def _read_batch(self, ids: Sequence[str]) -> dict[str, Item]:
        keys: list[Item] = [layout.record_key(id) for id in ids]
        found: dict[str, Item] = {}
        refusals = 0
        while True:
            request = {self._table.name: {"Keys": keys, "ConsistentRead": True}}
            answer = await self._table.call("batch_get_item", RequestItems=request)
            items = answer.get("Responses", {}).get(self._table.name, [])
            found |= {layout.id_of(item): item for item in items}
            left = answer.get("UnprocessedKeys", {}).get(self._table.name)
            if not left:
                return found
            keys = left["Keys"]
            refusals = 0 if items else refusals + 1
            if refusals == MAX_REFUSALS:
                raise AwsError(
                    "batch_get_item",
                    "UnprocessedKeys",
                    f"table {self._table.name} is throttled: {len(keys)} keys were not read in {refusals} tries",
                    transient=True,
                )
            await self._flow.sleep(random.uniform(0, FIRST_BACKOFF * 2**refusals))


def _newest(found: Sequence[Sequence[str]], count: int) -> list[str]:
    return list(islice(heapq.merge(*found, reverse=True), count))


def _shards(query: Query) -> list[str]:
    if by_status(query) and query.status is not None:
        return layout.status_shards(query.status)
    return [shard for task in dict.fromkeys(query.tasks) for shard in layout.task_shards(task)]


def _id(key: str) -> str:
    return key.partition("#")[2]


def _alive(item: Item | None, now: float) -> TaskRecord | None:
    if item is None or not (is_complete(item) or is_unreadable(item)):
        return None
    record = record_of(item)
    return record if record.ttl > now else None
