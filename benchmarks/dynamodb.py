"""A DynamoDB endpoint that stores nothing and accepts everything, so that the client is measured.

moto and MiniStack answer some hundred writes a second and would dominate the result. Each write is answered as if its
condition was true on an item that did not exist; reads find nothing.  python -m benchmarks.dynamodb
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


class TableStub(Requests):
    counts: Counter[str] = Counter()

    def requested(self, request: Request) -> None:
        if request.path == CONTROL:
            self.transport.write(answer(json.dumps(TableStub.counts).encode()))
            TableStub.counts = Counter()
            return
        TableStub.counts[request.operation] += 1
        self.transport.write(answer(ANSWERS.get(request.operation, b"{}")))


if __name__ == "__main__":
    asyncio.run(serve(TableStub))
