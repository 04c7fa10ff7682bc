"""Response times of the dashboard's pages with 100,000 tasks in the table, warm.  python -m benchmarks.dashboard

Over the table's own backend and a real client, with a DynamoDB in a process of its own that answers from sorted lists,
each call after a given time (emulators read all items for every query, and would dominate the result); and in memory,
where a listing reads all records too. The budget is 300 ms a page, over the table.
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import json
import logging
import os
import re
import statistics
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from taskq_sls import Queue, TaskQ
from taskq_sls.aws.aio import AsyncAws
from taskq_sls.aws.port import AwsClient
from taskq_sls.core.clock import SystemClock
from taskq_sls.core.flow import AsyncFlow
from taskq_sls.core.message import ErrorInfo
from taskq_sls.core.states import State
from taskq_sls.core.times import DAY
from taskq_sls.metrics.counters import BUCKETS, CounterKey, Counters, MetricStore
from taskq_sls.results.base import ResultBackend
from taskq_sls.results.dynamodb.backend import DynamoResults
from taskq_sls.results.layout import INDEXES
from taskq_sls.results.memory import MemoryResults
from taskq_sls.results.records import AttemptEnd, Claim
from taskq_sls.results.workers import WorkerReport, WorkerReports
from taskq_sls.testing import in_memory
from taskq_sls.web.auth.tokens import SCOPES, new_token

from .wire import Request, Requests, answer, serve

TASKS = 100_000

NAMES = [f"shop.tasks:task_{number}" for number in range(10)]

PAGES = (
    "/",
    "/?span=24h",
    "/?span=7d",
    "/tasks",
    "/tasks?status=FAILED",
    "/tasks?q=task_3",
    "/tasks?status=RUNNING",
    "/tasks?status=open",
    "/tasks?label=tenant%3Dnobody",
    "/tasks?q=task_3&status=SUCCEEDED",
    "/task?id=t-50000",
    "/task?id=t-50000&children=1",
    "/schedules",
    "/dead-letters",
)

START = 1_800_000_000.0
"""The first time of the testing kit's clock, in epoch seconds."""

BUDGET = 300.0
"""Milliseconds."""


class Table:
    """A DynamoDB client with its own storage: items by key, indexes as sorted lists."""

    def __init__(self) -> None:
        self._items: dict[str, dict[str, Any]] = {}
        self._indexes: dict[tuple[str, str], list[str]] = defaultdict(list)

    def sort(self) -> None:
        for keys in self._indexes.values():
            keys.sort()

    async def call(self, operation: str, /, **params: Any) -> dict[str, Any]:
        return dict(getattr(self, operation)(**params))

    def put_item(self, Item: dict[str, Any], **params: Any) -> dict[str, Any]:
        self._items[Item["pk"]["S"]] = Item
        for index in INDEXES:
            if index.shard in Item:
                self._indexes[index.name, Item[index.shard]["S"]].append(Item[index.time]["S"])
        return {}

    def get_item(self, Key: dict[str, Any], **params: Any) -> dict[str, Any]:
        item = self._items.get(Key["pk"]["S"])
        return {} if item is None else {"Item": item}

    def batch_get_item(self, RequestItems: dict[str, Any]) -> dict[str, Any]:
        ((name, asked),) = RequestItems.items()
        found = [item for key in asked["Keys"] if (item := self._items.get(key["pk"]["S"])) is not None]
        return {"Responses": {name: found}}

    def query(
        self, IndexName: str, ExpressionAttributeValues: dict[str, Any], Limit: int, **params: Any
    ) -> dict[str, Any]:
        shard, low, high = (ExpressionAttributeValues[name]["S"] for name in (":shard", ":low", ":high"))
        keys = self._indexes.get((IndexName, shard), [])
        end = bisect.bisect_right(keys, high)
        start = max(bisect.bisect_left(keys, low), end - Limit)
        time_key = next(index.time for index in INDEXES if index.name == IndexName)
        return {"Items": [{time_key: {"S": key}} for key in reversed(keys[start:end])]}


