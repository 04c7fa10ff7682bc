"""Duplicates, crashes, redrives and zombies: who may run a task, and how often."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from taskq_sls import Retry, State, TaskContext, TaskQ
from taskq_sls.core.delivery import DeadLetter, Done, Lost, RetryIn
from taskq_sls.core.flow import drive
from taskq_sls.core.message import dead_letter_body, decode
from taskq_sls.core.times import DAY
from taskq_sls.results.records import Claim, Claimed
from taskq_sls.results.rules import TAKEOVER_GRACE
from taskq_sls.testing import in_memory
from tests.support.engine_harness import HOLD, NOW, EngineHarness, delivery, message
from tests.support.faulty_backends import throttled


class Counted(EngineHarness):
    """A harness with a task that counts its runs and does what the test says."""

    def __init__(self, *ends: Any, **options: Any) -> None:
        super().__init__(**options)
        self.runs: list[tuple[int, int]] = []
        self.ends = list(ends)

        @self.task(name="job")
        async def job(ctx: TaskContext) -> str:
            self.runs.append((ctx.run, ctx.attempt))
            end = self.ends.pop(0) if self.ends else "done"
            if isinstance(end, Exception):
                raise end
            return str(end)

        self.job = job

    def crash(self, *, run: int = 0, max_attempts: int = 3, owner: str = "somebody") -> None:
        """Another process claims the next attempt and is never heard of again."""
        now = self.clock.time()
        claim = Claim("task-1", run, "job", "default", owner, now, now + HOLD, max_attempts, now + 20 * DAY, NOW)
        assert isinstance(drive(self.results.claim(claim)), Claimed)

    async def again(self, **fields: Any) -> Any:
        return await self.run(self.job, **fields)


async def test_a_duplicate_of_a_finished_task_is_done_without_running() -> None:
    harness = Counted()
    assert await harness.again() == Done()
    harness.clock.travel(10 * DAY)
    assert await harness.again() == Done()
    assert harness.runs == [(0, 1)]


async def test_of_two_deliveries_at_once_one_runs() -> None:
    harness = EngineHarness()
    gate, runs = asyncio.Event(), []

    @harness.task
    async def job() -> None:
        runs.append(1)
        await gate.wait()

    first = asyncio.create_task(harness.run(job))
    await asyncio.sleep(0)
    second = await harness.run(job)
    assert isinstance(second, RetryIn)
    assert second.reason == "held"
    gate.set()
    assert await first == Done()
    assert len(runs) == 1


async def test_a_duplicate_of_a_running_task_waits_until_the_lease_could_be_taken_over() -> None:
    harness = Counted()
    harness.crash()
    harness.clock.travel(40)
    assert await harness.again() == RetryIn(HOLD - 40 + TAKEOVER_GRACE, "held")


async def test_a_duplicate_of_a_task_that_keeps_renewing_waits_longer_each_time_up_to_15_minutes() -> None:
    harness = Counted()
    harness.crash()
    waits = []
    for _ in range(7):
        record = harness.record()
        record_lease = harness.clock.time() + HOLD
        from taskq_sls.results.records import Fence

        fence = Fence("task-1", 0, 1, "somebody")
        assert drive(harness.results.renew(fence, now=harness.clock.time(), lease_until=record_lease))
        outcome = await harness.again()
        assert isinstance(outcome, RetryIn)
        waits.append(outcome.delay)
        harness.clock.travel(outcome.delay)
        assert record.status is State.RUNNING
    assert waits == [65, 65, 130, 260, 520, 900, 900]


async def test_a_crashed_attempt_is_taken_over_5_seconds_after_its_lease_ended_and_counts() -> None:
    harness = Counted()
    harness.crash()
    harness.clock.travel(HOLD + 4.9)
    assert isinstance(await harness.again(), RetryIn)
    assert harness.runs == []
    harness.clock.travel(0.1)
    assert await harness.again() == Done()
    assert harness.runs == [(0, 2)]


async def test_a_crash_at_the_last_attempt_is_a_failure_and_not_run_again() -> None:
    harness = Counted(retry=Retry(max_attempts=2))
    harness.crash(owner="first")
    harness.clock.travel(HOLD + 5)
    harness.crash(owner="second")
    harness.clock.travel(HOLD + 5)
    outcome = await harness.again()
    assert isinstance(outcome, DeadLetter)
    assert (outcome.reason, outcome.attempts, outcome.recorded) == ("crashed", 2, True)
    record = harness.record()
    assert (record.status, record.reason, record.attempt) == (State.FAILED, "crashed", 2)
    assert harness.runs == []


async def test_one_attempt_at_most_means_at_most_one_start_even_after_a_crash() -> None:
    harness = Counted(retry=Retry(max_attempts=1))
    harness.crash(max_attempts=1)
    harness.clock.travel(DAY)
    assert isinstance(await harness.again(), DeadLetter)
    assert harness.runs == []


async def test_a_crashed_attempt_that_was_to_be_cancelled_ends_cancelled() -> None:
    harness = Counted()
    harness.crash()
    drive(harness.results.cancel("task-1", task="job", queue="default", now=NOW, ttl=NOW + 20 * DAY))
    harness.clock.travel(HOLD + 5)
    assert await harness.again() == Done()
    assert harness.record().status is State.CANCELLED
    assert harness.runs == []


async def test_a_task_given_back_after_a_cancel_was_asked_for_ends_cancelled() -> None:
    harness = EngineHarness()
    begun = asyncio.Event()

    @harness.task
    async def job() -> None:
        begun.set()
        await asyncio.Event().wait()

    driver = asyncio.create_task(harness.run(job))
    await begun.wait()
    drive(harness.results.cancel("task-1", task="job", queue="default", now=NOW, ttl=NOW + 20 * DAY))
    executor = await harness.executor()
    executor.stop(next(iter(executor.running.values())), "shutdown")
    await driver
    assert await harness.run(job) == Done()
    assert harness.record().status is State.CANCELLED


async def test_a_duplicate_of_a_failed_task_repeats_its_dead_letter() -> None:
    harness = Counted(ValueError("no"), retry=Retry(max_attempts=1))
    first = await harness.again()
    assert isinstance(first, DeadLetter)
    assert first.recorded
    second = await harness.again()
    assert second == first._replace(error=second.error)
    assert second.error is not None
    assert first.error is not None
    assert second.error[:2] == first.error[:2]
    assert harness.runs == [(0, 1)]


async def test_a_redriven_copy_is_a_new_run_and_really_runs() -> None:
    harness = Counted(ValueError("no"), retry=Retry(max_attempts=1))
    first = delivery(harness.job)
    assert isinstance(await harness.process(first), DeadLetter)
    copy = dead_letter_body(first.body)
    assert (decode(copy).run, decode(copy).attempt) == (1, 0)
    assert await harness.process(delivery(copy)) == Done()
    assert harness.runs == [(0, 1), (1, 1)]
    record = harness.record()
    assert (record.run, record.attempt, record.status) == (1, 1, State.SUCCEEDED)


def test_a_redriven_copy_runs_from_queue_to_dead_letter_queue_and_back() -> None:
    app = TaskQ("shop", retry=Retry(max_attempts=2, backoff=0))
    runs: list[tuple[int, int]] = []

    @app.task
    def job(ctx: TaskContext) -> str:
        runs.append((ctx.run, ctx.attempt))
        if len(runs) < 4:
            raise ValueError("no")
        return "at last"

    with in_memory(app) as memory:
        handle = job.enqueue()
        memory.run_until_idle(travel=True)
        [letter] = memory.dead_letters()
        from taskq_sls.brokers.base import Outgoing

        drive(memory.broker.send([Outgoing("default", letter.body, handle.id)]))
        memory.run_until_idle(travel=True)
        assert runs == [(0, 1), (0, 2), (1, 1), (1, 2)]
        assert handle.result() == "at last"


async def test_a_delivery_of_a_lower_run_is_done() -> None:
    harness = Counted(ValueError("no"), ValueError("no"), retry=Retry(max_attempts=1))
    await harness.again(run=1)
    assert harness.record().run == 1
    assert await harness.again(run=0) == Done()
    assert harness.runs == [(1, 1)]


async def test_a_redriven_copy_of_a_task_that_succeeded_does_not_run() -> None:
    harness = Counted()
    await harness.again()
    assert await harness.again(run=1) == Done()
    assert harness.runs == [(0, 1)]


async def test_a_cancelled_task_does_not_run() -> None:
    harness = Counted()
    drive(harness.results.cancel("task-1", task="job", queue="default", now=NOW, ttl=NOW + 20 * DAY))
    assert await harness.again() == Done()
    assert harness.runs == []


async def test_a_task_cancelled_between_two_attempts_does_not_run_again() -> None:
    harness = Counted(ValueError("no"))
    assert isinstance(await harness.again(), RetryIn)
    drive(harness.results.cancel("task-1", task="job", queue="default", now=NOW, ttl=NOW + 20 * DAY))
    assert await harness.again() == Done()
    assert (harness.record().status, harness.runs) == (State.CANCELLED, [(0, 1)])


async def test_a_failure_of_a_task_that_was_to_be_cancelled_ends_it_cancelled() -> None:
    harness = EngineHarness()

    @harness.task
    def job(ctx: TaskContext) -> None:
        drive(harness.results.cancel(ctx.id, task="job", queue="default", now=NOW, ttl=NOW + 20 * DAY))
        raise ValueError("no")

    assert await harness.run(job) == Done()
    assert harness.record().status is State.CANCELLED


async def test_a_task_too_old_at_its_first_attempt_expires_and_does_not_run() -> None:
    harness = Counted()
    harness.clock.travel(11)
    assert await harness.again(expires_at=NOW + 10) == Done()
    assert (harness.record().status, harness.runs) == (State.EXPIRED, [])
    assert await harness.again(expires_at=NOW + 10) == Done()


async def test_a_task_too_old_only_at_a_later_attempt_runs() -> None:
    harness = Counted(ValueError("no"), retry=Retry(backoff=60, jitter="none"))
    assert isinstance(await harness.again(expires_at=NOW + 10), RetryIn)
    harness.clock.travel(60)
    assert await harness.again(expires_at=NOW + 10) == Done()
    assert harness.runs == [(0, 1), (0, 2)]


async def test_a_retry_that_comes_early_is_hidden_until_its_time() -> None:
    harness = Counted(ValueError("no"), retry=Retry(backoff=60, jitter="none"))
    await harness.again()
    harness.clock.travel(12.5)
    assert await harness.again() == RetryIn(47.5, "early")
    assert harness.runs == [(0, 1)]


async def test_a_zombie_cannot_overwrite_its_successor() -> None:
    harness = EngineHarness()
    woken, runs = asyncio.Event(), []

    @harness.task
    async def job(ctx: TaskContext) -> str:
        runs.append(ctx.attempt)
        if ctx.attempt == 1:
            await woken.wait()
        return f"attempt {ctx.attempt}"

    zombie = asyncio.create_task(harness.run(job))
    await asyncio.sleep(0)
    harness.clock.travel(HOLD + 5)
    assert await harness.run(job) == Done()
    woken.set()
    assert await zombie == Lost()
    assert harness.record().result_json == '"attempt 2"'
    assert runs == [1, 2]


async def test_a_claim_whose_answer_was_lost_comes_back_when_its_lease_has_ended() -> None:
    harness = Counted()
    harness.results.fail("claim", throttled(), after=True)
    await harness.again()
    assert isinstance(await harness.again(), RetryIn)
    harness.clock.travel(HOLD + 5)
    assert await harness.again() == Done()
    assert harness.runs == [(0, 2)]


async def test_receives_that_started_nothing_use_up_no_attempt() -> None:
    harness = Counted(ValueError("no"), ValueError("no"), retry=Retry(max_attempts=3, backoff=0))
    for count in (40, 70, 99):
        outcome = await harness.process(delivery(harness.job, receive_count=count))
    assert outcome == Done()
    assert harness.runs == [(0, 1), (0, 2), (0, 3)]


async def test_a_record_past_its_time_to_live_counts_for_nothing() -> None:
    harness = Counted()
    await harness.again()
    harness.clock.travel(16 * DAY)
    assert await harness.again() == Done()
    assert harness.runs == [(0, 1), (0, 1)]


async def test_a_fault_while_a_crashed_task_is_closed_changes_nothing() -> None:
    harness = Counted(retry=Retry(max_attempts=1))
    harness.crash(max_attempts=1)
    harness.clock.travel(HOLD + 5)
    harness.results.fail("close_abandoned")
    assert type(await harness.again()).__name__ == "Release"
    assert isinstance(await harness.again(), DeadLetter)


async def test_a_crashed_task_that_is_closed_by_another_meanwhile_is_looked_at_again() -> None:
    harness = Counted(retry=Retry(max_attempts=1))
    harness.crash(max_attempts=1)
    harness.clock.travel(HOLD + 5)

    async def beaten(*arguments: Any) -> bool:
        return False

    harness.results.close_abandoned = beaten  # type: ignore[method-assign, assignment]  # somebody else was faster
    assert await harness.again() == RetryIn(1.0, "contended")


@pytest.mark.parametrize("queue", ["default", "nobody-declared"])
async def test_the_record_names_queue_labels_and_parent(queue: str) -> None:
    harness = Counted()
    body = message(harness.job, labels={"a": "b"}, parent="task-0").encode()
    await harness.process(delivery(body, queue=queue))
    record = harness.record()
    assert (record.queue, record.labels, record.parent, record.enqueued_at) == (queue, {"a": "b"}, "task-0", NOW)


@pytest.mark.parametrize("state", ["PAUSED", "UNREADABLE"])
async def test_a_task_in_a_state_that_is_not_known_is_not_run_and_its_message_waits(
    state: str, caplog: pytest.LogCaptureFixture
) -> None:
    harness = Counted(OSError())
    await harness.again()
    harness.results._rows["task-1"].status = State.read(state)
    harness.clock.travel(DAY)
    harness.results._rows["task-1"].error = None
    assert await harness.again() == RetryIn(900, "unknown_state")
    assert f"waits: its record is not one that this version can act upon (its state is {state})" in caplog.text
    assert harness.runs == [(0, 1)]
