"""An app on a local AWS server, with a tap on the wire between them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import pytest

from taskq_sls import Queue, TaskQ
from taskq_sls.aws.blocking import BlockingAws
from taskq_sls.brokers.base import QueueDepth
from taskq_sls.core.clock import SystemClock
from taskq_sls.core.flow import drive
from taskq_sls.deploy.provision import provision
from taskq_sls.local_aws.serialized_moto import AtomicApplication
from taskq_sls.local_aws.server import MotoServer
from taskq_sls.results.records import TaskRecord
from taskq_sls.worker import Worker
from tests.support.waiting import async_until

_prefixes = (f"app{number}" for number in itertools.count())


class Wire:
    """Sits in front of the server: counts operations, and fails them on demand.

    Attributes:
        counts: requests by operation, such as ``ReceiveMessage``.
        under_way: how many requests are with the server.
        fault: for requests whose operation `fails` names: ``503``, ``reset``, ``lost`` (done, but not answered),
            ``expired`` (credentials), or ``hang`` (no answer until `fault` is another one, and then a reset).
    """

    def __init__(self, application: AtomicApplication) -> None:
        self._application = application
        self.counts: Counter[str] = Counter()
        self.under_way = 0
        self._guard = threading.Lock()
        self.fault: str | None = None
        self.fails: Callable[[str], bool] = lambda operation: True

    @contextlib.contextmanager
    def short_polls(self) -> Iterator[None]:
        """Long polls are answered at once: a worker that stops need not wait for the one that is open."""
        self._application.end_waits()
        try:
            yield
        finally:
            self._application._stopping = False

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        with self._guard:
            self.under_way += 1
        try:
            yield
        finally:
            with self._guard:
                self.under_way -= 1

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        operation = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
        self.counts[operation] += 1
        if self.fault is None or not self.fails(operation):
            with self._counted():
                return self._application(environ, start_response)
        fault = self.fault
        if fault == "lost":
            self._application(environ, lambda status, headers: None)
        while fault == "hang" and self.fault == "hang":
            time.sleep(0.02)
        if fault in ("reset", "lost", "hang"):
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if fault == "expired":
            start_response("403 Forbidden", [("Content-Type", "application/json")])
            return [b'{"__type": "ExpiredToken", "message": "The security token included in the request is expired"}']
        start_response("503 Service Unavailable", [("Content-Type", "application/json")])
        return [b'{"__type": "ServiceUnavailable", "message": "injected"}']


@contextlib.contextmanager
def tapped_server() -> Iterator[tuple[MotoServer, Wire]]:
    """A local AWS server with a tap."""
    with MotoServer() as server:
        running = server._running
        assert running is not None
        wire = Wire(running.application)
        running._server.app = wire
        yield server, wire


class AwsBench:
    """A provisioned app and the ways a test looks around it."""

    def __init__(self, server: MotoServer, wire: Wire, *queues: Queue, **options: Any) -> None:
        self.server = server
        self.wire = wire
        self.app = TaskQ(next(_prefixes), queues=queues or (Queue("default", visibility_timeout=5),), **options)
        port = BlockingAws(SystemClock())
        drive(provision(port, self.app.settings, list(self.app.queues.values())))
        drive(port.close())
        wire.counts.clear()

    async def depth(self, queue: str | None = None) -> QueueDepth:
        broker = (await self.app.services.on_loop()).broker
        return await broker.depth(queue or next(iter(self.app.queues)))

    async def receives(self) -> list[int]:
        """The receive count of every visible message, once; hides them."""
        broker = (await self.app.services.on_loop()).broker
        found = []
        for queue in self.app.queues:
            for delivery in await broker.receive(queue, max_messages=10, wait=0, visibility=60):
                found.append(delivery.receive_count)
        return found

    async def record(self, id: str) -> TaskRecord | None:
        return await self.app.results.aget(id)

    async def send_raw(self, body: str, queue: str | None = None, **more: Any) -> None:
        from taskq_sls.brokers.base import Outgoing

        broker = (await self.app.services.on_loop()).broker
        assert await broker.send([Outgoing(queue or next(iter(self.app.queues)), body, "raw", **more)]) == [None]

    async def end(self, serving: asyncio.Task[str]) -> str:
        """Wait for the end of a worker that was told to stop."""
        with self.wire.short_polls():
            return await asyncio.wait_for(serving, 60)

    @contextlib.asynccontextmanager
    async def working(self, **options: Any) -> AsyncIterator[Worker]:
        """A worker for the time of the block; then it is stopped, and must leave nothing hidden by itself."""
        worker = self.app.worker(**{"poll_wait": 1, "grace": 10, **options})
        serving = asyncio.create_task(worker.serve())
        try:
            await async_until(lambda: worker._loop is not None or serving.done())
            yield worker
            worker.stop()
            await self.end(serving)
        finally:
            if not serving.done():
                serving.cancel()
                await asyncio.wait([serving])


@pytest.fixture(scope="module")
def aws_server() -> Iterator[tuple[MotoServer, Wire]]:
    with tapped_server() as server:
        yield server


@pytest.fixture
def make_aws_bench(
    aws_server: tuple[MotoServer, Wire], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., AwsBench]]:
    """Makes apps on the server; afterwards checks that no thread of theirs is left."""
    server, wire = aws_server
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    before = set(threading.enumerate())
    made: list[AwsBench] = []

    def make(*queues: Queue, **options: Any) -> AwsBench:
        made.append(AwsBench(server, wire, *queues, **options))
        return made[-1]

    yield make
    wire.fault, wire.fails = None, lambda operation: True
    for bench in made:
        for services in bench.app.services._blocking.values():
            drive(services.close())
    deadline = time.monotonic() + 60
    while left := [thread.name for thread in set(threading.enumerate()) - before if _is_ours(thread)]:
        assert time.monotonic() < deadline, f"threads are left: {left}"
        time.sleep(0.02)


@pytest.fixture
def aws_bench(make_aws_bench: Callable[..., AwsBench]) -> AwsBench:
    return make_aws_bench()


def _is_ours(thread: threading.Thread) -> bool:
    return thread.name.startswith("taskq") and not thread.name.startswith("taskq-moto")
