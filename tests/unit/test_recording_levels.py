"""The writes of each recording level, and its guarantees."""

from __future__ import annotations

from typing import Any

import pytest

from taskq_sls import ConfigError, MissingResource, Retry, State, TaskContext, TaskExpired, TaskFailed
from taskq_sls.core.delivery import DeadLetter, Done, Lost, RetryIn
from taskq_sls.testing import InMemory
from tests.support.apps import shop_with_job
from tests.support.engine_harness import NOW, EngineHarness, delivery
from tests.support.faulty_backends import denied, refused, throttled

LEVELS = ("none", "finished", "started", "queued")


def writes(memory: InMemory) -> list[str]:
    return [call for call in memory.results.calls if not call.startswith("get")]  # type: ignore[attr-defined]  # faulty


@pytest.mark.parametrize(
    ("level", "calls"),
    [
        ("none", []),
        ("finished", ["put_finished"]),
        ("started", ["claim", "finish"]),
        ("queued", ["put_queued", "claim", "finish"]),
    ],
)
def test_each_level_writes_what_it_says(level: str, calls: list[str]) -> None:
    _, job, memory = shop_with_job(record=level)
    with memory:
        job.enqueue()
        memory.run_until_idle()
        assert writes(memory) == calls


@pytest.mark.parametrize("level", ["finished", "started", "queued"])
def test_results_and_failures_are_kept_from_finished_on(level: str) -> None:
    app, job, memory = shop_with_job(record=level, retry=Retry(max_attempts=1))
    with memory:
        good, bad = job.enqueue(), job.enqueue(-1)
        assert (good.status(), bad.status()) == (State.QUEUED, State.QUEUED)
        memory.run_until_idle()
        assert good.result() == 7
        with pytest.raises(TaskFailed, match="no -"):
            bad.result()
        assert [record.id for record in app.results.list(status="FAILED", task="job")] == [bad.id]


def test_without_a_record_result_and_status_say_why_they_cannot_be_had() -> None:
    app, job, memory = shop_with_job(record="none")
    with memory:
        handle = job.enqueue()
        memory.run_until_idle()
        for ask in (handle.result, handle.status):
            with pytest.raises(ConfigError, match="record='none'"):
                ask()
        assert app.results.get(handle.id) is None


@pytest.mark.parametrize("level", ["none", "finished"])
def test_cancelling_needs_a_claim_to_meet(level: str) -> None:
    _, job, memory = shop_with_job(record=level)
    with memory, pytest.raises(ConfigError, match="record='started' or 'queued'"):
        job.enqueue().cancel()


@pytest.mark.parametrize("level", LEVELS)
def test_a_sent_task_is_queued_to_its_handle_and_none_to_others_unless_that_is_recorded(level: str) -> None:
    app, job, memory = shop_with_job(record=level)
    with memory:
        handle = job.enqueue()
        found = app.results.get(handle.id)
        if level == "queued":
            assert found is not None
            assert found.status is State.QUEUED
            assert [record.id for record in app.results.list(status="QUEUED")] == [handle.id]
        else:
            assert found is None
        if level != "none":
            assert handle.status() is State.QUEUED


def test_a_queued_record_of_many_is_written_for_each_that_was_sent() -> None:
    app, job, memory = shop_with_job(record="queued")
    with memory:
        handles = job.enqueue_many([(number,) for number in range(5)])
        assert {record.id for record in app.results.list(status="QUEUED")} == {handle.id for handle in handles}


@pytest.mark.parametrize("error", [throttled(), denied(), MissingResource("no table")])
def test_a_task_that_was_sent_is_sent_even_if_that_cannot_be_recorded(error: Exception) -> None:
    _, job, memory = shop_with_job(record="queued")
    with memory:
        memory.results.fail("put_queued", error)  # type: ignore[attr-defined]  # faulty
        handle = job.enqueue()
        memory.run_until_idle()
        assert handle.result() == 7


def test_a_queued_record_never_overwrites_a_task_that_was_faster() -> None:
    app, job, memory = shop_with_job(record="queued")
    memory.immediate = True
    with memory:
        handle = job.enqueue()
        record = app.results.get(handle.id)
        assert record is not None
        assert record.status is State.SUCCEEDED


def test_the_level_of_a_task_wins_over_that_of_the_app() -> None:
    app, _, memory = shop_with_job(record="none")

    @app.task(record="finished")
    def other() -> int:
        return 1

    with memory:
        handle = other.enqueue()
        memory.run_until_idle()
        assert handle.result() == 1
        assert app.ref("job").enqueue().id
        with pytest.raises(ConfigError, match="record='none'"):
            app.ref("job").enqueue().result()


