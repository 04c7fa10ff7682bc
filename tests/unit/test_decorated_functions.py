"""Functions behind decorators, and callable objects: their parameters, and that their bodies run."""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
import threading
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from starlette.background import BackgroundTask

from taskq_sls import ArgumentsError, ConfigError, Middleware, Retry, State, TaskContext, TaskQ
from taskq_sls.core.delivery import DeadLetter
from taskq_sls.testing import in_memory
from tests.support import process_functions as functions
from tests.support.engine_harness import EngineHarness, delivery


def passed_on(function: Callable[..., Any]) -> Callable[..., Any]:
    """A plain decorator that knows nothing of coroutines."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


# -- signatures -------------------------------------------------------------------------------------------------


def injected(function: Callable[..., Any]) -> Callable[..., Any]:
    """Fills in the parameter `db`."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, db="the database", **kwargs)

    parameters = [each for each in signature.parameters.values() if each.name != "db"]
    wrapper.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # inspect reads it
    return wrapper


def test_the_parameters_that_a_decorator_declares_count() -> None:
    app = TaskQ("shop")

    @app.task(name="job")
    @injected
    def job(day: date, *, db: object) -> str:
        return f"{day.year} {db}"

    with in_memory(app):
        assert job.enqueue(date(2026, 11, 30)).result() == "2026 the database"
        with pytest.raises(ArgumentsError, match="db"):
            job.enqueue(date(2026, 11, 30), db="mine")


def test_a_context_is_still_passed_behind_a_changed_signature() -> None:
    app = TaskQ("shop")

    @app.task(name="job")
    @passed_on
    @injected
    def job(ctx: TaskContext, day: date, *, db: object) -> str:
        return f"{ctx.attempt} {day.year} {db}"

    with in_memory(app):
        assert job.enqueue(date(2026, 11, 30)).result() == "1 2026 the database"


class Methods:
    @classmethod
    def of_the_class(cls, number: int) -> int:
        return number


def of_no_signature() -> None: ...


of_no_signature.__signature__ = 5  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (vars(Methods)["of_the_class"], "task job: .*classmethod.* is not a function"),
        (of_no_signature, "task job: the signature of .* cannot be read.*set __signature__ to an inspect.Signature"),
    ],
)
def test_an_object_that_cannot_be_called_or_read_is_refused_as_a_task(function: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        TaskQ("shop").task(name="job")(function)


# -- coroutines -------------------------------------------------------------------------------------------------


class Called:
    async def __call__(self, number: int) -> int:
        await asyncio.sleep(0)
        return number + 1


class Plain(Middleware):
    """A hook that sees the value, in a thread."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def execute(self, context: TaskContext, call_next: Any) -> Any:
        value = call_next(context)
        self.seen.append((value, threading.current_thread() is threading.main_thread()))
        return value


class Awaits(Middleware):
    """An async hook that sees the value."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def execute(self, context: TaskContext, call_next: Any) -> Any:
        self.seen.append(await call_next(context))
        return self.seen[-1]


@pytest.mark.parametrize("hooks", [0, 1, 2])
@pytest.mark.parametrize("kind", ["wrapped", "bare", "object", "partial", "partial object"])
async def test_the_body_of_an_async_function_runs_however_it_is_hidden(kind: str, hooks: int) -> None:
    hook = Awaits()
    harness = EngineHarness(middleware=[hook] * hooks)

    async def body(number: int) -> int:
        await asyncio.sleep(0)
        return number + 1

    hidden: Any = {
        "wrapped": passed_on(body),
        "bare": lambda number: body(number),
        "object": Called(),
        "partial": functools.partial(body),
        "partial object": functools.partial(Called()),
    }[kind]
    await harness.run(harness.task(name="job")(hidden), 6)
    assert (harness.record().status, harness.record().result_json) == (State.SUCCEEDED, "7")
    assert hook.seen == [7] * hooks


@pytest.mark.parametrize("hooks", [1, 2])
async def test_a_hidden_async_function_under_a_plain_hook_fails_with_the_fix(hooks: int) -> None:
    plain = Plain()
    harness = EngineHarness(middleware=[plain] * hooks, retry=Retry(max_attempts=1))

    async def body() -> None:
        raise AssertionError("must not run")

    outcome = await harness.run(harness.task(name="job")(passed_on(body)))
    assert isinstance(outcome, DeadLetter)
    assert outcome.error is not None
    assert "task job: its plain function returned a coroutine" in outcome.error.message
    assert "async def execute" in outcome.error.message
    assert plain.seen == []


@pytest.mark.parametrize("hooks", [0, 1])
async def test_errors_and_time_limits_reach_a_hidden_async_function(hooks: int) -> None:
    harness = EngineHarness(middleware=[Awaits()] * hooks, retry=Retry(max_attempts=1))
    ended: list[str] = []

    async def body(kind: str) -> None:
        try:
            if kind == "exit":
                raise SystemExit(3)
            if kind == "timeout":
                raise TimeoutError("its own")
            await asyncio.sleep(60)
        finally:
            ended.append(kind)

    errors = []
    for kind, seconds in (("exit", 60), ("timeout", 60), ("long", 0.2)):
        task = harness.task(name=kind, timeout=seconds)(passed_on(body))
        outcome = await harness.process(delivery(task, kind, id=kind))
        assert isinstance(outcome, DeadLetter)
        assert outcome.error is not None
        errors.append(outcome.error.type)
    assert errors == ["SystemExit", "TimeoutError", "taskq_sls.errors.TaskTimeout"]
    assert ended == ["exit", "timeout", "long"]


async def test_a_hidden_async_function_runs_in_a_child_process_too() -> None:
    harness = EngineHarness()
    task = harness.task(run_in="process")(functions.hidden_async)
    try:
        await harness.run(task, 6)
    finally:
        assert harness.app.children is not None
        harness.app.children.close()
    assert harness.record().result_json == "7"


def test_in_memory_a_process_task_runs_a_hidden_async_function() -> None:
    app = TaskQ("shop")
    task = app.task(run_in="process")(functions.hidden_async)
    with in_memory(app):
        assert task.enqueue(6).result() == 7


# -- async tasks handed to other code ---------------------------------------------------------------------------


async def test_an_async_task_is_seen_as_a_coroutine_function() -> None:
    app = TaskQ("shop")
    ran: list[int] = []

    @app.task(name="note")
    async def note(number: int) -> None:
        ran.append(number)

    @app.task(name="plain")
    def plain(number: int) -> None:
        ran.append(number)

    if sys.version_info >= (3, 12):
        assert inspect.iscoroutinefunction(note)
        assert not inspect.iscoroutinefunction(plain)
    else:
        assert asyncio.iscoroutinefunction(note)
        assert not asyncio.iscoroutinefunction(plain)
    assert inspect.iscoroutinefunction(note.__call__)
    await BackgroundTask(note, 1)()
    await BackgroundTask(plain, 2)()
    await BackgroundTask(functools.partial(note, 3))()
    assert ran == [1, 2, 3]
