"""Many requests that wait for tasks at once, over a table that is not quick."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from taskq_sls import TaskQ
from taskq_sls.brokers.memory import MemoryBroker
from taskq_sls.core.clock import SystemClock
from taskq_sls.results.memory import MemoryResults
from taskq_sls.web import guard
from taskq_sls.web.auth.tokens import new_token
from taskq_sls.web.routes import tasks


class SlowResults(MemoryResults):
    """Answers one read after the other, as a table behind few connections does."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._connection = asyncio.Semaphore(1)
        self.hangs = False

    async def get_many(self, *args: Any, **options: Any) -> Any:
        if self.hangs:
            await asyncio.sleep(3600)
        async with self._connection:
            await asyncio.sleep(self._seconds)
        return await super().get_many(*args, **options)

    async def get(self, *args: Any, **options: Any) -> Any:
        async with self._connection:
            await asyncio.sleep(self._seconds)
        return await super().get(*args, **options)


class Client:
    """A client of an API, and a task that does not end."""

    def __init__(self, results: MemoryResults) -> None:
        clock = SystemClock()
        app = TaskQ("shop", broker=MemoryBroker(clock, ["default"]), results=results, clock=clock)
        self._token, digest = new_token()
        self._api = app.api(auth="tokens", tokens={"reader": {"hash": digest, "scopes": ["read"]}})

        @app.task(record="queued")
        def never() -> None: ...

        self._task = never

    async def enqueue(self) -> str:
        return (await self._task.aenqueue()).id

    async def get(self, path: str) -> tuple[int, Any]:
        """The status and the JSON of an answer."""
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "scheme": "https",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(b"host", b"api.example.com"), (b"authorization", f"Bearer {self._token}".encode())],
            "client": ("192.0.2.1", 1),
            "server": ("api.example.com", 443),
        }
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b""}

        async def send(message: Any) -> None:
            sent.append(message)

        await self._api(scope, receive, send)
        return sent[0]["status"], json.loads(b"".join(message.get("body", b"") for message in sent[1:]))


def test_many_waits_at_once_are_each_answered_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # All 60 would read some 10 times in the 3 seconds before their waits end: far more than the table answers.
    monkeypatch.setattr(guard, "MAX_REQUEST_SECONDS", 5.0)
    monkeypatch.setattr(tasks, "MAX_LONG_POLLS", 4)
    monkeypatch.setattr(tasks, "CROWDED_WAIT_SECONDS", 0.1)

    async def ask() -> list[tuple[int, bool]]:
        client = Client(SlowResults(0.02))
        id = await client.enqueue()
        answers = await asyncio.gather(*(client.get(f"/v1/tasks/{id}?wait=25") for _ in range(60)))
        return [(status, body.get("done")) for status, body in answers]

    assert asyncio.run(ask()) == [(200, False)] * 60


def test_a_wait_ends_in_time_though_the_table_does_not_answer() -> None:
    async def ask() -> None:
        results = SlowResults(0)
        client = Client(results)
        id = await client.enqueue()
        results.hangs = True
        status, body = await client.get(f"/v1/tasks/{id}?wait=0.1")
        assert (status, body["done"]) == (200, False)

    asyncio.run(ask())
