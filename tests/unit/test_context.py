"""What a running task knows of itself."""

from __future__ import annotations

import asyncio
import json
import random
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from taskq_sls import TaskContext, TaskQ, TaskQError, current_task
from taskq_sls.core.context import running_task
from taskq_sls.core.delivery import Done
from taskq_sls.testing import in_memory
from tests.support.engine_harness import EngineHarness, delivery
from tests.support.waiting import async_until


def helper() -> str:
    return current_task().id


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_what_a_task_calls_can_ask_for_its_context(kind: str) -> None:
    app = TaskQ("shop")

    if kind == "sync":

        @app.task
        def job() -> str:
            return helper()
    else:

        @app.task
        async def job() -> str:
            await asyncio.sleep(0)
            return helper()

    with in_memory(app) as memory:
        handle = job.enqueue()
        memory.run_until_idle()
        assert handle.result() == handle.id


def test_outside_of_a_task_there_is_none_and_the_error_says_so() -> None:
    assert running_task() is None
    with pytest.raises(TaskQError, match="no task is running here"):
        current_task()


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_each_of_fifty_tasks_at_once_sees_its_own_context_and_none_is_left_behind(kind: str) -> None:
    harness = EngineHarness()

    if kind == "sync":

        @harness.task(name="job")
        def job() -> list[str]:
            return [helper() for _ in range(100)]
    else:

        @harness.task(name="job")
        async def job() -> list[str]:
            seen = []
            for _ in range(20):
                await asyncio.sleep(random.choice([0, 0, 0.001]))
                seen.append(helper())
            return seen

    ids = [f"task-{number}" for number in range(50)]
    assert await asyncio.gather(*(harness.process(delivery(job, id=id)) for id in ids)) == [Done()] * 50
    for id in ids:
        assert set(json.loads(harness.record(id).result_json or "")) == {id}
    assert running_task() is None


async def test_tasks_in_one_driver_task_leave_no_context_to_each_other() -> None:
    harness = EngineHarness()

    @harness.task(name="job")
    async def job() -> str:
        return helper()

    for number in range(3):
        await harness.process(delivery(job, id=f"task-{number}"))
        assert running_task() is None
        assert harness.record(f"task-{number}").result_json == f'"task-{number}"'


def declare(source: str, names: dict[str, Any]) -> None:
    """Run a declaration as a module of its own would."""
    exec(compile(source, "tasks.py", "exec", dont_inherit=True), names)


@pytest.mark.parametrize(
    "annotation", ["TaskContext", "taskq_sls.TaskContext", "Ctx"], ids=["plain", "dotted", "other name"]
)
def test_the_context_is_recognised_however_its_annotation_is_written(annotation: str) -> None:
    import taskq_sls

    app = TaskQ("shop")
    names: dict[str, Any] = {"TaskContext": TaskContext, "taskq_sls": taskq_sls, "Ctx": TaskContext}
    for future in ("", "from __future__ import annotations\n"):
        declare(f"{future}def job(ctx: {annotation}, a: int) -> str: return ctx.id", names)
        task = app.task(name=f"{annotation}{len(future)}")(names["job"])
        with in_memory(app) as memory:
            handle = task.enqueue(1)
            memory.run_until_idle()
            assert handle.result() == handle.id


@pytest.mark.parametrize("future", ["", "from __future__ import annotations\n"])
def test_the_context_is_recognised_where_it_is_imported_for_type_checkers_only(future: str) -> None:
    app = TaskQ("shop")
    names: dict[str, Any] = {}
    declare(f"{future}def job(ctx: 'TaskContext') -> str: return ctx.id", names)
    task = app.task(name="job")(names["job"])
    with in_memory(app) as memory:
        handle = task.enqueue()
        memory.run_until_idle()
        assert handle.result() == handle.id


async def test_a_sync_task_can_look_whether_it_was_cancelled() -> None:
    import threading

    harness = EngineHarness()
    begun = threading.Event()

    @harness.task
    def job(ctx: TaskContext) -> str:
        begun.set()
        while not ctx.cancelled:
            pass
        return "stopped early"

    driver = asyncio.create_task(harness.run(job))
    await async_until(begun.is_set)
    executor = await harness.executor()
    executor.stop(next(iter(executor.running.values())), "cancelled")
    assert await driver == Done()
    assert harness.record().result_json == '"stopped early"'


async def test_a_sync_task_can_end_itself_where_it_was_cancelled() -> None:
    import threading

    from taskq_sls import State

    harness = EngineHarness()
    begun = threading.Event()

    @harness.task
    def job(ctx: TaskContext) -> str:
        begun.set()
        while True:
            ctx.raise_if_cancelled()

    driver = asyncio.create_task(harness.run(job))
    await async_until(begun.is_set)
    executor = await harness.executor()
    executor.stop(next(iter(executor.running.values())), "cancelled")
    assert await driver == Done()
    assert harness.record().status is State.CANCELLED


def test_a_context_shows_what_it_is_of() -> None:
    assert repr(TaskContext("id-1", "job", attempt=2)) == "TaskContext(id='id-1', task='job', attempt=2)"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("3", 10), "done=.* str"),
        ((None,), "done=.* NoneType"),
        (([],), "done=.* list"),
        ((1, "10"), "total=.* str"),
        ((1j,), "done=.* complex"),
        ((Fraction(10**400),), "done=.* Fraction"),
        ((1, 10, 5), "note=.* int"),
    ],
)
def test_progress_of_another_type_is_refused_where_it_is_given(arguments: tuple[Any, ...], named: str) -> None:
    context = TaskContext("id-1", "job")
    with pytest.raises(TypeError, match=named) as caught:
        context.progress(*arguments)
    assert isinstance(caught.value, TaskQError)
    assert context._execution.progress is None


def test_progress_takes_numbers_of_any_type() -> None:
    context = TaskContext("id-1", "job")
    context.progress(Decimal("1.5"), Fraction(5, 2))  # type: ignore[arg-type]  # numbers, though no floats
    assert context._execution.progress == (1.5, 2.5, None)
