"""Handles: waiting for results, and every way in which a task can have none."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from itertools import pairwise
from typing import Any

import pytest

from taskq_sls import (
    ConfigError,
    ResultTimeout,
    Retry,
    State,
    TaskCancelled,
    TaskExpired,
    TaskFailed,
    TaskQ,
    TaskQError,
    TaskStalled,
    await_all,
    wait_all,
)
from taskq_sls.core.clock import ManualClock
from taskq_sls.core.flow import drive
from taskq_sls.core.message import ErrorInfo
from taskq_sls.core.times import DAY
from taskq_sls.errors import TaskError
from taskq_sls.results.records import Claim
from taskq_sls.testing import InMemory, in_memory
from tests.support.apps import shop_with_job
from tests.support.faulty_backends import FaultyResults, denied

ONCE = Retry(max_attempts=1)


def looks(memory: InMemory) -> int:
    return memory.results.calls.count("get_many")  # type: ignore[attr-defined]  # faulty


def test_a_result_is_the_value_that_the_function_returned() -> None:
    _, job, memory = shop_with_job(retry=ONCE)
    with memory:
        handle = job.enqueue(7)
        memory.run_until_idle()
        assert handle.result(timeout=0) == 7
        assert handle.result() == 7


def test_a_failed_task_raises_with_type_message_and_the_remote_traceback_as_text() -> None:
    _, job, memory = shop_with_job(retry=ONCE)
    with memory:
        handle = job.enqueue(-1)
        memory.run_until_idle()
        with pytest.raises(TaskFailed) as raised:
            handle.result()
        error = raised.value
        assert (error.error_type, error.error_message, error.attempts) == ("LookupError", "no -1", 1)
        assert (error.reason, error.id, error.task) == ("exhausted", handle.id, "job")
        assert "Remote traceback:" in str(error)
        assert 'raise LookupError(f"no {number}")' in str(error)
        assert isinstance(error, TaskError)
        assert isinstance(error, TaskQError)


def test_a_cancelled_task_raises() -> None:
    _, job, memory = shop_with_job(retry=ONCE)
    with memory:
        handle = job.enqueue(1)
        assert handle.cancel().answer == "cancelled"
        memory.run_until_idle()
        with pytest.raises(TaskCancelled, match=handle.id):
            handle.result()
        assert handle.cancel() == ("cancelled", State.CANCELLED)


def test_cancelling_an_ended_task_is_too_late_and_changes_nothing() -> None:
    _, job, memory = shop_with_job(retry=ONCE)
    with memory:
        handle = job.enqueue(1)
        memory.run_until_idle()
        assert handle.cancel() == ("too_late", State.SUCCEEDED)
        assert handle.result() == 1


def test_cancelling_a_running_task_asks_it_to_end() -> None:
    app = TaskQ("shop")
    answers: list[Any] = []

    @app.task
    def job() -> str:
        answers.append(handle.cancel())
        return "done all the same"

    with in_memory(app) as memory:
        handle = job.enqueue()
        memory.run_until_idle()
        assert answers == [("requested", State.RUNNING)]
        assert handle.result() == "done all the same"


def test_an_expired_task_raises() -> None:
    _, job, memory = shop_with_job(retry=ONCE)
    with memory:
        handle = job.with_options(expires_in=5).enqueue(1)
        memory.travel(6)
        memory.run_until_idle()
        assert handle.status() is State.EXPIRED
        with pytest.raises(TaskExpired):
            handle.result()


@pytest.mark.parametrize("late", [14 * 60, 17 * 60])
def test_a_task_whose_worker_vanished_is_stalled_after_15_minutes(late: float) -> None:
    _, job, memory = shop_with_job(retry=ONCE)
    with memory:
        handle = job.with_options(id="task-1").enqueue(1)
        now = memory.clock.time()
        drive(memory.results.claim(Claim("task-1", 0, "job", "default", "x", now, now + 60, 3, now + 20 * DAY, now)))
        memory.broker.messages("default")[0].visible_at = now + DAY
        memory.travel(60 + late)
        if late > 15 * 60:
            with pytest.raises(TaskStalled, match="are workers running"):
                handle.result(timeout=0)
        else:
            with pytest.raises(ResultTimeout, match="RUNNING"):
                handle.result(timeout=0)


def test_a_result_that_does_not_come_in_time_says_in_which_state_the_task_is() -> None:
    _, job, memory = shop_with_job(retry=ONCE)
    with memory:
        handle = job.with_options(delay=100).enqueue(1)
        start = memory.clock.time()
        with pytest.raises(ResultTimeout, match="QUEUED after 30 s; is a worker consuming its queue"):
            handle.result(timeout=30)
        assert 30 <= memory.clock.time() - start <= 100
        assert handle.result(timeout=100) == 1
        assert isinstance(ResultTimeout(), TimeoutError)


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_a_timeout_that_is_none_is_refused(timeout: float) -> None:
    _, job, memory = shop_with_job(retry=ONCE)
    with memory, pytest.raises(ConfigError, match="0 or more seconds"):
        job.enqueue(1).result(timeout=timeout)


def test_a_timeout_of_zero_looks_once() -> None:
    _, job, memory = shop_with_job(retry=ONCE)
    with memory:
        handle = job.enqueue(1)
        with pytest.raises(ResultTimeout):
            handle.result(timeout=0)
        assert looks(memory) == 1


def test_looks_become_rarer_up_to_two_seconds() -> None:
    clock = ManualClock()
    times: list[float] = []

    class Watched(FaultyResults):
        async def get_many(self, ids: Any, *, now: float) -> Any:
            times.append(now)
            return {}

    from taskq_sls.brokers.memory import MemoryBroker

    app = TaskQ("shop", clock=clock, broker=MemoryBroker(clock, ["default"]), results=Watched())
    with pytest.raises(ResultTimeout):
        app.ref("job").enqueue().result(timeout=60)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert 0.02 <= gaps[0] <= 0.06
    assert 1 <= max(gaps[:-1]) <= 2.001
    assert 30 <= len(times) <= 90


def test_looks_that_fail_are_repeated() -> None:
    _, job, memory = shop_with_job(retry=ONCE)
    with memory:
        handle = job.enqueue(1)
        memory.run_until_idle()
        memory.results.fail("get_many", times=5)  # type: ignore[attr-defined]  # faulty
        assert handle.result(timeout=60) == 1


def test_a_timeout_over_failing_polls_says_why() -> None:
    _, job, memory = shop_with_job(retry=ONCE)
    with memory:
        handle = job.enqueue(1)
        memory.results.fail("get_many", times=1000)  # type: ignore[attr-defined]  # faulty
        with pytest.raises(ResultTimeout, match=r"the last poll failed: .*slow down"):
            handle.result(timeout=10)


def test_a_look_that_is_denied_is_raised_at_once() -> None:
    _, job, memory = shop_with_job(retry=ONCE)
    with memory:
        handle = job.enqueue(1)
        memory.results.fail("get_many", denied())  # type: ignore[attr-defined]  # faulty
        with pytest.raises(type(denied()), match="AccessDenied"):
            handle.result(timeout=10)


def test_a_result_written_by_another_version_of_the_task_is_refused_with_the_reason() -> None:
    app, job, memory = shop_with_job(retry=ONCE)
    with memory:
        handle = job.enqueue(1)
        memory.run_until_idle()
        memory.results._rows[handle.id].result_json = '"text"'
        with pytest.raises(TypeError, match="the result"):
            handle.result()
        record = app.results.get(handle.id)
        assert record is not None
        assert record.result == "text"


# -- many ---------------------------------------------------------------------------------------------------------


def test_waiting_for_many_is_one_batched_read_per_look_and_keeps_their_order() -> None:
    _, job, memory = shop_with_job(retry=ONCE)
    with memory:
        handles = job.enqueue_many([(number,) for number in range(30)])
        memory.run_until_idle()
        assert wait_all(list(reversed(handles))) == list(reversed(range(30)))
        assert looks(memory) == 1


async def test_waiting_for_many_in_async_code() -> None:
    _, job, memory = shop_with_job(retry=ONCE)
    with memory:
        handles = await job.aenqueue_many([(number,) for number in range(5)])
        assert await await_all(handles, timeout=60) == list(range(5))
        assert await await_all([]) == []


def test_one_that_failed_is_raised_after_all_have_ended() -> None:
    _, job, memory = shop_with_job(retry=ONCE)
    ended: list[tuple[int, int]] = []
    with memory:
        handles = [job.enqueue(-1), job.with_options(delay=50).enqueue(2), job.enqueue(-3)]
        with pytest.raises(TaskFailed, match="no -1"):
            wait_all(handles, on_progress=lambda *counts: ended.append(counts))
        assert ended[-1] == (3, 3)
        assert handles[1].status() is State.SUCCEEDED


def test_progress_is_told_when_more_have_ended_and_only_then() -> None:
    _, job, memory = shop_with_job(retry=ONCE)
    told: list[tuple[int, int]] = []
    with memory:
        handles = [job.with_options(delay=delay).enqueue(1) for delay in (20, 40, 60)]
        wait_all(handles, on_progress=lambda *counts: told.append(counts))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_many_that_do_not_end_in_time_are_counted() -> None:
    _, job, memory = shop_with_job(retry=ONCE)
    with memory:
        handles = [job.enqueue(1), job.with_options(delay=500).enqueue(2), job.with_options(delay=600).enqueue(3)]
        with pytest.raises(ResultTimeout, match="2 of 3 tasks had not ended after 30 s"):
            wait_all(handles, timeout=30)


def test_the_same_task_may_be_waited_for_twice() -> None:
    _, job, memory = shop_with_job(retry=ONCE)
    with memory:
        handle = job.enqueue(4)
        assert wait_all([handle, handle]) == [4, 4]


def test_handles_of_two_apps_cannot_be_waited_for_together() -> None:
    _, other, first = shop_with_job(retry=ONCE)
    _, two, second = shop_with_job(retry=ONCE)
    with first, second, pytest.raises(ConfigError, match="2 apps"):
        wait_all([other.enqueue(1), two.enqueue(1)])


def test_handles_without_records_cannot_be_waited_for() -> None:
    _, job, memory = shop_with_job(retry=ONCE, record="none")
    with memory, pytest.raises(ConfigError, match="record='none'"):
        wait_all([job.enqueue(1)])


# -- over real time -----------------------------------------------------------------------------------------------


def test_a_thread_waits_for_what_another_one_ends() -> None:
    from taskq_sls.brokers.memory import MemoryBroker
    from taskq_sls.core.clock import SystemClock

    clock = SystemClock()
    broker = MemoryBroker(clock, ["default"])
    app = TaskQ("shop", broker=broker, results=FaultyResults(), clock=clock)

    @app.task
    def job() -> str:
        return threading.current_thread().name

    handle = job.enqueue()

    async def consume() -> None:
        executor = app.executor(await app.services.on_loop())
        for delivery in await broker.receive("default", max_messages=10, wait=0, visibility=60):
            await executor.process(delivery)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(handle.result, 20)
        asyncio.run(consume())
        assert waiting.result(20).startswith("taskq-task")


def test_a_handle_shows_its_task_and_id() -> None:
    _, job, memory = shop_with_job(retry=ONCE)
    with memory:
        handle = job.with_options(id="x").enqueue(1)
        assert repr(handle) == "<TaskHandle job x>"


@pytest.mark.parametrize("timeout", ["1", True, -1, float("nan")])
def test_a_timeout_that_is_no_time_is_refused(timeout: Any) -> None:
    _, job, memory = shop_with_job(retry=ONCE)
    with memory, pytest.raises(ConfigError, match=r"timeout=.* must be 0 or more seconds"):
        job.enqueue(1).result(timeout=timeout)


def test_an_id_that_is_no_text_is_refused() -> None:
    app, _, memory = shop_with_job(retry=ONCE)
    with memory:
        for read in (lambda: app.results.get(5), lambda: app.results.get_many([None])):  # type: ignore[arg-type, list-item]  # wrong on purpose
            with pytest.raises(ConfigError, match="a task's id is a str"):
                read()


@pytest.mark.parametrize("wrong", [{"most_read": 0}, {"most_read": True}, {"labels": {"tenant": 7}}, {"labels": "x"}])
def test_a_filter_of_a_listing_that_is_malformed_is_refused(wrong: Any) -> None:
    app, _, memory = shop_with_job(retry=ONCE)
    with memory, pytest.raises(ConfigError, match=next(iter(wrong))):
        app.results.list(**wrong)


def test_a_record_that_cannot_be_read_is_no_endless_wait() -> None:
    _, job, memory = shop_with_job(retry=ONCE)
    with memory:
        handle = job.enqueue(1)
        memory.run_until_idle()
        row = memory.results._rows[handle.id]
        row.status, row.error = State.read("UNREADABLE"), ErrorInfo("UnreadableRecord", "its attribute 'result'")
        with pytest.raises(TaskError, match="cannot be read: its attribute 'result'"):
            handle.result(timeout=5)
        row.status = State.read("PAUSED")
        with pytest.raises(ResultTimeout, match="PAUSED"):
            handle.result(timeout=0)
