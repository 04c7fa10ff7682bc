"""One delivery in, one outcome out: what an attempt can meet, and what becomes of the message."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from typing import Any

import pytest

from taskq_sls import ConfigError, MissingResource, Retry, State, TaskContext, TaskFailed
from taskq_sls.core.delivery import DeadLetter, Done, Lost, Release, RetryIn
from taskq_sls.errors import AwsError
from taskq_sls.results.records import Claim
from taskq_sls.testing import in_memory
from tests.support.engine_harness import HOLD, NOW, EngineHarness, delivery, message
from tests.support.faulty_backends import denied, refused, throttled
from tests.support.waiting import async_until

ONCE = Retry(max_attempts=1)


# -- messages that nobody here can run ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("<xml/>", "undecodable"),
        ('["a"]', "undecodable"),
        ('{"v": 2, "id": "a", "task": "job"}', "unknown_version"),
        ('{"v": 1, "id": "a", "task": "nobody:knows"}', "unknown_task"),
        ('{"v": 1, "id": "a", "task": "job", "args": [1, 2, 3]}', "arguments"),
        ('{"v": 1, "id": "a", "task": "job", "args": ["no number"]}', "arguments"),
    ],
)
class TestPoison:
    def harness(self) -> EngineHarness:
        harness = EngineHarness()

        @harness.task(name="job")
        def job(a: int) -> None:
            raise AssertionError("must not run")

        return harness

    async def test_it_backs_off_from_30_seconds_doubling_to_15_minutes(self, body: str, reason: str) -> None:
        harness = self.harness()
        outcomes = [await harness.process(delivery(body, receive_count=count)) for count in range(1, 10)]
        assert outcomes == [RetryIn(delay, reason) for delay in (30, 60, 120, 240, 480, 900, 900, 900, 900)]
        assert harness.found("a") is None

    async def test_it_is_dead_lettered_after_ten_receives_with_the_reason(self, body: str, reason: str) -> None:
        outcome = await self.harness().process(delivery(body, receive_count=10))
        assert isinstance(outcome, DeadLetter)
        assert outcome.reason == reason
        assert outcome.error is not None
        assert outcome.error.message


async def test_arguments_that_do_not_fit_end_in_a_failed_record() -> None:
    harness = EngineHarness()

    @harness.task(name="job")
    def job(a: int) -> None: ...

    outcome = await harness.process(delivery(job, "text", receive_count=10))
    assert isinstance(outcome, DeadLetter)
    assert outcome.recorded
    record = harness.record()
    assert (record.status, record.reason) == (State.FAILED, "arguments")
    assert record.error is not None
    assert "'a'" in record.error.message


async def test_arguments_that_fit_again_after_a_deploy_are_run() -> None:
    harness = EngineHarness()
    assert isinstance(await harness.process(delivery("job", 1, receive_count=9)), RetryIn)

    @harness.task(name="job")
    def job(a: int) -> None: ...

    assert await harness.process(delivery("job", 1, receive_count=12)) == Done()


async def test_a_task_whose_annotation_never_comes_to_exist_kills_no_driver() -> None:
    harness = EngineHarness()

    @harness.task(name="job")
    def job(a: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821  # that is what is tested  # type: ignore[name-defined]  # it is tested

    assert await harness.process(delivery("job", 1)) == RetryIn(30, "unknown_task")


# -- failures -----------------------------------------------------------------------------------------------------


async def test_an_exception_becomes_a_retry_with_the_error_in_the_record() -> None:
    harness = EngineHarness(retry=Retry(backoff=7, jitter="none"))

    @harness.task
    def job() -> None:
        raise ValueError("no such width")

    assert await harness.run(job) == RetryIn(7, "failed")
    record = harness.record()
    assert (record.status, record.attempt, record.next_at) == (State.RETRYING, 1, NOW + 7)
    assert record.error is not None
    assert record.error[:2] == ("ValueError", "no such width")
    assert "test_executor.py" in record.error.traceback
    assert "taskq_sls" not in record.error.traceback


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_leaving_the_process_is_a_failed_attempt(error: BaseException, kind: str) -> None:
    harness = EngineHarness()

    if kind == "sync":

        @harness.task
        def job() -> None:
            raise error
    else:

        @harness.task
        async def job() -> None:
            raise error

    outcome = await harness.run(job)
    assert isinstance(outcome, DeadLetter)
    assert outcome.error is not None
    assert outcome.error.type == type(error).__name__
    assert harness.record().status is State.FAILED


async def test_an_exception_that_cannot_be_shown_is_a_failed_attempt_all_the_same() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("I will not say")

    harness = EngineHarness(retry=ONCE)

    @harness.task
    def job() -> None:
        raise Mute

    outcome = await harness.run(job)
    assert isinstance(outcome, DeadLetter)
    assert outcome.error is not None
    assert "cannot be shown" in outcome.error.message
    assert "I will not say" in outcome.error.message


async def test_a_cancellation_of_the_tasks_own_making_is_a_failed_attempt() -> None:
    harness = EngineHarness()

    @harness.task
    async def job() -> None:
        waiter = asyncio.get_running_loop().create_future()
        waiter.cancel()
        await waiter

    outcome = await harness.run(job)
    assert isinstance(outcome, DeadLetter)
    assert harness.record().status is State.FAILED


async def test_the_callers_own_cancellation_passes_through() -> None:
    harness = EngineHarness()
    begun = asyncio.Event()

    @harness.task
    async def job() -> None:
        begun.set()
        await asyncio.Event().wait()

    driver = asyncio.create_task(harness.run(job))
    await begun.wait()
    driver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await driver
    assert harness.record().status is State.RUNNING


# -- results ------------------------------------------------------------------------------------------------------


@dataclass
class Point:
    x: int
    y: int


async def test_a_result_is_stored_by_its_annotation() -> None:
    harness = EngineHarness()

    @harness.task
    def job() -> Point:
        return Point(1, 2)

    assert await harness.run(job) == Done()
    assert harness.record().result_json == '{"x":1,"y":2}'


@pytest.mark.parametrize("result", [object(), float("nan"), "\ud800", {1: "a"}, "x" * 400_000])
async def test_a_result_that_cannot_be_stored_fails_the_task_and_is_not_retried(result: Any) -> None:
    harness = EngineHarness()
    runs: list[int] = []

    @harness.task
    def job():  # type: ignore[no-untyped-def]  # no annotation: plain JSON
        runs.append(1)
        return result

    outcome = await harness.run(job)
    assert isinstance(outcome, DeadLetter)
    assert outcome.reason == "result"
    record = harness.record()
    assert (record.status, record.reason, record.result_json) == (State.FAILED, "result", None)
    assert isinstance(await harness.process(delivery(job, receive_count=2)), DeadLetter)
    assert runs == [1]


# -- the table out of reach ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [throttled(), denied(), MissingResource("no table"), json.JSONDecodeError("no JSON", "rubbish", 0)]
)
async def test_a_table_out_of_reach_gives_the_message_back_and_costs_no_attempt(error: Exception) -> None:
    harness = EngineHarness()

    @harness.task
    def job() -> None: ...

    harness.results.fail("claim", error, times=20)
    for _ in range(20):
        outcome = await harness.run(job)
        assert isinstance(outcome, Release)
        assert 5 <= outcome.delay <= 60
    assert await harness.run(job) == Done()
    assert harness.record().attempt == 1


@pytest.mark.parametrize("record", ["started", "queued"])
async def test_a_claim_that_the_table_refuses_for_good_is_poison_with_its_reason(record: Any) -> None:
    harness = EngineHarness()

    @harness.task(record=record)
    def job() -> None: ...

    harness.results.fail("claim", refused(), times=10)
    if record == "queued":
        now = harness.clock.time()
        claim = Claim("task-1", 0, job.name, "default", "", now, now, 3, now + 9e6, now)
        await harness.results.put_queued(claim)
    for receive in range(1, 10):
        outcome = await harness.process(delivery(job, receive_count=receive))
        assert outcome == RetryIn(min(900, 30 * 2 ** (receive - 1)), "claim_refused")
    outcome = await harness.process(delivery(job, receive_count=10))
    assert isinstance(outcome, DeadLetter)
    assert (outcome.reason, outcome.recorded) == ("claim_refused", record == "queued")
    assert outcome.error is not None
    assert "no such attribute" in outcome.error.message
    found = harness.found()
    assert (found and found.reason) == ("claim_refused" if record == "queued" else None)
    assert not (await harness.executor()).failing_queues  # the table answers


async def test_a_refused_claim_is_dead_lettered_although_its_record_cannot_be_ended_either() -> None:
    harness = EngineHarness()

    @harness.task
    def job() -> None: ...

    harness.results.fail("claim", refused())
    harness.results.fail("get", refused())
    outcome = await harness.process(delivery(job, receive_count=10))
    assert isinstance(outcome, DeadLetter)
    assert not outcome.recorded


async def test_queues_whose_claims_fail_are_known_until_one_succeeds() -> None:
    harness = EngineHarness()

    @harness.task
    def job() -> None: ...

    harness.results.fail("claim", times=2)
    failing = (await harness.executor()).failing_queues
    for _ in range(2):
        await harness.run(job)
        assert failing == {"default"}
    assert await harness.run(job) == Done()
    assert failing == set()


async def test_an_outage_is_logged_when_it_begins_and_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    harness = EngineHarness()

    @harness.task
    def job() -> None: ...

    harness.results.fail("claim", times=3)
    with caplog.at_level(logging.INFO, "taskq_sls.task"):
        for _ in range(4):
            await harness.run(job)
    actions = [getattr(record, "action", "") for record in caplog.records]
    assert [action for action in actions if action.startswith("claim")] == ["claim_fault", "claim_fault_over"]


async def test_a_finish_is_retried_over_faults_and_the_function_does_not_run_again() -> None:
    harness = EngineHarness()
    runs: list[int] = []

    @harness.task
    async def job() -> int:
        runs.append(1)
        return 7

    harness.results.fail("finish", times=6)
    assert await harness.run(job) == Done()
    assert harness.record().result_json == "7"
    assert (runs, harness.results.calls.count("finish")) == ([1], 7)
    assert harness.clock.time() > NOW


async def test_a_finish_whose_answer_was_lost_is_done() -> None:
    harness = EngineHarness()

    @harness.task
    async def job() -> int:
        return 7

    harness.results.fail("finish", after=True)
    assert await harness.run(job) == Done()
    assert harness.record().status is State.SUCCEEDED


async def test_a_finish_that_cannot_be_stored_within_15_minutes_leaves_the_message() -> None:
    harness = EngineHarness()

    @harness.task
    async def job() -> int:
        return 7

    harness.results.fail("finish", times=1_000)
    assert await harness.run(job) == Lost()
    assert 14 * 60 <= harness.clock.time() - NOW <= 16 * 60


async def test_in_lambda_a_finish_is_retried_until_the_deadline() -> None:
    harness = EngineHarness()

    @harness.task
    async def job() -> int:
        return 7

    harness.results.fail("finish", times=1_000)
    assert await harness.process(delivery(job), deadline=NOW + 20) == Lost()
    assert harness.clock.time() <= NOW + 25


async def test_a_finish_that_is_refused_for_good_leaves_the_message() -> None:
    harness = EngineHarness()

    @harness.task
    async def job() -> int:
        return 7

    harness.results.fail("finish", refused())
    assert await harness.run(job) == Lost()


def item_too_large() -> AwsError:
    return AwsError(
        "update_item", "ValidationException", "Item size to update has exceeded the maximum allowed size", status=400
    )


async def test_a_record_without_room_for_the_result_ends_the_task_once() -> None:
    harness, runs = EngineHarness(), []

    @harness.task
    async def job() -> str:
        runs.append(1)
        return "large"

    harness.results.fail("finish", item_too_large())
    outcome = await harness.run(job)

    assert isinstance(outcome, DeadLetter)
    assert (outcome.reason, outcome.recorded) == ("result", True)
    record = harness.record()
    assert (record.status, record.reason, record.result_json) == (State.FAILED, "result", None)
    assert record.error is not None
    assert "Item size" in record.error.message
    assert isinstance(await harness.process(delivery(job, receive_count=2)), DeadLetter)
    assert runs == [1]


async def test_a_record_without_room_for_a_retry_ends_the_task() -> None:
    harness = EngineHarness()

    @harness.task
    async def job() -> None:
        raise ValueError("no")

    harness.results.fail("finish", item_too_large())
    outcome = await harness.run(job)

    assert isinstance(outcome, DeadLetter)
    assert (outcome.reason, harness.record().status, harness.record().reason) == ("result", State.FAILED, "result")


@pytest.mark.parametrize(("refusals", "recorded"), [(2, True), (3, False)])
async def test_a_full_record_keeps_the_failure_without_its_text_or_none_of_it(refusals: int, recorded: bool) -> None:
    harness, runs = EngineHarness(), []

    @harness.task
    async def job() -> str:
        runs.append(1)
        return "large"

    harness.results.fail("finish", item_too_large(), times=refusals)
    outcome = await harness.run(job)

    assert isinstance(outcome, DeadLetter)  # so its message goes, and nothing runs it again
    assert (outcome.reason, outcome.recorded, len(runs)) == ("result", recorded, 1)
    assert outcome.error is not None
    assert "Item size" in outcome.error.message
    assert harness.record().status is (State.FAILED if recorded else State.RUNNING)


@pytest.mark.parametrize(
    "error", [denied(), ConfigError("no credentials"), json.JSONDecodeError("no JSON", "rubbish", 0)]
)
async def test_a_result_waits_for_rights_that_are_gone_for_a_while_and_its_function_is_not_run_again(
    error: Exception,
) -> None:
    harness, runs = EngineHarness(), []

    @harness.task
    async def job() -> int:
        runs.append(1)
        return 7

    harness.results.fail("finish", error, times=5)
    assert await harness.run(job) == Done()
    assert (harness.record().status, harness.record().result_json, len(runs)) == (State.SUCCEEDED, "7", 1)


# -- stops --------------------------------------------------------------------------------------------------------


class Stopping:
    """A task that runs until it is stopped."""

    def __init__(self, **options: Any) -> None:
        self.harness = EngineHarness(**options)
        self.begun = asyncio.Event()

        @self.harness.task
        async def job() -> None:
            self.begun.set()
            await asyncio.Event().wait()

        self.job = job

    async def stop(self, *reasons: str) -> Any:
        driver = asyncio.create_task(self.harness.run(self.job))
        await self.begun.wait()
        executor = await self.harness.executor()
        [attempt] = executor.running.values()
        for reason in reasons:
            executor.stop(attempt, reason)
        outcome = await driver
        assert driver.cancelling() == 0
        assert not executor.running
        return outcome


async def test_an_attempt_stopped_by_shutdown_is_given_back_and_does_not_count() -> None:
    stopping = Stopping()
    assert await stopping.stop("shutdown") == Release(0)
    record = stopping.harness.record()
    assert (record.status, record.attempt, record.lease_until) == (State.QUEUED, 0, None)


async def test_an_attempt_is_given_back_only_when_its_record_says_so() -> None:
    """Else the next holder would meet a live lease at once, and the attempt would count."""
    stopping = Stopping()
    stopping.harness.results.fail("release", refused())
    assert await stopping.stop("shutdown") == Lost()
    assert stopping.harness.record().status is State.RUNNING


async def test_an_attempt_stopped_by_a_cancel_ends_cancelled() -> None:
    stopping = Stopping()
    assert await stopping.stop("cancelled") == Done()
    assert stopping.harness.record().status is State.CANCELLED


async def test_an_attempt_whose_lease_was_lost_writes_nothing() -> None:
    stopping = Stopping()
    assert await stopping.stop("lease_lost") == Lost()
    assert stopping.harness.results.calls == ["claim"]


@pytest.mark.parametrize("later", ["cancelled", "shutdown", "deadline"])
async def test_no_later_stop_reason_replaces_a_lost_lease(later: str) -> None:
    """Another holder runs the task: a cancel, a release or a retry written now would be a second fate of it."""
    stopping = Stopping()
    assert await stopping.stop("lease_lost", later) == Lost()
    assert stopping.harness.results.calls == ["claim"]


async def test_an_attempt_stopped_by_the_deadline_of_lambda_counts() -> None:
    stopping = Stopping(retry=Retry(backoff=3, jitter="none"))
    assert await stopping.stop("deadline") == RetryIn(3, "failed")
    record = stopping.harness.record()
    assert (record.status, record.attempt) == (State.RETRYING, 1)
    assert record.error is not None
    assert record.error.type.endswith("TaskTimeout")


async def test_a_stop_that_comes_while_the_end_is_being_stored_does_not_interrupt_it() -> None:
    harness = EngineHarness()

    @harness.task
    async def job() -> int:
        return 7

    executor = await harness.executor()
    real = type(harness.results).finish

    async def finish(*arguments: Any) -> Any:
        for attempt in executor.running.values():
            executor.stop(attempt, "cancelled")
        await asyncio.sleep(0)
        return await real(harness.results, *arguments)

    harness.results.finish = finish  # type: ignore[method-assign, assignment]  # a stop in the middle of the write
    assert await harness.run(job) == Done()
    assert harness.record().status is State.SUCCEEDED


async def test_sync_tasks_that_wait_for_a_thread_are_given_back_at_drain_without_a_claim() -> None:
    import threading

    harness = EngineHarness()
    harness.app.threads.limit = 1
    begun, go = threading.Event(), threading.Event()

    @harness.task
    def job() -> None:
        begun.set()
        go.wait(60)

    executor = await harness.executor()
    first = asyncio.create_task(harness.process(delivery(job, id="a")))
    await async_until(begun.is_set)
    second = asyncio.create_task(harness.process(delivery(job, id="b")))
    await asyncio.sleep(0)
    assert harness.found("b") is None
    executor.threads.drain()
    assert await second == Release(0)
    go.set()
    assert await first == Done()
    assert harness.found("b") is None
    assert await harness.process(delivery(job, id="c")) == Release(0)


# -- what the function sees ---------------------------------------------------------------------------------------


async def test_the_context_says_which_attempt_of_which_task_this_is() -> None:
    harness = EngineHarness()
    seen: list[Any] = []

    @harness.task(timeout=20)
    async def job(ctx: TaskContext) -> None:
        seen.append((ctx.id, ctx.task, ctx.queue, ctx.attempt, ctx.run, dict(ctx.labels), ctx.deadline, ctx.depth))

    await harness.run(job, labels={"order": "7"}, depth=2, run=1)
    assert seen == [("task-1", job.name, "default", 1, 1, {"order": "7"}, NOW + 20, 2)]


async def test_the_deadline_is_the_earlier_one_of_timeout_and_lambda() -> None:
    harness = EngineHarness()
    seen: list[float | None] = []

    @harness.task(timeout=20)
    async def short(ctx: TaskContext) -> None:
        seen.append(ctx.deadline)

    @harness.task
    async def free(ctx: TaskContext) -> None:
        seen.append(ctx.deadline)

    await harness.process(delivery(short, id="a"), NOW + 5)
    await harness.process(delivery(short, id="b"), NOW + 50)
    await harness.process(delivery(free, id="c"), NOW + 50)
    await harness.process(delivery(free, id="d"))
    assert seen == [NOW + 5, NOW + 20, NOW + 50, None]


async def test_a_lease_lasts_as_long_as_the_hold_and_in_lambda_beyond_the_deadline() -> None:
    harness = EngineHarness()
    seen: list[float | None] = []

    @harness.task
    async def job(ctx: TaskContext) -> None:
        seen.append(harness.record(ctx.id).lease_until)

    await harness.process(delivery(job, id="a"))
    await harness.process(delivery(job, id="b"), NOW + 100)
    assert seen == [NOW + HOLD, NOW + 110]


async def test_progress_that_no_heartbeat_took_along_is_stored_at_the_end() -> None:
    harness = EngineHarness()

    @harness.task
    async def job(ctx: TaskContext) -> None:
        ctx.progress(3, 10, "three")

    await harness.run(job)
    assert harness.record().progress == (3, 10, "three")


# -- before the start ---------------------------------------------------------------------------------------------


async def test_a_message_that_came_early_is_hidden_until_its_time_exactly() -> None:
    harness = EngineHarness()

    @harness.task
    async def job() -> None: ...

    early = delivery(job, not_before=NOW + 42.25)
    assert await harness.process(early) == RetryIn(42.25, "early")
    assert harness.found() is None
    harness.clock.travel(42.25)
    assert await harness.process(early) == Done()


def test_a_delayed_task_starts_at_its_time_however_early_its_message_came() -> None:
    from taskq_sls import TaskQ

    app = TaskQ("shop")
    started: list[float] = []

    @app.task
    def job() -> None:
        started.append(app.clock.time())

    with in_memory(app) as memory:
        handle = job.with_options(delay=60).enqueue()
        memory.broker.messages("default")[0].visible_at -= 50
        memory.run_until_idle(travel=True)
        assert started == [memory.clock.time()]
        assert 60 <= started[0] - 1_800_000_000 <= 61
        handle.result()


def test_a_failed_task_is_dead_lettered_with_what_happened_and_its_handle_tells() -> None:
    from taskq_sls import TaskQ

    app = TaskQ("shop", retry=ONCE)

    @app.task(name="job")
    def job(a: int) -> None:
        raise ValueError("no")

    with in_memory(app) as memory:
        handle = job.enqueue(5)
        memory.run_until_idle()
        [letter] = memory.dead_letters()
        assert letter.attributes["taskq.reason"] == "exhausted"
        assert letter.attributes["taskq.error_type"] == "ValueError"
        assert memory.broker.messages("default") == []
        with pytest.raises(TaskFailed):
            handle.result()


async def test_a_message_is_read_by_its_alias_and_recorded_under_the_tasks_name() -> None:
    harness = EngineHarness()

    @harness.task(name="new", aliases=["old"])
    async def job() -> None: ...

    assert await harness.process(delivery(message("old").encode())) == Done()
    assert harness.record().task == "new"


# -- a task whose code has gone ---------------------------------------------------------------------------------


async def left_retrying() -> EngineHarness:
    """A task that failed once, and whose function is then nowhere to be found."""
    harness = EngineHarness()

    @harness.task(name="job")
    def job() -> None:
        raise OSError

    await harness.run(job)
    assert harness.record().status is State.RETRYING
    harness.app.registry._tasks.clear()
    harness.clock.travel(3600)
    return harness


async def test_a_task_whose_code_has_gone_ends_failed_with_its_dead_letter_so_that_a_redrive_runs_it() -> None:
    harness = await left_retrying()
    outcome = await harness.process(delivery("job", receive_count=10))
    assert isinstance(outcome, DeadLetter)
    assert (outcome.reason, outcome.recorded) == ("unknown_task", True)
    assert (harness.record().status, harness.record().reason) == (State.FAILED, "unknown_task")

    @harness.task(name="job")
    def job() -> None: ...

    assert await harness.run(job, run=1) == Done()
    assert harness.record().status is State.SUCCEEDED


async def test_while_another_worker_runs_a_task_that_is_not_known_here_its_message_waits() -> None:
    harness = EngineHarness()
    inner = []

    @harness.task(name="job")
    async def job() -> None:
        task = harness.app.registry._tasks.pop("job")
        inner.append(await harness.process(delivery("job", receive_count=10)))
        harness.app.registry._tasks["job"] = task

    assert await harness.run(job) == Done()
    assert inner == [RetryIn(900, "unknown_task")]
    assert harness.record().status is State.SUCCEEDED


async def test_where_the_record_cannot_be_read_the_message_of_an_unknown_task_stays() -> None:
    harness = await left_retrying()
    harness.results.fail("get", times=1)
    assert await harness.process(delivery("job", receive_count=10)) == RetryIn(900, "unknown_task")
    assert harness.record().status is State.RETRYING


def test_outcomes_of_different_kinds_are_never_equal() -> None:
    outcomes = [Done(), Lost(), Release(0), RetryIn(0, ""), DeadLetter("", None, 0)]
    assert [[one == other for other in outcomes] for one in outcomes] == [
        [index == place for place in range(5)] for index in range(5)
    ]
    assert (Done(), Lost(), repr(Done())) == (Done(), Lost(), "Done()")
