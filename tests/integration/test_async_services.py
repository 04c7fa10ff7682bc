"""Clients of event loops: one set per loop, closed with it, with and without aiobotocore."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from taskq_sls.client import services as services_module
from taskq_sls.client.services import Services
from tests.support.aws_bench import AwsBench
from tests.support.waiting import async_until

MakeBench = Callable[..., AwsBench]


async def test_a_loop_has_one_set_of_services(aws_bench: AwsBench) -> None:
    first, second = await asyncio.gather(aws_bench.app.services.on_loop(), aws_bench.app.services.on_loop())

    assert first is second


def test_each_loop_has_its_own_which_is_closed_with_it(
    make_aws_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_aws_bench()
    closed: list[Services] = []
    new_async = bench.app.services.new_async

    def watched(**options: Any) -> Services:
        services = new_async(**options)
        really_close = services.close

        async def close() -> None:
            closed.append(services)
            await really_close()

        services.close = close
        return services

    monkeypatch.setattr(bench.app.services, "new_async", watched)

    async def use() -> Services:
        services = await bench.app.services.on_loop()
        await services.broker.depth("default")
        assert len(closed) < 2
        return services

    first, second = asyncio.run(use()), asyncio.run(use())

    assert first is not second
    assert closed == [first, second]
    gc.collect()  # a client that was left open would warn now


def test_the_services_of_a_loop_that_was_just_closed_go_with_the_next_loop(make_aws_bench: MakeBench) -> None:
    bench = make_aws_bench()
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def use() -> None:
        services = await bench.app.services.on_loop()
        await services.broker.depth("default")

    def close_without_async_generators() -> None:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(use())
        loop.close()
        loops.append(weakref.ref(loop))

    for _ in range(3):
        close_without_async_generators()
    asyncio.run(use())
    gc.collect()  # a client that was left open would warn now

    assert [loop() for loop in loops] == [None] * 3


def test_sync_and_async_calls_of_one_app_see_the_same_tasks(make_aws_bench: MakeBench) -> None:
    bench = make_aws_bench()

    @bench.app.task(name="add")
    async def add(a: int, b: int) -> int:
        return a + b

    handle = add.enqueue(1, 2)

    async def work_and_wait() -> int:
        other = await add.aenqueue(3, 4)
        async with bench.working():
            assert await other.aresult(60) == 7
            return await handle.aresult(60)

    assert asyncio.run(work_and_wait()) == 3
    assert handle.result(1) == 3


def test_everything_works_without_aiobotocore(make_aws_bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services_module, "_aiobotocore_usable", lambda: False)
    bench = make_aws_bench()
    seen: set[str] = set()

    @bench.app.task(name="add")
    async def add(a: int, b: int) -> int:
        seen.update(thread.name.partition("_")[0] for thread in threading.enumerate())
        return a + b

    async def work() -> list[int]:
        handles = await add.aenqueue_many([(number, 1) for number in range(12)])
        async with bench.working() as worker:
            await async_until(lambda: worker.done == 12)
        return [await handle.aresult(5) for handle in handles]

    assert asyncio.run(work()) == list(range(1, 13))
    assert "taskq-aws" in seen


def test_an_app_in_memory_needs_no_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    from taskq_sls import TaskQ
    from taskq_sls.testing import in_memory

    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    app = TaskQ("shop")

    @app.task(name="note")
    async def note() -> int:
        return 5

    with in_memory(app) as memory:
        handle = note.enqueue()
        memory.run_until_idle()
        assert handle.result() == 5
