"""Unconditional puts share requests: recording ``finished`` costs a worker 25 times fewer calls.

BatchWriteItem has no conditions, so other writes cannot. The price is the same: a write unit for each item and index entry.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ...aws.port import AwsClient
from ...core.coalescing import RequestBatcher
from ...core.flow import Flow
from ...errors import AwsError
from ..layout import Item
from .backend import DynamoResults

logger = logging.getLogger("taskq_sls.results")

MAX_PUTS = 25
"""Items of one request (BatchWriteItem)."""

MAX_REQUESTS = 2
"""Requests at once: few, so that batches fill up; two hide the network latency."""

DENIED = "AccessDeniedException"


class BatchingDynamoResults(DynamoResults):
    """The result backend on DynamoDB for one event loop, with puts of concurrent tasks in batches."""

    def __init__(self, client: AwsClient, flow: Flow, table: str, describe: Callable[[], str]) -> None:
        super().__init__(client, flow, table, describe)
        self._batcher: RequestBatcher[Item, AwsError | None] = RequestBatcher(self._put, MAX_PUTS, MAX_REQUESTS)
        self._batches_allowed = True

    async def _overwrite(self, item: Item) -> None:
        fault = await self._batcher.send(item)
        if fault is not None:
            raise fault

    async def _put(self, items: list[Item]) -> list[AwsError | None]:
        """Put items; None for each that was put, else its error."""
        if len(items) == 1 or not self._batches_allowed:
            return await self._put_singly(items)
        name = self._table.name
        requests = [{"PutRequest": {"Item": item}} for item in items]
        try:
            answer = await self._table.call("batch_write_item", RequestItems={name: requests})
        except AwsError as error:
            if error.transient:
                raise
            if error.code == DENIED:
                self._batches_allowed = False
                logger.info(
                    "dynamodb:BatchWriteItem is not allowed: each record is put with a call of its own",
                    extra={"action": "batch_denied"},
                )
            # One refused item, or two of the same task, make BatchWriteItem refuse all.
            return await self._put_singly(items)
        return _faults(items, answer.get("UnprocessedItems", {}).get(name, []))

    async def _put_singly(self, items: list[Item]) -> list[AwsError | None]:
        async def put(item: Item) -> AwsError | None:
            try:
                await self._table.overwrite(item)
            except AwsError as error:
                return error
            return None

        return await self._table.flow.map(put, items, MAX_PUTS)


def _faults(items: list[Item], unprocessed: list[dict[str, Any]]) -> list[AwsError | None]:
    """An error for each item that the table had no capacity for. No two items of a batch have the same key."""
    keys = {request["PutRequest"]["Item"]["pk"]["S"] for request in unprocessed}
    fault = AwsError("batch_write_item", "UnprocessedItems", "the table had no capacity left", transient=True)
    return [fault if item["pk"]["S"] in keys else None for item in items]