class Endpoint(Requests):
    """The table over HTTP, each answer after `latency` seconds."""

    table: Table
    latency = 0.0

    def requested(self, request: Request) -> None:
        operation = re.sub("(?<!^)([A-Z])", r"_\1", request.operation).lower()
        params = json.loads(request.body)
        params.pop("TableName", None)
        found = json.dumps(getattr(self.table, operation)(**params)).encode()
        asyncio.get_running_loop().call_later(self.latency, self.transport.write, answer(found))


class Counted:
    """A client that counts its calls."""

    def __init__(self, client: AwsClient) -> None:
        self._client = client
        self.calls: Counter[str] = Counter()

    async def call(self, operation: str, /, **params: Any) -> dict[str, Any]:
        self.calls[operation] += 1
        return await self._client.call(operation, **params)


class Delayed(MetricStore):
    """Counters in memory that answer after the table's time."""

    def __init__(self, store: MetricStore, latency: float) -> None:
        self._store = store
        self._latency = latency

    async def add(self, app: str, slot: CounterKey, counters: Counters) -> None:
        await self._store.add(app, slot, counters)

    async def read(self, *given: Any, **more: Any) -> list[tuple[CounterKey, Counters]]:
        await asyncio.sleep(self._latency)
        return await self._store.read(*given, **more)


class TableResults(DynamoResults):
    """The table's backend, with counters and workers in memory."""

    def __init__(self, client: AwsClient, beside: MemoryResults, latency: float) -> None:
        super().__init__(client, AsyncFlow(SystemClock()), "bench", lambda: "a list")
        self._metrics = Delayed(beside.metrics, latency)
        self._workers = beside.workers

    @property
    def metrics(self) -> MetricStore:
        return self._metrics

    @property
    def workers(self) -> WorkerReports:
        return self._workers


def the_app() -> TaskQ:
    app = TaskQ("shop", queues=[Queue("default"), Queue("slow")])
    for name in NAMES:
        app.task(name=name)(lambda: None)
    return app


async def seed(results: ResultBackend, now: float) -> None:
    """Tasks of a day, every twentieth of them failed."""
    for number in range(TASKS):
        at = now - DAY + number * DAY / TASKS
        id, name = f"t-{number}", NAMES[number % len(NAMES)]
        claim = Claim(
            id, 0, name, "default", "o", at + 1, at + 61, 3, now + 20 * DAY, at, {"tenant": str(number % 100)}
        )
        failed = number % 20 == 0
        error = ErrorInfo("ValueError", "it is not what it should be", "Traceback ...") if failed else None
        state = State.FAILED if failed else State.SUCCEEDED
        await results.put_finished(
            claim, 1, AttemptEnd(state, at + 2, now + 20 * DAY, None if failed else "[1, 2, 3]", error)
        )


