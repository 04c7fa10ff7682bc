"""A worker that runs is seen by everybody who asks the table, and gone when it has stopped."""

from __future__ import annotations

import asyncio

from taskq_sls.operations.overview import live_workers, overview
from tests.support.aws_bench import AwsBench
from tests.support.waiting import async_until


async def test_a_worker_is_alive_in_the_table_as_long_as_it_works(aws_bench: AwsBench) -> None:
    release = asyncio.Event()

    @aws_bench.app.task(name="hold")
    async def hold() -> None:
        await release.wait()

    services = await aws_bench.app.services.on_loop()

    async def alive() -> bool:
        return bool(await live_workers(aws_bench.app, services))

    handle = await hold.aenqueue()
    async with aws_bench.working(concurrency=7):
        await async_until(alive)
        view = await overview(aws_bench.app, services, ages=False)
        release.set()
        await handle.aresult(60)

    (worker,) = view.workers
    assert (worker.concurrency, worker.queues) == (7, ("default",))
    assert [one.id for one in view.running] in ([handle.id], [])  # it may have reported before the task came
    assert await live_workers(aws_bench.app, services) == []


async def test_a_worker_that_should_not_report_writes_nothing(aws_bench: AwsBench) -> None:
    @aws_bench.app.task(name="ping")
    async def ping() -> None: ...

    services = await aws_bench.app.services.on_loop()
    async with aws_bench.working(report=False):
        await (await ping.aenqueue()).aresult(60)
        await asyncio.sleep(1.5)  # longer than the heartbeat's first look
        assert await live_workers(aws_bench.app, services) == []
