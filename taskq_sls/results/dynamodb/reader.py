"""Reads of the table: one record, many, and pages over the indexes."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import islice

from ...core.states import UNREADABLE
from ...errors import TaskQError
from .. import layout
from ..base import KeyRange, Page, Query, by_status, check_query
from ..layout import STATUS_INDEX, TASK_INDEX, Index, Item
from ..records import TaskRecord
from .items import is_complete
from .stored_records import is_unreadable, record_of, unreadable_item
from .table import MAX_BATCH, Table

MAX_PARALLEL_CALLS = 16
"""Calls of one read at once."""

EXTRA_SHARD_KEYS = 8
"""Keys read from each shard beyond its share, so that a slightly fuller shard needs no second query."""


class Reader:
    """Reads records. An expired record, past its ``ttl``, counts as absent."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def get(self, id: str, now: float) -> TaskRecord | None:
        try:
            answer = await self._table.call(
                "get_item", TableName=self._table.name, Key=layout.record_key(id), ConsistentRead=True
            )
        except TaskQError:
            raise
        except Exception as error:
            return _live_record(unreadable_item(id, error), now)
        return _live_record(answer.get("Item"), now)

    async def get_many(self, ids: Sequence[str], now: float) -> dict[str, TaskRecord]:
        found = await self._items(ids)
        records = ((id, _live_record(found.get(id), now)) for id in dict.fromkeys(ids))
        return {id: record for id, record in records if record is not None}

    async def page(self, query: Query, now: float) -> Page:
        """A page of records, newest first.

        Keys come from the index, in order over all its shards. The records are then read from the table and checked
        again, since a record may have changed its state, and so its place, after the index was written.
        """
        key_range = check_query(query)
        index = STATUS_INDEX if by_status(query) else TASK_INDEX
        records: list[tuple[str, TaskRecord]] = []
        read = 0
        while True:
            count = _keys_to_read(query, query.limit - len(records))
            keys = await self._keys(index, _shards(query), key_range, count + 1)
            more, keys = len(keys) > count, keys[:count]
            records += await self._matching(query, index, keys, now)
            if len(records) > query.limit or (more and len(records) == query.limit):
                page = records[: query.limit]
                return _page(page, page[-1][0])
            read += len(keys)
            if not more or (query.most_read is not None and read >= query.most_read):
                return _page(records, keys[-1] if more else None)
            key_range = key_range._replace(high=keys[-1])

    async def _matching(
        self, query: Query, index: Index, keys: Sequence[str], now: float
    ) -> list[tuple[str, TaskRecord]]:
        """The live records under time keys of an index that still match the query, with their keys."""
        items = await self._items([_id(key) for key in keys])
        found = []
        for key in keys:
            item = items.get(_id(key))
            record = _live_record(item, now)
            if item is None or record is None:
                continue
            # An unreadable record is shown in every listing that its keys lead to.
            matches = record.status == UNREADABLE or query.matches(record.status, record.task, record.labels)
            if matches and item.get(index.time, {"S": key}) == {"S": key}:
                found.append((key, record))
        return found

    async def _keys(self, index: Index, shards: Sequence[str], key_range: KeyRange, count: int) -> list[str]:
        """The newest `count` time keys in the range, over all shards."""
        # Ids spread evenly, so that twice a shard's share is nearly always enough.
        first = min(count, 2 * count // len(shards) + EXTRA_SHARD_KEYS)
        found = await self._table.flow.map(
            lambda shard: self._shard_keys(index, shard, key_range, first), shards, MAX_PARALLEL_CALLS
        )
        newest = _newest(found, count)
        last = newest[-1] if len(newest) == count else ""
        # These shards may hold more keys that are newer than `last`.
        short = [place for place, keys in enumerate(found) if len(keys) >= first < count and keys[-1] >= last]
        if not short:
            return newest

        async def read_rest(place: int) -> None:
            keys = found[place]
            older = key_range._replace(high=keys[-1])
            keys += await self._shard_keys(index, shards[place], older, count - len(keys))

        await self._table.flow.map(read_rest, short, MAX_PARALLEL_CALLS)
        return _newest(found, count)

    async def _shard_keys(self, index: Index, shard: str, key_range: KeyRange, count: int) -> list[str]:
        if key_range.low >= key_range.high:
            return []
        items = await self._table.query(
            # BETWEEN includes its end and the range does not: one key more is read, and dropped below.
            f"#{index.shard} = :shard AND #{index.time} BETWEEN :low AND :high",
            {":shard": {"S": shard}, ":low": {"S": key_range.low}, ":high": {"S": key_range.high}},
            limit=count + 1,
            IndexName=index.name,
            ScanIndexForward=False,
        )
        return [key for item in items if key_range.holds(key := item[index.time]["S"])]

    async def _items(self, ids: Sequence[str]) -> dict[str, Item]:
        # BatchGetItem refuses duplicate keys.
        unique = list(dict.fromkeys(ids))
        batches = [unique[start : start + MAX_BATCH] for start in range(0, len(unique), MAX_BATCH)]
        found: dict[str, Item] = {}
        for items in await self._table.flow.map(self._batch, batches, MAX_PARALLEL_CALLS):
            found |= items
        return found

    async def _batch(self, ids: Sequence[str]) -> dict[str, Item]:
        try:
            items = await self._table.batch_get([layout.record_key(id) for id in ids])
        except TaskQError:
            raise
        except Exception as error:
            # botocore cannot parse the answer. The batch is halved until the one unreadable item is found.
            if len(ids) == 1:
                return {ids[0]: unreadable_item(ids[0], error)}
            half = len(ids) // 2
            return await self._batch(ids[:half]) | await self._batch(ids[half:])
        return {layout.id_of(item): item for item in items}


def _keys_to_read(query: Query, missing: int) -> int:
    """More than are missing if the index also holds keys of other records: most of those read may not match."""
    filtered = bool(query.labels) or (bool(query.tasks) if by_status(query) else query.status is not None)
    return max(missing, MAX_BATCH) if filtered else missing


def _page(records: Sequence[tuple[str, TaskRecord]], cursor: str | None) -> Page:
    return Page([record for _, record in records], cursor)


def _newest(found: Sequence[Sequence[str]], count: int) -> list[str]:
    return list(islice(heapq.merge(*found, reverse=True), count))


def _shards(query: Query) -> list[str]:
    if by_status(query) and query.status is not None:
        return layout.status_shards(query.status)
    return [shard for task in dict.fromkeys(query.tasks) for shard in layout.task_shards(task)]


def _id(key: str) -> str:
    return key.partition("#")[2]


def _live_record(item: Item | None, now: float) -> TaskRecord | None:
    if item is None or not (is_complete(item) or is_unreadable(item)):
        return None
    record = record_of(item)
    return record if record.ttl > now else None
