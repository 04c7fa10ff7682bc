"""Retries that the queue cannot keep: a one-time schedule brings them, where there is a scheduler; else they hop."""

from __future__ import annotations

from typing import Any, cast

import pytest

from taskq_sls import Queue, Retry, RetryLater, State, TaskQ
from taskq_sls.core.delivery import DeadLetter, Outcome, RetryIn
from taskq_sls.core.message import decode
from taskq_sls.core.times import MAX_VISIBILITY_STEP, RETENTION
from taskq_sls.scheduler.delays import reschedule
from taskq_sls.scheduler.firing import delay_name
from taskq_sls.scheduler.memory import MemorySchedules
from taskq_sls.testing import in_memory
from tests.support.engine_harness import NOW, EngineHarness, delivery

DAY = 86_400.0
HOUR = 3_600.0


class Late(EngineHarness):
    """A harness with a task that asks for its retry `wait` seconds later."""

    def __init__(self, wait: float, *, scheduler: bool = True, **options: object) -> None:
        queues = [Queue("default"), Queue("ledger.fifo")]
        super().__init__(queues=queues)
        self.schedules = MemorySchedules(self.clock, "shop")
        self.app = TaskQ(
            "shop",
            clock=self.clock,
            broker=self.broker,
            results=self.results,
            queues=queues,
            schedule_store=self.schedules if scheduler else None,
        )

        @self.app.task(retry=Retry(max_attempts=5, backoff=0), **cast(Any, options))
        def job() -> None:
            raise RetryLater(wait)

        self.job = job


async def settled(harness: Late, outcome: Outcome) -> bool:
    assert isinstance(outcome, RetryIn)
    return (await reschedule(harness.schedules, [(delivery(harness.job), outcome)]))[0]


async def test_a_retry_within_the_twelve_hours_of_sqs_stays_in_its_queue() -> None:
    harness = Late(MAX_VISIBILITY_STEP)
    assert await harness.run(harness.job) == RetryIn(MAX_VISIBILITY_STEP, "failed")


async def test_a_longer_wait_becomes_a_one_time_schedule_named_after_task_run_and_attempt() -> None:
    harness = Late(2 * DAY)
    outcome = await harness.run(harness.job)
    assert isinstance(outcome, RetryIn)
    spec = outcome.later
    assert spec is not None
    assert spec.name == delay_name("task-1", 0, 1)
    assert spec.delete_after
    message = decode(spec.body)
    assert (message.id, message.attempt, message.run) == ("task-1", 1, 0)
    assert message.not_before == pytest.approx(NOW + 2 * DAY, abs=0.01)
    record = harness.record()
    assert (record.status, record.next_at) == (State.RETRYING, NOW + 2 * DAY)


async def test_the_original_goes_only_when_the_schedule_stands_and_a_conflict_counts_as_standing() -> None:
    harness = Late(2 * DAY)
    outcome = await harness.run(harness.job)
    assert await settled(harness, outcome)
    assert await settled(harness, outcome)


async def test_where_the_schedule_cannot_be_made_the_message_is_hidden_instead() -> None:
    harness = Late(2 * DAY)
    outcome = await harness.run(harness.job)
    assert isinstance(outcome, RetryIn)
    assert await reschedule(None, [(delivery(harness.job), outcome)]) == [False]


async def test_without_a_scheduler_the_wait_hops() -> None:
    harness = Late(2 * DAY, scheduler=False)
    assert await harness.run(harness.job) == RetryIn(2 * DAY, "failed")


async def test_a_message_that_comes_before_its_retry_is_due_goes_to_the_same_schedule() -> None:
    harness = Late(2 * DAY)
    first = await harness.run(harness.job)
    again = await harness.run(harness.job)
    assert isinstance(first, RetryIn)
    assert isinstance(again, RetryIn)
    assert again.later is not None
    assert first.later is not None
    assert again.later.name == first.later.name


