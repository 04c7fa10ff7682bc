"""What is lost by the senders of other task queues, which keep messages in a buffer: ours over a local AWS."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from taskq_sls import TaskQError
from taskq_sls.core.flow import drive
from tests.support.aws_bench import AwsBench

MakeBench = Callable[..., AwsBench]


@pytest.mark.parametrize(("count", "size"), [(4, 1), (25, 1), (5, 230_000)])
def test_what_coroutines_have_sent_is_in_the_queue_when_their_loop_has_ended(
    make_aws_bench: MakeBench, count: int, size: int
) -> None:
    """Elsewhere a shutdown lost 4 of 4, 15 of 25 that were buffered, and 5 of 5 with 230 kB each."""
    bench = make_aws_bench()

    @bench.app.task(name="job")
    async def job(text: str) -> None:
        return

    async def send() -> None:
        await asyncio.gather(*(job.aenqueue("x" * size) for _ in range(count)))

    asyncio.run(send())
    assert drive(bench.app.services.blocking().broker.depth("default")).visible == count


@pytest.mark.parametrize("fault", ["reset", "503"])
async def test_a_network_error_does_not_end_the_sender_for_good(make_aws_bench: MakeBench, fault: str) -> None:
    bench = make_aws_bench(aws_options={"max_attempts": 1})

    @bench.app.task(name="job")
    async def job() -> None:
        return

    bench.wire.fails = lambda operation: operation == "SendMessageBatch"
    bench.wire.fault = fault
    with pytest.raises(TaskQError):
        await job.aenqueue()
    bench.wire.fault = None
    await asyncio.gather(*(job.aenqueue() for _ in range(3)))
    assert (await bench.depth()).visible == 3
