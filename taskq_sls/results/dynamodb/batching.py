"""Records that are put without a condition share requests: recording ``finished`` costs a worker 25 times fewer calls.

Only puts can: a batch of DynamoDB knows no conditions. The price is the same, a write unit for each item and index entry.
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

IN_FLIGHT = 2
"""Most requests under way at once. Few, since what waits for one goes together; two hide the way to the table."""

DENIED = "AccessDeniedException"


class BatchingDynamoResults(DynamoResults):
    """The result backend on DynamoDB for one event loop: puts of concurrent tasks are batched."""

    def __init__(self, client: AwsClient, flow: Flow, table: str, describe: Callable[[], str]) -> None:
        super().__init__(client, flow, table, describe)
        self._lane: RequestBatcher[Item, AwsError | None] = RequestBatcher(self._put, MAX_PUTS, IN_FLIGHT)
        self._allowed = True

    async def _overwrite(self, item: Item) -> None:
        fault = await self._lane.send(item)
        if fault is not None:
            raise fault

    async def _put(self, items: list[Item]) -> list[AwsError | None]:
        """Put items; for each None or why it was not."""
        if len(items) == 1 or not self._allowed:
            return await self._put_apart(items)
        name = self._table.name
        requests = [{"PutRequest": {"Item": item}} for item in items]
        try:
            answer = await self._table.call("batch_write_item", RequestItems={name: requests})
        except AwsError as error:
            if error.transient:
                raise
            if error.code == DENIED:
                self._allowed = False
                logger.info(
                    "dynamodb:BatchWriteItem is not allowed: each record is put by itself, which costs more calls",
                    extra={"action": "batch_denied"},
                )
            # One item that is refused, or two of one task, would keep the others out.
            return await self._put_apart(items)
        left: list[dict[str, Any]] = answer.get("UnprocessedItems", {}).get(name, [])
        if not left:
            return [None] * len(items)
        # No two items of a batch have the same key.
        keys = {request["PutRequest"]["Item"]["pk"]["S"] for request in left}
        fault = AwsError("batch_write_item", "UnprocessedItems", "the table had no capacity left", transient=True)
        return [fault if item["pk"]["S"] in keys else None for item in items]

    async def _put_apart(self, items: list[Item]) -> list[AwsError | None]:
        async def put(item: Item) -> AwsError | None:
            try:
                await self._table.overwrite(item)
            except AwsError as error:
                return error
            return None

        return await self._flow.map(put, items, MAX_PUTS)