async def test_a_retry_later_than_the_queue_keeps_its_message_goes_by_schedule() -> None:
    harness = Late(2 * HOUR)
    old = delivery(harness.job)._replace(sent_at=NOW - RETENTION + 2 * HOUR)
    outcome = await harness.process(old)
    assert isinstance(outcome, RetryIn)
    assert outcome.later is not None
    assert harness.record().status is State.RETRYING


async def test_and_ends_failed_without_a_scheduler() -> None:
    harness = Late(2 * HOUR, scheduler=False)
    old = delivery(harness.job)._replace(sent_at=NOW - RETENTION + 2 * HOUR)
    outcome = await harness.process(old)
    assert isinstance(outcome, DeadLetter)
    assert outcome.reason == "retention"


class WithoutRole(MemorySchedules):
    """A schedule group is configured, but no role: nothing can be made."""

    @property
    def creates(self) -> bool:
        return False


async def test_a_scheduler_that_cannot_make_schedules_counts_as_none() -> None:
    harness = Late(20 * DAY)
    harness.app = TaskQ(
        "shop",
        clock=harness.clock,
        broker=harness.broker,
        results=harness.results,
        schedule_store=WithoutRole(harness.clock, "shop"),
    )

    @harness.app.task
    def job() -> None:
        raise RetryLater(20 * DAY)

    outcome = await harness.run(job)
    assert isinstance(outcome, DeadLetter)
    assert (outcome.reason, harness.record().reason) == ("retention", "retention")


async def test_in_a_fifo_queue_a_message_keeps_its_place_as_long_as_the_queue_keeps_it() -> None:
    harness = Late(2 * DAY, queue="ledger.fifo", group="g")
    first = delivery(harness.job, queue="ledger.fifo")._replace(group="g")
    assert await harness.process(first) == RetryIn(2 * DAY, "failed")


async def test_the_record_outlives_the_wait() -> None:
    harness = Late(60 * DAY)
    await harness.run(harness.job)
    assert harness.record().ttl >= NOW + 60 * DAY + RETENTION + DAY


async def test_without_a_record_the_attempts_travel_in_the_message() -> None:
    harness = Late(2 * DAY, record="none")
    outcome = await harness.process(delivery(harness.job, receive_count=2))
    assert isinstance(outcome, RetryIn)
    assert outcome.later is not None
    assert decode(outcome.later.body).attempt == 2


def test_in_memory_a_late_retry_runs_when_its_time_comes_and_its_cancel_removes_it() -> None:
    app = TaskQ("shop")
    ran = []

    @app.task
    def job() -> None:
        ran.append(1)
        if len(ran) == 1:
            raise RetryLater(3 * DAY)

    with in_memory(app) as memory:
        handle = job.enqueue()
        memory.run_until_idle()
        assert handle.status() is State.RETRYING
        memory.travel(3 * DAY)
        memory.run_until_idle()
        assert handle.status() is State.SUCCEEDED
        assert len(ran) == 2
        ran.clear()
        other = job.enqueue()
        memory.run_until_idle()
        assert other.cancel().answer == "cancelled"
        assert memory.schedules.due(memory.clock.time() + 9 * DAY) == []


async def test_where_no_schedule_can_be_made_to_the_last_the_task_ends_failed_before_its_message_is_dropped() -> None:
    harness = Late(20 * DAY)
    first = await harness.run(harness.job)
    assert isinstance(first, RetryIn)
    harness.clock.travel(RETENTION - 2 * HOUR)
    again = await harness.run(harness.job)
    assert isinstance(again, RetryIn)
    assert again.later is not None
    assert again.delay == pytest.approx(HOUR, abs=1)  # it comes once more while something can be done
    harness.clock.travel(HOUR + 1)
    again = await harness.run(harness.job)
    assert isinstance(again, RetryIn)
    assert again.later is not None
    assert again.delay == 60
    harness.clock.travel(HOUR / 2)
    last = await harness.run(harness.job)
    assert isinstance(last, DeadLetter)
    assert (last.reason, last.recorded) == ("retention", True)
    assert (harness.record().status, harness.record().reason) == (State.FAILED, "retention")
    assert harness.record().error is not None
