"""An id belongs to the task that used it first, and ids that others can compute cannot be taken."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from taskq_sls import ConfigError, Queue, Retry, State, TaskFailed, TaskQ
from taskq_sls.core.delivery import DeadLetter, Done, RetryIn
from taskq_sls.core.envelope import MAX_RUN
from taskq_sls.core.message import deduplication_id
from taskq_sls.results.records import CancelAnswer
from taskq_sls.scheduler.firing import firing_id
from taskq_sls.testing import in_memory
from tests.support.api import Served, served
from tests.support.engine_harness import NOW, EngineHarness, delivery

EXPORT_ID = "export-2026-11-30"


def shop() -> tuple[TaskQ, list[str], Any, Any]:
    app, ran = TaskQ("shop"), []

    @app.task(name="shop:echo")
    def echo(text: str) -> str:
        ran.append("echo")
        return text

    @app.task(name="shop:export")
    def export() -> str:
        ran.append("export")
        return "exported"

    return app, ran, echo, export


def test_the_second_task_with_an_id_is_dead_lettered_and_its_caller_is_told(caplog: pytest.LogCaptureFixture) -> None:
    app, ran, echo, export = shop()
    with in_memory(app) as memory, caplog.at_level(logging.ERROR):
        first = echo.with_options(id=EXPORT_ID).enqueue("forged")
        memory.run_until_idle()
        second = export.with_options(id=EXPORT_ID).enqueue()
        memory.run_until_idle()

        assert ran == ["echo"]
        assert first.result() == "forged"
        [letter] = memory.dead_letters()
        assert letter.attributes["taskq.reason"] == "id_taken"
        assert f"the id {EXPORT_ID} belongs to task shop:echo (SUCCEEDED)" in letter.attributes["taskq.error_message"]
        with pytest.raises(TaskFailed, match="belongs to task shop:echo") as caught:
            second.result()
        assert (caught.value.reason, caught.value.task) == ("id_taken", "shop:export")
        assert second.status() is State.FAILED
    assert [getattr(record, "reason", None) for record in caplog.records] == ["id_taken"]


@pytest.mark.parametrize("second_level", ["started", "queued"])
def test_on_a_fifo_queue_the_second_task_with_an_id_is_not_dropped_as_a_repetition(second_level: str) -> None:
    app = TaskQ("shop", queues=[Queue("ledger.fifo")])

    @app.task(name="shop:first", retry=Retry(max_attempts=1))
    def first() -> None:
        raise OSError

    @app.task(name="shop:second", record=second_level)
    def second() -> str:
        return "second"

    with in_memory(app) as memory:
        handles = [task.with_options(id="a", group="g").enqueue() for task in (first, second)]
        memory.run_until_idle()

        ends: list[str] = []
        for handle in handles:
            try:
                ends.append(str(handle.result(timeout=0)))
            except TaskFailed as error:
                ends.append(str(error.reason))
        letters = [letter.attributes["taskq.reason"] for letter in memory.dead_letters()]
    assert (sorted(ends), sorted(letters)) in [
        (["exhausted", "id_taken"], ["exhausted", "id_taken"]),
        (["id_taken", "second"], ["id_taken"]),
    ]


def test_the_deduplication_id_of_the_longest_id_fits() -> None:
    assert len(deduplication_id("x" * 100, "t" * 200, MAX_RUN, 1_000)) <= 128


def test_cancelling_the_second_task_leaves_the_first_alone() -> None:
    app, ran, echo, export = shop()
    with in_memory(app) as memory:
        first = echo.with_options(id="a", delay=60).enqueue("x")
        first.cancel()
        assert first.status() is State.CANCELLED
        other = echo.with_options(id="b").enqueue("x")
        memory.run_until_idle()

        assert export.with_options(id="b").enqueue().cancel() == CancelAnswer("too_late", State.FAILED)
        assert other.result() == "x"
        assert ran == ["echo"]


async def test_a_record_under_a_former_name_is_claimed_by_the_moved_task() -> None:
    harness = EngineHarness()

    @harness.task(name="old:job")
    def old() -> None:
        raise OSError

    assert isinstance(await harness.run(old), RetryIn)
    harness.app.registry._tasks.clear()

    @harness.task(name="new:job", aliases=["older:job", "old:job"])
    def new() -> str:
        return "moved"

    harness.clock.travel(60)
    assert await harness.process(delivery("old:job", receive_count=2)) == Done()
    assert (harness.record().status, harness.record().attempt, harness.record().task) == (State.SUCCEEDED, 2, "old:job")


async def test_a_redrive_of_another_tasks_failure_is_not_opened_by_the_second_task() -> None:
    harness = EngineHarness()

    @harness.task(name="shop:second")
    def second() -> None: ...

    await harness.process(delivery("shop:gone", receive_count=10))
    assert (harness.record().status, harness.record().task) == (State.FAILED, "shop:gone")
    outcome = await harness.run(second, run=1)
    assert isinstance(outcome, DeadLetter)
    assert (outcome.reason, outcome.recorded, harness.record().task) == ("id_taken", False, "shop:gone")


@pytest.mark.parametrize("recorded", [False, True])
async def test_an_unknown_task_ends_where_its_handle_looks(recorded: bool) -> None:
    harness = EngineHarness()
    handle = harness.app.ref("shop:exprot", record="queued" if recorded else "started").with_options(id="task-1")
    sent = await handle.aenqueue()

    @harness.task(name="shop:export")
    def export() -> None: ...

    for receive in range(1, 11):
        outcome = await harness.process(delivery("shop:exprot", receive_count=receive))

    assert isinstance(outcome, DeadLetter)
    assert (outcome.reason, outcome.recorded) == ("unknown_task", True)
    assert outcome.error is not None
    assert "did you mean 'shop:export'?" in outcome.error.message
    with pytest.raises(TaskFailed, match=r"no task is named 'shop:exprot'.*did you mean 'shop:export'") as caught:
        await sent.aresult(timeout=0)
    assert caught.value.reason == "unknown_task"


async def test_an_unknown_task_does_not_end_the_task_that_owns_its_id() -> None:
    harness = EngineHarness()

    @harness.task(name="shop:first")
    def first() -> None:
        raise OSError

    await harness.run(first)
    outcome = await harness.process(delivery("shop:forged", receive_count=10))
    assert isinstance(outcome, DeadLetter)
    assert (outcome.recorded, harness.record().status) == (False, State.RETRYING)


async def test_a_run_far_ahead_is_dead_lettered_and_later_redrives_still_run() -> None:
    harness, ran = EngineHarness(), []

    @harness.task(name="shop:job")
    def job() -> None:
        ran.append(1)

    await harness.process(delivery("shop:gone", receive_count=10))
    harness.results._rows["task-1"].task = "shop:job"
    forged = await harness.run(job, run=90_000)
    assert isinstance(forged, DeadLetter)
    assert (forged.reason, ran) == ("run_ahead", [])
    assert await harness.run(job, run=1) == Done()
    assert ran == [1]


@pytest.mark.parametrize(
    "id",
    [
        firing_id("default", "nightly", NOW),
        "http-0123456789abcdef-order",
        "http-" + "a" * 24 + "-" + "b" * 24,
        "taskq:x",
    ],
)
def test_an_id_that_others_can_compute_is_refused(id: str) -> None:
    *_, export = shop()
    with pytest.raises(ConfigError, match="reserved form"):
        export.with_options(id=id)


@pytest.mark.parametrize("id", ["0198c0de-0000-7000-8000-000000000000", "http-order-1", "tasks:1", "x" * 100])
def test_other_ids_are_free(id: str) -> None:
    *_, export = shop()
    assert export.with_options(id=id).options.id == id


def test_the_key_of_a_schedule_cannot_be_taken() -> None:
    *_, export = shop()
    with pytest.raises(ConfigError, match="belong to the runs of schedules"):
        export.with_options(unique_key="schedule:default/nightly")


class TestOverHttp:
    @pytest.fixture
    def api(self) -> Iterator[Served]:
        with served() as found:
            yield found

    RESIZE = {"task": "shop:resize", "args": ["a.png"]}

    def test_callers_with_one_id_have_two_tasks_and_each_can_repeat_its_own(self, api: Served) -> None:
        ids = {
            caller: [caller.post("/v1/tasks", json={**self.RESIZE, "id": "order-1"}).json()["id"] for _ in range(2)]
            for caller in (api.client, api.sender)
        }
        assert all(first == again and first.endswith("-order-1") for first, again in ids.values())
        assert len({first for first, _ in ids.values()}) == 2

    def test_no_id_of_a_caller_is_that_of_a_scheduled_run_or_of_a_task_from_code(self, api: Served) -> None:
        for id in (firing_id("shop", "nightly", NOW), "order-1", "http-0123456789abcdef-x", "x" * 100):
            sent = api.client.post("/v1/tasks", json={**self.RESIZE, "id": id}).json()["id"]
            assert sent != id
            assert sent.startswith("http-")
            assert len(sent) <= 100
