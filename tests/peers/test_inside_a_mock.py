"""A worker inside moto's mock of AWS: moto#8611, elsewhere it calls the real AWS."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from moto import mock_aws

from taskq_sls import Queue, Retry, State, TaskContext, TaskQ
from taskq_sls.aws.blocking import BlockingAws
from taskq_sls.core.clock import SystemClock
from taskq_sls.core.flow import drive
from taskq_sls.deploy.provision import provision


@pytest.fixture
def asked_for(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Inside the mock; the hosts whose addresses somebody asks for, which get none."""
    hosts: list[Any] = []

    def getaddrinfo(host: Any, *arguments: Any, **more: Any) -> Any:
        hosts.append(host)
        raise socket.gaierror(f"{host} is outside of the mock")

    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with mock_aws():
        yield hosts


def test_a_worker_inside_of_the_mock_calls_nothing_outside_of_it(asked_for: list[Any]) -> None:
    app = TaskQ("mocked", queues=[Queue("default", visibility_timeout=5)])
    port = BlockingAws(SystemClock())
    drive(provision(port, app.settings, list(app.queues.values())))
    drive(port.close())

    @app.task(name="child")
    def child(number: int) -> int:
        return number + 1

    @app.task(name="parent", retry=Retry(max_attempts=2, backoff=0))
    async def parent(ctx: TaskContext, number: int) -> str:
        if ctx.attempt == 1:
            raise ValueError("the first time")
        return (await child.aenqueue(number)).id

    first = parent.enqueue(1)

    async def work() -> str:
        second = await parent.aenqueue(2)
        await app.worker(concurrency=1, poll_wait=1, burst=True).serve()  # the mock knows no locks
        return await second.aresult(5)

    other = asyncio.run(work())
    assert [app.results.get(id).result for id in (first.result(5), other)] == [2, 3]  # type: ignore[union-attr]  # stored
    assert first.status() is State.SUCCEEDED
    assert asked_for == []
