"""A DynamoDB endpoint that keeps nothing and accepts everything, so that what is measured is the client.

moto and MiniStack answer some hundred writes a second and would be what is measured. Each write is answered as one
whose condition held on an item that was not there; reads find nothing.  python -m benchmarks.dynamodb
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter

from .wire import CONTROL, Request, Requests, answer, serve

ANSWERS = {
    "DescribeTable": b'{"Table": {"TableName": "bench", "TableStatus": "ACTIVE"}}',
    "DescribeTimeToLive": b'{"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}}',
    "BatchWriteItem": b'{"UnprocessedItems": {}}',
}


class Table(Requests):
    counts: Counter[str] = Counter()

    def requested(self, request: Request) -> None:
        if request.path == CONTROL:
            self.transport.write(answer(json.dumps(Table.counts).encode()))
            Table.counts = Counter()
            return
        Table.counts[request.operation] += 1
        self.transport.write(answer(ANSWERS.get(request.operation, b"{}")))


if __name__ == "__main__":
    asyncio.run(serve(Table))
