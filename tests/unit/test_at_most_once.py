"""A lost answer uses up no attempt, and a task that runs at most once is not started twice."""

from __future__ import annotations

import asyncio

from taskq_sls import Retry, State
from taskq_sls.core.delivery import DONE, DeadLetter
from taskq_sls.errors import AwsError
from tests.support.engine_harness import EngineHarness, delivery
from tests.support.waiting import async_until


async def test_a_claim_whose_answer_was_lost_is_recognised_by_its_token_and_uses_up_one_attempt() -> None:
    harness = EngineHarness()
    seen = []

    @harness.app.task
    async def note() -> None:
        seen.append(1)

    lost = AwsError("update_item", "ReadTimeoutError", "no answer", transient=True, ambiguous=True)
    harness.results.fail("claim", lost, after=True)

    assert await harness.run(note) == DONE
    assert seen == [1]
    assert harness.record().attempt == 1


async def test_a_task_that_runs_at_most_once_is_not_given_back_when_shutdown_has_stopped_it() -> None:
    harness = EngineHarness()
    entered = asyncio.Event()

    @harness.app.task(retry=Retry(max_attempts=1))
    async def once() -> None:
        entered.set()
        await asyncio.sleep(60)

    executor = await harness.executor()
    running = asyncio.create_task(executor.process(delivery(once)))
    await entered.wait()
    await async_until(lambda: executor.running)
    for attempt in list(executor.running.values()):
        executor.stop(attempt, "shutdown")

    outcome = await running
    assert isinstance(outcome, DeadLetter)
    assert outcome.reason == "exhausted"
    assert harness.record().status is State.FAILED