# -- without a claim ----------------------------------------------------------------------------------------------


def counted(level: str, *ends: Any, **options: Any) -> tuple[EngineHarness, Any, list[int]]:
    harness = EngineHarness(record=level, **options)
    attempts: list[int] = []
    remaining = list(ends)

    @harness.task(name="job")
    async def job(ctx: TaskContext) -> str:
        attempts.append(ctx.attempt)
        end = remaining.pop(0) if remaining else "done"
        if isinstance(end, Exception):
            raise end
        return str(end)

    return harness, job, attempts


async def test_at_finished_duplicates_run_again_and_the_last_write_wins() -> None:
    harness, job, attempts = counted("finished", "first", "second")
    assert await harness.run(job) == Done()
    assert await harness.run(job) == Done()
    assert len(attempts) == 2
    assert harness.record().result_json == '"second"'


@pytest.mark.parametrize("level", ["none", "finished"])
async def test_attempts_are_bounded_by_the_receive_count(level: str) -> None:
    harness, job, attempts = counted(
        level, *[ValueError("no")] * 3, retry=Retry(max_attempts=3, backoff=4, jitter="none")
    )
    assert await harness.process(delivery(job, receive_count=1)) == RetryIn(4, "failed")
    assert await harness.process(delivery(job, receive_count=2)) == RetryIn(8, "failed")
    last = await harness.process(delivery(job, receive_count=3))
    assert isinstance(last, DeadLetter)
    assert (last.reason, last.attempts, last.recorded) == ("exhausted", 3, level == "finished")
    assert attempts == [1, 2, 3]


@pytest.mark.parametrize("level", ["none", "finished"])
async def test_a_message_is_never_given_up_on_its_receive_count_alone(level: str) -> None:
    harness, job, attempts = counted(level, retry=Retry(max_attempts=3))
    assert await harness.process(delivery(job, receive_count=50)) == Done()
    assert attempts == [50]


async def test_at_finished_a_retry_is_not_written() -> None:
    harness, job, _ = counted("finished", ValueError("no"))
    assert isinstance(await harness.run(job), RetryIn)
    assert harness.results.calls == []


async def test_at_finished_an_end_that_cannot_be_stored_leaves_the_message() -> None:
    harness, job, _ = counted("finished")
    harness.results.fail("put_finished", refused())
    assert await harness.run(job) == Lost()


async def test_at_finished_the_end_is_stored_over_faults_without_running_again() -> None:
    harness, job, attempts = counted("finished")
    harness.results.fail("put_finished", times=4)
    assert await harness.run(job) == Done()
    assert attempts == [1]


@pytest.mark.parametrize("level", ["none", "finished"])
async def test_a_task_too_old_at_its_first_receive_expires(level: str) -> None:
    harness, job, attempts = counted(level)
    harness.clock.travel(11)
    assert await harness.process(delivery(job, expires_at=NOW + 10)) == Done()
    assert await harness.process(delivery(job, id="other", expires_at=NOW + 10, receive_count=2)) == Done()
    assert attempts == [2]
    if level == "finished":
        assert harness.record().status is State.EXPIRED
    else:
        assert harness.found() is None


@pytest.mark.parametrize("level", ["finished", "started", "queued"])
def test_an_expired_task_tells_its_handle(level: str) -> None:
    _, job, memory = shop_with_job(record=level)
    with memory:
        handle = job.with_options(expires_in=10).enqueue()
        memory.travel(11)
        memory.run_until_idle()
        with pytest.raises(TaskExpired, match="expires_in"):
            handle.result()


@pytest.mark.parametrize("level", LEVELS)
async def test_arguments_that_do_not_fit_are_recorded_where_anything_is(level: str) -> None:
    harness = EngineHarness(record=level)

    @harness.task(name="job")
    def job(a: int) -> None: ...

    outcome = await harness.process(delivery(job, "text", receive_count=10))
    assert isinstance(outcome, DeadLetter)
    assert outcome.recorded == (level != "none")
    record = harness.found()
    assert (record is None) == (level == "none")
    if record is not None:
        assert (record.status, record.reason) == (State.FAILED, "arguments")


@pytest.mark.parametrize("level", LEVELS)
def test_a_record_lives_for_its_time_to_live_after_the_end(level: str) -> None:
    from taskq_sls.core.times import DAY

    app, job, memory = shop_with_job(record=level, result_ttl=20 * DAY)
    with memory:
        handle = job.with_options(delay=900).enqueue()
        memory.run_until_idle(travel=True)
        memory.travel(20 * DAY - 1)
        assert (app.results.get(handle.id) is None) == (level == "none")
        memory.travel(2)
        assert app.results.get(handle.id) is None
