"""What the storms have found, each in the smallest test that shows it."""

from __future__ import annotations

import asyncio
import gc
import warnings

import pytest

from taskq_sls import State, TaskContext, TaskQ
from taskq_sls.brokers.base import Outgoing
from taskq_sls.brokers.memory import MemoryBroker
from taskq_sls.core.delivery import Delivery, Done, Release
from taskq_sls.core.flow import drive
from taskq_sls.core.message import Message
from taskq_sls.results.memory import MemoryResults
from taskq_sls.results.records import Claim, Claimed, Refused
from taskq_sls.testing import ManualClock, in_memory
from taskq_sls.worker.in_flight import InFlight
from taskq_sls.worker.settler import Settler


@pytest.mark.parametrize("level", ["none", "finished", "started", "queued"])
def test_a_redriven_copy_runs_however_old_its_task_is_by_then(level: str) -> None:
    app = TaskQ("shop")
    runs: list[int] = []

    @app.task(record=level)
    def job(context: TaskContext) -> None:
        runs.append(context.run)

    with in_memory(app) as memory:
        now = memory.clock.time()
        body = Message("task-1", job.name, run=1, enqueued_at=now, expires_at=now + 10).encode()
        memory.travel(3_600)
        drive(memory.broker.send([Outgoing("default", body, "task-1")]))
        memory.run_until_idle()
        assert (runs, memory.broker.messages("default")) == ([1], [])


async def test_a_settler_that_gives_up_a_batch_before_it_began_leaves_no_coroutine_behind() -> None:
    settler = Settler(MemoryBroker(ManualClock(), ["default"]), InFlight())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for number in range(10):
            delivery = Delivery("default", "", f"default/{number}/1", str(number), 1, 0.0)
            await settler.settle(delivery, Release(0))
        settler.close()  # the tenth began the batch; its task has not run yet
        await asyncio.sleep(0)
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


async def test_an_attempt_whose_lease_ended_before_its_function_began_does_not_enter_it() -> None:
    clock, entered = ManualClock(), []

    class Sleepy(MemoryResults):
        """The machine sleeps while the answer to the claim is on its way."""

        async def claim(self, claim: Claim) -> Claimed | Refused:
            answer = await super().claim(claim)
            clock.travel(sleep)
            return answer

    results = Sleepy()
    app = TaskQ("shop", clock=clock, broker=MemoryBroker(clock, ["default"]), results=results)

    @app.task
    async def job() -> None:
        entered.append(1)

    executor = app.executor(await app.services.on_loop())
    body = Message("task-1", job.name, enqueued_at=clock.time()).encode()
    delivery = Delivery("default", body, "receipt", "message-1", 1, clock.time())
    sleep = 60.0
    assert await executor.process(delivery) == Release(0)
    record = await results.get("task-1", now=clock.time())
    assert record is not None
    assert (entered, record.status, record.attempt) == ([], State.QUEUED, 0)
    sleep = 59.0
    assert await executor.process(delivery) == Done()
    assert entered == [1]
