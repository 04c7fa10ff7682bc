"""The same operations on an event loop: what an HTTP API would drive."""

from __future__ import annotations

import asyncio

import pytest

from taskq_sls import Retry
from taskq_sls.operations.dead_letter_view import Selection
from taskq_sls.operations.dead_letters import SweepProgress, list_dead_letters, purge
from taskq_sls.operations.overview import queue_stats
from taskq_sls.operations.redrive import redrive
from taskq_sls.operations.tasks import retry, show
from tests.support.aws_bench import AwsBench
from tests.support.waiting import async_until


async def test_dead_letters_are_listed_redriven_and_purged(aws_bench: AwsBench) -> None:
    app = aws_bench.app
    bad = True

    @app.task(name="work", retry=Retry(max_attempts=1))
    async def work(number: int) -> int:
        if bad:
            raise ValueError(f"not {number}")
        return number

    async def all_dead() -> bool:
        return (await aws_bench.depth("default-dlq")).visible == 12

    services = await app.services.on_loop()
    handles = await work.aenqueue_many([(number,) for number in range(12)])
    async with aws_bench.working():
        await async_until(all_dead)

        listing = await list_dead_letters(app, services)
        assert sorted(one.args[0] for one in listing.dead_letters) == list(range(12))
        assert (await queue_stats(app, services))[0].dead_letters == 12
        assert (await show(app, services, handles[3].id)).dead_letter is not None

        bad = False
        assert (await retry(app, services, handles[3].id)).redriven
        chosen = Selection(ids=frozenset(handle.id for handle in handles[:3]))
        assert len((await redrive(app, services, selection=chosen)).redriven) == 3
        assert [await handle.aresult(20) for handle in handles[:4]] == [0, 1, 2, 3]

    assert len((await purge(app, services)).purged) == 8
    assert await aws_bench.depth("default-dlq") == (0, 0, 0)


async def test_a_look_that_is_cancelled_gives_everything_back(aws_bench: AwsBench) -> None:
    app = aws_bench.app
    services = await app.services.on_loop()
    await aws_bench.send_raw("one", queue="default-dlq")

    def cancel(progress: SweepProgress) -> None:
        looking.cancel()

    looking = asyncio.create_task(list_dead_letters(app, services, on_progress=cancel))
    with pytest.raises(asyncio.CancelledError):
        await looking

    assert await aws_bench.depth("default-dlq") == (1, 0, 0)
