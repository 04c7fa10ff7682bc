"""Hooks around execution: order, threads, context, options, and that none can lose a message."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any, ClassVar

import pytest

from taskq_sls import ConfigError, Middleware, Retry, State, TaskContext, TaskQ, current_task
from taskq_sls.core.delivery import DeadLetter, Done, RetryIn
from taskq_sls.testing import in_memory
from tests.support.engine_harness import EngineHarness, delivery

ONCE = Retry(max_attempts=1)


class Async(Middleware):
    def __init__(self, name: str, log: list[str]) -> None:
        self.name = name
        self.log = log

    async def execute(self, context: TaskContext, call_next: Any) -> Any:
        self.log.append(f"{self.name} in")
        try:
            return await call_next(context)
        finally:
            self.log.append(f"{self.name} out")


class Plain(Async):
    def execute(self, context: TaskContext, call_next: Any) -> Any:
        self.log.append(f"{self.name} in")
        try:
            return call_next(context)
        finally:
            self.log.append(f"{self.name} out")


HOOKS = [("sync", Async), ("async", Async), ("sync", Plain)]


def make(harness: EngineHarness, kind: str, body: Any, **options: Any) -> Any:
    """A sync or async task that calls `body`."""
    if kind == "sync":

        @harness.task(name="job", **options)
        def job():  # type: ignore[no-untyped-def]  # plain JSON
            return body()
    else:

        @harness.task(name="job", **options)
        async def job():  # type: ignore[no-untyped-def]  # plain JSON
            await asyncio.sleep(0)
            return body()

    return job


@pytest.mark.parametrize("timeout", [None, 30])
@pytest.mark.parametrize(
    ("kind", "outer", "inner"),
    [("sync", Async, Async), ("async", Async, Async), ("sync", Async, Plain), ("sync", Plain, Plain)],
)
async def test_hooks_of_the_app_lie_around_those_of_the_task(
    kind: str, timeout: float | None, outer: Any, inner: Any
) -> None:
    log: list[str] = []
    harness = EngineHarness(middleware=[outer("app", log), outer("app2", log)])

    def run() -> int:
        log.append("run")
        return 7

    job = make(harness, kind, run, middleware=[inner("task", log)], timeout=timeout)
    assert await harness.run(job) == Done()
    assert harness.record().result_json == "7"
    assert log == ["app in", "app2 in", "task in", "run", "task out", "app2 out", "app out"]


@pytest.mark.parametrize(("kind", "hook"), HOOKS)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_hook_that_raises_is_a_failed_attempt_and_never_a_delete(kind: str, hook: Any, when: str) -> None:
    class Bad(hook):
        if hook is Async:

            async def execute(self, context: TaskContext, call_next: Any) -> Any:
                if when == "after":
                    await call_next(context)
                raise RuntimeError(f"broken {when}")
        else:

            def execute(self, context: TaskContext, call_next: Any) -> Any:  # type: ignore[misc]  # one of the two
                if when == "after":
                    call_next(context)
                raise RuntimeError(f"broken {when}")

    harness = EngineHarness(middleware=[Bad("bad", [])], retry=Retry(max_attempts=2, backoff=0))
    job = make(harness, kind, lambda: 7)
    assert await harness.run(job) == RetryIn(0, "failed")
    assert harness.record().status is State.RETRYING
    last = await harness.run(job)
    assert isinstance(last, DeadLetter)
    assert last.error is not None
    assert last.error.message == f"broken {when}"


@pytest.mark.parametrize(("kind", "hook"), HOOKS)
@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), ValueError("no")], ids=repr)
async def test_whatever_the_function_raises_passes_through_the_hooks(
    kind: str, hook: Any, error: BaseException
) -> None:
    log: list[str] = []
    harness = EngineHarness(middleware=[hook("hook", log)], retry=ONCE)

    def fail() -> None:
        raise error

    outcome = await harness.run(make(harness, kind, fail))
    assert isinstance(outcome, DeadLetter)
    assert outcome.error is not None
    assert outcome.error.type == type(error).__name__
    assert log == ["hook in", "hook out"]


async def test_a_hook_may_change_what_the_task_returns() -> None:
    class Doubled(Middleware):
        async def execute(self, context: TaskContext, call_next: Any) -> Any:
            return 2 * await call_next(context)

    harness = EngineHarness(middleware=[Doubled()])
    await harness.run(make(harness, "sync", lambda: 21))
    assert harness.record().result_json == "42"


async def test_a_hook_that_answers_for_the_function_keeps_it_from_running() -> None:
    class Cached(Middleware):
        async def execute(self, context: TaskContext, call_next: Any) -> Any:
            return "cached"

    harness = EngineHarness(middleware=[Cached()])
    assert await harness.run(make(harness, "sync", lambda: pytest.fail("must not run"))) == Done()
    assert harness.record().result_json == '"cached"'


async def test_plain_hooks_that_lie_on_a_plain_function_share_its_thread_even_with_a_time_limit() -> None:
    threads: list[str] = []

    class Where(Middleware):
        def execute(self, context: TaskContext, call_next: Any) -> Any:
            threads.append(str(threading.get_ident()))
            return call_next(context)

    harness = EngineHarness(middleware=[Where(), Where()])
    await harness.run(make(harness, "sync", lambda: threads.append(str(threading.get_ident())), timeout=30))
    assert len(threads) == 3
    assert len(set(threads)) == 1
    assert threads[0] != str(threading.get_ident())


@pytest.mark.parametrize("where", ["app", "task"])
def test_a_plain_hook_around_an_async_task_is_refused_with_the_fix(where: str) -> None:
    plain = [Plain("hook", [])]
    app = TaskQ("shop", middleware=plain if where == "app" else [])

    @app.task(name="sync", middleware=plain if where == "task" else [])
    def sync() -> None: ...

    with pytest.raises(
        ConfigError, match=r"task job: .* of middleware Plain is a plain .* the task is async.*async def"
    ):

        @app.task(name="job", middleware=plain if where == "task" else [])
        async def job() -> None: ...

    assert app.registry.get("job") is None


def test_a_plain_hook_around_an_async_hook_is_refused_with_the_fix() -> None:
    app = TaskQ("shop", middleware=[Plain("outer", [])])
    with pytest.raises(ConfigError, match=r"Plain is a plain .* the async hook of Async is inside it"):

        @app.task(name="job", middleware=[Async("inner", [])])
        def job() -> None: ...


def test_a_plain_dispatch_hook_alone_does_not_matter_to_an_async_task() -> None:
    class Sends(Middleware):
        def dispatch(self, message: Any, call_next: Any) -> Any:
            return call_next(message)

    @TaskQ("shop", middleware=[Sends()]).task(name="job")
    async def job() -> None: ...

    assert job.plan.is_async


# -- context ------------------------------------------------------------------------------------------------------

request: contextvars.ContextVar[str] = contextvars.ContextVar("request")


class SetsAsync(Middleware):
    async def execute(self, context: TaskContext, call_next: Any) -> Any:
        request.set(context.id)
        return await call_next(context)


class SetsPlain(Middleware):
    def execute(self, context: TaskContext, call_next: Any) -> Any:
        request.set(context.id)
        return call_next(context)


@pytest.mark.parametrize(
    ("kind", "hooks"),
    [
        ("sync", [SetsAsync()]),
        ("async", [SetsAsync()]),
        ("sync", [SetsPlain()]),
        ("sync", [Async("x", []), SetsPlain()]),
    ],
)
async def test_context_variables_set_in_hooks_reach_the_function_and_leak_nowhere(kind: str, hooks: Any) -> None:
    harness = EngineHarness(middleware=hooks)
    job = make(harness, kind, lambda: [request.get(), current_task().id])
    tasks = [asyncio.create_task(harness.process(delivery(job, id=f"task-{number}"))) for number in range(50)]
    assert await asyncio.gather(*tasks) == [Done()] * 50
    for number in range(50):
        assert harness.record(f"task-{number}").result_json == f'["task-{number}","task-{number}"]'
    with pytest.raises(LookupError):
        request.get()


# -- options ------------------------------------------------------------------------------------------------------


def percent(value: Any) -> float:
    if not isinstance(value, int | float):
        raise TypeError("give a number")
    if not 0 <= value <= 100:
        raise ValueError("give 0 to 100")
    return value / 100


class Sampled(Middleware):
    options: ClassVar[Any] = {"sample": percent}

    async def execute(self, context: TaskContext, call_next: Any) -> Any:
        return [context.options.get("sample"), await call_next(context)]


def test_an_option_of_a_middleware_is_checked_normalised_and_found_in_the_context() -> None:
    app = TaskQ("shop", middleware=[Sampled()], sample=50)

    @app.task(sample=25)
    def mine():  # type: ignore[no-untyped-def]  # plain JSON
        return 1

    @app.task
    def inherited():  # type: ignore[no-untyped-def]  # plain JSON
        return 2

    with in_memory(app) as memory:
        handles = mine.enqueue(), inherited.enqueue()
        memory.run_until_idle()
        assert [one.result() for one in handles] == [[0.25, 1], [0.5, 2]]


@pytest.mark.parametrize(("value", "says"), [(101, "give 0 to 100"), ("a", "give a number")])
def test_an_option_of_a_middleware_that_is_wrong_is_refused_with_its_reason(value: Any, says: str) -> None:
    app = TaskQ("shop", middleware=[Sampled()])
    with pytest.raises(ConfigError, match=f"sample=.*{says}"):

        @app.task(sample=value)
        def job() -> None: ...


def test_an_option_nobody_declared_is_refused_with_a_suggestion() -> None:
    app = TaskQ("shop", middleware=[Sampled()])
    with pytest.raises(ConfigError, match="did you mean 'sample'"):

        @app.task(sampel=1)
        def job() -> None: ...


def test_a_middleware_of_one_task_brings_its_options_to_that_task_alone() -> None:
    app = TaskQ("shop")

    @app.task(middleware=[Sampled()], sample=10)
    def one() -> None: ...

    with pytest.raises(ConfigError, match="unknown option 'sample'"):

        @app.task(sample=10)
        def other() -> None: ...


def test_a_middleware_must_be_an_instance() -> None:
    with pytest.raises(ConfigError, match="instance of a Middleware subclass"):

        @TaskQ("shop").task(middleware=[Sampled])  # type: ignore[list-item]  # bad input on purpose
        def job() -> None: ...


# -- logging ------------------------------------------------------------------------------------------------------


async def test_each_event_of_an_attempt_is_one_structured_line(caplog: pytest.LogCaptureFixture) -> None:
    harness = EngineHarness(retry=Retry(max_attempts=2, backoff=0))
    ends = iter([ValueError("no"), None])

    def body() -> None:
        if (error := next(ends)) is not None:
            raise error

    job = make(harness, "sync", body)
    with caplog.at_level("DEBUG", "taskq_sls.task"):
        await harness.run(job)
        await harness.run(job)
    lines = [(record.action, record.task_id, record.task_name, record.attempt) for record in caplog.records]  # type: ignore[attr-defined]  # extra
    assert lines == [
        ("task_started", "task-1", "job", 1),
        ("task_retrying", "task-1", "job", 1),
        ("task_started", "task-1", "job", 2),
        ("task_succeeded", "task-1", "job", 2),
    ]
    assert caplog.records[-1].duration >= 0  # type: ignore[attr-defined]  # extra