async def count(store: MetricStore, now: float) -> None:
    """Counters of a day by the minute, and of a week by the hour."""
    counters = Counters(7, 6, 1, 0, 0, 0, 0, 2.5, 0.9, 7, 3.0, tuple(int(5 < bucket < 9) for bucket in range(BUCKETS)))
    minute = int(now // 3600) * 3600
    for name in NAMES:
        for ago in range(1440):
            await store.add("shop", CounterKey(60, minute - 60 * ago, name, "default"), counters)
        for ago in range(24 * 7):
            await store.add("shop", CounterKey(3600, minute - 3600 * ago, name, "default"), counters)


async def measure(app: TaskQ, rounds: int, calls: Callable[[], Counter[str]]) -> float:
    """Request every page; return the slowest median in milliseconds."""
    token, digest = new_token()
    api = app.api(auth="tokens", tokens={"bench": {"hash": digest, "scopes": list(SCOPES)}})
    slowest = 0.0
    for page in PAGES:
        times, processor = [], []
        before: Counter[str] = Counter()
        for round in range(rounds + 2):
            before = Counter(calls())
            started, cpu = time.perf_counter(), time.process_time()
            status, size = await ask(api, page, token)
            if round >= 2:
                times.append((time.perf_counter() - started) * 1000)
                processor.append((time.process_time() - cpu) * 1000)
        assert status == 200, (page, status)
        asked = ", ".join(f"{number} {name}" for name, number in sorted((calls() - before).items()))
        median = statistics.median(times)
        slowest = max(slowest, median)
        print(
            f"{page:36}{median:8.1f} ms  (most {max(times):6.1f}; processor {statistics.median(processor):6.1f}) {size / 1000:7.1f} KB  {asked}"
        )
    return slowest


async def ask(api: Callable[..., Awaitable[None]], page: str, token: str) -> tuple[int, int]:
    """One request, without a network; status and bytes of the answer."""
    path, _, query = page.partition("?")
    headers = [(b"authorization", f"Bearer {token}".encode()), (b"host", b"bench"), (b"accept", b"text/html")]
    scope = {
        "type": "http", "http_version": "1.1", "method": "GET", "scheme": "https", "path": path, "root_path": "",
        "raw_path": path.encode(), "query_string": query.encode(), "headers": headers, "server": ("bench", 443),
        "client": ("127.0.0.1", 1),
    }  # fmt: skip
    status, size = 0, 0

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status, size
        status = message.get("status", status)
        size += len(message.get("body", b""))

    await api(scope, receive, send)
    return status, size


def over_table(rounds: int, latency: float) -> float:
    """Measure all pages over the table's backend; `latency` in seconds."""
    command = [sys.executable, "-m", "benchmarks.dashboard", "--serve", "--latency", str(latency * 1000)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        os.environ |= {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{int(server.stdout.readline())}",
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_DEFAULT_REGION": "eu-central-1",
        }
        try:
            with prepared() as (app, memory):
                port = AsyncAws(SystemClock())
                client = Counted(port.client("dynamodb"))
                memory.results = TableResults(client, memory.results, latency)
                app.services = type(app.services)(memory)

                async def work() -> float:
                    try:
                        return await measure(app, rounds, lambda: client.calls)
                    finally:
                        await port.close()

                return asyncio.run(work())
        finally:
            server.terminate()


def in_process(rounds: int) -> float:
    """Measure all pages over records in memory."""
    with prepared() as (app, memory):
        asyncio.run(seed(memory.results, memory.clock.time()))
        return asyncio.run(measure(app, rounds, Counter))


@contextmanager
def prepared() -> Iterator[tuple[TaskQ, Any]]:
    """The app, with counters and a worker and no task."""
    app = the_app()
    with in_memory(app) as memory:
        now = memory.clock.time()
        asyncio.run(count(memory.results.metrics, now))
        report = WorkerReport("shop", "w1", "host", 7, now - 100, now, 2, 10, 8, "0.1.0", ("default",))
        asyncio.run(memory.results.workers.beat(report))
        yield app, memory


async def serving(latency: float) -> None:
    """Fill the table and serve it."""
    Endpoint.table, Endpoint.latency = Table(), latency
    await seed(TableResults(Endpoint.table, MemoryResults(), 0.0), START)
    Endpoint.table.sort()
    await serve(Endpoint)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="of which medians are taken; default %(default)s")
    parser.add_argument("--latency", type=float, default=8.0, help="milliseconds of a call; default %(default)s")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    latency = arguments.latency / 1000
    if arguments.serve:
        asyncio.run(serving(latency))
    print(f"{TASKS:,} tasks in a table that answers each call after {arguments.latency:g} ms")
    table = over_table(arguments.rounds, latency)
    print(f"\n{TASKS:,} tasks in memory")
    memory = in_process(arguments.rounds)
    print(
        f"\nthe slowest page: {table:.0f} ms over the table, {memory:.0f} ms in memory; the budget is {BUDGET:.0f} ms"
    )


if __name__ == "__main__":
    main()
